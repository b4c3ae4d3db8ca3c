/**
 * The tree operations in TypeScript: the same values as the addon's, byte for byte, at about 1/15 of its speed. For
 * browsers and for machines where the addon could not be built.
 */
import { PogoError } from '../errors.js';
import { parentInto, parentRootInto, subtreeInto } from './compress.js';
import type { MerkleKernels } from './kernels.js';
import { CV_BYTES, LEAF_BYTES, levelCounts, levelOffsets, nodeTreeBytes } from './shape.js';

function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new PogoError('RANGE', message);
}

function checkTree(tree: Uint8Array, nodes: number): void {
  expect(Number.isSafeInteger(nodes) && nodes > 0, `nodes: expected 1 or more, found ${nodes}`);
  const expected = nodeTreeBytes(nodes);
  expect(
    tree.length === expected,
    `tree: expected ${expected} bytes for ${nodes} nodes, found ${tree.length}; allocate treeBytes(totalBytes)`,
  );
}

/** Computes value `index` of `level` from the level below. */
function raise(tree: Uint8Array, counts: readonly number[], offsets: readonly number[], level: number, index: number) {
  const out = (offsets[level] + index) * CV_BYTES;
  const left = (offsets[level - 1] + 2 * index) * CV_BYTES;
  if (2 * index + 1 < counts[level - 1]) parentInto(tree, left, left + CV_BYTES, tree, out);
  else tree.copyWithin(out, left, left + CV_BYTES);
}

function writeRoot(tree: Uint8Array, counts: readonly number[], offsets: readonly number[]): void {
  const top = counts.length - 1;
  if (top === 0) return;
  const left = offsets[top - 1] * CV_BYTES;
  parentRootInto(tree, left, left + CV_BYTES, tree, offsets[top + 1] * CV_BYTES);
}

/** Level-0 values [first, end) from their bytes; `at` is where value `first` begins in `bytes`. */
function hashNodes(
  bytes: Uint8Array,
  at: number,
  tree: Uint8Array,
  first: number,
  end: number,
  chunkBase: number,
  groupLog: number,
): void {
  const size = LEAF_BYTES * 2 ** groupLog;
  for (let node = first; node < end; node++, at += size) {
    const counter = chunkBase + node * 2 ** groupLog;
    subtreeInto(bytes, at, Math.min(bytes.length, at + size), counter, false, tree, node * CV_BYTES);
  }
}

export const portableKernels: MerkleKernels = {
  name: 'portable',

  hash(bytes, out) {
    expect(out.length === CV_BYTES, `out: expected ${CV_BYTES} bytes, found ${out.length}`);
    subtreeInto(bytes, 0, bytes.length, 0, true, out, 0);
  },

  hashRange(bytes, tree, nodes, first, chunkBase, groupLog) {
    checkTree(tree, nodes);
    const size = LEAF_BYTES * 2 ** groupLog;
    const end = first + Math.max(1, Math.ceil(bytes.length / size));
    const short = bytes.length === 0 || bytes.length % size !== 0;
    expect(
      end <= nodes && (!short || end === nodes) && (bytes.length > 0 || (nodes === 1 && chunkBase === 0)),
      `bytes: ${bytes.length} bytes at node ${first} do not fit a tree of ${nodes} nodes`,
    );
    const counts = levelCounts(nodes);
    const offsets = levelOffsets(counts);
    hashNodes(bytes, 0, tree, first, end, chunkBase, groupLog);
    for (let level = 1; level < counts.length; level++) {
      const low = Math.ceil(first / 2 ** level);
      const high = end === nodes ? counts[level] : Math.floor(end / 2 ** level);
      for (let index = low; index < high; index++) raise(tree, counts, offsets, level, index);
    }
    if (nodes === 1 && chunkBase === 0) this.hash(bytes, tree.subarray(CV_BYTES));
  },

  finish(tree, nodes, from) {
    checkTree(tree, nodes);
    const counts = levelCounts(nodes);
    const offsets = levelOffsets(counts);
    for (let level = from + 1; level < counts.length; level++) {
      for (let index = 0; index < counts[level]; index++) raise(tree, counts, offsets, level, index);
    }
    writeRoot(tree, counts, offsets);
  },

  update(bytes, tree, nodes, chunkBase, groupLog, dirty) {
    checkTree(tree, nodes);
    const size = LEAF_BYTES * 2 ** groupLog;
    expect(
      Math.max(1, Math.ceil(bytes.length / size)) === nodes,
      `bytes: ${bytes.length} bytes do not make ${nodes} nodes`,
    );
    expect(
      dirty.every((node, i) => node < nodes && (i === 0 || node > dirty[i - 1])),
      `dirty: expected ascending node numbers below ${nodes}`,
    );
    const counts = levelCounts(nodes);
    const offsets = levelOffsets(counts);
    for (const node of dirty) hashNodes(bytes, node * size, tree, node, node + 1, chunkBase, groupLog);
    let changed = Array.from(dirty);
    for (let level = 1; level < counts.length; level++) {
      changed = changed.map((node) => node >>> 1).filter((node, i, all) => i === 0 || node !== all[i - 1]);
      for (const index of changed) raise(tree, counts, offsets, level, index);
    }
    writeRoot(tree, counts, offsets);
    if (nodes === 1 && chunkBase === 0) this.hash(bytes, tree.subarray(CV_BYTES));
  },
};

/** BLAKE3 of `bytes`, 32 bytes, without Node and without the addon; about ten times as fast as `@noble/hashes`. */
export function portableHash(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(CV_BYTES);
  portableKernels.hash(bytes, out);
  return out;
}
