/**
 * Held-out losses as subjects of disputes. A loss is signed in a verifier's vote, not in the claim, so the subject itself
 * says which loss of which round it is, and a proof shows the vote (docs/disputes.md §1).
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { verifyAttestation } from '../attestation.js';
import type { Bls } from '../bls.js';
import { drawHeldOut, HELD_OUT_SEQUENCES } from '../draws.js';
import type { EvaluationSubject } from '../trace/evaluationProgram.js';
import { evaluatedGroup, type ProgramRecipe } from '../trace/unitBuilder.js';
import {
  type AttestationData,
  AttestationType,
  type ClaimHeader,
  ClaimHeaderType,
  claimRoot,
  decodeStrict,
  VERDICT,
  ZERO_ROOT,
} from '../types.js';
import { type DisputeSubject, SUBJECT_KIND } from './types.js';

/**
 * What a proof about a held-out loss shows beside itself: the accused's vote, and the parent claim's header where the loss
 * is that of the parent's model.
 */
export const HeldOutWitnessType = new ContainerType(
  { attestation: AttestationType, parent: new ListCompositeType(ClaimHeaderType, 1) },
  { typeName: 'HeldOutWitness', jsonCase: 'eth2' },
);
export type HeldOutWitness = ValueOf<typeof HeldOutWitnessType>;

/**
 * The subject of a vote's loss: `stepIndex` is the first 31 bits of beacon 2, so that a vote of another round is another
 * subject, and whether the loss is that after the claim; `unit` is the loss's bits.
 */
export function heldOutSubject(
  { beacon2, heldOutBeforeBits, heldOutAfterBits }: AttestationData,
  after: boolean,
): DisputeSubject {
  const word = new DataView(beacon2.buffer, beacon2.byteOffset).getUint32(0, true);
  const stepIndex = word - (word % 2) + (after ? 1 : 0);
  return { kind: SUBJECT_KIND.heldOut, stepIndex, unit: after ? heldOutAfterBits : heldOutBeforeBits };
}

/** Whether a subject's loss is that of the claim's own model, not its parent's. */
export function isAfter({ stepIndex }: Pick<DisputeSubject, 'stepIndex'>): boolean {
  return stepIndex % 2 === 1;
}

/** Whether the loss is that of the state that a first claim starts from: no claim has packed it. */
export function packsFirst({ parentClaimRoot }: ClaimHeader, subject: DisputeSubject): boolean {
  return !isAfter(subject) && equalBytes(parentClaimRoot, ZERO_ROOT);
}

/** Sequences that a held-out loss is the mean over. */
export function heldOutSequences({ data, context }: ProgramRecipe): number {
  const positions = data.heldOutTokens - context;
  if (positions < 1) throw new PogoError('DATA', `expected more than ${context} held-out tokens, found too few`);
  return Math.min(HELD_OUT_SEQUENCES, positions);
}

/**
 * Least bonds of a dispute that a challenge over a held-out loss costs: a group's forward pass is less than half of the
 * trace of a unit that the bond is worth.
 */
export function heldOutBonds(recipe: ProgramRecipe): bigint {
  const sequences = heldOutSequences(recipe);
  return BigInt(Math.ceil(sequences / evaluatedGroup(recipe, sequences) / 2));
}

/** @param beacon2 of the vote; whoever only looks at shapes needs none */
export function evaluationOf(
  claim: ClaimHeader,
  recipe: ProgramRecipe,
  subject: DisputeSubject,
  beacon2: Uint8Array | undefined,
): EvaluationSubject {
  return {
    sequences: heldOutSequences(recipe),
    packs: packsFirst(claim, subject),
    offsets: () => {
      if (beacon2 === undefined) throw new PogoError('MISSING', 'expected the vote’s beacon 2, found none');
      return drawHeldOut(beacon2, claimRoot(claim), recipe);
    },
  };
}

/**
 * Opens a witness: a positive vote of the accused for the claim, whose loss is the subject's.
 *
 * @returns beacon 2 of the vote, and the parent's model root where the loss is that of the parent's model
 * @throws PogoError MALFORMED
 */
export function openHeldOutWitness(
  bls: Bls,
  claim: ClaimHeader,
  accused: Uint8Array,
  subject: DisputeSubject,
  witness: Uint8Array,
): { readonly beacon2: Uint8Array; readonly parentModelRoot?: Uint8Array } {
  const { attestation, parent } = decodeStrict(HeldOutWitnessType, witness);
  requireHeldOutVote(bls, attestation, { chainId: claim.chainId, claimRoot: claimRoot(claim) }, accused);
  const { data } = attestation;
  const { stepIndex, unit } = heldOutSubject(data, isAfter(subject));
  if (stepIndex !== subject.stepIndex || unit !== subject.unit) {
    throw new PogoError('MALFORMED', 'expected the vote whose loss is disputed, found another');
  }
  const { beacon2 } = data;
  const [header] = parent;
  const needsParent = !isAfter(subject) && !packsFirst(claim, subject);
  if (needsParent !== (header !== undefined)) {
    throw new PogoError('MALFORMED', 'expected the parent claim where its model is evaluated, and only there');
  }
  if (header === undefined) return { beacon2 };
  if (!equalBytes(claimRoot(header), claim.parentClaimRoot)) {
    throw new PogoError('MALFORMED', `expected the parent claim ${toHex(claim.parentClaimRoot)}, found another`);
  }
  return { beacon2, parentModelRoot: header.modelRoot };
}

/** A positive vote of the accused for a claim. @throws PogoError MALFORMED, MISMATCH */
export function requireHeldOutVote(
  bls: Bls,
  attestation: ValueOf<typeof AttestationType>,
  expected: Parameters<typeof verifyAttestation>[2],
  accused: Uint8Array,
): void {
  verifyAttestation(bls, attestation, expected);
  if (!equalBytes(attestation.verifier, accused) || attestation.data.verdict !== VERDICT.positive) {
    throw new PogoError('MALFORMED', 'expected a positive vote of the accused, found another');
  }
}
