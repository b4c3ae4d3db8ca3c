/**
 * The shape of a BLAKE3 tree, derived from the number of bytes and nothing else: a checker never takes a depth, a
 * count or a position from a proof.
 *
 * Level 0 holds one 32-byte chaining value per leaf (1 KiB BLAKE3 chunk) or, in a coarse tree, per group; level l + 1
 * pairs level l, and an odd last value moves up unchanged. This is BLAKE3's tree (BLAKE3 paper, section 2.1), and the
 * levels of a coarse tree are the upper levels of the fine one.
 *
 * Memory of a tree: level 0 ‖ level 1 ‖ … ‖ top (one value) ‖ root (the hash), 32 bytes each.
 */
import { PogoError } from '../errors.js';

/** Bytes of a leaf: one BLAKE3 chunk, 256 fp32 parameters. */
export const LEAF_BYTES = 1024;
/** A group is 2^4 leaves, 16 KiB: the unit of bulk streaming and of availability challenges. */
export const GROUP_LOG = 4;
/** Bytes of a group. */
export const GROUP_BYTES = LEAF_BYTES << GROUP_LOG;
/** A segment is 2^18 leaves, 256 MiB: a complete subtree. */
export const SEGMENT_LOG = 18;
/** Leaves of a segment. */
export const SEGMENT_LEAVES = 2 ** SEGMENT_LOG;
/** Bytes of a segment. */
export const SEGMENT_BYTES = SEGMENT_LEAVES * LEAF_BYTES;
/** Bytes of a chaining value and of a root. */
export const CV_BYTES = 32;

/** @throws {PogoError} RANGE unless `totalBytes` is an integer in [0, 2^53) */
export function checkTotalBytes(totalBytes: number): void {
  if (!Number.isSafeInteger(totalBytes) || totalBytes < 0) {
    throw new PogoError('RANGE', `totalBytes: expected an integer in [0, 2^53), found ${totalBytes}`);
  }
}

/** Level-0 values of a tree over `totalBytes` bytes whose level 0 is `2^groupLog` leaves; an empty input has one. */
export function nodeCount(totalBytes: number, groupLog = 0): number {
  checkTotalBytes(totalBytes);
  return Math.max(1, Math.ceil(totalBytes / (LEAF_BYTES * 2 ** groupLog)));
}

/** Number of leaves of `totalBytes` bytes. */
export function leafCount(totalBytes: number): number {
  return nodeCount(totalBytes, 0);
}

/** Number of values of each level, from level 0 to the top, whose count is 1. */
export function levelCounts(nodes: number): number[] {
  const counts = [nodes];
  for (let count = nodes; count > 1; ) {
    count = Math.ceil(count / 2);
    counts.push(count);
  }
  return counts;
}

/** Position of the first value of each level in the tree's memory, in values; the root's position comes last. */
export function levelOffsets(counts: readonly number[]): number[] {
  const offsets = [0];
  for (const count of counts) offsets.push(offsets[offsets.length - 1] + count);
  return offsets;
}

/** Bytes of a tree's memory over `nodes` level-0 values, the root included. */
export function nodeTreeBytes(nodes: number): number {
  return (levelCounts(nodes).reduce((sum, count) => sum + count, 0) + 1) * CV_BYTES;
}

/** Bytes of the tree over `totalBytes` bytes: about 1/16 of them with 1 KiB leaves. */
export function treeBytes(totalBytes: number, groupLog = 0): number {
  return nodeTreeBytes(nodeCount(totalBytes, groupLog));
}

/**
 * Levels at which node `index` of a level of `count` nodes has a sibling, bottom up; `right` says that the sibling
 * stands to the right. Elsewhere the value moves up unchanged and the proof holds nothing.
 */
export function siblings(count: number, index: number): { level: number; index: number; right: boolean }[] {
  const path: { level: number; index: number; right: boolean }[] = [];
  for (let level = 0; count > 1; level++) {
    const right = index % 2 === 0;
    const sibling = right ? index + 1 : index - 1;
    if (sibling < count) path.push({ level, index: sibling, right });
    index = Math.floor(index / 2);
    count = Math.ceil(count / 2);
  }
  return path;
}

/** Bytes of a proof for leaf (`groupLog` 0) or group `index` of `totalBytes` bytes. */
export function proofBytes(totalBytes: number, index: number, groupLog = 0): number {
  return siblings(nodeCount(totalBytes, groupLog), index).length * CV_BYTES;
}

/** Bytes [start, end) of leaf or group `index`. @throws {PogoError} RANGE if there is no such leaf or group */
export function nodeSpan(totalBytes: number, index: number, groupLog = 0): { start: number; end: number } {
  const count = nodeCount(totalBytes, groupLog);
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    const what = groupLog === 0 ? 'leaf' : 'group';
    throw new PogoError('RANGE', `${what}: expected an integer in [0, ${count}), found ${index}`, { index, count });
  }
  const size = LEAF_BYTES * 2 ** groupLog;
  return { start: index * size, end: Math.min(totalBytes, (index + 1) * size) };
}
