/**
 * BLAKE3 of a file of any size, as `b3sum` prints it, by several threads and in a few megabytes of memory each: pieces of
 * 4 MiB are complete subtrees whose chaining values are combined at the end. The tree of all chaining values can be
 * written beside it.
 */
import { existsSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { merkleKernels } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import type { MerkleKernels } from '../merkle/kernels.js';
import { CV_BYTES, leafCount, nodeTreeBytes } from '../merkle/shape.js';
import {
  changed,
  DONE_PIECES,
  type HashJob,
  hashPieces,
  NEXT_PIECE,
  PIECE_BYTES,
  PIECE_LEAVES,
  PIECE_LOG,
  pieceCount,
  TreeWriter,
} from './hashPieces.js';

/**
 * Pieces that a thread of its own must be worth. A worker takes some 40 ms to start, in which this thread hashes 40 pieces;
 * 16 more of them shared are still a gain.
 */
const PIECES_A_THREAD = 16;

export interface HashFileOptions {
  /** Where to write the tree: level 0 (leaves) ‖ level 1 ‖ … ‖ top ‖ root, 32 bytes each. Regular files only. */
  readonly treeFile?: string;
  /** What hashes in this thread; the fastest of this machine by default, which workers always use. */
  readonly kernels?: MerkleKernels;
  /** Threads, this one included; all that the machine has by default. Small files and pipes take one. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  /** Called after every piece of this thread with the bytes hashed so far by all. */
  readonly onProgress?: (bytes: number) => void;
}

export interface HashedFile {
  /** 32 bytes. */
  readonly root: Uint8Array;
  readonly bytes: number;
}

/**
 * Hashes `path`, which may be a pipe if no tree is wanted.
 * @throws {PogoError} IO if the file cannot be read, changes its length meanwhile, or the tree cannot be written;
 *   INTERRUPTED on abort. No tree file is left behind then.
 */
export async function hashFile(path: string, options: HashFileOptions = {}): Promise<HashedFile> {
  const { treeFile } = options;
  if (treeFile === undefined) return await withFile(path, 'r', (file) => hashOpen(file, path, options));
  const partial = `${treeFile}.partial`;
  try {
    const hashed = await withFile(path, 'r', (file) =>
      withFile(partial, 'w', (out) => hashOpen(file, path, options, out)),
    );
    await rename(partial, treeFile);
    return hashed;
  } catch (error) {
    await rm(partial, { force: true });
    throw PogoError.from(error);
  }
}

async function withFile<T>(path: string, flags: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, flags);
    return await use(file);
  } catch (error) {
    throw PogoError.from(error);
  } finally {
    await file?.close();
  }
}

async function hashOpen(
  file: FileHandle,
  path: string,
  options: HashFileOptions,
  treeOut?: FileHandle,
): Promise<HashedFile> {
  const status = await file.stat();
  // Files of the system (/proc) say 0 bytes and have some: those are read to their end, as pipes are.
  if (status.isFile() && (status.size > 0 || treeOut !== undefined)) {
    return hashRegular(file, status.size, path, options, treeOut);
  }
  if (treeOut !== undefined) {
    throw new PogoError('IO', `${path}: expected a regular file for --tree, found a pipe or device; store it first`);
  }
  return hashStream(file, path, options);
}

