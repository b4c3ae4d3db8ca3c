/**
 * The other orientation of a code matrix: `docs/numerics.md` §2.3.
 *
 * Codes [T, N] become codes [N, T] with scales along T, so that the same tensor can be contracted along its rows.
 * No fp32 copy of the tensor is needed after its first quantizer.
 */

import * as K from './constants.js';
import { ditherColumn, ditherOf, ditherRows } from './dither.js';
import { PANEL } from './quantize8.js';
import { absmax, f32, nearest } from './scalars.js';

/**
 * Operation `recode`. y[n,t] = float(code)·scale, quantized over (n, panel of t), nearest or dithered by (n, t0 + t).
 * Panels of t are counted from the call's first row, which is the unit's first or a multiple of 1024 after it.
 */
export function recode(a: {
  codes: Int8Array;
  scales: Float32Array;
  out: Int8Array;
  outScales: Float32Array;
  seed: Uint32Array;
  dither: boolean;
  T: number;
  N: number;
  t0: number;
}): void {
  const { codes, scales, out, T, N } = a;
  const y = new Float32Array(Math.min(T, PANEL));
  const rows = a.dither ? ditherRows(a.seed, a.t0, T) : new Int32Array(0);
  for (let first = 0, panel = 0; first < T; first += PANEL, panel += 1) {
    const count = Math.min(PANEL, T - first);
    for (let n = 0; n < N; n += 1) {
      const scaleOffset = Math.floor(n / PANEL) * T + first;
      for (let i = 0; i < count; i += 1) y[i] = f32(codes[(first + i) * N + n] * scales[scaleOffset + i]);
      const largest = absmax(y, 0, count, 'recode', () => `column ${n}, rows from ${first}`);
      const scaleIndex = panel * N + n;
      const outOffset = n * T + first;
      if (largest < K.F32_ABSMAX_MIN) {
        out.fill(0, outOffset, outOffset + count);
        a.outScales[scaleIndex] = 0;
        continue;
      }
      const k = f32(K.F32_Q8_C / largest);
      if (a.dither) {
        const column = ditherColumn(a.seed, n);
        for (let i = 0; i < count; i += 1) {
          out[outOffset + i] = nearest(f32(f32(y[i] * k) + ditherOf(column, rows[first + i])));
        }
      } else {
        for (let i = 0; i < count; i += 1) out[outOffset + i] = nearest(f32(y[i] * k));
      }
      a.outScales[scaleIndex] = f32(largest * K.F32_Q8_R);
    }
  }
}
