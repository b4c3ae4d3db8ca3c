/**
 * Linear layers with their epilogues: `docs/numerics.md` §4, linearQkv … linearGeluInputGradient.
 */
import * as K from './constants.js';
import { ditherColumns, ditherRow } from './dither.js';
import { type GemmOperands, gemmRow } from './gemm.js';
import { PANEL, quantizeGroup, quantizeGroups } from './quantize8.js';
import { bf16, bf16Row, f32, gelu, geluDerivative, nearest, nonFinite } from './scalars.js';
import { colSum } from './sums.js';

interface Forward {
  a: Int8Array;
  aScales: Float32Array;
  w: Int8Array;
  wScales: Float32Array;
  /** f32 [N], or empty. */
  bias: Float32Array;
}

interface Backward {
  e: Int8Array;
  eScales: Float32Array;
  wt: Int8Array;
  wtScales: Float32Array;
}

/** Row t of a·Wᵀ, with the bias where there is one. */
function forwardRow(operands: GemmOperands, bias: Float32Array, t: number, out: Float32Array): void {
  gemmRow(operands, t, out, false);
  if (bias.length > 0) for (let n = 0; n < operands.N; n += 1) out[n] = f32(out[n] + bias[n]);
}

function forwardOperands(a: Forward, M: number, N: number, contracted: number): GemmOperands {
  return { a: a.a, aScales: a.aScales, b: a.w, bScales: a.wScales, M, N, K: contracted };
}

/** E [T, N] · recode(W) [K, N]: the contracted axis is the layer's output. */
function backwardOperands(a: Backward, T: number, outputs: number, inputs: number): GemmOperands {
  return { a: a.e, aScales: a.eScales, b: a.wt, bScales: a.wtScales, M: T, N: inputs, K: outputs };
}

/** Operation `linearQkv`: codes per (token, head of q, k or v). */
export function linearQkv(
  a: Forward & { codes: Int8Array; scales: Float32Array; T: number; C: number; H: number },
): void {
  const { T, C, H } = a;
  const cols = (3 * C) | 0;
  const h = (C / H) | 0;
  const operands = forwardOperands(a, T, cols, C);
  const y = new Float32Array(cols);
  for (let t = 0; t < T; t += 1) {
    forwardRow(operands, a.bias, t, y);
    const where = (start: number): string => `token ${t}, columns from ${start}`;
    for (let g = 0; g < 3 * H; g += 1) {
      const codesStart = (t * cols + g * h) | 0;
      a.scales[g * T + t] = quantizeGroup(y, g * h, h, a.codes, codesStart, undefined, 'linearQkv', where);
    }
  }
}

/** Operation `linearResidual`: y = bf16(x + (a·Wᵀ + bias)). */
export function linearResidual(a: Forward & { x: Uint16Array; y: Uint16Array; T: number; N: number; K: number }): void {
  const { T, N } = a;
  const operands = forwardOperands(a, T, N, a.K);
  const sum = new Float32Array(N);
  const x = new Float32Array(N);
  for (let t = 0; t < T; t += 1) {
    const rowOffset = t * N;
    forwardRow(operands, a.bias, t, sum);
    bf16Row(a.x, rowOffset, N, x);
    for (let n = 0; n < N; n += 1) a.y[rowOffset + n] = bf16(f32(x[n] + sum[n]));
  }
}

