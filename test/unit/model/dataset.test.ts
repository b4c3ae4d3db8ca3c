import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toHex } from '../../../src/hex.js';
import { prepareData, readMobyDick, type Tokens } from '../../../src/model/node/dataset.js';
import { mobyDickRoots, speechesRoots } from '../../../src/model/node/pinData.js';
import { readSpeeches } from '../../../src/model/node/speeches.js';
import { loadRecipe, type Recipe } from '../../../src/model/recipe.js';
import { MOBY_BYTES, MOBY_GPT2, MOBY_GPT2_WIDE, SOTU_BYTES, SOTU_GPT2 } from '../../../src/model/recipeData.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pogo-data-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** Element by element, which for a million of them is far quicker than the assertion library's comparison. */
function sameTokens(a: Tokens, b: Tokens): boolean {
  return a.length === b.length && a.every((token, i) => token === b[i]);
}

describe('the pinned data', () => {
  it.each([
    ['the novel', 'bytes', MOBY_BYTES, mobyDickRoots],
    ['the novel', 'gpt2', MOBY_GPT2, mobyDickRoots],
    ['the novel, 4 bytes each,', 'gpt2', MOBY_GPT2_WIDE, () => mobyDickRoots('gpt2', 1 << 18)],
    ['the speeches', 'bytes', SOTU_BYTES, speechesRoots],
    ['the speeches', 'gpt2', SOTU_GPT2, speechesRoots],
  ] as const)('of %s in tokens of %s are what the package gives', async (_, tokenizer, data, rootsOf) => {
    expect(await rootsOf(tokenizer)).toEqual({
      textRoot: toHex(data.textRoot),
      tokensRoot: toHex(data.tokensRoot),
      tokenizerRoot: toHex(data.tokenizerRoot),
      tokens: data.tokens,
    });
  });

  it('are the whole novel in order', async () => {
    const text = Buffer.from(await readMobyDick()).toString('utf8');
    const numbers = [...text.matchAll(/^CHAPTER (\d+)\. /gm)].map((match) => Number(match[1]));
    expect(numbers).toEqual(Array.from({ length: 135 }, (_, i) => i + 1));
    expect(text.startsWith('CHAPTER 1. Loomings.\n\nCall me Ishmael.')).toBe(true);
  });
});

describe('the speeches', () => {
  it('come in an order that is no order of years', async () => {
    const text = Buffer.from(await readSpeeches()).toString('utf8');
    // Washington's first and Biden's, both inside and not at an end.
    for (const opening of ['In meeting you again I feel much satisfaction', 'Madam Speaker']) {
      const place = text.indexOf(opening);
      expect(place).toBeGreaterThan(1000);
      expect(place).toBeLessThan(text.length - SOTU_BYTES.heldOutTokens);
    }
  });
});

describe('prepareData', () => {
  const recipe = loadRecipe('tiny');

  it('writes a token file whose BLAKE3 is the root in the recipe, and loads it again', async () => {
    const first = await prepareData(recipe, join(folder, 'new'));
    const bytes = await readFile(first.path);
    expect(toHex(blake3(bytes))).toBe(toHex(recipe.data.tokensRoot));
    expect(first.path.endsWith(`moby-dick-${toHex(recipe.data.tokensRoot).slice(0, 16)}.tokens`)).toBe(true);
    const { mtimeMs } = await stat(first.path);
    const second = await prepareData(recipe, join(folder, 'new'));
    expect((await stat(first.path)).mtimeMs).toBe(mtimeMs);
    expect(sameTokens(second.tokens as Tokens, first.tokens as Tokens)).toBe(true);
    expect((second.tokens as Tokens).buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(await readdir(join(folder, 'new'))).toHaveLength(1); // no temporary file stays
  });

  it('makes a changed or cut file anew', async () => {
    const { path, tokens } = await prepareData(recipe, folder);
    const good = await readFile(path);
    const flipped = Buffer.from(good);
    flipped[1000] ^= 1;
    for (const bad of [flipped, good.subarray(0, 999), Buffer.concat([good, Buffer.of(0, 0)])]) {
      await writeFile(path, bad);
      expect(sameTokens((await prepareData(recipe, folder)).tokens as Tokens, tokens as Tokens)).toBe(true);
      expect((await readFile(path)).equals(good)).toBe(true);
    }
  });

  it('says so when the data of a recipe are not there', async () => {
    const other: Recipe = {
      ...recipe,
      data: { ...recipe.data, name: 'mine', textRoot: new Uint8Array(32), tokensRoot: new Uint8Array(32) },
    };
    await expect(prepareData(other, folder)).rejects.toMatchObject({
      code: 'DATA',
      message: expect.stringContaining('pogo data build'),
    });
  });

  it('reports a folder that cannot be written', async () => {
    const file = join(folder, 'a-file');
    await writeFile(file, 'x');
    await expect(prepareData(recipe, join(file, 'sub'))).rejects.toMatchObject({ code: 'IO' });
  });
});
