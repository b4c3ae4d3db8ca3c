/**
 * A Merkle tree over one vector or file: plain BLAKE3 with all chaining values kept, in SharedArrayBuffers.
 *
 * The bytes and the tree are stored in segments of 2^18 leaves, each a complete subtree with memory of its own; the
 * segments' chaining values are combined in a small tree on top. Nothing assumes that one buffer holds everything.
 *
 * Parallel use: allocate once, send {@link TreeMemory} and the views to workers (both are structured-clonable and
 * shared), let each worker call `hashLeafRange` or `hashLeafBytes` on its own leaves, in any order; when all are done,
 * one thread calls `finish`. Workers write disjoint values, so there is nothing to lock.
 */
import { invariant, PogoError } from '../errors.js';
import type { MerkleKernels } from './kernels.js';
import {
  CV_BYTES,
  checkTotalBytes,
  GROUP_LOG,
  LEAF_BYTES,
  leafCount,
  levelCounts,
  levelOffsets,
  nodeCount,
  nodeSpan,
  nodeTreeBytes,
  SEGMENT_BYTES,
  SEGMENT_LOG,
  siblings,
} from './shape.js';

/** The memory of a tree; crosses a worker boundary without a copy. */
export interface TreeMemory {
  readonly totalBytes: number;
  /** 0: 1 KiB leaves are kept (1/16 of the bytes); 4: only 16 KiB groups (1/256). */
  readonly groupLog: number;
  /** Leaves of a segment, as a power of two: 18, except in tests. */
  readonly segmentLog: number;
  /** One tree per segment. */
  readonly segments: readonly SharedArrayBuffer[];
  /** The tree over the segments' chaining values. */
  readonly top: SharedArrayBuffer;
}

/** Bytes that may be more than one array can hold (2^32): what a Uint8Array is, as far as a tree asks. */
export interface LongBytes {
  readonly length: number;
  /** Bytes [start, end), a view or a copy; fewer than 2^32. */
  subarray(start: number, end: number): Uint8Array;
}

/** Cuts one view into segment views of 256 MiB, the last one shorter; an empty view gives one empty segment. */
export function splitSegments(bytes: LongBytes, segmentBytes = SEGMENT_BYTES): Uint8Array[] {
  const count = Math.max(1, Math.ceil(bytes.length / segmentBytes));
  return Array.from({ length: count }, (_, i) =>
    bytes.subarray(i * segmentBytes, Math.min(bytes.length, (i + 1) * segmentBytes)),
  );
}

/** Allocates the memory of a tree over `totalBytes` bytes. @throws {PogoError} RANGE */
export function allocateTree(totalBytes: number, groupLog: 0 | 4 = 0, segmentLog = SEGMENT_LOG): TreeMemory {
  checkTotalBytes(totalBytes);
  if (segmentLog < GROUP_LOG || segmentLog > SEGMENT_LOG) {
    throw new PogoError('RANGE', `segmentLog: expected ${GROUP_LOG} to ${SEGMENT_LOG}, found ${segmentLog}`);
  }
  const size = LEAF_BYTES * 2 ** segmentLog;
  const count = Math.max(1, Math.ceil(totalBytes / size));
  const segments = Array.from({ length: count }, (_, i) => {
    const nodes = nodeCount(Math.min(size, totalBytes - i * size), groupLog);
    return new SharedArrayBuffer(nodeTreeBytes(nodes));
  });
  return { totalBytes, groupLog, segmentLog, segments, top: new SharedArrayBuffer(nodeTreeBytes(count)) };
}

/** One segment of an open tree. */
interface Segment {
  readonly tree: Uint8Array;
  readonly nodes: number;
  readonly counts: readonly number[];
  readonly offsets: readonly number[];
  readonly firstLeaf: number;
  readonly bytes: number;
}

function openSegment(memory: TreeMemory, index: number): Segment {
  const size = LEAF_BYTES * 2 ** memory.segmentLog;
  const bytes = Math.min(size, memory.totalBytes - index * size);
  const nodes = nodeCount(bytes, memory.groupLog);
  const counts = levelCounts(nodes);
  const tree = new Uint8Array(memory.segments[index]);
  return { tree, nodes, counts, offsets: levelOffsets(counts), firstLeaf: index * 2 ** memory.segmentLog, bytes };
}

