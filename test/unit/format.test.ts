/** How numbers are said to people. */
import { expect, it } from 'vitest';
import { lossChange } from '../../src/cli/format.js';

it('a loss that was not measured is said to be so, and is no number', () => {
  expect(lossChange(5.54774, 2.571)).toBe('5.5477 → 2.5710');
  for (const pair of [[], [Number.NaN, Number.NaN], [5.5, undefined], [Number.NaN, 2]] as const) {
    expect(lossChange(...(pair as readonly [number?, number?]))).toBe('not measured');
  }
});
