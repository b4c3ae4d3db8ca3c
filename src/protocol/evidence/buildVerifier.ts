/** Assembling evidence against verifiers. Each function returns the whole file. */
import type { Recipe } from '../../model/recipe.js';
import { encodeEvidence } from '../evidence.js';
import { proveCommitment } from '../listProof.js';
import { type ChunkSource, openChunks } from '../openings.js';
import { type ReceiptOpening, receiptDuty, type SignedReceipt } from '../receipt.js';
import type { Attestation, ClaimHeader, SignedClaim, StateHeader, StepCommitmentList } from '../types.js';
import { createEvidenceHead } from './head.js';
import { heldOutRanges } from './heldOut.js';
import { unitTokenRanges } from './unit.js';

/** A verifier's part in a claim. */
export interface VerifierAccusation {
  readonly claim: SignedClaim;
  readonly recipe: Recipe;
  readonly receipt: SignedReceipt;
  readonly drawSignature: Uint8Array;
}

/** @param proof a file of evidence of kind `unit` or `loss` against the claim */
export function buildAttestationEvidence(
  { claim, recipe, receipt, drawSignature }: VerifierAccusation,
  attestation: Attestation,
  proof: Uint8Array,
): Uint8Array {
  const head = createEvidenceHead(claim, recipe, receipt.verifier);
  return encodeEvidence('attestation', { head, receipt, drawSignature, attestation, proof });
}

/** What a part of a receipt is computed from. */
export interface ReceiptSubjectState {
  /** Header and vectors of the state that the part is about: the unit's pre-state, the drawn state, the last one. */
  readonly header: StateHeader;
  readonly theta: Uint8Array;
  readonly m: Uint8Array;
  readonly v: Uint8Array;
  /** The recipe's token file. */
  readonly tokenFile: ChunkSource;
}

/**
 * @param part index of the part; ignored where the number of parts is wrong: then `subject.header` is the from state's
 */
export function buildReceiptEvidence(
  accusation: Omit<VerifierAccusation, 'drawSignature'> & {
    readonly opening: ReceiptOpening;
    readonly commitments: StepCommitmentList;
  },
  part: number,
  subject: ReceiptSubjectState,
): Uint8Array {
  const { claim, recipe, receipt, opening, commitments } = accusation;
  const { drawSignature, parts } = opening;
  const head = createEvidenceHead(claim, recipe, receipt.verifier);
  const duty = receiptDuty(drawSignature, recipe, commitments.length, receipt.message.committee);
  const nothing = new Uint8Array(0);
  const common = { head, receipt, drawSignature, parts };
  const { header, theta, m, v } = subject;
  if (parts.length !== duty.parts) {
    const step = proveCommitment(commitments, 0);
    return encodeEvidence('receipt', {
      ...common,
      part: 0,
      step,
      header,
      theta: nothing,
      m: nothing,
      v: nothing,
      tokenChunks: [],
    });
  }
  const drawn = duty.units[part];
  if (drawn === undefined) {
    const step = proveCommitment(commitments, part === duty.units.length ? duty.stateStep : commitments.length - 1);
    return encodeEvidence('receipt', { ...common, part, step, header, theta, m, v, tokenChunks: [] });
  }
  const step = proveCommitment(commitments, drawn.stepIndex);
  const ranges = unitTokenRanges(recipe, claim.header.draw1, step.commitment.step, drawn.unit);
  const tokenChunks = openChunks(subject.tokenFile, ranges);
  return encodeEvidence('receipt', { ...common, part, step, header, theta, m: nothing, v: nothing, tokenChunks });
}

/** The model before or after the claim: its packed bytes, or a first claim's from state. */
export type HeldOutSubject =
  | { readonly after: true; readonly model: Uint8Array }
  | { readonly after: false; readonly parent: ClaimHeader; readonly model: Uint8Array }
  | { readonly after: false; readonly fromHeader: StateHeader; readonly vector: Uint8Array };

/** @param tokenFile the recipe's */
export function buildHeldOutEvidence(
  { claim, recipe }: Pick<VerifierAccusation, 'claim' | 'recipe'>,
  attestation: Attestation,
  subject: HeldOutSubject,
  tokenFile: ChunkSource,
): Uint8Array {
  const head = createEvidenceHead(claim, recipe, attestation.verifier);
  const { beacon2, claimRoot } = attestation.data;
  return encodeEvidence('held-out', {
    head,
    attestation,
    after: subject.after ? 1 : 0,
    parent: 'parent' in subject ? [subject.parent] : [],
    model: 'model' in subject ? subject.model : new Uint8Array(0),
    fromHeader: 'fromHeader' in subject ? [subject.fromHeader] : [],
    vector: 'vector' in subject ? subject.vector : new Uint8Array(0),
    tokenChunks: openChunks(tokenFile, heldOutRanges(recipe, beacon2, claimRoot)),
  });
}