/** Brings the bytes of a segment, for trees over files: called whenever they are needed. */
export type SegmentReader = (segment: number) => Uint8Array;

export class MerkleTree {
  readonly memory: TreeMemory;
  /** Number of 1 KiB leaves. */
  readonly leaves: number;
  readonly #kernels: MerkleKernels;
  readonly #views: readonly Uint8Array[] | SegmentReader;
  readonly #segments: readonly Segment[];
  readonly #top: Uint8Array;
  readonly #topOffsets: readonly number[];

  /**
   * @param kernels what hashes: the addon's or the portable ones
   * @param memory from {@link allocateTree}, in this thread or another
   * @param views the bytes, one view per segment (see {@link splitSegments}), or what brings them; the tree only reads
   *   them. May be left out by who only calls `hashLeafBytes`, `finish`, `root` and `chainingValues`
   * @throws {PogoError} SHAPE if the views do not have the segments' lengths
   */
  constructor(kernels: MerkleKernels, memory: TreeMemory, views: readonly Uint8Array[] | SegmentReader = []) {
    this.memory = memory;
    this.leaves = leafCount(memory.totalBytes);
    this.#kernels = kernels;
    this.#views = views;
    this.#segments = memory.segments.map((_, i) => openSegment(memory, i));
    this.#top = new Uint8Array(memory.top);
    this.#topOffsets = levelOffsets(levelCounts(memory.segments.length));
    if (typeof views === 'function') return;
    const expected = this.#segments.map((segment) => segment.bytes);
    if (views.length > 0 && (views.length !== expected.length || expected.some((n, i) => n !== views[i].length))) {
      const found = views.map((view) => view.length).join(', ');
      throw new PogoError('SHAPE', `views: expected segments of ${expected.join(', ')} bytes, found ${found}`);
    }
  }

  /** Hashes everything in this thread: all leaves, all levels, the root. */
  build(): this {
    this.hashLeafRange(0, this.leaves);
    this.finish(this.memory.segmentLog);
    return this;
  }

  /**
   * Hashes leaves [leafStart, leafEnd) of the tree's own views, and every value above that rests on them only.
   * With `groupLog` 4 both ends must be multiples of 16 leaves, or the end of the input.
   */
  hashLeafRange(leafStart: number, leafEnd: number): void {
    for (const [i, segment] of this.#segments.entries()) {
      const low = Math.max(leafStart, segment.firstLeaf) - segment.firstLeaf;
      const high = Math.min(leafEnd - segment.firstLeaf, leafCount(segment.bytes));
      if (low < high) this.#hash(segment, this.#view(i).subarray(low * LEAF_BYTES, high * LEAF_BYTES), low);
    }
  }

