/** A verifier of a trained claim that does the work of its receipt with the reference kernels, all of it or a part. */
import { gatherSequences } from '../../src/model/unit.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { drawBatch, drawHeldOut, signDraw, unitOffsets } from '../../src/protocol/draws.js';
import { blobSource } from '../../src/protocol/evidence/build.js';
import { buildReceiptEvidence } from '../../src/protocol/evidence/buildVerifier.js';
import {
  chainingValuesOf,
  type ReceiptDuty,
  type ReceiptOpening,
  receiptDuty,
  type SignedReceipt,
  signReceipt,
  stateReceiptPart,
  unitReceiptPart,
  unitReceiptPlaces,
} from '../../src/protocol/receipt.js';
import { type Attestation, claimRoot, ZERO_ROOT } from '../../src/protocol/types.js';
import { bls, referenceExecutor, type TrainedClaim } from './trainedClaim.js';

export const BEACON_2 = new Uint8Array(32).fill(0xb2);
export const COMMITTEE = 4;

export function dutyOf(trained: TrainedClaim, drawSignature: Uint8Array): ReceiptDuty {
  return receiptDuty(drawSignature, trained.recipe, trained.steps.length, COMMITTEE);
}

/** The state that part `part` is about: header and vectors. */
export function stateOfPart(trained: TrainedClaim, duty: ReceiptDuty, part: number) {
  const last = part === duty.units.length + 1;
  const stepIndex = duty.units[part]?.stepIndex ?? (last ? trained.steps.length - 1 : duty.stateStep);
  const step = trained.steps[stepIndex]!;
  const tokenFile = blobSource(trained.tokenFile);
  return last
    ? { header: step.postHeader, ...step.after, tokenFile }
    : { header: step.preHeader, ...step.before, tokenFile };
}

/** One part, by doing its work. */
export async function honestPart(trained: TrainedClaim, drawSignature: Uint8Array, part: number): Promise<Uint8Array> {
  const { recipe, plan, draw1 } = trained;
  const duty = dutyOf(trained, drawSignature);
  const { theta, m, v } = stateOfPart(trained, duty, part);
  const drawn = duty.units[part];
  if (drawn === undefined) {
    const stepsDone = part === duty.units.length ? duty.stateStep : trained.steps.length;
    const values = { theta: chainingValuesOf(theta), m: chainingValuesOf(m), v: chainingValuesOf(v) };
    return stateReceiptPart(drawSignature, stepsDone, values);
  }
  const offsets = unitOffsets(drawBatch(draw1, drawn.stepIndex, recipe), drawn.unit, recipe);
  const { observed } = await referenceExecutor.computeUnit({
    recipe,
    recipeRoot: plan.root,
    draw1,
    step: drawn.stepIndex,
    unit: drawn.unit,
    theta,
    tokens: gatherSequences(new Uint16Array(trained.tokenFile.buffer), offsets, recipe.context),
    places: unitReceiptPlaces(drawSignature, drawn, recipe, plan.layout),
  });
  return unitReceiptPart(drawSignature, drawn, observed!);
}

export async function honestOpening(
  trained: TrainedClaim,
  keys: KeyPair,
  beacon2: Uint8Array = BEACON_2,
): Promise<ReceiptOpening> {
  const drawSignature = signDraw(bls, keys, beacon2, claimRoot(trained.claim.header));
  const { parts } = dutyOf(trained, drawSignature);
  const list: Uint8Array[] = [];
  for (let part = 0; part < parts; part += 1) list.push(await honestPart(trained, drawSignature, part));
  return { drawSignature, parts: list };
}

export function receiptFor(trained: TrainedClaim, keys: KeyPair, opening: ReceiptOpening): SignedReceipt {
  const { header } = trained.claim;
  const subject = { chainId: header.chainId, claimRoot: claimRoot(header), beacon2: BEACON_2, committee: COMMITTEE };
  return signReceipt(bls, keys, subject, opening);
}

/** Evidence against one part of an opened receipt: what a rechecker writes. */
export function receiptEvidence(
  trained: TrainedClaim,
  keys: KeyPair,
  opening: ReceiptOpening,
  part: number,
): Uint8Array {
  const { claim, recipe } = trained;
  const commitments = [...trained.commitments];
  const duty = dutyOf(trained, opening.drawSignature);
  const wrongCount = opening.parts.length !== duty.parts;
  const subject = wrongCount
    ? stateOfPart(trained, { ...duty, stateStep: 0 }, duty.units.length)
    : stateOfPart(trained, duty, part);
  const receipt = receiptFor(trained, keys, opening);
  return buildReceiptEvidence({ claim, recipe, commitments, receipt, opening }, part, subject);
}

/** A positive vote; the true held-out losses unless others are given. */
export async function voteFor(
  trained: TrainedClaim,
  keys: KeyPair,
  losses?: readonly [before: number, after: number],
): Promise<Attestation> {
  const { header } = trained.claim;
  const root = claimRoot(header);
  const [heldOutBeforeBits, heldOutAfterBits] = losses ?? (await heldOutLosses(trained));
  const content = { chainId: header.chainId, claimRoot: root, beacon2: BEACON_2, verdict: 'positive' as const };
  return signAttestation(bls, keys, { ...content, heldOutBeforeBits, heldOutAfterBits });
}

/** Losses of the from state's model (a first claim) and of the claim's, on what BEACON_2 draws. */
export async function heldOutLosses(trained: TrainedClaim): Promise<[number, number]> {
  const { recipe, claim } = trained;
  if (claim.header.parentClaimRoot.some((byte, i) => byte !== ZERO_ROOT[i])) throw new Error('expected a first claim');
  const offsets = drawHeldOut(BEACON_2, claimRoot(claim.header), recipe);
  const tokens = gatherSequences(new Uint16Array(trained.tokenFile.buffer), offsets, recipe.context);
  const first = trained.steps[0]!.before;
  const before = await referenceExecutor.packModel({ recipe, vector: recipe.ema ? first.ema : first.theta });
  const loss = (model: Uint8Array): Promise<number> => referenceExecutor.modelLoss({ recipe, model, tokens });
  return [await loss(before), await loss(trained.model)];
}
