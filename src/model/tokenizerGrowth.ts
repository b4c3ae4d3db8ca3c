/**
 * Bounds what the steps of a tokenizer make of a text. A `tokenizer.json` may say that each character becomes many, step
 * after step, or (`$'` in a replacement) the whole text: memory would end before any deadline.
 */

import { PogoError } from '../errors.js';

/** Characters that all steps together may make of one. A dozen steps in turn copy it; NFKD makes up to 18, UTF-8 up to 3. */
const MOST_GROWTH = 256;

/** Characters that steps may add to any text, as a prefix does. */
const SPARE = 1 << 16;

/** Characters of a pattern or replacement. Llama's word pattern has 200. */
const MOST_STRING = 1 << 14;

/** Methods of the library's steps that give what the next step takes; and where steps hold others. */
const METHODS = ['normalize', 'pre_tokenize_text', 'decode_chain'] as const;
const PARTS = ['normalizers', 'tokenizers', 'decoders'] as const;

/**
 * @param json of the file: anything
 * @throws PogoError MALFORMED for a step without the pattern that it needs, or with a string that no tokenizer needs
 */
export function checkSteps(json: unknown, source: string): void {
  for (const part of ['normalizer', 'pre_tokenizer', 'decoder'])
    checkStrings((json as Step | null)?.[part], source, part);
}

function checkStrings(value: unknown, source: string, name: string): void {
  // A table of characters in base64, which the library does not read.
  if (typeof value === 'string' && value.length > MOST_STRING && !name.endsWith('.precompiled_charsmap')) {
    throw new PogoError(
      'MALFORMED',
      `${source}: expected at most ${MOST_STRING} characters in ${name}, found ${value.length}; take tokenizer.json from the page of the model`,
      { source },
    );
  }
  if (typeof value !== 'object' || value === null) return;
  const { type, pattern } = value as Step;
  const { Regex, String: text } = (pattern ?? {}) as Step;
  // The library would print a warning, and leave the step out.
  if ((type === 'Replace' || type === 'Split') && typeof Regex !== 'string' && typeof text !== 'string') {
    const found = JSON.stringify(pattern)?.slice(0, 80) ?? 'nothing';
    throw new PogoError(
      'MALFORMED',
      `${source}: expected a Regex or a String in ${name}.pattern, found ${found}; take tokenizer.json from the page of the model`,
      { source },
    );
  }
  for (const [key, inner] of Object.entries(value)) checkStrings(inner, source, `${name}.${key.slice(0, 80)}`);
}

type Step = Record<string, unknown>;

/** Counts the characters that steps make of one text. */
export class GrowthLimit {
  #left = Number.POSITIVE_INFINITY;

  /** @param length characters of the text that comes next */
  start(length: number): void {
    this.#left = MOST_GROWTH * length + SPARE;
  }

  /** Watches a step of the library, and the steps in it. @param step anything */
  watch(step: unknown): void {
    if (typeof step !== 'function' && (typeof step !== 'object' || step === null)) return;
    const watched = step as Step;
    for (const name of METHODS) {
      const method = watched[name];
      if (typeof method !== 'function') continue;
      watched[name] = (...values: unknown[]): unknown => this.#count(Reflect.apply(method, step, values));
    }
    for (const name of PARTS) {
      const parts = watched[name];
      if (Array.isArray(parts)) for (const part of parts) this.watch(part);
    }
  }

  #count(made: unknown): unknown {
    for (const piece of Array.isArray(made) ? made : [made]) {
      if (typeof piece === 'string') this.#left -= piece.length;
    }
    if (this.#left < 0) throw new RangeError(`one whose steps make more than ${MOST_GROWTH} characters of each`);
    return made;
  }
}
