/**
 * The same bits on every backend, instruction set, lane count, shard count and micro-batch.
 */
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import type { Recipe } from '../../src/model/recipe.js';
import { GPT2_TINY, loadRecipe, nativeIsas, type Setup, trainFor } from '../support/trainers.js';

const isas = await nativeIsas();

async function roots(recipe: Recipe, setup: Setup, steps: number): Promise<string[]> {
  const commitments = await trainFor(recipe, setup, steps);
  return commitments.flatMap((c) => [toHex(c.postStateRoot), ...c.unitRoots.map(toHex), ...c.unitLosses.map(String)]);
}

describe.each([
  { name: 'tiny', recipe: loadRecipe('tiny'), steps: 9 }, // nine steps: one EMA update included
  { name: 'tiny with all that GPT-2 has', recipe: GPT2_TINY, steps: 2 },
  { name: 'gemma-tiny', recipe: loadRecipe('gemma-tiny'), steps: 2 },
])('a run of $name ends in one state', ({ recipe, steps }) => {
  const reference = roots(recipe, { backend: 'reference', isa: 'typescript', lanes: 1 }, steps);

  it('on the reference with two lanes and three shards', async () => {
    expect(await roots(recipe, { backend: 'reference', isa: 'typescript', lanes: 2, shards: 3 }, steps)).toEqual(
      await reference,
    );
  });

  it.each(isas.flatMap((isa) => [1, 2, 3].map((lanes) => ({ isa, lanes }))))(
    'on cpu/$isa with $lanes lanes',
    async ({ isa, lanes }) => {
      const setup: Setup = { backend: 'cpu', isa, lanes, shards: 5 - lanes };
      expect(await roots(recipe, setup, steps)).toEqual(await reference);
    },
  );
});

describe('a run of moby ends in one state', () => {
  const fastest = isas.at(-1);
  const moby = loadRecipe('moby');
  it.skipIf(fastest === undefined)(
    'on every native instruction set, in one and in two micro-batches (skipped without native kernels)',
    async () => {
      const base: Setup = { backend: 'cpu', isa: fastest as Setup['isa'], lanes: 2 };
      const expected = await roots(moby, base, 2);
      expect(await roots(moby, { ...base, lanes: 1, shards: 7, microBatches: 2 }, 2)).toEqual(expected);
      for (const isa of isas.slice(0, -1)) {
        expect(await roots(moby, { ...base, isa, microBatches: 2 }, 2)).toEqual(expected);
      }
    },
  );
});