/** Operation `linearGelu`: row codes of gelu(u), and the derivative as a code of 1/112 steps instead of u itself. */
export function linearGelu(
  a: Forward & {
    codes: Int8Array;
    scales: Float32Array;
    derivative: Int8Array;
    T: number;
    N: number;
    K: number;
  },
): void {
  const { T, N } = a;
  const operands = forwardOperands(a, T, N, a.K);
  const u = new Float32Array(N);
  const y = new Float32Array(N);
  for (let t = 0; t < T; t += 1) {
    const rowOffset = t * N;
    forwardRow(operands, a.bias, t, u);
    for (let n = 0; n < N; n += 1) {
      y[n] = gelu(u[n]);
      const slope = geluDerivative(u[n]);
      // Beyond |u| = 2⁶⁴ the square overflows and the slope is 0·Inf: no code exists for it.
      if (Number.isNaN(slope)) throw nonFinite('linearGelu', `the derivative at token ${t}, column ${n}`);
      a.derivative[rowOffset + n] = nearest(f32(slope * K.F32_DERIVATIVE));
    }
    const where = (start: number): string => `token ${t}, columns from ${start}`;
    for (let first = 0, panel = 0; first < N; first += PANEL, panel += 1) {
      const count = Math.min(PANEL, N - first);
      const codesStart = (rowOffset + first) | 0;
      a.scales[panel * T + t] = quantizeGroup(y, first, count, a.codes, codesStart, undefined, 'linearGelu', where);
    }
  }
}

/** Operation `linearInputGradient`: dx = bf16(E·recode(W)). */
export function linearInputGradient(a: Backward & { dx: Uint16Array; T: number; N: number; K: number }): void {
  const operands = backwardOperands(a, a.T, a.N, a.K);
  const row = new Float32Array(a.K);
  for (let t = 0; t < a.T; t += 1) {
    gemmRow(operands, t, row, false);
    for (let k = 0; k < a.K; k += 1) a.dx[t * a.K + k] = bf16(row[k]);
  }
}

/** Operation `linearHeadsInputGradient`: the gradient of attention's output as dithered codes per (token, head). */
export function linearHeadsInputGradient(
  a: Backward & {
    codes: Int8Array;
    scales: Float32Array;
    seed: Uint32Array;
    T: number;
    N: number;
    K: number;
    H: number;
    t0: number;
  },
): void {
  const operands = backwardOperands(a, a.T, a.N, a.K);
  const h = (a.K / a.H) | 0;
  const columns = ditherColumns(a.seed, 0, a.K);
  const dO = new Float32Array(a.K);
  for (let t = 0; t < a.T; t += 1) {
    gemmRow(operands, t, dO, false);
    const row = ditherRow(a.seed, a.t0 + t);
    const where = (start: number): string => `token ${t}, columns from ${start}`;
    for (let head = 0; head < a.H; head += 1) {
      const first = (head * h) | 0;
      const codesStart = (t * a.K + first) | 0;
      const dither = { columns, first, row };
      const scale = quantizeGroup(dO, first, h, a.codes, codesStart, dither, 'linearHeadsInputGradient', where);
      a.scales[head * a.T + t] = scale;
    }
  }
}

/** Operation `linearGeluInputGradient`: du = (E·recode(W))·gelu', dithered row codes; `bias` gets its column sums. */
export function linearGeluInputGradient(
  a: Backward & {
    derivative: Int8Array;
    codes: Int8Array;
    scales: Float32Array;
    bias: Float32Array;
    seed: Uint32Array;
    T: number;
    N: number;
    K: number;
    t0: number;
    accumulate: boolean;
  },
): void {
  const operands = backwardOperands(a, a.T, a.N, a.K);
  const du = new Float32Array(a.T * a.K);
  for (let t = 0; t < a.T; t += 1) {
    const rowOffset = t * a.K;
    const row = du.subarray(rowOffset, rowOffset + a.K);
    gemmRow(operands, t, row, false);
    for (let k = 0; k < a.K; k += 1) row[k] = f32(row[k] * f32(a.derivative[rowOffset + k] * K.F32_INV_DERIVATIVE));
  }
  const dither = { seed: a.seed, t0: a.t0 };
  quantizeGroups(du, a.T, a.K, PANEL, a.codes, a.scales, dither, 'linearGeluInputGradient');
  if (a.bias.length > 0) colSum(du, a.T, a.K, a.bias, a.accumulate);
}
