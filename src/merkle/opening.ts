/**
 * Openings of many chunks at once: the chunks and the fewest chaining values that lead from them to the root.
 *
 * The values stand in the order in which a walk from the left meets the subtrees without an opened chunk. The checker
 * walks the same way, so an opening has one form: a value or chunk more or less, or one in another place, is refused.
 */
import { PogoError } from '../errors.js';
import { chunkInto, parentInto, parentRootInto, subtreeInto } from './compress.js';
import { CV_BYTES, leafCount, nodeSpan } from './shape.js';

/** Numbers of opened chunks, ascending; their bytes; chaining values, 32 bytes each. */
export interface ChunkSet {
  readonly indices: readonly number[];
  readonly chunks: readonly Uint8Array[];
  readonly siblings: Uint8Array;
}

/** A tree that chunks are opened from. Levels count from the leaves; an odd last value moves up unchanged. */
export interface OpenableTree {
  readonly totalBytes: number;
  chunk(index: number): Uint8Array;
  /** Chaining value, 32 bytes. */
  value(level: number, index: number): Uint8Array;
}

/** Chunks of the left subtree of `count` > 1 chunks. */
function leftChunks(count: number): number {
  let left = 1;
  while (2 * left < count) left *= 2;
  return left;
}

/** Whether one of the ascending `indices` lies in [low, low + count). */
function holds(indices: readonly number[], low: number, count: number): boolean {
  return indices.some((index) => index >= low && index < low + count);
}

/** @param indices ascending, each once, at least one */
export function openSet(tree: OpenableTree, indices: readonly number[]): ChunkSet {
  const siblings: Uint8Array[] = [];
  const walk = (low: number, count: number): void => {
    if (!holds(indices, low, count)) {
      const level = Math.ceil(Math.log2(count));
      siblings.push(tree.value(level, low / 2 ** level));
      return;
    }
    if (count === 1) return;
    const left = leftChunks(count);
    walk(low, left);
    walk(low + left, count - left);
  };
  walk(0, leafCount(tree.totalBytes));
  const bytes = new Uint8Array(siblings.length * CV_BYTES);
  siblings.forEach((value, i) => {
    bytes.set(value, i * CV_BYTES);
  });
  return { indices, chunks: indices.map((index) => tree.chunk(index)), siblings: bytes };
}

/**
 * The root that opened chunks lead to.
 *
 * @param totalBytes length of the whole input, the caller's own
 * @returns 32 bytes, or undefined when indices, lengths or the number of chaining values do not fit
 * @throws {PogoError} RANGE if `totalBytes` is out of range
 */
export function rootOfSet(totalBytes: number, { indices, chunks, siblings }: ChunkSet): Uint8Array | undefined {
  const count = leafCount(totalBytes);
  const ascending = indices.every(
    (index, i) => Number.isInteger(index) && index < count && index > (i === 0 ? -1 : indices[i - 1]!),
  );
  if (indices.length === 0 || chunks.length !== indices.length || !ascending) return undefined;
  if (siblings.length % CV_BYTES !== 0) return undefined;
  for (let i = 0; i < chunks.length; i += 1) {
    const { start, end } = nodeSpan(totalBytes, indices[i]!);
    if (chunks[i]!.length !== end - start) return undefined;
  }
  if (count === 1) {
    const root = new Uint8Array(CV_BYTES);
    subtreeInto(chunks[0]!, 0, chunks[0]!.length, 0, true, root, 0);
    return siblings.length === 0 ? root : undefined;
  }
  let nextChunk = 0;
  let nextValue = 0;
  const walk = (low: number, width: number, out: Uint8Array, outAt: number, isRoot: boolean): void => {
    if (!holds(indices, low, width)) {
      // Missing values read as nothing; the count is checked at the end.
      out.set(siblings.subarray(nextValue, nextValue + CV_BYTES), outAt);
      nextValue += CV_BYTES;
      return;
    }
    if (width === 1) {
      const bytes = chunks[nextChunk]!;
      nextChunk += 1;
      chunkInto(bytes, 0, bytes.length, low, out, outAt);
      return;
    }
    const pair = new Uint8Array(2 * CV_BYTES);
    const left = leftChunks(width);
    walk(low, left, pair, 0, false);
    walk(low + left, width - left, pair, CV_BYTES, false);
    if (isRoot) parentRootInto(pair, 0, CV_BYTES, out, outAt);
    else parentInto(pair, 0, CV_BYTES, out, outAt);
  };
  const root = new Uint8Array(CV_BYTES);
  walk(0, count, root, 0, true);
  return nextValue === siblings.length ? root : undefined;
}

/** Bytes of the chaining values that an opening of these chunks has. */
export function siblingBytes(totalBytes: number, indices: readonly number[]): number {
  const walk = (low: number, count: number): number => {
    if (!holds(indices, low, count)) return CV_BYTES;
    if (count === 1) return 0;
    const left = leftChunks(count);
    return walk(low, left) + walk(low + left, count - left);
  };
  return walk(0, leafCount(totalBytes));
}

/** A tree over bytes in memory whose values are computed by `chainingValues`. */
export function treeOver(
  bytes: { readonly length: number; subarray(start: number, end: number): Uint8Array },
  tree: { chainingValues(level: number, low: number, high: number): Uint8Array },
): OpenableTree {
  return {
    totalBytes: bytes.length,
    chunk(index) {
      const { start, end } = nodeSpan(bytes.length, index);
      return bytes.subarray(start, end).slice();
    },
    value(level, index) {
      const found = tree.chainingValues(level, index, index + 1);
      if (found.length !== CV_BYTES) throw new PogoError('INTERNAL', `expected value ${index} of level ${level}`);
      return found;
    },
  };
}
