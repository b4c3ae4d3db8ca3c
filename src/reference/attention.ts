/**
 * Causal attention, forward: `docs/numerics.md` §4, attentionForward.
 *
 * Key blocks of 64 in ascending order with a running maximum. A block's probabilities, times the keys' value scales,
 * become unsigned codes, so that the mix with v is an integer product.
 */
import * as K from './constants.js';
import { dot } from './gemm.js';
import { quantizeGroupUnsigned } from './quantize8.js';
import { bf16, exp2, exp2c, f32, log2 } from './scalars.js';
import { t64 } from './sums.js';

/** Queries and keys of one attention block. */
export const BLOCK = 64;

/** The codes of q, k, v of one head of one sequence, with strides that both passes use. */
export interface HeadView {
  /** i8 [T, 3C]. */
  readonly qkv: Int8Array;
  /** f32 [3H, T]. */
  readonly scales: Float32Array;
  readonly T: number;
  readonly C: number;
  readonly H: number;
  readonly head: number;
  /** Head size C / H. */
  readonly h: number;
}

/** Index in `qkv` of the first element of part 0 (q), 1 (k) or 2 (v) of token t. */
export function partOffset(view: HeadView, part: 0 | 1 | 2, t: number): number {
  return (t * 3 * view.C + part * view.C + view.head * view.h) | 0;
}

/** Scale of part 0 (q), 1 (k) or 2 (v) of token t. */
export function partScale(view: HeadView, part: 0 | 1 | 2, t: number): number {
  return view.scales[(part * view.H + view.head) * view.T + t];
}

/** a_i: what turns the unscaled score u into a power of two. */
export function queryFactor(view: HeadView, i: number): number {
  return f32(partScale(view, 0, i) * f32(K.F32_LOG2E / f32(Math.sqrt(view.h))));
}

/** u_ij for keys firstKey … firstKey + count − 1. */
export function scoreRow(view: HeadView, i: number, firstKey: number, count: number, u: Float32Array): void {
  const qOffset = partOffset(view, 0, i);
  for (let j = 0; j < count; j += 1) {
    const acc = dot(view.qkv, qOffset, view.qkv, partOffset(view, 1, firstKey + j), view.h);
    u[j] = f32(acc * partScale(view, 1, firstKey + j));
  }
}

/** 1.3. Maximum of x[0 … count − 1]; never −0. */
function maximum(x: Float32Array, count: number): number {
  let m = x[0];
  for (let j = 1; j < count; j += 1) m = x[j] > m ? x[j] : m;
  return f32(m + 0);
}

/** Operation `attentionForward`. o bf16 [T, C]; lambda f32 [H, T] is the base-2 log of each softmax denominator. */
export function attentionForward(a: {
  qkv: Int8Array;
  qkvScales: Float32Array;
  o: Uint16Array;
  lambda: Float32Array;
  T: number;
  C: number;
  H: number;
  context: number;
}): void {
  const { T, C, H } = a;
  const h = (C / H) | 0;
  for (let head = 0; head < H; head += 1) {
    const view: HeadView = { qkv: a.qkv, scales: a.qkvScales, T, C, H, head, h };
    for (let i = 0; i < T; i += 1) {
      const sequenceStart = (i - (i % a.context)) | 0;
      attendQuery(view, i, sequenceStart, a.o, a.lambda);
    }
  }
}

const u = new Float32Array(BLOCK);
const p = new Float32Array(BLOCK);
const x = new Float32Array(BLOCK);
const codes = new Uint8Array(BLOCK);

function attendQuery(view: HeadView, i: number, sequenceStart: number, o: Uint16Array, lambda: Float32Array): void {
  const { h, T, C, head } = view;
  const factor = queryFactor(view, i);
  const out = new Float32Array(h);
  let M = 0;
  let l = 0;
  for (let firstKey = sequenceStart; firstKey <= i; firstKey += BLOCK) {
    const count = Math.min(BLOCK, i + 1 - firstKey);
    scoreRow(view, i, firstKey, count, u);
    const blockMaximum = maximum(u, count);
    p.fill(0);
    x.fill(0);
    for (let j = 0; j < count; j += 1) {
      p[j] = exp2c(f32(f32(u[j] - blockMaximum) * factor));
      x[j] = f32(p[j] * partScale(view, 2, firstKey + j));
    }
    const blockSum = t64(p, 0);
    const where = `head ${head}, query ${i}, keys from ${firstKey}`;
    const scale = quantizeGroupUnsigned(x, BLOCK, codes, undefined, 'attentionForward', where);
    const isFirst = firstKey === sequenceStart;
    const next = isFirst || blockMaximum > M ? blockMaximum : M;
    const alpha = isFirst ? 0 : exp2(f32(f32(M - next) * factor));
    const weight = isFirst ? 0 : exp2(f32(f32(blockMaximum - next) * factor));
    for (let d = 0; d < h; d += 1) {
      let acc = 0;
      for (let j = 0; j < count; j += 1) {
        acc = (acc + Math.imul(codes[j], view.qkv[partOffset(view, 2, firstKey + j) + d])) | 0;
      }
      const mixed = f32(acc * scale);
      out[d] = isFirst ? mixed : f32(f32(out[d] * alpha) + f32(mixed * weight));
    }
    l = isFirst ? blockSum : f32(f32(l * alpha) + f32(blockSum * weight));
    M = next;
  }
  const normalizer = f32(1 / l);
  for (let d = 0; d < h; d += 1) o[i * C + head * h + d] = bf16(f32(out[d] * normalizer));
  lambda[head * T + i] = f32(f32(M * factor) + log2(l));
}
