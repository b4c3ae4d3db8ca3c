/**
 * RMSNorm and LayerNorm: `docs/numerics.md` §4, normForward and normBackward.
 */
import { PANEL, quantizeGroup } from './quantize8.js';
import { bf16, bf16Row, f32, inverse } from './scalars.js';
import { colSum, rowSum } from './sums.js';

/** Operation `normForward`: rows of x are normalized and quantized; 1 ÷ √ and the mean are kept for the backward pass. */
export function normForward(a: {
  x: Uint16Array;
  gain: Float32Array;
  bias: Float32Array;
  codes: Int8Array;
  scales: Float32Array;
  rstd: Float32Array;
  mean: Float32Array;
  T: number;
  C: number;
  layer: boolean;
  epsilon: number;
}): void {
  const { gain, bias, T, C, layer } = a;
  const inverseWidth = inverse(C);
  const x = new Float32Array(C);
  const squares = new Float32Array(C);
  const y = new Float32Array(C);
  for (let t = 0; t < T; t += 1) {
    bf16Row(a.x, t * C, C, x);
    if (layer) {
      const mean = f32(rowSum(x, 0, C) * inverseWidth);
      a.mean[t] = mean;
      for (let c = 0; c < C; c += 1) x[c] = f32(x[c] - mean);
    }
    for (let c = 0; c < C; c += 1) squares[c] = f32(x[c] * x[c]);
    const variance = f32(rowSum(squares, 0, C) * inverseWidth);
    const r = f32(1 / f32(Math.sqrt(f32(variance + a.epsilon))));
    a.rstd[t] = r;
    for (let c = 0; c < C; c += 1) y[c] = f32(f32(x[c] * r) * gain[c]);
    if (layer) for (let c = 0; c < C; c += 1) y[c] = f32(y[c] + bias[c]);
    for (let first = 0, panel = 0; first < C; first += PANEL, panel += 1) {
      const count = Math.min(PANEL, C - first);
      const start = (t * C + first) | 0;
      const where = (): string => `token ${t}`;
      a.scales[panel * T + t] = quantizeGroup(y, first, count, a.codes, start, undefined, 'normForward', where);
    }
  }
}

/** Operation `normBackward`: the gradient through the norm, added to dx where `residual`; column sums for gain and bias. */
export function normBackward(a: {
  dy: Uint16Array;
  x: Uint16Array;
  gain: Float32Array;
  rstd: Float32Array;
  mean: Float32Array;
  dx: Uint16Array;
  dGain: Float32Array;
  dBias: Float32Array;
  T: number;
  C: number;
  layer: boolean;
  residual: boolean;
  accumulate: boolean;
}): void {
  const { gain, T, C, layer } = a;
  const inverseWidth = inverse(C);
  const dy = new Float32Array(T * C);
  bf16Row(a.dy, 0, T * C, dy);
  const gainTerms = new Float32Array(T * C);
  const xhat = new Float32Array(C);
  const gy = new Float32Array(C);
  const products = new Float32Array(C);
  const dx = new Float32Array(C);
  for (let t = 0; t < T; t += 1) {
    const rowOffset = t * C;
    const r = a.rstd[t];
    bf16Row(a.x, rowOffset, C, xhat);
    if (layer) for (let c = 0; c < C; c += 1) xhat[c] = f32(xhat[c] - a.mean[t]);
    for (let c = 0; c < C; c += 1) {
      xhat[c] = f32(xhat[c] * r);
      gy[c] = f32(dy[rowOffset + c] * gain[c]);
      products[c] = f32(gy[c] * xhat[c]);
      gainTerms[rowOffset + c] = f32(dy[rowOffset + c] * xhat[c]);
    }
    const s = f32(rowSum(products, 0, C) * inverseWidth);
    if (layer) {
      const m = f32(rowSum(gy, 0, C) * inverseWidth);
      for (let c = 0; c < C; c += 1) gy[c] = f32(gy[c] - m);
    }
    if (a.residual) bf16Row(a.dx, rowOffset, C, dx);
    for (let c = 0; c < C; c += 1) {
      const d = f32(r * f32(gy[c] - f32(xhat[c] * s)));
      a.dx[rowOffset + c] = bf16(a.residual ? f32(dx[c] + d) : d);
    }
  }
  colSum(gainTerms, T, C, a.dGain, a.accumulate);
  if (layer) colSum(dy, T, C, a.dBias, a.accumulate);
}