  /**
   * As {@link hashLeafRange} for bytes that lie elsewhere, such as a worker's shard.
   * @param bytes of whole leaves (groups, with `groupLog` 4), beginning at leaf `leafStart`; may span segments
   */
  hashLeafBytes(bytes: Uint8Array, leafStart: number): void {
    const end = leafStart * LEAF_BYTES + bytes.length;
    if (end > this.memory.totalBytes) {
      throw new PogoError('RANGE', `bytes: expected to end by byte ${this.memory.totalBytes}, found an end at ${end}`);
    }
    const size = LEAF_BYTES * 2 ** this.memory.segmentLog;
    for (let at = 0; at < bytes.length || at === 0; ) {
      const position = leafStart * LEAF_BYTES + at;
      const index = Math.min(Math.floor(position / size), this.#segments.length - 1);
      const part = bytes.subarray(at, at + (index + 1) * size - position);
      this.#hash(this.#segments[index], part, position / LEAF_BYTES - this.#segments[index].firstLeaf);
      at += Math.max(1, part.length);
    }
  }

  /**
   * Completes the tree after all leaves were hashed.
   *
   * @param alignLog every range that was hashed began at a multiple of 2^alignLog leaves; 0 is always right and costs
   *   one compression per leaf instead of one per range
   */
  finish(alignLog = 0): void {
    const from = Math.max(0, alignLog - this.memory.groupLog);
    for (const segment of this.#segments) this.#kernels.finish(segment.tree, segment.nodes, from);
    this.#finishTop();
  }

  /** BLAKE3 of all bytes: 32 bytes, a copy. @throws {PogoError} INTERNAL before the tree is finished */
  root(): Uint8Array {
    const tree = this.#segments.length === 1 ? this.#segments[0].tree : this.#top;
    const root = tree.slice(-CV_BYTES);
    invariant(
      root.some((byte) => byte !== 0),
      'root(): leaves were hashed and the tree not finished; call finish()',
    );
    return root;
  }

  /** Rehashes leaves whose bytes changed, in any order, and what stands above them. @throws {PogoError} RANGE */
  update(dirtyLeaves: Iterable<number>): void {
    const { groupLog, segmentLog } = this.memory;
    const dirty = new Map<number, number[]>();
    let [nodes, at]: [number[], number] = [[], -1];
    for (const leaf of dirtyLeaves) {
      nodeSpan(this.memory.totalBytes, leaf);
      const index = Math.floor(leaf / 2 ** segmentLog);
      if (index !== at) {
        nodes = dirty.get(index) ?? [];
        dirty.set(index, nodes);
        at = index;
      }
      nodes.push(Math.floor((leaf - this.#segments[index].firstLeaf) / 2 ** groupLog));
    }
    for (const [index, list] of dirty) {
      const segment = this.#segments[index];
      const nodes = ascending(list);
      this.#kernels.update(this.#view(index), segment.tree, segment.nodes, segment.firstLeaf, groupLog, nodes);
    }
    if (dirty.size > 0) this.#finishTop();
  }

  /** Sibling chaining values of leaf `leaf`, bottom up: 32 bytes a level. Check with `verifyLeafProof`. */
  proveLeaf(leaf: number): Uint8Array {
    nodeSpan(this.memory.totalBytes, leaf);
    const path = siblings(this.leaves, leaf);
    const proof = new Uint8Array(path.length * CV_BYTES);
    const inside =
      this.memory.groupLog === 0 ? undefined : this.#groupTree(Math.floor(leaf / 2 ** this.memory.groupLog));
    path.forEach(({ level, index }, step) => {
      const value =
        inside !== undefined && level < this.memory.groupLog ? inside(level, index) : this.#at(level, index);
      proof.set(value, step * CV_BYTES);
    });
    return proof;
  }

  /** Sibling chaining values of group `group` (16 KiB), bottom up. Check with `verifyGroupProof`. */
  proveGroup(group: number): Uint8Array {
    nodeSpan(this.memory.totalBytes, group, GROUP_LOG);
    const path = siblings(nodeCount(this.memory.totalBytes, GROUP_LOG), group);
    const proof = new Uint8Array(path.length * CV_BYTES);
    path.forEach(({ level, index }, step) => {
      proof.set(this.#at(level + GROUP_LOG, index), step * CV_BYTES);
    });
    return proof;
  }

  /** Chaining values [low, high) of a level (0 = leaves), 32 bytes each, copied. Levels below `groupLog` are not kept. */
  chainingValues(level: number, low: number, high: number): Uint8Array {
    const count = Math.ceil(this.leaves / 2 ** level);
    if (!(level >= this.memory.groupLog && low >= 0 && low <= high && high <= count)) {
      const what = `level ≥ ${this.memory.groupLog} and a range in [0, ${count}]`;
      throw new PogoError('RANGE', `chainingValues: expected ${what}, found level ${level}, [${low}, ${high})`);
    }
    const values = new Uint8Array((high - low) * CV_BYTES);
    for (let i = low; i < high; i++) values.set(this.#at(level, i), (i - low) * CV_BYTES);
    return values;
  }

  #view(index: number): Uint8Array {
    const view = typeof this.#views === 'function' ? this.#views(index) : this.#views[index];
    if (view === undefined)
      throw new PogoError('USAGE', 'MerkleTree: expected views of the bytes, found none; pass them');
    return view;
  }

  #hash(segment: Segment, bytes: Uint8Array, firstLeaf: number): void {
    const { groupLog } = this.memory;
    const first = firstLeaf / 2 ** groupLog;
    if (!Number.isInteger(first)) {
      const step = 2 ** groupLog;
      throw new PogoError('RANGE', `leafStart: expected a multiple of ${step} leaves, found ${firstLeaf}`);
    }
    // An unfinished tree must not show the root of its former bytes.
    segment.tree.fill(0, -CV_BYTES);
    this.#top.fill(0, -CV_BYTES);
    this.#kernels.hashRange(bytes, segment.tree, segment.nodes, first, segment.firstLeaf, groupLog);
  }

  #finishTop(): void {
    if (this.#segments.length === 1) return;
    this.#segments.forEach(({ tree, offsets, counts }, i) => {
      const top = offsets[counts.length - 1] * CV_BYTES;
      this.#top.set(tree.subarray(top, top + CV_BYTES), i * CV_BYTES);
    });
    this.#kernels.finish(this.#top, this.#segments.length, 0);
  }

  /** The kept chaining value `index` of a level counted from the leaves. */
  #at(level: number, index: number): Uint8Array {
    const above = level - this.memory.segmentLog;
    if (above >= 0 && this.#segments.length > 1) {
      const at = (this.#topOffsets[above] + index) * CV_BYTES;
      return this.#top.subarray(at, at + CV_BYTES);
    }
    const perSegment = 2 ** Math.max(0, -above);
    const { tree, counts, offsets } = this.#segments[this.#segments.length === 1 ? 0 : Math.floor(index / perSegment)];
    // A short last segment has fewer levels: its top value has moved up unchanged.
    const kept = Math.min(level - this.memory.groupLog, counts.length - 1);
    const local = this.#segments.length === 1 ? index : index % perSegment;
    const at = (offsets[kept] + local) * CV_BYTES;
    return tree.subarray(at, at + CV_BYTES);
  }

  /** Levels below `groupLog` of one group, rehashed from its bytes. */
  #groupTree(group: number): (level: number, index: number) => Uint8Array {
    const { totalBytes, groupLog, segmentLog } = this.memory;
    const { start, end } = nodeSpan(totalBytes, group, groupLog);
    const segmentBytes = LEAF_BYTES * 2 ** segmentLog;
    const segment = Math.min(Math.floor(start / segmentBytes), this.#segments.length - 1);
    const bytes = this.#view(segment).subarray(start - segment * segmentBytes, end - segment * segmentBytes);
    const nodes = leafCount(bytes.length);
    const tree = new Uint8Array(nodeTreeBytes(nodes));
    this.#kernels.hashRange(bytes, tree, nodes, 0, start / LEAF_BYTES, 0);
    const offsets = levelOffsets(levelCounts(nodes));
    return (level, index) => {
      const at = (offsets[level] + index - group * 2 ** (groupLog - level)) * CV_BYTES;
      return tree.subarray(at, at + CV_BYTES);
    };
  }
}

/** Each number once, in order. */
function ascending(numbers: readonly number[]): Uint32Array {
  const sorted = new Uint32Array(numbers).sort();
  let kept = 0;
  for (const number of sorted) {
    if (kept === 0 || sorted[kept - 1] !== number) sorted[kept++] = number;
  }
  return sorted.subarray(0, kept);
}

/** Leaves of a segment of bytes that are brought, as a power of two: 4 MiB are held at once. */
const BROUGHT_SEGMENT_LOG = 12;

/**
 * Allocates and builds the tree over `bytes`, which stay the caller's and are read again by updates and proofs. What is no
 * array, such as a file, is brought in pieces.
 */
export function buildTree(kernels: MerkleKernels, bytes: LongBytes, groupLog: 0 | 4 = 0): MerkleTree {
  if (!ArrayBuffer.isView(bytes)) {
    const size = LEAF_BYTES * 2 ** BROUGHT_SEGMENT_LOG;
    const bring = (i: number): Uint8Array => bytes.subarray(i * size, Math.min(bytes.length, (i + 1) * size));
    return new MerkleTree(kernels, allocateTree(bytes.length, groupLog, BROUGHT_SEGMENT_LOG), bring).build();
  }
  return new MerkleTree(kernels, allocateTree(bytes.length, groupLog), splitSegments(bytes)).build();
}
