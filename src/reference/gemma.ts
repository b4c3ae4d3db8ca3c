/**
 * What the family gemma3 has beside the operations of all models: `docs/numerics.md` §4, gainPlusOne … gegluGradient.
 */
import { ditherColumns, ditherRow } from './dither.js';
import { gemmRow } from './gemm.js';
import { PANEL, quantizeGroup } from './quantize8.js';
import { bf16, bf16Row, f32, gelu, geluDerivative, inverse } from './scalars.js';
import { colSum, rowSum } from './sums.js';

/** Operation `gainPlusOne`. */
export function gainPlusOne(a: { gain: Float32Array; out: Float32Array; n: number }): void {
  for (let i = 0; i < a.n; i += 1) a.out[i] = f32(1 + a.gain[i]);
}

/** Operation `linearRows`: y = bf16(a·Wᵀ). */
export function linearRows(a: {
  a: Int8Array;
  aScales: Float32Array;
  w: Int8Array;
  wScales: Float32Array;
  y: Uint16Array;
  T: number;
  N: number;
  K: number;
}): void {
  const operands = { a: a.a, aScales: a.aScales, b: a.w, bScales: a.wScales, M: a.T, N: a.N, K: a.K };
  const row = new Float32Array(a.N);
  for (let t = 0; t < a.T; t += 1) {
    gemmRow(operands, t, row, false);
    for (let n = 0; n < a.N; n += 1) a.y[t * a.N + n] = bf16(row[n]);
  }
}

/** 1 ÷ √(mean square + ε) of x[0 … n − 1]. */
function reciprocalDeviation(x: Float32Array, epsilon: number): number {
  const squares = x.map((value) => f32(value * value));
  return f32(1 / f32(Math.sqrt(f32(f32(rowSum(squares, 0, x.length) * inverse(x.length)) + epsilon))));
}

/** Operation `normResidual`: y = bf16(x + (o·r)·gain). */
export function normResidual(a: {
  x: Uint16Array;
  o: Uint16Array;
  gain: Float32Array;
  y: Uint16Array;
  rstd: Float32Array;
  T: number;
  C: number;
  epsilon: number;
}): void {
  const { T, C, gain } = a;
  const o = new Float32Array(C);
  const x = new Float32Array(C);
  for (let t = 0; t < T; t += 1) {
    bf16Row(a.o, t * C, C, o);
    bf16Row(a.x, t * C, C, x);
    const r = reciprocalDeviation(o, a.epsilon);
    a.rstd[t] = r;
    for (let c = 0; c < C; c += 1) a.y[t * C + c] = bf16(f32(x[c] + f32(f32(o[c] * r) * gain[c])));
  }
}

interface HeadArguments {
  y: Uint16Array;
  gainQ: Float32Array;
  gainK: Float32Array;
  rope: Float32Array;
  rstd: Float32Array;
  T: number;
  H: number;
  G: number;
  h: number;
  context: number;
}

/** Operation `rotateHeads`: norm by head, rotation, codes per (token, head); v without norm and rotation. */
export function rotateHeads(a: HeadArguments & { codes: Int8Array; scales: Float32Array; epsilon: number }): void {
  const { T, H, G, h, rope } = a;
  const half = (h / 2) | 0;
  const heads = H + 2 * G;
  const y = new Float32Array(h);
  const n = new Float32Array(h);
  const out = new Float32Array(h);
  for (let t = 0; t < T; t += 1) {
    const turn = (t % a.context) * h;
    for (let head = 0; head < heads; head += 1) {
      const at = ((t * heads + head) * h) | 0;
      bf16Row(a.y, at, h, y);
      const isValue = head >= H + G;
      if (!isValue) {
        const gain = head < H ? a.gainQ : a.gainK;
        const r = reciprocalDeviation(y, a.epsilon);
        a.rstd[head * T + t] = r;
        for (let d = 0; d < h; d += 1) n[d] = f32(f32(y[d] * r) * gain[d]);
        for (let d = 0; d < half; d += 1) {
          const [cosine, sine] = [rope[turn + d], rope[turn + half + d]];
          out[d] = f32(f32(n[d] * cosine) - f32(n[half + d] * sine));
          out[half + d] = f32(f32(n[half + d] * cosine) + f32(n[d] * sine));
        }
      }
      const where = (): string => `token ${t}, head ${head}`;
      a.scales[head * T + t] = quantizeGroup(isValue ? y : out, 0, h, a.codes, at, undefined, 'rotateHeads', where);
    }
  }
}

