/**
 * The 4-bit gradient: `docs/numerics.md` §2.5, operations quantize4 and dequantize4.
 */
import { GROUP4, nibbleAt, packNibbles, quantizeBlock } from './codes4.js';
import * as K from './constants.js';
import { ditherColumns, ditherOf, ditherRow } from './dither.js';
import { bf16Value, f32 } from './scalars.js';

/**
 * Operation `quantize4`. Groups of 64 along a row (cols is a multiple of 64) or along a vector (rows = 1), dithered by
 * (row, column). What `codes` and `scales` hold beyond the tensor (the padding of its last leaf) becomes zero.
 */
export function quantize4(a: {
  x: Float32Array;
  codes: Uint8Array;
  scales: Uint16Array;
  seed: Uint32Array;
  rows: number;
  cols: number;
}): void {
  const { x, rows, cols } = a;
  const columns = ditherColumns(a.seed, 0, cols);
  const deltas = new Float32Array(GROUP4);
  const codes = new Int8Array(GROUP4);
  a.codes.fill(0);
  a.scales.fill(0);
  for (let t = 0; t < rows; t += 1) {
    const row = ditherRow(a.seed, t);
    for (let first = 0; first < cols; first += GROUP4) {
      const count = Math.min(GROUP4, cols - first);
      const start = (t * cols + first) | 0;
      for (let i = 0; i < count; i += 1) deltas[i] = ditherOf(columns[first + i], row);
      a.scales[start >>> 6] = quantizeBlock(x, start, count, K.F32_Q4_R, deltas, codes, 'quantize4');
      packNibbles(codes, count, a.codes, start);
    }
  }
}

/** Operation `dequantize4`: x = float(code) × scale, exact. */
export function dequantize4(a: { codes: Uint8Array; scales: Uint16Array; x: Float32Array; n: number }): void {
  for (let i = 0; i < a.n; i += 1) a.x[i] = f32(nibbleAt(a.codes, i) * bf16Value(a.scales[i >>> 6]));
}
