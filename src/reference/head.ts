/**
 * The tied head, softmax and loss: `docs/numerics.md` §4, headForward, headLogits, headInputGradient.
 *
 * Softmax numerators are coded per panel of the vocabulary in the forward pass: they do not depend on the normalizer,
 * which enters the codes' scale. The one-hot −1 of the gradient is exact and sparse and is applied elsewhere.
 */
import { PogoError } from '../errors.js';
import * as K from './constants.js';
import { ditherColumns, ditherOf, ditherRow } from './dither.js';
import { type GemmOperands, gemmRow, product } from './gemm.js';
import { PANEL, panels } from './quantize8.js';
import { bf16, exp2, f32, inverse, log2, nearest, nonFinite } from './scalars.js';
import { rowSum } from './sums.js';

/** Operation `headForward`. With `codes` empty only the losses are computed. */
export function headForward(a: {
  a: Int8Array;
  aScales: Float32Array;
  w: Int8Array;
  wScales: Float32Array;
  targets: Uint32Array;
  codes: Int8Array;
  eScales: Float32Array;
  loss: Float32Array;
  seed: Uint32Array;
  T: number;
  C: number;
  V: number;
  vocab: number;
  t0: number;
  U: number;
}): void {
  const { T, V, vocab } = a;
  const operands: GemmOperands = { a: a.a, aScales: a.aScales, b: a.w, bScales: a.wScales, M: T, N: V, K: a.C };
  const withCodes = a.codes.length > 0;
  const inverseTokens = inverse(a.U);
  const columns = withCodes ? ditherColumns(a.seed, 0, V) : new Int32Array(0);
  const groups = panels(V);
  const z = new Float32Array(V);
  const p = new Float32Array(V);
  const maxima = new Float32Array(groups);
  const sums = new Float32Array(groups);
  for (let t = 0; t < T; t += 1) {
    gemmRow(operands, t, z, false);
    for (let n = 0; n < vocab; n += 1) {
      z[n] = f32(z[n] * K.F32_LOG2E);
      if (!(Math.abs(z[n]) < Infinity)) throw nonFinite('headForward', `the logit of token ${t}, entry ${n}`);
    }
    const row = withCodes ? ditherRow(a.seed, a.t0 + t) : 0;
    for (let g = 0; g < groups; g += 1) {
      const first = g * PANEL;
      const end = Math.min(V, first + PANEL);
      const real = Math.min(vocab, end);
      if (real <= first)
        throw new PogoError('INTERNAL', `headForward: panel ${g} of the vocabulary is masked altogether`);
      let m = z[first];
      for (let n = first + 1; n < real; n += 1) m = z[n] > m ? z[n] : m;
      m = f32(m + 0);
      p.fill(0, real, end);
      for (let n = first; n < real; n += 1) p[n] = exp2(f32(z[n] - m));
      maxima[g] = m;
      sums[g] = rowSum(p, first, end - first);
      if (withCodes) {
        for (let n = first; n < real; n += 1) {
          a.codes[t * V + n] = nearest(f32(f32(p[n] * K.F32_Q8_C) + ditherOf(columns[n], row)));
        }
        a.codes.fill(0, t * V + real, t * V + end);
      }
    }
    let M = maxima[0];
    for (let g = 1; g < groups; g += 1) M = maxima[g] > M ? maxima[g] : M;
    let S = f32(sums[0] * exp2(f32(maxima[0] - M)));
    for (let g = 1; g < groups; g += 1) S = f32(S + f32(sums[g] * exp2(f32(maxima[g] - M))));
    const lse = f32(M + log2(S));
    if (withCodes) {
      for (let g = 0; g < groups; g += 1) {
        a.eScales[g * T + t] = f32(f32(exp2(f32(maxima[g] - lse)) * K.F32_Q8_R) * inverseTokens);
      }
    }
    const target = a.targets[t];
    if (target >= vocab) {
      throw new PogoError('RANGE', `headForward: expected a target below ${vocab}, found ${target} at token ${t}`);
    }
    const loss = f32(f32(lse - z[target]) * K.F32_LN2);
    if (!(Math.abs(loss) < Infinity)) throw nonFinite('headForward', `the loss of token ${t}`);
    a.loss[t] = loss;
  }
}

/** Operation `headLogits`: the plain product, for sampling. */
export function headLogits(a: {
  a: Int8Array;
  aScales: Float32Array;
  w: Int8Array;
  wScales: Float32Array;
  logits: Float32Array;
  T: number;
  C: number;
  V: number;
}): void {
  product({ a: a.a, aScales: a.aScales, b: a.w, bScales: a.wScales, M: a.T, N: a.V, K: a.C }, a.logits);
}

/** Operation `headInputGradient`: dx = bf16(E·recode(W) − Ŵ[target]·(1/U)). */
export function headInputGradient(a: {
  e: Int8Array;
  eScales: Float32Array;
  wt: Int8Array;
  wtScales: Float32Array;
  w: Int8Array;
  wScales: Float32Array;
  targets: Uint32Array;
  dx: Uint16Array;
  T: number;
  V: number;
  C: number;
  U: number;
}): void {
  const { T, V, C } = a;
  const operands: GemmOperands = { a: a.e, aScales: a.eScales, b: a.wt, bScales: a.wtScales, M: T, N: C, K: V };
  const inverseTokens = inverse(a.U);
  const row = new Float32Array(C);
  for (let t = 0; t < T; t += 1) {
    gemmRow(operands, t, row, false);
    const target = a.targets[t];
    for (let c = 0; c < C; c += 1) {
      const scale = a.wScales[Math.floor(c / PANEL) * V + target];
      const weight = f32(a.w[target * C + c] * scale);
      a.dx[t * C + c] = bf16(f32(row[c] - f32(weight * inverseTokens)));
    }
  }
}
