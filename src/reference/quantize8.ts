/**
 * 8-bit quantization: `docs/numerics.md` §2.1 and §2.2.
 *
 * No clamp is needed: the constants lie just below 127 and 255, so that ±absmax with extreme dither still rounds
 * into the range. −128 never appears.
 */
import * as K from './constants.js';
import { ditherColumns, ditherOf, ditherRow } from './dither.js';
import { absmax, bf16Row, f32, nearest } from './scalars.js';
import { colSum } from './sums.js';

/** Contracted elements of one scale. */
export const PANEL = 1024;

/** Number of panels of an axis of k elements. */
export function panels(k: number): number {
  return Math.ceil(k / PANEL);
}

/** Column words of the dither for elements of a group, and its row word; absent: nearest. */
export interface GroupDither {
  readonly columns: Int32Array;
  /** Index in `columns` of the group's first element. */
  readonly first: number;
  readonly row: number;
}

/**
 * Codes of one group x[start … start + count − 1], written to codes[codesStart …] with a stride.
 * @returns the group's scale; +0 where its absmax is below 2⁻¹⁰⁰
 * @throws PogoError NON_FINITE
 */
export function quantizeGroup(
  x: Float32Array,
  start: number,
  count: number,
  codes: Int8Array,
  codesStart: number,
  dither: GroupDither | undefined,
  operation: string,
  where: (start: number) => string,
): number {
  const largest = absmax(x, start, count, operation, where);
  if (largest < K.F32_ABSMAX_MIN) {
    codes.fill(0, codesStart, codesStart + count);
    return 0;
  }
  const k = f32(K.F32_Q8_C / largest);
  if (dither === undefined) {
    for (let i = 0; i < count; i += 1) codes[codesStart + i] = nearest(f32(x[start + i] * k));
  } else {
    const { columns, first, row } = dither;
    for (let i = 0; i < count; i += 1) {
      const delta = ditherOf(columns[first + i], row);
      codes[codesStart + i] = nearest(f32(f32(x[start + i] * k) + delta));
    }
  }
  return scaleOf(largest);
}

function scaleOf(largest: number): number {
  return largest < K.F32_ABSMAX_MIN ? 0 : f32(largest * K.F32_Q8_R);
}

/** The scale alone of {@link quantizeGroup}. @throws PogoError NON_FINITE */
export function groupScale(
  x: Float32Array,
  start: number,
  count: number,
  operation: string,
  where: (start: number) => string,
): number {
  return scaleOf(absmax(x, start, count, operation, where));
}

/** The unsigned form for x ≥ 0: codes 0 … 255 of x[0 … count − 1], nearest or with one dither value an element. */
export function quantizeGroupUnsigned(
  x: Float32Array,
  count: number,
  codes: Uint8Array,
  dither: Float32Array | undefined,
  operation: string,
  where: string,
): number {
  const largest = absmax(x, 0, count, operation, () => where);
  if (largest < K.F32_ABSMAX_MIN) {
    codes.fill(0, 0, count);
    return 0;
  }
  const k = f32(K.F32_Q8U_C / largest);
  if (dither === undefined) for (let i = 0; i < count; i += 1) codes[i] = nearest(f32(x[i] * k));
  else for (let i = 0; i < count; i += 1) codes[i] = nearest(f32(f32(x[i] * k) + dither[i]));
  return f32(largest * K.F32_Q8U_R);
}

/** Seed and first row index (within the unit) of a dithered quantization by rows. */
export interface RowDither {
  readonly seed: Uint32Array;
  readonly t0: number;
}

/**
 * Codes of an f32 [rows, cols] in groups of `group` consecutive columns; scales [ceil(cols / group), rows].
 * With group = 1024 these are row codes, with group = h codes per (token, head).
 */
export function quantizeGroups(
  x: Float32Array,
  rows: number,
  cols: number,
  group: number,
  codes: Int8Array,
  scales: Float32Array,
  dither: RowDither | undefined,
  operation: string,
): void {
  const columns = dither === undefined ? new Int32Array(0) : ditherColumns(dither.seed, 0, cols);
  const where = (start: number): string => `row ${Math.floor(start / cols)}, columns from ${start % cols}`;
  for (let t = 0; t < rows; t += 1) {
    const row = dither === undefined ? 0 : ditherRow(dither.seed, dither.t0 + t);
    for (let first = 0, g = 0; first < cols; first += group, g += 1) {
      const count = Math.min(group, cols - first);
      const start = (t * cols + first) | 0;
      const rounding = dither === undefined ? undefined : { columns, first, row };
      scales[g * rows + t] = quantizeGroup(x, start, count, codes, start, rounding, operation, where);
    }
  }
}

/** Values of a whole bf16 matrix. */
export function bf16Values(x: Uint16Array, count: number): Float32Array {
  const values = new Float32Array(count);
  bf16Row(x, 0, count, values);
  return values;
}

/** Operation `quantizeRows`: row codes of bf16 values, nearest. */
export function quantizeRows(a: {
  x: Uint16Array;
  codes: Int8Array;
  scales: Float32Array;
  T: number;
  N: number;
}): void {
  const values = bf16Values(a.x, a.T * a.N);
  quantizeGroups(values, a.T, a.N, PANEL, a.codes, a.scales, undefined, 'quantizeRows');
}

/** Operation `quantizeGradientRows`: row codes of bf16 values, dithered; `bias` gets the column sums of x. */
export function quantizeGradientRows(a: {
  x: Uint16Array;
  codes: Int8Array;
  scales: Float32Array;
  bias: Float32Array;
  seed: Uint32Array;
  T: number;
  N: number;
  t0: number;
  accumulate: boolean;
}): void {
  const values = bf16Values(a.x, a.T * a.N);
  const dither = { seed: a.seed, t0: a.t0 };
  quantizeGroups(values, a.T, a.N, PANEL, a.codes, a.scales, dither, 'quantizeGradientRows');
  if (a.bias.length > 0) colSum(values, a.T, a.N, a.bias, a.accumulate);
}
