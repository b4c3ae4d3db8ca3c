/**
 * The integer matrix product: `docs/numerics.md` §2.4. Every GEMM of the tape is this one.
 *
 * A panel's dot product of codes is an exact integer below 2²⁴, so its conversion to binary32 is exact and the only
 * roundings are those of the scales and of the sum over panels, ascending.
 */
import { PANEL } from './quantize8.js';
import { f32 } from './scalars.js';

/** Operands of a product: `a` i8 [M, K] with scales [P(K), M], `b` i8 [N, K] with scales [P(K), N]. */
export interface GemmOperands {
  readonly a: Int8Array;
  readonly aScales: Float32Array;
  readonly b: Int8Array;
  readonly bScales: Float32Array;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** Exact dot products of a[aOffset …] with four rows of b, `stride` apart. |result| < 2²⁴ for count ≤ 1024. */
function dot4(
  a: Int8Array,
  aOffset: number,
  b: Int8Array,
  bOffset: number,
  stride: number,
  count: number,
  out: Int32Array,
): void {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const b1Offset = (bOffset + stride) | 0;
  const b2Offset = (b1Offset + stride) | 0;
  const b3Offset = (b2Offset + stride) | 0;
  for (let k = 0; k < count; k += 1) {
    const x = a[aOffset + k];
    s0 = (s0 + Math.imul(x, b[bOffset + k])) | 0;
    s1 = (s1 + Math.imul(x, b[b1Offset + k])) | 0;
    s2 = (s2 + Math.imul(x, b[b2Offset + k])) | 0;
    s3 = (s3 + Math.imul(x, b[b3Offset + k])) | 0;
  }
  out[0] = s0;
  out[1] = s1;
  out[2] = s2;
  out[3] = s3;
}

/** Exact dot product of `count` codes. */
export function dot(a: Int8Array | Uint8Array, aOffset: number, b: Int8Array, bOffset: number, count: number): number {
  let sum = 0;
  for (let k = 0; k < count; k += 1) sum = (sum + Math.imul(a[aOffset + k], b[bOffset + k])) | 0;
  return sum;
}

const quad = new Int32Array(4);

/**
 * Row i of the product, out[0 … N − 1] = Σ over panels of float(acc)·(sa·sb).
 * @param accumulate goes on from `out` instead of starting from the first panel
 */
export function gemmRow(g: GemmOperands, i: number, out: Float32Array, accumulate: boolean): void {
  const { a, aScales, b, bScales, M, N, K } = g;
  for (let first = 0, panel = 0; first < K; first += PANEL, panel += 1) {
    const count = Math.min(PANEL, K - first);
    const aOffset = i * K + first;
    const scale = aScales[panel * M + i];
    const starts = panel === 0 && !accumulate;
    for (let j = 0; j < N; j += 4) {
      const columns = Math.min(4, N - j);
      if (columns === 4) dot4(a, aOffset, b, j * K + first, K, count, quad);
      else for (let c = 0; c < columns; c += 1) quad[c] = dot(a, aOffset, b, (j + c) * K + first, count);
      for (let c = 0; c < columns; c += 1) {
        const product = f32(quad[c] * f32(scale * bScales[panel * N + j + c]));
        out[j + c] = starts ? product : f32(out[j + c] + product);
      }
    }
  }
}

/** The whole product into `y` f32 [M, N]. */
export function product(g: GemmOperands, y: Float32Array, accumulate = false): void {
  for (let i = 0; i < g.M; i += 1) gemmRow(g, i, y.subarray(i * g.N, (i + 1) * g.N), accumulate);
}

/** Operation `gemm`. */
export function gemm(a: GemmOperands & { readonly y: Float32Array }): void {
  product(a, a.y);
}

/** Operation `weightGradient`: dW [N, K] = et [N, T] · xt [K, T], contracted over tokens. */
export function weightGradient(a: {
  et: Int8Array;
  etScales: Float32Array;
  xt: Int8Array;
  xtScales: Float32Array;
  dw: Float32Array;
  N: number;
  K: number;
  T: number;
  accumulate: boolean;
}): void {
  const operands = { a: a.et, aScales: a.etScales, b: a.xt, bScales: a.xtScales, M: a.N, N: a.K, K: a.T };
  product(operands, a.dw, a.accumulate);
}
