/**
 * A token file that is read by ranges, so that data may be larger than memory. Node only.
 *
 * Opening streams the file once and keeps the BLAKE3 tree of its 16 KiB groups, 1/256 of its bytes. Every range that is
 * read later is hashed by groups and compared with the tree: a byte that changed since is found before it is trained on.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { merkleKernels } from '../../backend/merkleAddon.js';
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import { CV_BYTES, GROUP_BYTES, GROUP_LOG, LEAF_BYTES, nodeTreeBytes } from '../../merkle/shape.js';
import { allocateTree, MerkleTree } from '../../merkle/tree.js';
import { bytesPerToken, type Recipe } from '../recipe.js';
import type { TokenRanges } from '../tokens.js';

/** Token files up to this many bytes are held in memory. */
const HELD_TOKEN_BYTES = 2 ** 25;

/** The most bytes of a token file that are held in memory: POGO_TOKEN_MEMORY, else 32 MiB. @throws PogoError USAGE */
export function heldTokenBytes(env: NodeJS.ProcessEnv = process.env): number {
  const text = env['POGO_TOKEN_MEMORY'];
  if (text === undefined || text === '') return HELD_TOKEN_BYTES;
  const bytes = Number(text);
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw new PogoError('USAGE', `POGO_TOKEN_MEMORY: expected bytes, found ${JSON.stringify(text)}`);
}

/** Bytes of one read while the file is streamed: 256 groups. */
const PIECE_BYTES = 256 * GROUP_BYTES;
/** Leaves of a segment of the tree, as a power of two: 4 MiB, what opening one leaf reads. */
const SEGMENT_LOG = 12;

export class TokenFile implements TokenRanges {
  readonly length: number;
  readonly totalBytes: number;
  readonly #path: string;
  readonly #bytesPerToken: 2 | 4;
  readonly #tree: MerkleTree;