/** A file of known length: by this thread and workers, each taking the next piece that nobody has. */
async function hashRegular(
  file: FileHandle,
  totalBytes: number,
  path: string,
  options: HashFileOptions,
  treeOut: FileHandle | undefined,
): Promise<HashedFile> {
  const { signal, onProgress } = options;
  const kernels = options.kernels ?? merkleKernels();
  const pieces = pieceCount(totalBytes);
  const job: HashJob = {
    path,
    file: file.fd,
    totalBytes,
    ...(treeOut === undefined ? {} : { treeFile: treeOut.fd }),
    counters: new Int32Array(new SharedArrayBuffer(8)),
    tops: new Uint8Array(new SharedArrayBuffer(pieces * CV_BYTES)),
    root: new Uint8Array(new SharedArrayBuffer(CV_BYTES)),
  };
  const wanted = options.threads ?? availableParallelism();
  const threads = Math.max(1, Math.min(wanted, Math.floor(pieces / PIECES_A_THREAD)));
  const helpers = Array.from({ length: threads - 1 }, () => startWorker(job));
  try {
    for (const _ of hashPieces(job, kernels)) {
      onProgress?.(Math.min(totalBytes, Atomics.load(job.counters, DONE_PIECES) * PIECE_BYTES));
      if (signal !== undefined || helpers.length > 0) await new Promise((resolve) => setImmediate(resolve));
      if (signal?.aborted) throw interrupted(path, Atomics.load(job.counters, DONE_PIECES) * PIECE_BYTES);
    }
  } finally {
    // After an error the others find nothing more to take; the files stay open until all have ended.
    Atomics.store(job.counters, NEXT_PIECE, pieces);
    await Promise.allSettled(helpers);
  }
  await Promise.all(helpers);
  if (signal?.aborted) throw interrupted(path, totalBytes);
  const { size } = await file.stat();
  if (size !== totalBytes) throw changed(path, totalBytes, size);
  if (pieces === 1) return { root: job.root.slice(), bytes: totalBytes };
  const top = combine(kernels, job.tops, pieces);
  if (job.treeFile !== undefined) new TreeWriter(job.treeFile, totalBytes).top(top);
  return { root: top.slice(-CV_BYTES), bytes: totalBytes };
}

function interrupted(path: string, bytes: number): PogoError {
  return new PogoError('INTERRUPTED', `${path}: hashing was interrupted after ${bytes} bytes; start it again`);
}

/** The compiled worker: beside this file when it is compiled itself, else in `dist`. */
function workerFile(): string {
  const beside = fileURLToPath(new URL('./hashWorker.js', import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL('../../dist/node/hashWorker.js', import.meta.url));
}

/** Resolves when the worker found no more pieces. @throws PogoError of the worker, as a rejection */
function startWorker(job: HashJob): Promise<void> {
  const worker = new Worker(workerFile(), { workerData: job, env: SHARE_ENV });
  const ended = new Promise<void>((resolve, reject) => {
    worker.on('message', (error) => reject(PogoError.fromJSON(error)));
    worker.on('error', (error) => reject(PogoError.from(error)));
    worker.on('exit', (code) => {
      if (code === 0) resolve();
      else reject(new PogoError('INTERNAL', `a hashing thread ended with ${code}; hash the file again`));
    });
  });
  ended.catch(() => undefined); // awaited by the caller; must not count as unhandled before that
  return ended;
}

/** The tree over the pieces' chaining values, the root at its end. */
function combine(kernels: MerkleKernels, tops: Uint8Array, pieces: number): Uint8Array {
  const top = new Uint8Array(nodeTreeBytes(pieces));
  top.set(tops);
  kernels.finish(top, pieces, 0);
  return top;
}

/** Reads up to `buffer.length` bytes; fewer only at the end of the file. */
async function readPiece(file: FileHandle, buffer: Uint8Array): Promise<Uint8Array> {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

/** A pipe or a file of unknown length: read to its end in order, the next piece while one is hashed. */
async function hashStream(file: FileHandle, path: string, options: HashFileOptions): Promise<HashedFile> {
  const kernels = options.kernels ?? merkleKernels();
  const tops: Uint8Array[] = [];
  const buffers = [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)];
  let bytes = 0;
  let piece = await readPiece(file, buffers[0]);
  for (;;) {
    if (options.signal?.aborted) throw interrupted(path, bytes);
    const next = piece.length === PIECE_BYTES ? readPiece(file, buffers[(tops.length + 1) % 2]) : undefined;
    next?.catch(() => undefined); // awaited below; must not count as unhandled if hashing throws first
    const nodes = leafCount(piece.length);
    const tree = new Uint8Array(nodeTreeBytes(nodes));
    kernels.hashRange(piece, tree, nodes, 0, tops.length * PIECE_LEAVES, 0);
    kernels.finish(tree, nodes, PIECE_LOG);
    tops.push(tree.slice(-2 * CV_BYTES, -CV_BYTES));
    bytes += piece.length;
    options.onProgress?.(bytes);
    const following = await next;
    if (following === undefined || following.length === 0) {
      if (tops.length === 1) return { root: tree.slice(-CV_BYTES), bytes };
      const all = new Uint8Array(tops.length * CV_BYTES);
      tops.forEach((top, i) => {
        all.set(top, i * CV_BYTES);
      });
      return { root: combine(kernels, all, tops.length).slice(-CV_BYTES), bytes };
    }
    piece = following;
  }
}
