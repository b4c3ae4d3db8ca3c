/**
 * Proof that a step commitment stands in a claim's list: the SSZ branch of one element of the list, the list's length
 * being its last sibling.
 */

import { Tree } from '@chainsafe/persistent-merkle-tree';
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { sha256 } from '@noble/hashes/sha2.js';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { Root, Uint32 } from './ssz.js';
import {
  MAX_STEPS_PER_CLAIM,
  type StepCommitment,
  type StepCommitmentList,
  StepCommitmentListType,
  StepCommitmentType,
} from './types.js';

/** Levels of the tree under the list's length. */
const DEPTH = Math.log2(MAX_STEPS_PER_CLAIM);

/** A commitment, its index in the claim, and its branch: {@link DEPTH} siblings and the chunk of the length. */
export const ProvenCommitmentType = new ContainerType(
  {
    index: Uint32,
    commitment: StepCommitmentType,
    branch: new ListCompositeType(Root, DEPTH + 1),
  },
  { typeName: 'ProvenCommitment', jsonCase: 'eth2' },
);
export type ProvenCommitment = ValueOf<typeof ProvenCommitmentType>;

/** @throws PogoError RANGE when the list has no such element */
export function proveCommitment(list: StepCommitmentList, index: number): ProvenCommitment {
  const commitment = list[index];
  if (commitment === undefined) {
    throw new PogoError('RANGE', `expected a step index below ${list.length}, found ${index}`);
  }
  const tree = new Tree(StepCommitmentListType.value_toTree(list));
  // Generalized index: root 1, its left child 2 is the tree of elements, its right child 3 the length.
  const branch = tree.getSingleProof((2n << BigInt(DEPTH)) + BigInt(index));
  return { index, commitment, branch: branch.map((node) => Uint8Array.from(node)) };
}

/**
 * Checks a proven commitment against the root of a claim's list.
 *
 * @returns the commitment and the number of steps of the claim
 * @throws PogoError MALFORMED
 */
export function openCommitment(
  listRoot: Uint8Array,
  proven: ProvenCommitment,
): { readonly commitment: StepCommitment; readonly steps: number } {
  const { branch, index } = proven;
  if (branch.length !== DEPTH + 1) {
    throw new PogoError('MALFORMED', `expected a branch of ${DEPTH + 1} roots, found ${branch.length}`);
  }
  let node = StepCommitmentType.hashTreeRoot(proven.commitment);
  for (let level = 0; level < DEPTH; level += 1) {
    const right = Math.floor(index / 2 ** level) % 2 === 1;
    node = right ? hashPair(branch[level]!, node) : hashPair(node, branch[level]!);
  }
  const length = branch[DEPTH]!;
  const steps = new DataView(length.buffer, length.byteOffset, 32).getUint32(0, true);
  if (!equalBytes(hashPair(node, length), listRoot) || index >= steps) {
    throw new PogoError(
      'MALFORMED',
      `expected commitment ${index} of the claim’s list, found a branch to another root`,
    );
  }
  return { commitment: proven.commitment, steps };
}

function hashPair(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(64);
  both.set(left, 0);
  both.set(right, 32);
  return sha256(both);
}
