/** Inputs of tests that compare the exact arithmetic with binary64: normal values and their codes. */

import { quantizeGroups } from '../../src/reference/quantize8.js';
import { bf16, f32 } from '../../src/reference/scalars.js';
import { seededRandom } from './random.js';

/** Standard normal values (Box–Muller), as binary32. */
export function gaussian(count: number, seed: number, deviation = 1): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return f32(deviation * radius * Math.cos(2 * Math.PI * random()));
  });
}

export function toBf16(x: Float32Array): Uint16Array {
  return Uint16Array.from(x, bf16);
}

/** A code matrix with the values that it stands for. */
export interface Coded {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
  /** f64 [rows, cols]. */
  readonly values: Float64Array;
}

/** Codes of x f32 [rows, cols] in groups of `group` columns, nearest. */
export function coded(x: Float32Array, rows: number, cols: number, group = 1024): Coded {
  const codes = new Int8Array(rows * cols);
  const scales = new Float32Array(rows * Math.ceil(cols / group));
  quantizeGroups(x, rows, cols, group, codes, scales, undefined, 'test');
  const values = Float64Array.from(
    codes,
    (c, i) => c * scales[Math.floor((i % cols) / group) * rows + Math.floor(i / cols)],
  );
  return { codes, scales, values };
}

/** ‖found − expected‖ ÷ ‖expected‖. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i += 1) {
    difference += (found[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Slope of the regression of `found` on `expected` through the origin: 1 for an unbiased estimate. */
export function slope(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let product = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i += 1) {
    product += found[i] * expected[i];
    norm += expected[i] ** 2;
  }
  return product / norm;
}
