/**
 * Claims: building, signing, and the checks that need no training: signature, fields that the ledger fixes, and the
 * chain of step commitments.
 */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import type { Bls, KeyPair } from './bls.js';
import { DOMAIN } from './domains.js';
import { batchDigest, drawBatch } from './draws.js';
import {
  type ClaimHeader,
  ClaimHeaderType,
  claimRoot,
  MAX_CLAIM_BYTES,
  type SignedClaim,
  SignedClaimType,
  type StateHeader,
  type StepCommitment,
  type StepCommitmentList,
  StepCommitmentListType,
  stateRoot,
} from './types.js';

/** What a miner decides by training; everything else of a header is fixed by the ledger. */
export interface ClaimResult {
  readonly commitments: StepCommitmentList;
  /** BLAKE3 of the packed 4-bit model after the last step. */
  readonly modelRoot: Uint8Array;
  /** BLAKE3 of the diff to the parent's model; zero where there is none. */
  readonly diffRoot: Uint8Array;
}

/** What the ledger fixes of a claim before it is trained. */
export interface ClaimAssignment {
  readonly chainId: Uint8Array;
  readonly job: number;
  readonly claimNumber: number;
  readonly attempt: number;
  /** Zero for the first claim of a chain. */
  readonly parentClaimRoot: Uint8Array;
  readonly recipeRoot: Uint8Array;
  readonly miner: Uint8Array;
  readonly fromRoot: Uint8Array;
  readonly draw1: Uint8Array;
  readonly bond: bigint;
}

/**
 * @throws PogoError RANGE when there is no step
 */
export function buildClaim(assignment: ClaimAssignment, result: ClaimResult): ClaimHeader {
  const last = result.commitments.at(-1);
  if (last === undefined) throw new PogoError('RANGE', 'expected at least one step commitment, found none');
  return {
    domain: DOMAIN.claim,
    chainId: assignment.chainId,
    job: assignment.job,
    claimNumber: assignment.claimNumber,
    attempt: assignment.attempt,
    parentClaimRoot: assignment.parentClaimRoot,
    recipeRoot: assignment.recipeRoot,
    miner: assignment.miner,
    fromRoot: assignment.fromRoot,
    toRoot: last.postStateRoot,
    listRoot: StepCommitmentListType.hashTreeRoot(result.commitments),
    modelRoot: result.modelRoot,
    diffRoot: result.diffRoot,
    draw1: assignment.draw1,
    bond: assignment.bond,
  };
}

/** @throws PogoError MISMATCH when `keys` are not the header's miner */
export function signClaim(bls: Bls, keys: KeyPair, header: ClaimHeader): SignedClaim {
  if (!equalBytes(keys.publicKey, header.miner)) {
    throw new PogoError('MISMATCH', `expected the key of ${toHex(header.miner)}, found ${toHex(keys.publicKey)}`);
  }
  return { header, signature: bls.sign(keys.secret, claimRoot(header)) };
}

/** Whether domain and signature of a claim hold. Says nothing about what it claims. */
export function verifyClaimSignature(bls: Bls, claim: SignedClaim): boolean {
  return (
    equalBytes(claim.header.domain, DOMAIN.claim) &&
    bls.verify(claim.header.miner, claimRoot(claim.header), claim.signature)
  );
}

/**
 * Checks a claim against what the ledger assigned: every field, and the signature.
 *
 * @returns the claim root
 * @throws PogoError MALFORMED for a wrong domain, size or signature, MISMATCH for a field that differs
 */
export function verifyClaim(bls: Bls, claim: SignedClaim, assignment: ClaimAssignment): Uint8Array {
  const { header } = claim;
  const size = SignedClaimType.serialize(claim).length;
  if (size > MAX_CLAIM_BYTES) {
    throw new PogoError('MALFORMED', `expected a claim of at most ${MAX_CLAIM_BYTES} bytes, found ${size}`);
  }
  const roots = ['chainId', 'parentClaimRoot', 'recipeRoot', 'miner', 'fromRoot', 'draw1'] as const;
  for (const field of roots) {
    if (!equalBytes(header[field], assignment[field])) {
      throw new PogoError(
        'MISMATCH',
        `claim field ${field}: expected ${toHex(assignment[field])}, found ${toHex(header[field])}`,
        { field },
      );
    }
  }
  for (const field of ['job', 'claimNumber', 'attempt', 'bond'] as const) {
    if (header[field] !== assignment[field]) {
      throw new PogoError('MISMATCH', `claim field ${field}: expected ${assignment[field]}, found ${header[field]}`, {
        field,
      });
    }
  }
  if (!verifyClaimSignature(bls, claim)) {
    throw new PogoError('MALFORMED', `expected the signature of ${toHex(header.miner)} over the claim, found another`);
  }
  return ClaimHeaderType.hashTreeRoot(header);
}

