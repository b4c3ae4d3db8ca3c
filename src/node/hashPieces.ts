/**
 * One thread's part of hashing a file: pieces of 4 MiB, each a complete subtree, taken from a counter that all threads
 * share until none is left. A thread reads at its own places with `pread`, 256 KiB at a time, so that what it hashes still
 * lies in its cache.
 */
import { fstatSync, readSync, writeSync } from 'node:fs';
import { PogoError } from '../errors.js';
import type { MerkleKernels } from '../merkle/kernels.js';
import { CV_BYTES, LEAF_BYTES, leafCount, levelCounts, levelOffsets, nodeTreeBytes } from '../merkle/shape.js';

/** Leaves of a piece, as a power of two: 4 MiB of bytes, 256 KiB of tree. */
export const PIECE_LOG = 12;
export const PIECE_LEAVES = 2 ** PIECE_LOG;
export const PIECE_BYTES = PIECE_LEAVES * LEAF_BYTES;
/**
 * Leaves of one read, as a power of two: half of the smallest level-2 cache. Measured on Zen 5 (processor time of 1 GiB from the
 * page cache, 2026-11-26): 128 KiB 240 ms, 256 KiB 231, 512 KiB 229, 1 MiB 231, 4 MiB 243; `b3sum` 289.
 */
const READ_LOG = 8;
const READ_BYTES = LEAF_BYTES * 2 ** READ_LOG;

/** Places in {@link HashJob.counters}. */
export const NEXT_PIECE = 0;
export const DONE_PIECES = 1;

/** What the threads share; plain data and shared memory, so it crosses to a worker. Descriptors belong to the process. */
export interface HashJob {
  readonly path: string;
  readonly file: number;
  readonly totalBytes: number;
  /** Where the tree goes; absent where none is wanted. */
  readonly treeFile?: number;
  /** i32 [2] on shared memory: the next piece that nobody has taken, and pieces that are done. */
  readonly counters: Int32Array;
  /** 32 bytes a piece, on shared memory: the chaining values at the pieces' tops. */
  readonly tops: Uint8Array;
  /** The root, 32 bytes on shared memory: written where the file is a single piece. */
  readonly root: Uint8Array;
}

/** Pieces of a file; an empty one has one. */
export function pieceCount(totalBytes: number): number {
  return Math.max(1, Math.ceil(totalBytes / PIECE_BYTES));
}

/**
 * Takes and hashes pieces until none is left; yields after each, so that a thread with an event loop can look around.
 *
 * @throws PogoError IO where the file is shorter than it was, or the system refuses to read or write
 */
export function* hashPieces(job: HashJob, kernels: MerkleKernels): Generator<void> {
  const { counters, totalBytes } = job;
  const pieces = pieceCount(totalBytes);
  const buffer = new Uint8Array(Math.min(READ_BYTES, totalBytes));
  const writer = job.treeFile === undefined ? undefined : new TreeWriter(job.treeFile, totalBytes);
  for (;;) {
    const index = Atomics.add(counters, NEXT_PIECE, 1);
    if (index >= pieces) return;
    const bytes = Math.min(PIECE_BYTES, totalBytes - index * PIECE_BYTES);
    const nodes = leafCount(bytes);
    const tree = new Uint8Array(nodeTreeBytes(nodes));
    for (let at = 0; at === 0 || at < bytes; at += READ_BYTES) {
      const part = buffer.subarray(0, Math.min(READ_BYTES, bytes - at));
      readAt(job, part, index * PIECE_BYTES + at);
      kernels.hashRange(part, tree, nodes, at / LEAF_BYTES, index * PIECE_LEAVES, 0);
    }
    kernels.finish(tree, nodes, READ_LOG);
    job.tops.set(tree.subarray(-2 * CV_BYTES, -CV_BYTES), index * CV_BYTES);
    if (pieces === 1) job.root.set(tree.subarray(-CV_BYTES));
    writer?.piece(index, tree, nodes);
    Atomics.add(counters, DONE_PIECES, 1);
    yield;
  }
}

function readAt({ file, path, totalBytes }: HashJob, into: Uint8Array, position: number): void {
  for (let at = 0; at < into.length; ) {
    const read = readSync(file, into, at, into.length - at, position + at);
    if (read === 0) throw changed(path, totalBytes, fstatSync(file).size);
    at += read;
  }
}

/** The error of a file whose length moved while it was hashed. */
export function changed(path: string, expected: number, found: number): PogoError {
  return new PogoError('IO', `${path}: expected ${expected} bytes, found ${found}: it changed; hash it again`);
}

/** Writes pieces' trees to their places in the tree of the whole file; threads write disjoint places. */
export class TreeWriter {
  readonly totalBytes: number;
  readonly #file: number;
  readonly #levels: number;
  readonly #offsets: readonly number[];

  constructor(file: number, totalBytes: number) {
    this.totalBytes = totalBytes;
    this.#file = file;
    const counts = levelCounts(leafCount(totalBytes));
    this.#levels = counts.length;
    this.#offsets = levelOffsets(counts);
  }

  piece(index: number, tree: Uint8Array, nodes: number): void {
    if (this.#levels - 1 <= PIECE_LOG) {
      // The only piece: its tree is the file's. A file that grew is refused at the end.
      if (index === 0) this.#write(tree, 0);
      return;
    }
    const counts = levelCounts(nodes);
    const offsets = levelOffsets(counts);
    for (let level = 0; level < PIECE_LOG; level++) {
      // A short last piece has fewer levels: its top value moves up unchanged.
      const kept = Math.min(level, counts.length - 1);
      const values = tree.subarray(offsets[kept] * CV_BYTES, (offsets[kept] + counts[kept]) * CV_BYTES);
      this.#write(values, this.#offsets[level] + index * 2 ** (PIECE_LOG - level));
    }
  }

  /** Levels from the pieces' tops up, and the root: they stand together at the end of the file. */
  top(tree: Uint8Array): void {
    this.#write(tree, this.#offsets[PIECE_LOG]);
  }

  #write(values: Uint8Array, position: number): void {
    for (let at = 0; at < values.length; ) {
      at += writeSync(this.#file, values, at, values.length - at, position * CV_BYTES + at);
    }
  }
}
