/**
 * A `tokenizer.json` of strangers under a deadline: its regular expressions may take time exponential in the text, and
 * nothing of JavaScript ends them from inside. Node only.
 */

import { performance } from 'node:perf_hooks';
import { PogoError } from '../../errors.js';
import type { Tokenizer } from '../tokenizer.js';
import { jsonTokenizer } from '../tokenizerJson.js';
import { withDeadline } from './deadline.js';

export interface TimeAllowance {
  /** What opening the file and all texts may take together, whatever their size. */
  readonly startMs: number;
  /** What each further second is given for: bytes of the file, characters of texts, tokens. */
  readonly unitsPerSecond: number;
}

/** GPT-2's table cuts 2 million characters a second (measured on Zen 5): a machine may be 30 times slower. */
const ALLOWANCE: TimeAllowance = { startMs: 30_000, unitsPerSecond: 1 << 16 };

/**
 * As `jsonTokenizer`. What the tokenizer takes is added up, so that many slow texts end as one does.
 *
 * @throws PogoError MALFORMED, from here and from its methods, where the time is up
 */
export function guardedTokenizer(file: Uint8Array, source: string, allowance = ALLOWANCE): Tokenizer {
  let [units, usedMs] = [0, 0];
  const run = <T>(size: number, action: () => T): T => {
    units += size;
    const allowedMs = allowance.startMs + (1000 * units) / allowance.unitsPerSecond;
    const start = performance.now();
    const done = withDeadline(allowedMs - usedMs, action);
    usedMs += performance.now() - start;
    if (done !== undefined) return done.value;
    throw new PogoError(
      'MALFORMED',
      `${source}: expected a tokenizer that takes at most ${Math.round(allowedMs / 1000)} s for ${units} bytes and characters, ` +
        'found one that takes longer, as regular expressions with nested repetition do; take tokenizer.json from the page of the model',
      { source },
    );
  };
  const tokenizer = run(file.length, () => jsonTokenizer(file, source));
  return Object.freeze({
    ...tokenizer,
    encode: (text: string) => run(text.length, () => tokenizer.encode(text)),
    decodeBytes: (tokens: ArrayLike<number>) => run(tokens.length, () => tokenizer.decodeBytes(tokens)),
  });
}
