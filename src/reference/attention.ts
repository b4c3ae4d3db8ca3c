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

/** Sizes of attention. Rows of qkv: H query heads, then G heads of keys, then G of values. */
export interface AttentionSizes {
  readonly T: number;
  readonly H: number;
  readonly G: number;
  /** Head size. */
  readonly h: number;
  readonly context: number;
  /** Keys that a query sees, its own included; a multiple of 64, or 0 for all. */
  readonly window: number;
  /** Scores are divided by its root. */
  readonly scalar: number;
}

/** The codes of q, k, v of one query head, with the sizes that both passes use. */
export interface HeadView extends AttentionSizes {
  /** i8 [T, (H + 2G)·h]. */
  readonly qkv: Int8Array;
  /** f32 [H + 2G, T]. */
  readonly scales: Float32Array;
  readonly head: number;
}

/** Operands of the operations without groups and windows: as many heads of k and v as of q. */
export function plainSizes(a: { T: number; C: number; H: number; context: number }): AttentionSizes {
  const h = (a.C / a.H) | 0;
  return { T: a.T, H: a.H, G: a.H, h, context: a.context, window: 0, scalar: h };
}

/** Head of a row of qkv that holds part 0 (q), 1 (k) or 2 (v) for this query head. */
function partHead({ H, G, head }: HeadView, part: 0 | 1 | 2): number {
  return part === 0 ? head : H + (part - 1) * G + Math.floor(head / (H / G));
}

/** Index in `qkv` of the first element of part 0 (q), 1 (k) or 2 (v) of token t. */
export function partOffset(view: HeadView, part: 0 | 1 | 2, t: number): number {
  return (t * (view.H + 2 * view.G) * view.h + partHead(view, part) * view.h) | 0;
}

/** Scale of part 0 (q), 1 (k) or 2 (v) of token t. */
export function partScale(view: HeadView, part: 0 | 1 | 2, t: number): number {
  return view.scales[partHead(view, part) * view.T + t];
}

/** a_i: what turns the unscaled score u into a power of two. */
export function queryFactor(view: HeadView, i: number): number {
  return f32(partScale(view, 0, i) * f32(K.F32_LOG2E / f32(Math.sqrt(view.scalar))));
}

/** First key that a block of queries sees: `inside` counts in the sequence. A multiple of 64. */
export function firstBlock({ window }: AttentionSizes, inside: number): number {
  const block = inside - (inside % BLOCK);
  return window === 0 ? 0 : Math.max(0, block - window);
}

/** First key that a query sees; both count in the sequence. */
export function firstKeyOf({ window }: AttentionSizes, inside: number): number {
  return window === 0 ? 0 : Math.max(0, inside + 1 - window);
}

/** u_ij for keys firstKey … firstKey + count − 1. */
export function scoreRow(view: HeadView, i: number, firstKey: number, count: number, u: Float32Array): void {
  const qOffset = partOffset(view, 0, i);
  for (let j = 0; j < count; j += 1) {
    const acc = dot(view.qkv, qOffset, view.qkv, partOffset(view, 1, firstKey + j), view.h);
    u[j] = f32(acc * partScale(view, 1, firstKey + j));
  }
}

/** 1.3. Maximum of x[from … count − 1]; never −0. */
function maximum(x: Float32Array, from: number, count: number): number {
  let m = x[from];
  for (let j = from + 1; j < count; j += 1) m = x[j] > m ? x[j] : m;
  return f32(m + 0);
}

interface ForwardArguments {
  qkv: Int8Array;
  qkvScales: Float32Array;
  o: Uint16Array;
  lambda: Float32Array;
}

/** Operation `attentionForward`. o bf16 [T, C]; lambda f32 [H, T] is the base-2 log of each softmax denominator. */
export function attentionForward(a: ForwardArguments & { T: number; C: number; H: number; context: number }): void {
  attend(a, plainSizes(a));
}

/** Operation `groupedAttentionForward`: the same with G heads of keys and values, and a window. */
export function groupedAttentionForward(a: ForwardArguments & AttentionSizes): void {
  attend(a, a);
}

function attend(a: ForwardArguments, sizes: AttentionSizes): void {
  const { T, H, G, h, context, window, scalar } = sizes;
  for (let head = 0; head < H; head += 1) {
    const view: HeadView = { qkv: a.qkv, scales: a.qkvScales, T, H, G, h, context, window, scalar, head };
    for (let i = 0; i < T; i += 1) {
      const sequenceStart = (i - (i % context)) | 0;
      attendQuery(view, i, sequenceStart, a.o, a.lambda);
    }
  }
}

const u = new Float32Array(BLOCK);
const p = new Float32Array(BLOCK);
const x = new Float32Array(BLOCK);
const codes = new Uint8Array(BLOCK);

function attendQuery(view: HeadView, i: number, sequenceStart: number, o: Uint16Array, lambda: Float32Array): void {
  const { h, T, H, head } = view;
  const factor = queryFactor(view, i);
  const out = new Float32Array(h);
  const firstKey = sequenceStart + firstKeyOf(view, i - sequenceStart);
  let isFirst = true;
  let M = 0;
  let l = 0;
  for (let block = sequenceStart + firstBlock(view, i - sequenceStart); block <= i; block += BLOCK) {
    const from = Math.max(0, firstKey - block);
    const count = Math.min(BLOCK, i + 1 - block);
    // The last query of a block sees nothing of the block that the window cuts; it begins with the next one.
    if (from >= count) continue;
    scoreRow(view, i, block, count, u);
    const blockMaximum = maximum(u, from, count);
    p.fill(0);
    x.fill(0);
    for (let j = from; j < count; j += 1) {
      p[j] = exp2c(f32(f32(u[j] - blockMaximum) * factor));
      x[j] = f32(p[j] * partScale(view, 2, block + j));
    }
    const blockSum = t64(p, 0);
    const where = `head ${head}, query ${i}, keys from ${block}`;
    const scale = quantizeGroupUnsigned(x, BLOCK, codes, undefined, 'attentionForward', where);
    const next = isFirst || blockMaximum > M ? blockMaximum : M;
    const alpha = isFirst ? 0 : exp2(f32(f32(M - next) * factor));
    const weight = isFirst ? 0 : exp2(f32(f32(blockMaximum - next) * factor));
    // A query that begins late adds its first block to +0, so its zeros are positive.
    const isLate = isFirst && from === 0 && firstBlock(view, i - sequenceStart) < block - sequenceStart;
    for (let d = 0; d < h; d += 1) {
      let acc = 0;
      for (let j = 0; j < count; j += 1) {
        acc = (acc + Math.imul(codes[j], view.qkv[partOffset(view, 2, block + j) + d])) | 0;
      }
      const mixed = f32(acc * scale);
      if (isLate) out[d] = f32(mixed + 0);
      else out[d] = isFirst ? mixed : f32(f32(out[d] * alpha) + f32(mixed * weight));
    }
    l = isFirst ? blockSum : f32(f32(l * alpha) + f32(blockSum * weight));
    M = next;
    isFirst = false;
  }
  const normalizer = f32(1 / l);
  for (let d = 0; d < h; d += 1) o[(i * H + head) * h + d] = bf16(f32(out[d] * normalizer));
  lambda[head * T + i] = f32(f32(M * factor) + log2(l));
}
