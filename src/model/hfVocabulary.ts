/**
 * The vocabulary of a byte-level BPE `tokenizer.json`: byte strings from the spelling that such files use, the built-in
 * tokenizers recognized by it, and the files of these written out.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { parseStrictJson } from './strictJson.js';
import { type BuiltInTokenizer, byteTokenizer, GPT2_PATTERN, serializeTokenizer } from './tokenizer.js';

/** Bytes spelled as one character each: printable ones as themselves, the others from U+0100 on, in order. */
const SPELLED: readonly string[] = spellBytes();
const BYTE_OF: ReadonlyMap<string, number> = new Map(SPELLED.map((character, byte) => [character, byte]));

function spellBytes(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCodePoint(itself ? byte : next++);
  });
}

/**
 * Entries of a byte-level BPE `tokenizer.json`, in token order.
 *
 * @returns bytes of each token
 * @throws PogoError MALFORMED for a file without such a table
 */
export function hfTokenizerEntries(json: unknown): Uint8Array[] {
  const model = (json as { model?: { type?: unknown; vocab?: unknown } } | null)?.model;
  if (typeof model?.vocab !== 'object' || model.vocab === null || (model.type !== undefined && model.type !== 'BPE')) {
    throw new PogoError('MALFORMED', 'tokenizer.json: expected a BPE model with a vocab, found another');
  }
  const entries: Uint8Array[] = [];
  for (const [token, id] of Object.entries(model.vocab)) {
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0 || id >= 1 << 24 || entries[id] !== undefined) {
      throw new PogoError(
        'MALFORMED',
        `tokenizer.json: expected a number of its own for ${JSON.stringify(token)}, found ${String(id)}`,
      );
    }
    // Special tokens such as <|endoftext|> are plain ASCII and spell themselves, too.
    const bytes = [...token].map((character) => BYTE_OF.get(character));
    if (bytes.includes(undefined)) {
      throw new PogoError('MALFORMED', `tokenizer.json: expected byte-level tokens, found ${JSON.stringify(token)}`);
    }
    entries[id] = Uint8Array.from(bytes as number[]);
  }
  // Object.entries gave distinct numbers, so the table is complete exactly if none lies beyond their count.
  const count = Object.keys(model.vocab).length;
  if (entries.length !== count) {
    throw new PogoError(
      'MALFORMED',
      `tokenizer.json: expected ${count} tokens numbered from 0, found one numbered ${entries.length - 1}`,
    );
  }
  return entries;
}

/** Root of a byte-level BPE table under GPT-2's word pattern: equal to `gpt2Tokenizer().root` for GPT-2's own file. */
export function hfTokenizerRoot(entries: readonly Uint8Array[]): Uint8Array {
  return blake3(serializeTokenizer(GPT2_PATTERN, entries));
}

/**
 * The built-in tokenizer that a `tokenizer.json` describes, if any: GPT-2's table, or the 256 bytes without merges.
 *
 * @param file bytes of the file; anything
 */
export async function hfBuiltInTokenizer(file: Uint8Array): Promise<BuiltInTokenizer | undefined> {
  let entries: Uint8Array[];
  let json: Readonly<Record<string, unknown>>;
  try {
    json = parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(file)) as Readonly<Record<string, unknown>>;
    entries = hfTokenizerEntries(json);
  } catch {
    return undefined; // another tokenizer, or none: whoever opens it says which
  }
  const { type, add_prefix_space: prefix } = (json['pre_tokenizer'] ?? {}) as Readonly<Record<string, unknown>>;
  if ((type !== undefined && type !== 'ByteLevel') || prefix === true || (json['normalizer'] ?? null) !== null) {
    return undefined;
  }
  const added = json['added_tokens'];
  const inside = (token: unknown): boolean => Number((token as { id?: unknown } | null)?.id) < entries.length;
  if (Array.isArray(added) && !added.every(inside)) return undefined;
  const merges = (json['model'] as { merges?: unknown }).merges ?? [];
  if (entries.length === 256) {
    const plain = entries.every((entry, byte) => entry.length === 1 && entry[0] === byte);
    return plain && Array.isArray(merges) && merges.length === 0 ? 'bytes' : undefined;
  }
  const { gpt2Tokenizer } = await import('./tokenizerGpt2.js');
  return equalBytes(hfTokenizerRoot(entries), gpt2Tokenizer().root) ? 'gpt2' : undefined;
}

/**
 * The `tokenizer.json` of a built-in tokenizer, for `transformers`.
 *
 * A token's merge is the pair of parts that merging by the ranks below its own leaves over: BPE files that list ranks
 * alone (as GPT-2's table here does) lose nothing by that.
 */
export async function hfTokenizerJson(name: BuiltInTokenizer): Promise<Record<string, unknown>> {
  const { entries, pattern } =
    name === 'bytes' ? { entries: byteEntries(), pattern: false } : { entries: await gpt2Entries(), pattern: true };
  const level = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: pattern };
  const vocab = Object.fromEntries(entries.map((bytes, token) => [spell(bytes), token]));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: name === 'gpt2' ? [endOfText(entries.length - 1)] : [],
    normalizer: null,
    pre_tokenizer: level,
    post_processor: null,
    decoder: level,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      vocab,
      merges: name === 'gpt2' ? mergesOf(entries.slice(0, -1)) : [],
    },
  };
}

function endOfText(id: number): Record<string, unknown> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  return { id, content: '<|endoftext|>', ...flags };
}

function byteEntries(): Uint8Array[] {
  return Array.from({ length: byteTokenizer.entries }, (_, byte) => Uint8Array.of(byte));
}

async function gpt2Entries(): Promise<Uint8Array[]> {
  const { gpt2Tokenizer } = await import('./tokenizerGpt2.js');
  const tokenizer = gpt2Tokenizer();
  return Array.from({ length: tokenizer.entries }, (_, token) => tokenizer.decodeBytes([token]));
}

function spell(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => SPELLED[byte]).join('');
}

function mergesOf(entries: readonly Uint8Array[]): [string, string][] {
  const words = entries.map(spell);
  const rankOf = new Map(words.map((word, rank) => [word, rank]));
  const merges: [string, string][] = [];
  words.forEach((word, rank) => {
    let parts = [...word];
    while (parts.length > 2) {
      let best = { at: -1, rank };
      for (let i = 0; i + 1 < parts.length; i++) {
        const found = rankOf.get(parts[i] + parts[i + 1]) ?? Number.POSITIVE_INFINITY;
        if (found < best.rank) best = { at: i, rank: found };
      }
      parts = [...parts.slice(0, best.at), parts[best.at] + parts[best.at + 1], ...parts.slice(best.at + 2)];
    }
    if (parts.length === 2) merges.push([parts[0], parts[1]]);
  });
  return merges;
}
