/** The printed cost of a trace is that of the program, and covers what is published. */
import { describe, expect, it } from 'vitest';
import { loadRecipe, RECIPE_NAMES } from '../../../src/model/recipe.js';
import { traceCost } from '../../../src/protocol/dispute/traceCost.js';
import { MAX_OPERATIONS } from '../../../src/protocol/trace/program.js';
import { GEMMA_LORA, TOO_LARGE } from '../../support/optionRecipes.js';

describe('the cost of a trace', () => {
  it.each(RECIPE_NAMES.map((name) => [name]))('%s: a unit costs most, and its list fits a transaction', (name) => {
    const recipe = loadRecipe(name);
    const { unit, state, model } = traceCost(recipe)!;
    expect(unit.hashedBytes).toBeGreaterThan(state.hashedBytes);
    expect(state.hashedBytes).toBeGreaterThan(model.hashedBytes);
    expect(unit.seconds).toBeGreaterThan(state.seconds);
    for (const { operations, publishedBytes } of [unit, state, model]) {
      expect(operations).toBeLessThanOrEqual(MAX_OPERATIONS);
      expect(publishedBytes).toBe(32 * operations + 4096);
    }
  });

  it('of adapters over a gemma3 model is that of their program', () => {
    expect(traceCost(GEMMA_LORA)?.unit.operations).toBe(565);
  });

  it('of units that are too large for a list of roots is none: they are not disputed', () => {
    expect(traceCost(TOO_LARGE)).toBeUndefined();
  });

  it('moby: 616 operations, 226 MB, 24 kB published', () => {
    const { unit } = traceCost(loadRecipe('moby'))!;
    expect(unit).toMatchObject({ operations: 616, publishedBytes: 23_808 });
    expect(Math.round(unit.hashedBytes / 1e6)).toBe(226);
  });
});