/** A commitment that breaks a rule by itself: what `commitments` and `batch` evidence convicts. */
export interface CommitmentFault {
  readonly kind: 'commitments' | 'batch';
  /** Index of the step inside the claim; −1 for the list as a whole. */
  readonly stepIndex: number;
  readonly message: string;
}

/**
 * Checks the list of step commitments of a claim: count, step numbers, M unit roots and losses, from and to roots, that
 * every pre-state is the post-state before it, and every batch digest against draw 1. Cost: K draws of a batch.
 *
 * @param from header of the claim's from state
 * @returns the first fault, undefined when all holds
 * @throws PogoError MISSING when the list or the state header are not those of the claim: then nothing is decided
 */
export function checkStepCommitments(
  header: ClaimHeader,
  commitments: StepCommitmentList,
  from: StateHeader,
  recipe: Recipe,
): CommitmentFault | undefined {
  const root = StepCommitmentListType.hashTreeRoot(commitments);
  if (!equalBytes(root, header.listRoot)) {
    throw new PogoError(
      'MISSING',
      `expected the step commitments ${toHex(header.listRoot)}, found ${toHex(root)}; get that blob again`,
    );
  }
  if (!equalBytes(stateRoot(from), header.fromRoot)) {
    throw new PogoError(
      'MISSING',
      `expected the header of state ${toHex(header.fromRoot)}, found ${toHex(stateRoot(from))}; get that header again`,
    );
  }
  if (!equalBytes(header.recipeRoot, recipeRoot(recipe))) {
    throw new PogoError('MISMATCH', `expected the recipe ${toHex(header.recipeRoot)}, found another`);
  }
  return (
    checkChain(header, commitments, from.step, recipe) ??
    firstFault(commitments, (commitment, i) => checkBatch(header.draw1, commitment, i, recipe))
  );
}

/** The part of {@link checkStepCommitments} that compares roots and counts. */
export function checkChain(
  header: Pick<ClaimHeader, 'fromRoot' | 'toRoot'>,
  commitments: StepCommitmentList,
  fromStep: number,
  recipe: Recipe,
): CommitmentFault | undefined {
  const whole = (message: string): CommitmentFault => ({ kind: 'commitments', stepIndex: -1, message });
  const { minStepsPerClaim: min, maxStepsPerClaim: max } = recipe;
  if (commitments.length < min || commitments.length > max) {
    return whole(`expected ${min === max ? min : `${min} to ${max}`} steps, found ${commitments.length}`);
  }
  if (!equalBytes(commitments.at(-1)!.postStateRoot, header.toRoot)) {
    return whole('expected the last post-state root to be the claim’s to root, found another');
  }
  let previous = header.fromRoot;
  return firstFault(commitments, (commitment, i) => {
    const fault = (message: string): CommitmentFault => ({ kind: 'commitments', stepIndex: i, message });
    if (commitment.step !== fromStep + i) return fault(`expected step ${fromStep + i}, found ${commitment.step}`);
    if (!equalBytes(commitment.preStateRoot, previous)) {
      return fault('expected the previous post-state root as pre-state root, found another');
    }
    if (commitment.unitRoots.length !== recipe.unitsPerStep || commitment.unitLosses.length !== recipe.unitsPerStep) {
      const found = `${commitment.unitRoots.length} and ${commitment.unitLosses.length}`;
      return fault(`expected ${recipe.unitsPerStep} unit roots and losses, found ${found}`);
    }
    previous = commitment.postStateRoot;
    return undefined;
  });
}

/** Whether one commitment's batch digest is that of the batch which draw 1 gives for its step. */
export function checkBatch(
  draw1: Uint8Array,
  commitment: StepCommitment,
  stepIndex: number,
  recipe: Recipe,
): CommitmentFault | undefined {
  const expected = batchDigest(drawBatch(draw1, commitment.step, recipe));
  if (equalBytes(expected, commitment.batchDigest)) return undefined;
  const message = `expected batch digest ${toHex(expected)}, found ${toHex(commitment.batchDigest)}`;
  return { kind: 'batch', stepIndex, message };
}

function firstFault(
  commitments: StepCommitmentList,
  check: (commitment: StepCommitment, index: number) => CommitmentFault | undefined,
): CommitmentFault | undefined {
  for (let i = 0; i < commitments.length; i += 1) {
    const fault = check(commitments[i]!, i);
    if (fault !== undefined) return fault;
  }
  return undefined;
}
