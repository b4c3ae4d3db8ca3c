/** Tokens of a recipe as training and checking read them: in memory, or by ranges out of a file. */
import type { LongBytes } from '../merkle/tree.js';

/** A token file that is not held in memory. Whatever it gives has the bytes of the file's root. */
export interface TokenRanges {
  /** Tokens. */
  readonly length: number;
  readonly totalBytes: number;
  /**
   * Tokens [from, from + count), a copy.
   *
   * @throws PogoError DATA where the file is no longer what its root says
   */
  range(from: number, count: number): Uint16Array | Uint32Array;
  /** A leaf of 1 KiB with the path to the file's root. */
  chunk(index: number): { readonly bytes: Uint8Array; readonly path: Uint8Array };
  /** All bytes, in pieces. */
  pieces(): Iterable<Uint8Array>;
}

export type TokenSequence = Uint16Array | Uint32Array | TokenRanges;

export function isInMemory(tokens: TokenSequence): tokens is Uint16Array | Uint32Array {
  return ArrayBuffer.isView(tokens);
}

/** Tokens [from, from + count): a view or a copy. */
export function tokenRange(tokens: TokenSequence, from: number, count: number): Uint16Array | Uint32Array {
  return isInMemory(tokens) ? tokens.subarray(from, from + count) : tokens.range(from, count);
}

/** The bytes of the token file, a view of tokens in memory, or what brings them: for disputes, which open any of them. */
export function longTokenBytes(tokens: TokenSequence): LongBytes {
  if (isInMemory(tokens)) return tokenBytes(tokens);
  const width = tokens.totalBytes / tokens.length;
  return {
    length: tokens.totalBytes,
    subarray(start, end) {
      const first = Math.floor(start / width);
      const { buffer } = tokens.range(first, Math.ceil(end / width) - first);
      return new Uint8Array(buffer).slice(start - first * width, end - first * width);
    },
  };
}

/** The bytes of the token file: a view of tokens in memory, else read whole. */
export function tokenBytes(tokens: TokenSequence): Uint8Array {
  if (isInMemory(tokens)) return new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
  const bytes = new Uint8Array(tokens.totalBytes);
  let at = 0;
  for (const piece of tokens.pieces()) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
