/**
 * Tokenizers: text to token numbers and back. `bytes` has one token per byte; `gpt2` is the byte-pair encoding of
 * GPT-2 (r50k), loaded on demand because its table is a megabyte; `json` is whatever a `tokenizer.json` says
 * (`tokenizerJson.ts`).
 *
 * A tokenizer's root commits to its table: two programs with the same root cut a text into the same tokens.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import type { Recipe } from './recipe.js';

export interface Tokenizer {
  readonly name: Recipe['tokenizer'];
  /** Number of tokens; a recipe's `vocab` must not be smaller. */
  readonly entries: number;
  /** BLAKE3 of {@link serializeTokenizer}; for `json` BLAKE3 of the file. */
  readonly root: Uint8Array;
  /** The token that ends a document in a token file, where the table has one. */
  readonly documentEnd?: number;
  /**
   * Token numbers of a text. Markers such as `<|endoftext|>` inside the text are ordinary characters, but for `json`,
   * which follows its file.
   */
  encode(text: string): Uint32Array;
  /** Bytes of the tokens, concatenated; a token beyond the table (a padded vocabulary entry) adds none. */
  decodeBytes(tokens: ArrayLike<number>): Uint8Array;
}

/**
 * Canonical bytes of a tokenizer's table: `pogo/tokenizer/1`, then the pattern that cuts words and the entries in
 * token order, each as a u32 LE length and its bytes; the entries are preceded by their number (u32 LE). For BPE the
 * order of entries is the order of merges.
 */
export function serializeTokenizer(pattern: string, entries: readonly Uint8Array[]): Uint8Array {
  const text = new TextEncoder();
  const head = text.encode('pogo/tokenizer/1');
  const rule = text.encode(pattern);
  const size = head.length + 8 + rule.length + entries.reduce((sum, entry) => sum + 4 + entry.length, 0);
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  let at = 0;
  const put = (bytes: Uint8Array): void => {
    out.set(bytes, at);
    at += bytes.length;
  };
  const putLength = (length: number): void => {
    view.setUint32(at, length, true);
    at += 4;
  };
  put(head);
  putLength(rule.length);
  put(rule);
  putLength(entries.length);
  for (const entry of entries) {
    putLength(entry.length);
    put(entry);
  }
  return out;
}

const BYTE_ENTRIES: readonly Uint8Array[] = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));

/** How GPT-2 cuts a text into words before it merges bytes (openai/gpt-2 `src/encoder.py`). */
export const GPT2_PATTERN = `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`;

/** One token per byte of the UTF-8 text. */
export const byteTokenizer: Tokenizer = Object.freeze({
  name: 'bytes',
  entries: 256,
  documentEnd: 0x0a, // a line feed
  root: blake3(serializeTokenizer('', BYTE_ENTRIES)),
  encode: (text: string) => Uint32Array.from(new TextEncoder().encode(text)),
  decodeBytes: (tokens: ArrayLike<number>) => joinEntries(BYTE_ENTRIES, tokens),
});

/** Bytes of the entries of `tokens` one after the other; numbers beyond the table add nothing. */
export function joinEntries(entries: readonly Uint8Array[], tokens: ArrayLike<number>): Uint8Array {
  let size = 0;
  for (let i = 0; i < tokens.length; i++) size += entries[tokens[i]]?.length ?? 0;
  const out = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < tokens.length; i++) {
    const entry = entries[tokens[i]];
    if (entry === undefined) continue;
    out.set(entry, at);
    at += entry.length;
  }
  return out;
}

/** Text of tokens; bytes that are no UTF-8 become U+FFFD, as a sample may stop inside a character. */
export function decodeText(tokenizer: Pick<Tokenizer, 'decodeBytes'>, tokens: ArrayLike<number>): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(tokenizer.decodeBytes(tokens));
}

/** Tokenizers that the software brings along: no file is needed. */
export type BuiltInTokenizer = Exclude<Recipe['tokenizer'], 'json'>;

export async function openTokenizer(name: BuiltInTokenizer): Promise<Tokenizer> {
  if (name === 'bytes') return byteTokenizer;
  return (await import('./tokenizerGpt2.js')).gpt2Tokenizer();
}
