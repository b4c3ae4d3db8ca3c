/** Looking at one part of a foreign receipt again: the log up to there, then one unit or one state. */
import { merkleKernels } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { unitFileBytes } from '../model/layout.js';
import type { Recipe } from '../model/recipe.js';
import type { TokenSequence } from '../model/tokens.js';
import { gatherSequences } from '../model/unit.js';
import type { ComputedUnit, Trainer } from '../pipeline/trainer.js';
import { hasProgram, receiptSubject } from '../protocol/dispute/subject.js';
import { type DisputeSubject, SUBJECT_KIND } from '../protocol/dispute/types.js';
import { type DrawnUnit, drawBatch, unitOffsets } from '../protocol/draws.js';
import { tokenSource } from '../protocol/evidence/build.js';
import { buildReceiptEvidence } from '../protocol/evidence/buildVerifier.js';
import { receiptDuty, stateReceiptPart, unitReceiptPart, unitReceiptPlaces } from '../protocol/receipt.js';
import type { StepCommitment } from '../protocol/types.js';
import { type ClaimSource, capture, type Fault } from './checkClaim.js';
import { chainingValuesOf } from './receiptRecorder.js';
import type { BookedReceipt } from './roles/receiptBook.js';
import { replayLog } from './unitFiles.js';

export interface RecheckOptions {
  /** At the claim's from state; left where the part was looked at. */
  readonly trainer: Trainer;
  readonly source: ClaimSource;
  readonly tokens: TokenSequence;
  readonly booked: BookedReceipt;
  readonly recipe: Recipe;
  /** Chooses the part, modulo their number. */
  readonly ticket: number;
  /** Bytes of the largest file of evidence that is sent; where it would be larger, a dispute serves. */
  readonly evidenceBytes?: number;
}

export interface RecheckResult {
  readonly part: number;
  /** Whether the part, and the number of parts, are what they must be. */
  readonly held: boolean;
  /** The file that proves the receipt false; undefined where it holds, and where it is to be disputed. */
  readonly evidence: Uint8Array | undefined;
  /** What to dispute: a false part whose evidence would be too large. */
  readonly disputed?: DisputeSubject;
  /** The drawn unit, where it is not what the claim commits to: who was drawn for it and voted for the claim lied. */
  readonly falseUnit?: Extract<Fault, { kind: 'unit' | 'loss' }>;
}

/** @throws PogoError MISSING for units that are gone, UNDECIDED where the units do not lead to the claim's states */
export async function recheckReceipt(options: RecheckOptions): Promise<RecheckResult> {
  const { trainer, source, tokens, booked, recipe } = options;
  const { drawSignature, parts } = booked.opening;
  const duty = receiptDuty(drawSignature, recipe, source.list.length, booked.receipt.message.committee);
  const part = options.ticket % duty.parts;
  const prove = async (): Promise<Uint8Array> =>
    buildReceiptEvidence({ ...booked, recipe, commitments: source.list }, part, {
      ...(await capture(trainer)),
      tokenFile: tokenSource(tokens, merkleKernels()),
    });
  if (parts.length !== duty.parts) return { part: 0, held: false, evidence: await prove() };
  const drawn = duty.units[part];
  const stepsDone = drawn?.stepIndex ?? (part === duty.units.length ? duty.stateStep : source.list.length);
  await replay(trainer, source, stepsDone);
  let expected: Uint8Array;
  let falseUnit: RecheckResult['falseUnit'];
  if (drawn === undefined) {
    expected = stateReceiptPart(drawSignature, stepsDone, await chainingValuesOf(trainer));
  } else {
    const { draw1 } = source.header;
    const commitment = source.list[drawn.stepIndex] as StepCommitment;
    const offsets = unitOffsets(drawBatch(draw1, commitment.step, recipe), drawn.unit, recipe);
    const computed = await trainer.computeUnit({
      draw1,
      unit: drawn.unit,
      tokens: gatherSequences(tokens, offsets, recipe.context),
      places: unitReceiptPlaces(drawSignature, drawn, recipe, trainer.plan.layout),
    });
    expected = unitReceiptPart(drawSignature, drawn, computed.observed);
    falseUnit = await compareUnit(options, drawn, commitment, computed);
  }
  const found = parts[part];
  const held = found !== undefined && equalBytes(found, expected);
  const { evidenceBytes = Number.POSITIVE_INFINITY } = options;
  const carried = 4 * trainer.plan.layout.length * (drawn === undefined ? 3 : 1);
  const subject: DisputeSubject =
    drawn === undefined ? receiptSubject(stepsDone, source.list.length) : { kind: SUBJECT_KIND.unit, ...drawn };
  const canDispute = !held && hasProgram(recipe, subject);
  const proof = held || (canDispute && carried > evidenceBytes) ? undefined : await prove();
  const isDisputed = canDispute && (proof === undefined || proof.length > evidenceBytes);
  const evidence = isDisputed ? undefined : proof;
  return {
    part,
    held,
    evidence,
    ...(isDisputed ? { disputed: subject } : {}),
    ...(falseUnit === undefined ? {} : { falseUnit }),
  };
}

/** The unit is there anyway, so it is compared: at its step's state, where the trainer stands. */
async function compareUnit(
  { trainer, source }: RecheckOptions,
  { stepIndex, unit }: DrawnUnit,
  commitment: StepCommitment,
  computed: ComputedUnit,
): Promise<RecheckResult['falseUnit']> {
  const { total } = unitFileBytes(trainer.plan.layout);
  const committed = source.blob(commitment.unitRoots[unit] as Uint8Array, total);
  const sameBytes = equalBytes(committed, computed.file);
  if (sameBytes && computed.lossBits === commitment.unitLosses[unit]) return undefined;
  const kind = sameBytes ? 'loss' : 'unit';
  return {
    kind,
    stepIndex,
    unit,
    pre: await capture(trainer),
    committed,
    computed: computed.file.slice(),
    computedLossBits: computed.lossBits,
    message: `${kind} ${unit} of step ${commitment.step} is not what its batch and state give`,
  };
}

async function replay(trainer: Trainer, source: ClaimSource, stepsDone: number): Promise<void> {
  const { header, list } = source;
  await replayLog(trainer, source, list.slice(0, stepsDone));
  const root = list[stepsDone]?.preStateRoot ?? header.toRoot;
  if (equalBytes(await trainer.stateRoot(), root)) return;
  // A claim that is false here is its miner's matter; its verifiers are accused by other evidence.
  throw new PogoError('UNDECIDED', 'expected units that lead to the claim’s states, found others');
}
