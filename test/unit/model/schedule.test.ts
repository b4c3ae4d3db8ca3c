import { describe, expect, it } from 'vitest';
import { bitsToFloat, floatToBits } from '../../../src/model/fp32.js';
import { loadRecipe } from '../../../src/model/recipe.js';
import { cosineOfPi, learningRateTable, PI_FIXED } from '../../../src/model/schedule.js';

const tenth = { numerator: 1n, denominator: 10n };

describe('learning-rate table', () => {
  it('has π to 37 digits', () => {
    // Digits of π from any table.
    const digits = (PI_FIXED * 10n ** 37n) >> 128n;
    expect(digits).toBe(31415926535897932384626433832795028841n);
  });

  it('has the cosine at known angles', () => {
    const one = 1n << 128n;
    const near = (a: bigint, b: bigint): boolean => (a > b ? a - b : b - a) < 1n << 8n;
    expect(near(cosineOfPi(0n, 1n), one)).toBe(true);
    expect(near(cosineOfPi(1n, 3n), one / 2n)).toBe(true);
    expect(near(cosineOfPi(1n, 2n), 0n)).toBe(true);
    expect(near(cosineOfPi(2n, 3n), -one / 2n)).toBe(true);
    expect(near(cosineOfPi(1n, 1n), -one)).toBe(true);
  });

  it('agrees with Math.cos, a foreign library, within one unit in the last place', () => {
    const [warmup, horizon] = [40, 400];
    const table = learningRateTable({ peak: { numerator: 3n, denominator: 1000n }, warmup, horizon, floor: tenth });
    expect(table).toHaveLength(horizon);
    for (let step = 0; step < horizon; step++) {
      const share = (step - warmup) / (horizon - 1 - warmup);
      const expected =
        step < warmup ? (0.003 * (step + 1)) / warmup : 0.003 * (0.1 + 0.9 * 0.5 * (1 + Math.cos(Math.PI * share)));
      expect(Math.abs(table[step] - floatToBits(expected)), `step ${step}`).toBeLessThanOrEqual(1);
    }
    expect(bitsToFloat(table[warmup])).toBe(Math.fround(0.003));
    expect(bitsToFloat(table[horizon - 1])).toBe(Math.fround(0.0003));
  });

  it.each([
    ['tiny', 0.003, 2000],
    ['moby', 0.003, 400],
    ['gpt-5m', 0.002, 5000],
    ['gpt-19m', 0.002, 5000],
    ['gpt2-124m', 0.0006, 5000],
  ])('of %s rises for 40 steps to %d and falls for the rest of %d', (name, peak, horizon) => {
    const table = loadRecipe(name).learningRateBits;
    expect(table).toHaveLength(horizon);
    expect(bitsToFloat(table[39])).toBe(Math.fround(peak));
    for (let step = 1; step < horizon; step++) {
      // Bits of positive floats order as the floats do.
      if (step < 40) expect(table[step]).toBeGreaterThan(table[step - 1]);
      else expect(table[step]).toBeLessThanOrEqual(table[step - 1]);
    }
  });
});
