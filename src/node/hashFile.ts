/**
 * BLAKE3 of a file of any size, as `b3sum` prints it, in 24 MB of memory: pieces of 4 MiB are complete subtrees whose
 * chaining values are combined at the end. The tree of all chaining values can be written beside it.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { merkleKernels } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import type { MerkleKernels } from '../merkle/kernels.js';
import { CV_BYTES, LEAF_BYTES, leafCount, levelCounts, levelOffsets, nodeTreeBytes } from '../merkle/shape.js';

/** Leaves of a piece, as a power of two: 4 MiB of bytes, 256 KiB of tree. */
const PIECE_LOG = 12;
const PIECE_LEAVES = 2 ** PIECE_LOG;
const PIECE_BYTES = PIECE_LEAVES * LEAF_BYTES;

export interface HashFileOptions {
  /** Where to write the tree: level 0 (leaves) ‖ level 1 ‖ … ‖ top ‖ root, 32 bytes each. Regular files only. */
  readonly treeFile?: string;
  /** What hashes; the fastest of this machine by default. */
  readonly kernels?: MerkleKernels;
  readonly signal?: AbortSignal;
  /** Called after every piece with the bytes hashed so far. */
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
  if (treeFile === undefined) return await withFile(path, 'r', (file) => hashPieces(file, path, options));
  const partial = `${treeFile}.partial`;
  try {
    const hashed = await withFile(path, 'r', (file) =>
      withFile(partial, 'w', (out) => hashPieces(file, path, options, out)),
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

async function hashPieces(
  file: FileHandle,
  path: string,
  options: HashFileOptions,
  treeOut?: FileHandle,
): Promise<HashedFile> {
  const kernels = options.kernels ?? merkleKernels();
  const expected = await file.stat();
  if (treeOut !== undefined && !expected.isFile()) {
    throw new PogoError('IO', `${path}: expected a regular file for --tree, found a pipe or device; store it first`);
  }
  const writer = treeOut === undefined ? undefined : new TreeWriter(treeOut, expected.size);
  const tops: Uint8Array[] = [];
  const buffers = [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)];
  let bytes = 0;
  let piece = await readPiece(file, buffers[0]);
  for (;;) {
    if (options.signal?.aborted) {
      throw new PogoError('INTERRUPTED', `${path}: hashing was interrupted after ${bytes} bytes; start it again`);
    }
    // The next piece is read while this one is hashed.
    const next = piece.length === PIECE_BYTES ? readPiece(file, buffers[(tops.length + 1) % 2]) : undefined;
    next?.catch(() => undefined); // awaited below; must not count as unhandled if hashing throws first
    const index = tops.length;
    const nodes = leafCount(piece.length);
    const tree = new Uint8Array(nodeTreeBytes(nodes));
    kernels.hashRange(piece, tree, nodes, 0, index * PIECE_LEAVES, 0);
    kernels.finish(tree, nodes, PIECE_LOG);
    tops.push(tree.slice(-2 * CV_BYTES, -CV_BYTES));
    bytes += piece.length;
    await writer?.piece(index, tree, nodes);
    options.onProgress?.(bytes);
    const following = await next;
    if (following === undefined || following.length === 0) {
      return { root: await combine(kernels, tops, tree, writer, bytes, path), bytes };
    }
    piece = following;
  }
}

/** The root from the pieces' chaining values; a single piece has it already. */
async function combine(
  kernels: MerkleKernels,
  tops: readonly Uint8Array[],
  onlyTree: Uint8Array,
  writer: TreeWriter | undefined,
  bytes: number,
  path: string,
): Promise<Uint8Array> {
  if (writer !== undefined && bytes !== writer.totalBytes) {
    throw new PogoError(
      'IO',
      `${path}: expected ${writer.totalBytes} bytes, found ${bytes}: it changed; hash it again`,
    );
  }
  if (tops.length === 1) return onlyTree.slice(-CV_BYTES);
  const top = new Uint8Array(nodeTreeBytes(tops.length));
  tops.forEach((value, i) => {
    top.set(value, i * CV_BYTES);
  });
  kernels.finish(top, tops.length, 0);
  await writer?.top(top);
  return top.slice(-CV_BYTES);
}

/** Writes pieces' trees to their places in the tree of the whole file. */
class TreeWriter {
  readonly totalBytes: number;
  readonly #file: FileHandle;
  readonly #counts: readonly number[];
  readonly #offsets: readonly number[];

  constructor(file: FileHandle, totalBytes: number) {
    this.totalBytes = totalBytes;
    this.#file = file;
    this.#counts = levelCounts(leafCount(totalBytes));
    this.#offsets = levelOffsets(this.#counts);
  }

  async piece(index: number, tree: Uint8Array, nodes: number): Promise<void> {
    if (this.#counts.length - 1 <= PIECE_LOG) {
      // The only piece: its tree is the file's. A file that grew is refused at the end.
      if (index === 0) await this.#write(tree, 0);
      return;
    }
    const counts = levelCounts(nodes);
    const offsets = levelOffsets(counts);
    for (let level = 0; level < PIECE_LOG; level++) {
      // A short last piece has fewer levels: its top value moves up unchanged.
      const kept = Math.min(level, counts.length - 1);
      const values = tree.subarray(offsets[kept] * CV_BYTES, (offsets[kept] + counts[kept]) * CV_BYTES);
      await this.#write(values, this.#offsets[level] + index * 2 ** (PIECE_LOG - level));
    }
  }

  /** Levels from the pieces' tops up, and the root: they stand together at the end of the file. */
  async top(tree: Uint8Array): Promise<void> {
    await this.#write(tree, this.#offsets[PIECE_LOG]);
  }

  async #write(values: Uint8Array, position: number): Promise<void> {
    for (let at = 0; at < values.length; ) {
      const { bytesWritten } = await this.#file.write(values, at, values.length - at, position * CV_BYTES + at);
      at += bytesWritten;
    }
  }
}
