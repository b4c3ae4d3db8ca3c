/**
 * BLAKE3 of a file of any size, as `b3sum` prints it: pieces of 4 MiB are complete subtrees whose chaining values are combined
 * at the end. Files are hashed by several threads where they lie in the page cache, where addon and system can; else, and
 * pipes, by reading in this thread. The tree of all chaining values can be written beside it.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { loadMerkleAddon, merkleKernels } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import type { MerkleKernels } from '../merkle/kernels.js';
import { CV_BYTES, leafCount, nodeTreeBytes } from '../merkle/shape.js';
import { writeAtomically } from '../model/node/wholeFile.js';
import {
  changed,
  type HashedPieces,
  mapPieces,
  PIECE_BYTES,
  PIECE_LEAVES,
  PIECE_LOG,
  pieceCount,
  readPieces,
  TreeWriter,
} from './hashPieces.js';

/**
 * Pieces that a thread hashes before this one looks around (signals, progress): 128 MiB a thread, some 15 ms. Threads start
 * anew then and end together, which costs less than a piece's time.
 */
const MAPPED_PIECES_A_THREAD = 32;

export interface HashFileOptions {
  /** Where to write the tree: level 0 (leaves) ‖ level 1 ‖ … ‖ top ‖ root, 32 bytes each. Regular files only. */
  readonly treeFile?: string;
  /** What hashes, in this thread alone; the fastest of this machine by default, by `threads`. */
  readonly kernels?: MerkleKernels;
  /** Threads, this one included; all that the machine has by default. Small files and pipes take one. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  /** Called every few pieces with the bytes hashed so far. */
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
  let hashed: HashedFile | undefined;
  await writeAtomically(treeFile, async (out) => {
    hashed = await withFile(path, 'r', (file) => hashOpen(file, path, options, out));
  });
  return hashed as HashedFile;
}

async function withFile<T>(path: string, flags: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, flags);
    return await use(file);
  } catch (error) {
    throw PogoError.from(error, path);
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

/** A file of known length. */
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
  const job: HashedPieces = {
    path,
    file: file.fd,
    totalBytes,
    tops: new Uint8Array(pieces * CV_BYTES),
    ...(treeOut === undefined ? {} : { tree: new TreeWriter(treeOut.fd, totalBytes) }),
  };
  // The root of a single piece is not above its top value: that one is read.
  let mapped = options.kernels === undefined && pieces > 1 ? loadMerkleAddon().hashFilePieces : undefined;
  const threads = Math.max(1, Math.min(options.threads ?? availableParallelism(), pieces));
  let tree: Uint8Array = job.tops;
  for (let first = 0; first < pieces; ) {
    const some = Math.min(pieces - first, mapped === undefined ? 1 : threads * MAPPED_PIECES_A_THREAD);
    if (mapped === undefined) tree = readPieces(job, kernels, first, some);
    else if (!mapPieces(job, mapped, first, some, threads)) {
      mapped = undefined;
      continue;
    }
    first += some;
    const hashed = Math.min(totalBytes, first * PIECE_BYTES);
    onProgress?.(hashed);
    if (signal !== undefined) await new Promise((resolve) => setImmediate(resolve));
    if (signal?.aborted) throw interrupted(path, hashed);
  }
  const { size } = await file.stat();
  if (size !== totalBytes) throw changed(path, totalBytes, size);
  if (pieces === 1) return { root: tree.slice(-CV_BYTES), bytes: totalBytes };
  const top = combine(kernels, job.tops, pieces);
  job.tree?.top(top);
  return { root: top.slice(-CV_BYTES), bytes: totalBytes };
}

function interrupted(path: string, bytes: number): PogoError {
  return new PogoError('INTERRUPTED', `${path}: hashing was interrupted after ${bytes} bytes; start it again`);
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
