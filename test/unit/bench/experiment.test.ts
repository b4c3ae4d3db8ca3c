import { describe, expect, test } from 'vitest';
import { below, layoutOf, uint32Stream } from '../../../bench/experiments/experiment.mjs';
import { createLayout } from '../../../src/model/layout.js';
import { loadRecipe, RECIPE_NAMES } from '../../../src/model/recipes.js';

describe('experiment folders', () => {
  // Adapters over a frozen model are nothing that PyTorch's peer trains.
  const names = RECIPE_NAMES.filter((name) => loadRecipe(name).adapter === undefined);

  test.each(names)('the layout written for PyTorch is the library’s: %s', (name) => {
    const recipe = loadRecipe(name);
    const ours = createLayout(recipe);
    const written = layoutOf(recipe);
    const expected = ours.tensors.map(({ name, offset, rows, cols, decay }) => ({ name, offset, rows, cols, decay }));
    expect(written.tensors).toEqual(expected);
    expect(written.length).toBe(ours.length);
  });

  test('streams repeat by label and differ between labels', () => {
    const take = (label: string): number[] => {
      const next = uint32Stream(label);
      return Array.from({ length: 300 }, next);
    };
    expect(take('a')).toEqual(take('a'));
    expect(take('a')).not.toEqual(take('b'));
  });

  test('below rejects the values that would favour small results', () => {
    const values = [0xffffffff, 7];
    expect(below(() => values.shift() as number, 10)).toBe(7);
  });
});