/** Operation `rotateHeadsBackward`: rotation back, gradient of the norm by head, sums for both gains. */
export function rotateHeadsBackward(
  a: HeadArguments & {
    dqkv: Uint16Array;
    dy: Uint16Array;
    dGainQ: Float32Array;
    dGainK: Float32Array;
    accumulate: boolean;
  },
): void {
  const { T, H, G, h, rope } = a;
  const half = (h / 2) | 0;
  const heads = H + 2 * G;
  const inverseSize = inverse(h);
  const d = new Float32Array(h);
  const n = new Float32Array(h);
  const xhat = new Float32Array(h);
  const gy = new Float32Array(h);
  const products = new Float32Array(h);
  const terms = [new Float32Array(T * h), new Float32Array(T * h)];
  for (let t = 0; t < T; t += 1) {
    const turn = (t % a.context) * h;
    for (let head = 0; head < heads; head += 1) {
      const at = (t * heads + head) * h;
      if (head >= H + G) {
        for (let i = 0; i < h; i += 1) a.dy[at + i] = a.dqkv[at + i];
        continue;
      }
      const isKey = head >= H;
      const gain = isKey ? a.gainK : a.gainQ;
      bf16Row(a.dqkv, at, h, d);
      for (let i = 0; i < half; i += 1) {
        const [cosine, sine] = [rope[turn + i], rope[turn + half + i]];
        n[i] = f32(f32(d[i] * cosine) + f32(d[half + i] * sine));
        n[half + i] = f32(f32(d[half + i] * cosine) - f32(d[i] * sine));
      }
      const r = a.rstd[head * T + t];
      bf16Row(a.y, at, h, xhat);
      const sums = terms[isKey ? 1 : 0];
      const isFirst = head === (isKey ? H : 0);
      for (let i = 0; i < h; i += 1) {
        xhat[i] = f32(xhat[i] * r);
        gy[i] = f32(n[i] * gain[i]);
        products[i] = f32(gy[i] * xhat[i]);
        const term = f32(n[i] * xhat[i]);
        sums[t * h + i] = isFirst ? term : f32(sums[t * h + i] + term);
      }
      const s = f32(rowSum(products, 0, h) * inverseSize);
      for (let i = 0; i < h; i += 1) a.dy[at + i] = bf16(f32(r * f32(gy[i] - f32(xhat[i] * s))));
    }
  }
  colSum(terms[0], T, h, a.dGainQ, a.accumulate);
  colSum(terms[1], T, h, a.dGainK, a.accumulate);
}

/** Row codes of one row of values, in panels; `columns` and `row` are dither words. */
function quantizeRow(
  x: Float32Array,
  t: number,
  T: number,
  codes: Int8Array,
  scales: Float32Array,
  dither: { readonly columns: Int32Array; readonly row: number } | undefined,
  operation: string,
): void {
  const where = (start: number): string => `token ${t}, columns from ${start}`;
  for (let first = 0, panel = 0; first < x.length; first += PANEL, panel += 1) {
    const count = Math.min(PANEL, x.length - first);
    const codesStart = (t * x.length + first) | 0;
    const group = dither === undefined ? undefined : { ...dither, first };
    scales[panel * T + t] = quantizeGroup(x, first, count, codes, codesStart, group, operation, where);
  }
}

/** Operation `geglu`: row codes of gelu(gate)·up. */
export function geglu(a: { u: Uint16Array; codes: Int8Array; scales: Float32Array; T: number; N: number }): void {
  const { T, N } = a;
  const u = new Float32Array(2 * N);
  const y = new Float32Array(N);
  for (let t = 0; t < T; t += 1) {
    bf16Row(a.u, 2 * t * N, 2 * N, u);
    for (let n = 0; n < N; n += 1) y[n] = f32(gelu(u[n]) * u[N + n]);
    quantizeRow(y, t, T, a.codes, a.scales, undefined, 'geglu');
  }
}

/** Operation `gegluGradient`: dithered row codes of the gradients of the gates, then of the other halves. */
export function gegluGradient(a: {
  dh: Uint16Array;
  u: Uint16Array;
  codes: Int8Array;
  scales: Float32Array;
  seed: Uint32Array;
  T: number;
  N: number;
  t0: number;
}): void {
  const { T, N } = a;
  const u = new Float32Array(2 * N);
  const dh = new Float32Array(N);
  const du = new Float32Array(2 * N);
  const columns = ditherColumns(a.seed, 0, 2 * N);
  for (let t = 0; t < T; t += 1) {
    bf16Row(a.u, 2 * t * N, 2 * N, u);
    bf16Row(a.dh, t * N, N, dh);
    for (let n = 0; n < N; n += 1) {
      du[n] = f32(f32(dh[n] * u[N + n]) * geluDerivative(u[n]));
      du[N + n] = f32(dh[n] * gelu(u[n]));
    }
    quantizeRow(du, t, T, a.codes, a.scales, { columns, row: ditherRow(a.seed, a.t0 + t) }, 'gegluGradient');
  }
}
