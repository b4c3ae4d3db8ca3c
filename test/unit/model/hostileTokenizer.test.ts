/** A `tokenizer.json` that is made to take time or memory without end: it is ended, with an error that names the file. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { withDeadline } from '../../../src/model/node/deadline.js';
import { guardedTokenizer } from '../../../src/model/node/guardedTokenizer.js';
import { keepTokenizer, openRecipeTokenizer, openTokenizerFile } from '../../../src/model/node/tokenizerFile.js';
import { loadRecipe, validateRecipe } from '../../../src/model/recipe.js';
import { refusal } from '../../support/refusal.js';

const letters = Object.fromEntries([...'<abcdefgh !x'].map((letter, id) => [letter, id]));
const plain = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: { type: 'BPE', vocab: letters, merges: [], unk_token: '<' },
};
const bytesOf = (change: object): Uint8Array => new TextEncoder().encode(JSON.stringify({ ...plain, ...change }));
const split = (Regex: string) => ({
  pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
});
/** Exponential in the number of letters where no exclamation mark follows. */
const slow = bytesOf(split('(a+)+!'));
const SLOW_TEXT = 'a'.repeat(60);

describe('a deadline', () => {
  it('ends a regular expression and a loop, and gives back what is done in time', () => {
    expect(withDeadline(50, () => /^(a+)+$/.test(`${SLOW_TEXT}!`))).toBeUndefined();
    expect(
      withDeadline(50, () => {
        for (;;);
      }),
    ).toBeUndefined();
    expect(withDeadline(10_000, () => 7)).toEqual({ value: 7 });
    expect(withDeadline(10_000, () => undefined)).toEqual({ value: undefined });
    const own = new Error('mine');
    expect(() => withDeadline(10_000, () => raise(own))).toThrow(own);
  });
});

function raise(error: Error): never {
  throw error;
}

describe('a tokenizer that takes time', () => {
  it('is ended, and named', async () => {
    const allowance = { startMs: 1000, unitsPerSecond: 1 << 16 };
    const tokenizer = guardedTokenizer(slow, 'strange.json', allowance);
    expect(Array.from(tokenizer.encode('aab!'))).toEqual([1, 1, 2, 10]);
    expect(await refusal(() => tokenizer.encode(SLOW_TEXT))).toMatch(
      /^MALFORMED: strange\.json: expected a tokenizer that takes at most 1 s for .*nested repetition.*take tokenizer\.json/,
    );
  });

  it('is ended, too, where no text alone takes long, and while it is opened', async () => {
    const tokenizer = guardedTokenizer(slow, 'strange.json', { startMs: 1500, unitsPerSecond: 1 << 30 });
    const many = (): void => {
      for (;;) tokenizer.encode('a'.repeat(20));
    };
    expect(await refusal(many)).toMatch(/^MALFORMED: strange\.json/);
    const pattern = { Regex: '(a+)+!' };
    const opening = bytesOf({
      normalizer: { type: 'Replace', pattern, content: '' },
      added_tokens: [{ id: 1, content: SLOW_TEXT, normalized: true }],
    });
    expect(
      await refusal(() => guardedTokenizer(opening, 'strange.json', { startMs: 100, unitsPerSecond: 1e9 })),
    ).toMatch(/^MALFORMED: strange\.json/);
  });

  describe('on disk', () => {
    afterEach(() => vi.restoreAllMocks());

    it('is under a deadline wherever a file is opened and used', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'pogo-hostile-'));
      try {
        await writeFile(join(folder, 'tokenizer.json'), slow);
        const runs = vi.spyOn(Script.prototype, 'runInThisContext');
        const found = await openTokenizerFile(join(folder, 'tokenizer.json'));
        found?.tokenizer.encode('a');
        found?.tokenizer.decodeBytes([1]);
        expect(runs).toHaveBeenCalledTimes(3);
        await keepTokenizer(folder, found as NonNullable<typeof found>);
        const tiny = loadRecipe('tiny');
        const data = { ...tiny.data, tokenizerRoot: found?.tokenizer.root as Uint8Array };
        const recipe = validateRecipe({ ...tiny, name: 'own', tokenizer: 'json', data });
        (await openRecipeTokenizer(recipe, folder)).encode('a');
        expect(runs).toHaveBeenCalledTimes(5);
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  });
});

describe('a tokenizer that takes memory', () => {
  const twice = { type: 'Replace', pattern: { String: 'a' }, content: 'aa' };
  const whole = { type: 'Replace', pattern: { String: 'a' }, content: "$'$`" };
  const text = 'a'.repeat(200);
  const steps = Array.from({ length: 40 }, () => twice);
  it.each([
    ['a normalizer', { normalizer: { type: 'Sequence', normalizers: steps } }],
    ['a replacement by the text itself', { normalizer: { type: 'Sequence', normalizers: [whole, whole, whole] } }],
    [
      'one step in another',
      { normalizer: { type: 'Sequence', normalizers: [{ type: 'Sequence', normalizers: steps }] } },
    ],
    ['a pre-tokenizer', { pre_tokenizer: { type: 'Sequence', pretokenizers: steps } }],
  ])('by %s is ended', async (_, change) => {
    const tokenizer = guardedTokenizer(bytesOf(change), 'strange.json');
    expect(await refusal(() => tokenizer.encode(text))).toMatch(
      /^MALFORMED: strange\.json: expected a tokenizer that cuts this text, found (one whose steps make more than 256 |Invalid string length)/,
    );
  });

  it('by its decoder is ended', async () => {
    const tokenizer = guardedTokenizer(bytesOf({ decoder: { type: 'Sequence', decoders: steps } }), 'strange.json');
    expect(await refusal(() => tokenizer.decodeBytes(Array.from(text, () => 1)))).toMatch(
      /^MALFORMED: strange\.json: expected a tokenizer that puts these tokens together, found one whose steps/,
    );
  });

  it.each(['normalizer', 'decoder', 'pre_tokenizer'])('by a long replacement in its %s is refused', async (part) => {
    const file = bytesOf({ [part]: { ...twice, content: 'a'.repeat(20_000) } });
    expect(await refusal(() => guardedTokenizer(file, 'strange.json'))).toBe(
      `MALFORMED: strange.json: expected at most 16384 characters in ${part}.content, found 20000; take tokenizer.json from the page of the model`,
    );
  });
});
