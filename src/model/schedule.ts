/**
 * The learning-rate table of a recipe, from integers alone: warm-up, then a cosine, as correctly rounded fp32 bits.
 *
 * A table made with `Math.cos` would differ between engines in its last bits; here π and the cosine are BigInt fixed
 * point with 128 fractional bits, so the table is a pure function of its integer parameters.
 */

import { invariant } from '../errors.js';
import { rationalToBits } from './fp32.js';

/** A fraction of integers; denominator > 0. */
export interface Fraction {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

export interface CosineSchedule {
  readonly peak: Fraction;
  /** Steps of linear warm-up: step s < warmup has peak · (s + 1) ÷ warmup. */
  readonly warmup: number;
  /** Entries of the table; the last one is peak · floor. */
  readonly horizon: number;
  /** Share of the peak at the end, e.g. 1/10. */
  readonly floor: Fraction;
}

const FRACTION_BITS = 128n;
const ONE = 1n << FRACTION_BITS;

/** Guard bits of the series: each term truncates by less than one unit, and fewer than 2^16 terms are summed. */
const GUARD = 32n;

/** arctan(1 ÷ n) in fixed point with FRACTION_BITS + GUARD fractional bits, by its alternating series. */
function arctanInverse(n: bigint): bigint {
  let power = (1n << (FRACTION_BITS + GUARD)) / n;
  let sum = 0n;
  for (let k = 0n; power !== 0n; k++) {
    const term = power / (2n * k + 1n);
    sum += k % 2n === 0n ? term : -term;
    power /= n * n;
  }
  return sum;
}

/** π in fixed point with 128 fractional bits (Machin 1706: π/4 = 4 arctan 1/5 − arctan 1/239). */
export const PI_FIXED: bigint = (4n * (4n * arctanInverse(5n) - arctanInverse(239n))) >> GUARD;

/**
 * cos(π · numerator ÷ denominator) in fixed point with 128 fractional bits, error below 2^-120.
 *
 * @param numerator 0 <= numerator <= denominator
 */
export function cosineOfPi(numerator: bigint, denominator: bigint): bigint {
  invariant(denominator > 0n && numerator >= 0n && numerator <= denominator, 'cosineOfPi: expected 0 <= n/d <= 1');
  // cos(π − x) = −cos x keeps the argument in [0, π/2], where the series converges in about 40 terms.
  if (2n * numerator > denominator) return -cosineOfPi(denominator - numerator, denominator);
  const x = (PI_FIXED * numerator) / denominator;
  const square = (x * x) >> FRACTION_BITS;
  let term = ONE;
  let sum = 0n;
  for (let k = 1n; term !== 0n; k += 2n) {
    sum += term;
    // BigInt division truncates towards zero, so the alternating terms shrink to exactly 0.
    term = -((term * square) >> FRACTION_BITS) / (k * (k + 1n));
  }
  return sum;
}

/**
 * The table of a schedule: warm-up to the peak, then peak · (floor + (1 − floor) · (1 + cos(π·p)) ÷ 2) with p from 0
 * at the end of the warm-up to 1 at the last entry.
 *
 * @returns `horizon` fp32 bit patterns, each the correctly rounded value
 */
export function learningRateTable(schedule: CosineSchedule): Uint32Array {
  const { peak, warmup, horizon, floor } = schedule;
  invariant(warmup >= 0 && horizon >= warmup + 2, 'learningRateTable: the horizon must exceed the warm-up by 2');
  const table = new Uint32Array(horizon);
  for (let step = 0; step < warmup; step++) {
    table[step] = rationalToBits(peak.numerator * BigInt(step + 1), peak.denominator * BigInt(warmup));
  }
  const last = BigInt(horizon - 1 - warmup);
  for (let step = warmup; step < horizon; step++) {
    const cosine = cosineOfPi(BigInt(step - warmup), last);
    // floor + (1 − floor)·(1 + cos)/2 = (2·f·ONE + (d − f)·(ONE + cos)) ÷ (2·d·ONE) with floor = f/d.
    const { numerator: f, denominator: d } = floor;
    const share = 2n * f * ONE + (d - f) * (ONE + cosine);
    table[step] = rationalToBits(peak.numerator * share, peak.denominator * 2n * d * ONE);
  }
  return table;
}
