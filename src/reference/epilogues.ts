/**
 * The epilogues of linear layers over sums that lie in memory: `docs/numerics.md` §4, quantizeHeads … geluGradientRows.
 * Their formulas are those of the fused operations in `linear.ts`.
 */
import * as K from './constants.js';
import { ditherColumns, ditherRow } from './dither.js';
import { PANEL, quantizeGroup, quantizeGroups } from './quantize8.js';
import { bf16, bf16Row, f32, gelu, geluDerivative, nearest, nonFinite } from './scalars.js';
import { colSum } from './sums.js';

/** Row t of the sums, with the bias where there is one. */
function sumRow(sum: Float32Array, bias: Float32Array, t: number, N: number, out: Float32Array): void {
  out.set(sum.subarray(t * N, (t + 1) * N));
  if (bias.length > 0) for (let n = 0; n < N; n += 1) out[n] = f32(out[n] + bias[n]);
}

/** Operation `quantizeHeads`: codes per (token, group of columns), scales times a factor. */
export function quantizeHeads(a: {
  sum: Float32Array;
  bias: Float32Array;
  codes: Int8Array;
  scales: Float32Array;
  seed: Uint32Array;
  factor: number;
  T: number;
  N: number;
  H: number;
  t0: number;
}): void {
  const { T, N, H } = a;
  const h = (N / H) | 0;
  const dithered = a.seed.length > 0;
  const columns = dithered ? ditherColumns(a.seed, 0, N) : new Int32Array(0);
  const y = new Float32Array(N);
  for (let t = 0; t < T; t += 1) {
    sumRow(a.sum, a.bias, t, N, y);
    const row = dithered ? ditherRow(a.seed, a.t0 + t) : 0;
    const where = (start: number): string => `token ${t}, columns from ${start}`;
    for (let g = 0; g < H; g += 1) {
      const first = (g * h) | 0;
      const dither = dithered ? { columns, first, row } : undefined;
      const scale = quantizeGroup(y, first, h, a.codes, (t * N + first) | 0, dither, 'quantizeHeads', where);
      a.scales[g * T + t] = f32(scale * a.factor);
    }
  }
}

/** Operation `addRows`: y = bf16(x + (sum + bias)). */
export function addRows(a: {
  sum: Float32Array;
  bias: Float32Array;
  x: Uint16Array;
  y: Uint16Array;
  T: number;
  N: number;
}): void {
  const { T, N } = a;
  const sum = new Float32Array(N);
  const x = new Float32Array(N);
  for (let t = 0; t < T; t += 1) {
    sumRow(a.sum, a.bias, t, N, sum);
    bf16Row(a.x, t * N, N, x);
    for (let n = 0; n < N; n += 1) a.y[t * N + n] = bf16(f32(x[n] + sum[n]));
  }
}

/** Operation `geluRows`: row codes of gelu(u), and the derivative as a code of 1/112 steps. */
export function geluRows(a: {
  sum: Float32Array;
  bias: Float32Array;
  codes: Int8Array;
  scales: Float32Array;
  derivative: Int8Array;
  T: number;
  N: number;
}): void {
  const { T, N } = a;
  const u = new Float32Array(N);
  const y = new Float32Array(N);
  for (let t = 0; t < T; t += 1) {
    const rowOffset = t * N;
    sumRow(a.sum, a.bias, t, N, u);
    for (let n = 0; n < N; n += 1) {
      y[n] = gelu(u[n]);
      const slope = geluDerivative(u[n]);
      // Beyond |u| = 2⁶⁴ the square overflows and the slope is 0·Inf: no code exists for it.
      if (Number.isNaN(slope)) throw nonFinite('geluRows', `the derivative at token ${t}, column ${n}`);
      a.derivative[rowOffset + n] = nearest(f32(slope * K.F32_DERIVATIVE));
    }
    const where = (start: number): string => `token ${t}, columns from ${start}`;
    for (let first = 0, panel = 0; first < N; first += PANEL, panel += 1) {
      const count = Math.min(PANEL, N - first);
      const codesStart = (rowOffset + first) | 0;
      a.scales[panel * T + t] = quantizeGroup(y, first, count, a.codes, codesStart, undefined, 'geluRows', where);
    }
  }
}

/** Operation `roundRows`: y = bf16(sum). */
export function roundRows(a: { sum: Float32Array; y: Uint16Array; T: number; N: number }): void {
  for (let i = 0; i < a.T * a.N; i += 1) a.y[i] = bf16(a.sum[i]);
}

/** Operation `geluGradientRows`: du = sum·gelu', dithered row codes; `bias` gets its column sums. */
export function geluGradientRows(a: {
  sum: Float32Array;
  derivative: Int8Array;
  codes: Int8Array;
  scales: Float32Array;
  bias: Float32Array;
  seed: Uint32Array;
  T: number;
  N: number;
  t0: number;
  accumulate: boolean;
}): void {
  const { T, N } = a;
  const du = new Float32Array(T * N);
  for (let i = 0; i < T * N; i += 1) du[i] = f32(a.sum[i] * f32(a.derivative[i] * K.F32_INV_DERIVATIVE));
  quantizeGroups(du, T, N, PANEL, a.codes, a.scales, { seed: a.seed, t0: a.t0 }, 'geluGradientRows');
  if (a.bias.length > 0) colSum(du, T, N, a.bias, a.accumulate);
}