  private constructor(path: string, totalBytes: number, width: 2 | 4) {
    this.#path = path;
    this.totalBytes = totalBytes;
    this.#bytesPerToken = width;
    this.length = totalBytes / width;
    const segmentBytes = LEAF_BYTES * 2 ** SEGMENT_LOG;
    this.#tree = new MerkleTree(merkleKernels(), allocateTree(totalBytes, GROUP_LOG, SEGMENT_LOG), (segment) => {
      const start = segment * segmentBytes;
      return this.#groups(start, Math.min(totalBytes, start + segmentBytes));
    });
  }

  /**
   * Streams a token file of a recipe and checks it.
   *
   * @returns undefined where its length or root is not the recipe's
   * @throws PogoError DATA for a token beyond the vocabulary, IO
   */
  static open(path: string, recipe: Pick<Recipe, 'data' | 'vocab'>): TokenFile | undefined {
    const { tokens, tokensRoot } = recipe.data;
    return TokenFile.#stream(path, recipe.vocab, { bytes: tokens * bytesPerToken(recipe), root: tokensRoot });
  }

  /**
   * Streams any token file, whose length and root it then says.
   *
   * @param vocab gives the width of a token
   * @throws PogoError DATA for a cut token or one beyond the vocabulary, IO
   */
  static openAny(path: string, vocab: number): TokenFile {
    const file = TokenFile.#stream(path, vocab, undefined);
    if (file === undefined) throw new PogoError('INTERNAL', 'a file without expectations meets them');
    return file;
  }

  static #stream(
    path: string,
    vocab: number,
    expected: { readonly bytes: number; readonly root: Uint8Array } | undefined,
  ): TokenFile | undefined {
    const width = bytesPerToken({ vocab });
    return withFile(path, (descriptor) => {
      const { size } = fstatSync(descriptor);
      if (expected !== undefined && size !== expected.bytes) return undefined;
      if (size % width !== 0) throw cutToken(path, width, size);
      const file = new TokenFile(path, size, width);
      let bad: { readonly token: number; readonly place: number } | undefined;
      for (const { bytes, at } of piecesOf(path, descriptor, file.totalBytes)) {
        file.#tree.hashLeafBytes(bytes, at / LEAF_BYTES);
        const tokens = tokensOf(bytes, width);
        const place = bad === undefined ? tokens.findIndex((token) => token >= vocab) : -1;
        if (place >= 0) bad = { token: tokens[place] as number, place: at / width + place };
      }
      file.#tree.finish();
      if (expected !== undefined && !equalBytes(file.root, expected.root)) return undefined;
      if (bad !== undefined) throw beyondVocabulary(bad.token, bad.place, vocab, path);
      return file;
    });
  }

  /** BLAKE3 of the file. */
  get root(): Uint8Array {
    return this.#tree.root();
  }

  range(from: number, count: number): Uint16Array | Uint32Array {
    const start = from * this.#bytesPerToken;
    const end = start + count * this.#bytesPerToken;
    if (!(from >= 0 && count >= 0 && end <= this.totalBytes)) {
      throw new PogoError('RANGE', `a range of ${count} tokens at ${from} exceeds the ${this.length} tokens`);
    }
    const first = start - (start % GROUP_BYTES);
    const groups = this.#groups(first, Math.min(this.totalBytes, Math.ceil(end / GROUP_BYTES) * GROUP_BYTES));
    return tokensOf(groups.slice(start - first, end - first), this.#bytesPerToken);
  }

  chunk(index: number): { readonly bytes: Uint8Array; readonly path: Uint8Array } {
    const start = index * LEAF_BYTES;
    const first = start - (start % GROUP_BYTES);
    const group = this.#groups(first, Math.min(this.totalBytes, first + GROUP_BYTES));
    return { bytes: group.slice(start - first, start - first + LEAF_BYTES), path: this.#tree.proveLeaf(index) };
  }

  *pieces(): Generator<Uint8Array> {
    for (let at = 0; at < this.totalBytes; at += PIECE_BYTES) {
      yield this.#groups(at, Math.min(this.totalBytes, at + PIECE_BYTES));
    }
  }

  /** Bytes [start, end) of whole groups, compared with the tree. */
  #groups(start: number, end: number): Uint8Array {
    const bytes = new Uint8Array(end - start);
    withFile(this.#path, (descriptor) => fill(this.#path, descriptor, bytes, start));
    const found = new Uint8Array(nodeTreeBytes(1));
    const firstGroup = start / GROUP_BYTES;
    const count = Math.ceil(bytes.length / GROUP_BYTES);
    const expected = this.#tree.chainingValues(GROUP_LOG, firstGroup, firstGroup + count);
    for (let i = 0; i < count; i += 1) {
      const group = bytes.subarray(i * GROUP_BYTES, (i + 1) * GROUP_BYTES);
      merkleKernels().hashRange(group, found, 1, 0, ((firstGroup + i) * GROUP_BYTES) / LEAF_BYTES, GROUP_LOG);
      if (equalBytes(found.subarray(0, CV_BYTES), expected.subarray(i * CV_BYTES, (i + 1) * CV_BYTES))) continue;
      throw new PogoError(
        'DATA',
        `expected ${this.#path} to stay as it was when it was opened, found other bytes at ${start + i * GROUP_BYTES}: ` +
          'restore the file, or make it again with pogo data build',
        { path: this.#path },
      );
    }
    return bytes;
  }
}

/** Opened for each use: nobody has to close a token file, and a file that was replaced meanwhile is seen. */
function withFile<T>(path: string, work: (descriptor: number) => T): T {
  try {
    const descriptor = openSync(path, 'r');
    try {
      return work(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    throw PogoError.from(cause);
  }
}

function* piecesOf(path: string, descriptor: number, total: number): Generator<{ bytes: Uint8Array; at: number }> {
  const piece = new Uint8Array(Math.min(total, PIECE_BYTES));
  for (let at = 0; at < total; at += PIECE_BYTES) {
    const bytes = piece.subarray(0, Math.min(total - at, PIECE_BYTES));
    fill(path, descriptor, bytes, at);
    yield { bytes, at };
  }
}

function fill(path: string, descriptor: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) {
    const count = readSync(descriptor, bytes, at, bytes.length - at, position + at);
    if (count === 0) {
      throw new PogoError('DATA', `expected ${path} to stay as it was, found it shorter: restore the file`, { path });
    }
    at += count;
  }
}

function tokensOf(bytes: Uint8Array, width: 2 | 4): Uint16Array | Uint32Array {
  const { buffer, byteOffset, length } = bytes;
  return width === 2
    ? new Uint16Array(buffer, byteOffset, length / 2)
    : new Uint32Array(buffer, byteOffset, length / 4);
}

/** A token file holds whole tokens. */
export function cutToken(path: string, width: number, bytes: number): PogoError {
  const message = `expected tokens of ${width} bytes in ${path}, found ${bytes} bytes; build it for this vocabulary`;
  return new PogoError('DATA', message, { path });
}

/** A token beyond the vocabulary would index past the embedding table. */
export function beyondVocabulary(token: number, place: number, vocab: number, path: string): PogoError {
  const message = `expected tokens below ${vocab} in ${path}, found ${token} at place ${place}; take the tokens of this model's tokenizer`;
  return new PogoError('DATA', message, { path });
}
