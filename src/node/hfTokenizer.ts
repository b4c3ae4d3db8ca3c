/**
 * Byte-level BPE from a Hugging Face `tokenizer.json`: the tokenizer that a checkpoint brings along.
 *
 * Words are cut by GPT-2's pattern; inside a word the pair with the lowest merge rank is merged until none is left
 * (Sennrich et al., arXiv 1508.07909). Special tokens inside a text are ordinary characters.
 */
import { PogoError } from '../errors.js';
import { hfTokenizerEntries } from '../model/hf.js';
import { GPT2_PATTERN, joinEntries } from '../model/tokenizer.js';

/** What reading and writing text with a model needs. */
export interface TextCodec {
  readonly name: string;
  encode(text: string): Uint32Array;
  decodeBytes(tokens: ArrayLike<number>): Uint8Array;
}

interface Merge {
  readonly rank: number;
  readonly token: number;
}

/** Words longer than this are cut: the merge loop is quadratic, and no written word is longer. */
const MAX_WORD_BYTES = 4096;

/** @throws PogoError MALFORMED or MISMATCH for a file that is no byte-level BPE tokenizer */
export function openHfTokenizer(json: unknown): TextCodec {
  const entries = hfTokenizerEntries(json);
  const { pattern, prefixSpace } = preTokenizer(json);
  const byteTokens = byteTable(entries);
  const merges = mergeTable(json);
  const words = new Map<string, readonly number[]>();
  const encodeWord = (word: string): readonly number[] => {
    const known = words.get(word);
    if (known !== undefined) return known;
    const bytes = new TextEncoder().encode(word);
    const tokens: number[] = [];
    for (let at = 0; at < bytes.length; at += MAX_WORD_BYTES) {
      const part = bytes.subarray(at, at + MAX_WORD_BYTES);
      tokens.push(
        ...mergeAll(
          Array.from(part, (byte) => byteToken(byteTokens, byte)),
          merges,
        ),
      );
    }
    words.set(word, tokens);
    return tokens;
  };
  return {
    name: 'tokenizer.json',
    encode(text) {
      const whole = prefixSpace && !text.startsWith(' ') ? ` ${text}` : text;
      const parts = pattern === undefined ? [whole] : (whole.match(pattern) ?? []);
      const tokens: number[] = [];
      for (const part of parts) for (const token of encodeWord(part)) tokens.push(token);
      return Uint32Array.from(tokens);
    },
    decodeBytes: (tokens) => joinEntries(entries, tokens),
  };
}

function preTokenizer(json: unknown): { pattern: RegExp | undefined; prefixSpace: boolean } {
  const { normalizer, pre_tokenizer: pre } = json as { normalizer?: unknown; pre_tokenizer?: unknown };
  const { type, add_prefix_space, use_regex } = (pre ?? {}) as Readonly<Record<string, unknown>>;
  if ((normalizer ?? null) !== null || type !== 'ByteLevel') {
    throw new PogoError(
      'MISMATCH',
      `tokenizer.json: expected a ByteLevel pre-tokenizer and no normalizer, found ${JSON.stringify(type ?? null)}; ` +
        'tokenize the text elsewhere and give a .tokens file',
    );
  }
  return {
    pattern: use_regex === false ? undefined : new RegExp(GPT2_PATTERN, 'gu'),
    prefixSpace: add_prefix_space === true,
  };
}

/** Byte → token of that byte alone, −1 where the vocabulary has none. */
function byteTable(entries: readonly Uint8Array[]): Int32Array {
  const table = new Int32Array(256).fill(-1);
  entries.forEach((entry, token) => {
    if (entry.length === 1 && table[entry[0]!] === -1) table[entry[0]!] = token;
  });
  return table;
}

function byteToken(table: Int32Array, byte: number): number {
  const token = table[byte]!;
  if (token >= 0) return token;
  throw new PogoError('DATA', `tokenizer.json: expected a token for byte ${byte}, found none in its vocabulary`);
}

function mergeTable(json: unknown): Map<string, Merge> {
  const { vocab, merges } = (json as { model: { vocab: Record<string, number>; merges?: unknown } }).model;
  if (!Array.isArray(merges)) throw new PogoError('MALFORMED', 'tokenizer.json: expected a list of merges, found none');
  const table = new Map<string, Merge>();
  merges.forEach((merge: unknown, rank) => {
    const pair = typeof merge === 'string' ? merge.split(' ') : merge;
    const [left, right] = Array.isArray(pair) ? (pair as unknown[]) : [];
    if (typeof left !== 'string' || typeof right !== 'string' || (pair as unknown[]).length !== 2) {
      throw new PogoError('MALFORMED', `tokenizer.json: expected two parts in merge ${rank}, found others`);
    }
    const ids = [left, right, left + right].map((part) => (Object.hasOwn(vocab, part) ? vocab[part] : undefined));
    if (ids.includes(undefined)) {
      throw new PogoError('MALFORMED', `tokenizer.json: expected the parts of merge ${rank} in the vocabulary`);
    }
    const key = `${ids[0]} ${ids[1]}`;
    if (!table.has(key)) table.set(key, { rank, token: ids[2]! });
  });
  return table;
}

/** Merges the pair of lowest rank, its occurrences from the left, until no pair can be merged. */
function mergeAll(tokens: number[], merges: ReadonlyMap<string, Merge>): number[] {
  for (;;) {
    let best: Merge | undefined;
    for (let i = 0; i + 1 < tokens.length; i += 1) {
      const merge = merges.get(`${tokens[i]} ${tokens[i + 1]}`);
      if (merge !== undefined && (best === undefined || merge.rank < best.rank)) best = merge;
    }
    if (best === undefined) return tokens;
    const next: number[] = [];
    for (let i = 0; i < tokens.length; i += 1) {
      const merge = i + 1 < tokens.length ? merges.get(`${tokens[i]} ${tokens[i + 1]}`) : undefined;
      if (merge?.rank === best.rank) {
        next.push(merge.token);
        i += 1;
      } else next.push(tokens[i]!);
    }
    tokens = next;
  }
}
