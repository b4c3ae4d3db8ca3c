/**
 * Any tokenizer of a `tokenizer.json`, by `@huggingface/tokenizers` (pure JavaScript): byte-level BPE, BPE with byte
 * fallback as Gemma and Llama have it, Unigram, WordPiece.
 *
 * Its root is BLAKE3 of the file, as `b3sum` prints it. It cuts a text as `transformers` does: what the file puts around
 * a text (Gemma's `<bos>`) is put there, and the spelling of a special token inside a text is that token.
 */

import { Tokenizer as Library } from '@huggingface/tokenizers';
import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../errors.js';
import { parseStrictJson } from './strictJson.js';
import type { Tokenizer } from './tokenizer.js';
import { checkSteps, GrowthLimit } from './tokenizerGrowth.js';

/** Gemma's takes 33 MB. */
export const MAX_TOKENIZER_BYTES = 1 << 27;

/** More tokens than any recipe may have. */
const MAX_ENTRIES = 1 << 24;

/** Numbers that a small table may leave out. */
const SPARE_IDS = 1024;

const MODELS = ['BPE', 'Unigram', 'WordPiece', 'WordLevel'];

/** Spellings of the token that ends a document, the first that a table has. */
const ENDS = ['<|endoftext|>', '<|end_of_text|>', '<eos>', '</s>', '[SEP]'];

/**
 * @param file bytes of a `tokenizer.json`
 * @param source name of the file in errors
 * @throws PogoError MALFORMED for a file that is no tokenizer, or of a kind that the library does not know
 */
export function jsonTokenizer(file: Uint8Array, source = 'tokenizer.json'): Tokenizer {
  const library = open(file, source);
  const growth = new GrowthLimit();
  for (const step of [library.normalizer, library.pre_tokenizer, library.decoder]) growth.watch(step);
  const ids = [...library.get_vocab(true).values()];
  const known = new Set(ids);
  const end = ENDS.map((spelling) => library.token_to_id(spelling)).find((id) => id !== undefined);
  return Object.freeze({
    name: 'json',
    entries: ids.reduce((most, id) => Math.max(most, id), 0) + 1,
    root: blake3(file),
    ...(end === undefined ? {} : { documentEnd: end }),
    encode(text: string) {
      growth.start(text.length);
      return Uint32Array.from(encode(library, text, source));
    },
    decodeBytes(tokens: ArrayLike<number>) {
      const real = Array.from(tokens).filter((token) => known.has(token));
      if (real.length === 0) return new Uint8Array(0); // the library refuses an empty list
      const options = { skip_special_tokens: true, clean_up_tokenization_spaces: false };
      growth.start(real.reduce((sum, token) => sum + (library.id_to_token(token)?.length ?? 1), 0));
      return new TextEncoder().encode(decode(library, real, options, source));
    },
  } satisfies Tokenizer);
}

function malformed(source: string, expected: string, found: string, cause?: unknown): never {
  throw new PogoError(
    'MALFORMED',
    `${source}: expected ${expected}, found ${found}; take tokenizer.json from the page of the model`,
    { source },
    cause,
  );
}

function open(file: Uint8Array, source: string): Library {
  if (file.length > MAX_TOKENIZER_BYTES) malformed(source, `at most ${MAX_TOKENIZER_BYTES} bytes`, `${file.length}`);
  let json: unknown;
  try {
    json = parseStrictJson(new TextDecoder('utf-8', { fatal: true }).decode(file));
  } catch (cause) {
    malformed(source, 'JSON in UTF-8', shortMessage(cause), cause);
  }
  checkTable(json, source);
  checkSteps(json, source);
  try {
    return new Library(json as object, {});
  } catch (cause) {
    return malformed(source, 'a tokenizer that @huggingface/tokenizers knows', shortMessage(cause), cause);
  }
}

/**
 * Numbers of tokens decide sizes of tables inside the library, so they are checked before it sees them: integers, and
 * not much larger than their count.
 */
function checkTable(json: unknown, source: string): void {
  const { model, added_tokens: added = [] } = (json ?? {}) as Readonly<Record<string, unknown>>;
  const { type, vocab } = (model ?? {}) as Readonly<Record<string, unknown>>;
  if (type !== undefined && !MODELS.includes(String(type))) {
    malformed(source, `a model of type ${MODELS.join(', ')}`, JSON.stringify(type).slice(0, 80));
  }
  if (typeof vocab !== 'object' || vocab === null) malformed(source, 'a model with a vocab', 'none');
  if (!Array.isArray(added)) malformed(source, 'a list of added_tokens', typeof added);
  const words: unknown[] = Array.isArray(vocab) ? vocab.map((_, id) => id) : Object.values(vocab);
  if (words.length === 0) malformed(source, 'tokens', 'an empty vocabulary');
  const ids = words.concat(added.map((token: { id?: unknown } | null) => token?.id));
  const most = Math.min(MAX_ENTRIES, 2 * ids.length + SPARE_IDS);
  const bad = ids.findIndex((id) => typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0 || id >= most);
  if (bad >= 0) malformed(source, `tokens numbered from 0 to below ${most}`, String(JSON.stringify(ids[bad])));
}

function shortMessage(cause: unknown): string {
  return cause instanceof Error ? cause.message.slice(0, 200) : 'something else';
}

/** As {@link encode}: the steps that put a text together are the file's as well. */
function decode(library: Library, tokens: number[], options: object, source: string): string {
  try {
    return library.decode(tokens, options);
  } catch (cause) {
    return malformed(source, 'a tokenizer that puts these tokens together', shortMessage(cause), cause);
  }
}

/** A damaged table shows when a text needs the part that is missing. */
function encode(library: Library, text: string, source: string): number[] {
  let ids: number[];
  try {
    ids = library.encode(text).ids;
  } catch (cause) {
    return malformed(source, 'a tokenizer that cuts this text', shortMessage(cause), cause);
  }
  if (ids.every((id) => Number.isSafeInteger(id) && id >= 0)) return ids;
  throw new PogoError(
    'DATA',
    `${source}: expected a token for every character, found none for some; it has no unknown`,
    {
      source,
    },
  );
}
