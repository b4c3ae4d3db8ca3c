import { describe, expect, it } from 'vitest';
import * as K from '../../src/reference/constants.js';
import { bitsOf } from '../../src/reference/scalars.js';

/** The bits of the binary32 nearest to numerator/denominator (both positive), ties to even, in integers. */
function roundRatio(numerator: bigint, denominator: bigint): number {
  let exponent = 0;
  let n = numerator;
  let d = denominator;
  while (n < d << 23n) {
    n <<= 1n;
    exponent -= 1;
  }
  while (n >= d << 24n) {
    d <<= 1n;
    exponent += 1;
  }
  let q = n / d;
  const rest = 2n * (n - q * d);
  if (rest > d || (rest === d && (q & 1n) === 1n)) q += 1n;
  if (q === 1n << 24n) {
    q >>= 1n;
    exponent += 1;
  }
  return ((exponent + 23 + 127) << 23) | Number(q & 0x7fffffn);
}

/** The exact value of a binary32 as a ratio. */
function ratioOf(x: number): [bigint, bigint] {
  return [BigInt(x * 2 ** 40), 1n << 40n];
}

describe('constants that are derived from others', () => {
  it.each([
    ['Q8_C', K.F32_Q8_C, 127n * 32768n - 1n, 32768n],
    ['Q8U_C', K.F32_Q8U_C, 255n * 16384n - 1n, 16384n],
    ['Q4_C = 7 (1 − 2⁻²²)', K.F32_Q4_C, 7n * (4194304n - 1n), 4194304n],
    ['MODEL8_C = 127 (1 − 2⁻²²)', K.F32_MODEL8_C, 127n * (4194304n - 1n), 4194304n],
    ['1/112', K.F32_INV_DERIVATIVE, 1n, 112n],
  ])('%s', (_, value, numerator, denominator) => {
    expect(bitsOf(value).toString(16)).toBe(roundRatio(numerator, denominator).toString(16));
  });

  it.each([
    ['Q8_R', K.F32_Q8_R, K.F32_Q8_C],
    ['Q8U_R', K.F32_Q8U_R, K.F32_Q8U_C],
    ['Q4_R', K.F32_Q4_R, K.F32_Q4_C],
    ['MODEL8_R', K.F32_MODEL8_R, K.F32_MODEL8_C],
  ])('%s is the rounded reciprocal', (_, reciprocal, value) => {
    const [n, d] = ratioOf(value);
    expect(bitsOf(reciprocal).toString(16)).toBe(roundRatio(d, n).toString(16));
  });

  it('log2(e) and ln(2) are the nearest binary32', () => {
    expect(K.F32_LOG2E).toBe(Math.fround(Math.LOG2E));
    expect(K.F32_LN2).toBe(Math.fround(Math.LN2));
  });
});
