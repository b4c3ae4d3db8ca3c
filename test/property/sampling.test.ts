/** The sampling rule `epochs`: windows of the training part, each once before any comes twice inside a claim's draw. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadRecipe, type Recipe } from '../../src/model/recipe.js';
import { CONTEXT, u64Bytes } from '../../src/protocol/domains.js';
import { drawBatch } from '../../src/protocol/draws.js';
import { permutation } from '../../src/protocol/permutation.js';
import { RandomStream } from '../../src/protocol/randomStream.js';

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const stream = (seed: Uint8Array): RandomStream => new RandomStream(CONTEXT.epoch, seed, u64Bytes(0));

describe('a keyed permutation', () => {
  it('takes every index to a place of its own', () => {
    fc.assert(
      fc.property(bytes32, fc.integer({ min: 1, max: 3000 }), (seed, size) => {
        const order = permutation(stream(seed), size);
        const places = new Set(Array.from({ length: size }, (_, i) => order(i)));
        expect(places.size).toBe(size);
        for (const place of places) expect(place >= 0 && place < size).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('of sizes around powers of four, and of the largest', () => {
    for (const size of [1, 2, 3, 4, 5, 15, 16, 17, 255, 256, 257, 1023, 1024, 1025]) {
      const order = permutation(stream(new Uint8Array(32)), size);
      expect(new Set(Array.from({ length: size }, (_, i) => order(i))).size).toBe(size);
    }
    const order = permutation(stream(new Uint8Array(32)), 2 ** 48);
    const places = Array.from({ length: 1000 }, (_, i) => order(2 ** 48 - 1 - i));
    expect(new Set(places).size).toBe(1000);
    expect(places.every((place) => Number.isSafeInteger(place) && place < 2 ** 48)).toBe(true);
  });

  it('puts any index anywhere about equally often', () => {
    const size = 8;
    const counts = Array.from({ length: size }, () => new Array<number>(size).fill(0));
    const trials = 8000;
    for (let i = 0; i < trials; i += 1) {
      const order = permutation(
        stream(Uint8Array.from({ length: 32 }, (_, k) => (k < 4 ? (i >> (8 * k)) & 255 : 0))),
        size,
      );
      for (let index = 0; index < size; index += 1) counts[index]![order(index)]! += 1;
    }
    // Each cell is binomial(8000, 1/8): mean 1000, deviation 29.6; 64 cells, five deviations.
    for (const count of counts.flat()) expect(Math.abs(count - trials / size)).toBeLessThan(5 * 29.6);
  });
});

/** `tiny` over so few tokens that a claim goes through several epochs. */
function shortRecipe(tokens: number): Recipe {
  const tiny = loadRecipe('tiny');
  return { ...tiny, sampling: 'epochs', data: { ...tiny.data, tokens, heldOutTokens: 65 } };
}

describe('windows of an epoch', () => {
  it('are disjoint, lie in the training part, and each comes once', () => {
    fc.assert(
      fc.property(bytes32, fc.integer({ min: 65 + 128, max: 4000 }), fc.nat(50), (draw, tokens, epoch) => {
        const recipe = shortRecipe(tokens);
        const { context } = recipe;
        const windows = Math.floor((tokens - 65 - context) / context);
        const perStep = recipe.unitsPerStep * recipe.sequencesPerUnit;
        const first = epoch * windows;
        const steps = Array.from(
          { length: Math.ceil((first + windows) / perStep) - Math.floor(first / perStep) },
          (_, i) => Math.floor(first / perStep) + i,
        );
        const offsets = steps
          .flatMap((step) => drawBatch(draw, step, recipe))
          .slice(first % perStep, (first % perStep) + windows)
          .sort((a, b) => a - b);
        expect(offsets).toHaveLength(windows);
        const shift = offsets[0]! % context;
        offsets.forEach((offset, i) => {
          expect(offset).toBe(shift + i * context);
        });
        expect(offsets.at(-1)! + context).toBeLessThan(tokens - 65);
      }),
      { numRuns: 60 },
    );
  });

  it('depend on draw 1, the step and nothing else: a known answer', () => {
    const recipe = loadRecipe('sotu-finetune');
    const draw = new Uint8Array(32).fill(7);
    expect(drawBatch(draw, 3, recipe).slice(0, 4)).toEqual([8_541_000, 4_680_904, 8_678_984, 4_345_672]);
    expect(drawBatch(draw, 3, recipe)).not.toEqual(drawBatch(new Uint8Array(32), 3, recipe));
  });
});
