/**
 * K, the steps of the next claim: what the ledger makes of how long the last one took (docs/protocol.md §13). Integers
 * only, and never the miner's choice.
 */
import { Tree } from '@chainsafe/persistent-merkle-tree';
import { sha256 } from '@noble/hashes/sha2.js';
import { equalBytes } from '../hex.js';
import { type StepCommitmentList, StepCommitmentListType } from './types.js';

export interface StepBounds {
  /** Fewest and most steps of a claim, at least 1; with `mostSteps` 0 the number never changes. */
  readonly leastSteps: number;
  readonly mostSteps: number;
  /** Heights that training a claim should take. */
  readonly targetHeights: number;
}

/**
 * @param steps of the claim that was finalized
 * @param heights from its draw to its claim
 * @returns steps × target ÷ heights, rounded down, at most twice and at least half of `steps`, inside the bounds
 */
export function nextSteps(
  { leastSteps, mostSteps, targetHeights }: StepBounds,
  steps: number,
  heights: number,
): number {
  if (mostSteps === 0) return steps;
  const wanted = targetHeights === 0 ? steps : Math.floor((steps * targetHeights) / Math.max(1, heights));
  const near = Math.min(2 * steps, Math.max(Math.ceil(steps / 2), wanted));
  return Math.min(mostSteps, Math.max(leastSteps, near));
}

/** What shows the length of a list under its root: the root of its chunks, which the length is mixed into. */
export function listChunksRoot(list: StepCommitmentList): Uint8Array {
  return Uint8Array.from(new Tree(StepCommitmentListType.value_toTree([...list])).getRoot(2n));
}

/** Whether a list of `length` step commitments lies under `listRoot`. */
export function hasLength(listRoot: Uint8Array, chunksRoot: Uint8Array, length: number): boolean {
  const both = new Uint8Array(64);
  both.set(chunksRoot);
  new DataView(both.buffer).setUint32(32, length, true);
  return equalBytes(sha256(both), listRoot);
}
