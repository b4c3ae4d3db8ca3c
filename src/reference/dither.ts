/**
 * Rank-1 dither for stochastic rounding: `docs/numerics.md` §1.10.
 *
 * Two vectors of hashed 23-bit words, xored: any two entries are independent and uniform, so a sum of rounded values
 * has the variance of independent rounding, at the cost of one xor and two additions an element.
 */
import * as K from './constants.js';
import { f32, floatOf } from './scalars.js';

/** A mixing permutation of 32-bit words. */
export function mix(word: number): number {
  let x = word | 0;
  x ^= x >>> 16;
  x = Math.imul(x, K.U32_MIX_1);
  x ^= x >>> 15;
  x = Math.imul(x, K.U32_MIX_2);
  x ^= x >>> 16;
  return x;
}

/** Hash of a counter under two seed words. */
export function counterHash(a: number, b: number, n: number): number {
  return mix((mix(n ^ a) + b) | 0);
}

/** The word of column n: an exponent of [1, 2) and 23 hashed bits. */
export function ditherColumn(seed: Uint32Array, n: number): number {
  return K.U32_DITHER_ONE | (counterHash(seed[0], seed[1], n) & K.U32_MANTISSA);
}

/** The word of row t: 23 hashed bits. */
export function ditherRow(seed: Uint32Array, t: number): number {
  return counterHash(seed[2], seed[3], t) & K.U32_MANTISSA;
}

/** δ(n, t) in [−0.5, 0.5) from the two words. */
export function ditherOf(column: number, row: number): number {
  return f32(floatOf(column ^ row) - K.F32_HALF_STEP);
}

/** Words of columns first … first + count − 1. */
export function ditherColumns(seed: Uint32Array, first: number, count: number): Int32Array {
  const words = new Int32Array(count);
  for (let i = 0; i < count; i += 1) words[i] = ditherColumn(seed, first + i);
  return words;
}

/** Words of rows first … first + count − 1. */
export function ditherRows(seed: Uint32Array, first: number, count: number): Int32Array {
  const words = new Int32Array(count);
  for (let i = 0; i < count; i += 1) words[i] = ditherRow(seed, first + i);
  return words;
}
