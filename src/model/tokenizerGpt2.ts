/**
 * GPT-2's byte-pair encoding, from `gpt-tokenizer`. Encoding is the library's; decoding is ours, because the library
 * keeps the state of an unfinished character between calls.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import ranks from 'gpt-tokenizer/bpeRanks/r50k_base';
import { encode } from 'gpt-tokenizer/encoding/r50k_base';
import { invariant } from '../errors.js';
import { GPT2_PATTERN, joinEntries, serializeTokenizer, type Tokenizer } from './tokenizer.js';

const END_OF_TEXT = '<|endoftext|>';
const NO_SPECIAL = { disallowedSpecial: new Set<string>() };

let tokenizer: Tokenizer | undefined;

/** @returns the tokenizer of GPT-2, 50,257 entries; the last is the end of a text and never made by `encode` */
export function gpt2Tokenizer(): Tokenizer {
  if (tokenizer !== undefined) return tokenizer;
  const text = new TextEncoder();
  const entries = ranks.map((entry) => (typeof entry === 'string' ? text.encode(entry) : Uint8Array.from(entry)));
  entries.push(text.encode(END_OF_TEXT));
  invariant(entries.length === 50_257, `GPT-2 has 50,257 tokens, gpt-tokenizer has ${entries.length}`);
  tokenizer = Object.freeze({
    name: 'gpt2',
    entries: entries.length,
    documentEnd: entries.length - 1,
    root: blake3(serializeTokenizer(GPT2_PATTERN, entries)),
    encode: (input: string) => Uint32Array.from(encode(input, NO_SPECIAL)),
    decodeBytes: (tokens: ArrayLike<number>) => joinEntries(entries, tokens),
  });
  return tokenizer;
}
