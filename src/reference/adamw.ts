/**
 * The commit pass over leaves of 256 parameters: `docs/numerics.md` §4, commitLeaves.
 *
 * Clipping is local to a leaf, so that the pass needs no barrier and a light client can check one leaf alone. The leaf
 * functions are what `light` uses: a few kilobytes in, equality out.
 */
import { PogoError } from '../errors.js';
import { nibbleAt } from './codes4.js';
import * as K from './constants.js';
import { bf16Value, f32, flushBeta, flushGradient, flushM, flushV, inverse } from './scalars.js';
import { rowSum } from './sums.js';

/** Parameters of a leaf: 1 KiB of fp32, one BLAKE3 chunk. */
export const LEAF = 256;

/** Scalars of one optimizer step. `beta1t` and `beta2t` are the powers after their advance of this step. */
export interface AdamwScalars {
  readonly beta1: number;
  readonly beta2: number;
  readonly beta1t: number;
  readonly beta2t: number;
  readonly epsilon: number;
  /** +0 for tensors without decay. */
  readonly weightDecay: number;
  readonly learningRate: number;
  readonly emaDecay: number;
  readonly updateEma: boolean;
}

/** β^t of the next step: product with β, flushed before it reaches a subnormal. Start with 1. */
export function advanceBeta(beta: number, betaT: number): number {
  return flushBeta(f32(betaT * beta));
}

/** Σ over units in index order × 1/M, before the flush, of one leaf inside larger code and scale planes. */
function sumUnits(
  codes: readonly Uint8Array[],
  scales: readonly Uint16Array[],
  leaf: number,
  gradient: Float32Array,
): void {
  const inverseUnits = inverse(codes.length);
  for (let i = 0; i < LEAF; i += 1) {
    const element = (leaf * LEAF + i) | 0;
    let g = 0;
    for (let unit = 0; unit < codes.length; unit += 1) {
      const value = f32(nibbleAt(codes[unit], element) * bf16Value(scales[unit][element >>> 6]));
      g = unit === 0 ? value : f32(g + value);
    }
    gradient[i] = f32(g * inverseUnits);
  }
}

/**
 * The gradient of one leaf, f32 [256], before the flush.
 * @param codes per unit 128 bytes of nibbles
 * @param scales per unit 4 bf16 patterns
 */
export function sumUnitsLeaf(codes: readonly Uint8Array[], scales: readonly Uint16Array[]): Float32Array {
  const gradient = new Float32Array(LEAF);
  sumUnits(codes, scales, 0, gradient);
  return gradient;
}

interface LeafVectors {
  readonly theta: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  readonly ema: Float32Array;
}

/** AdamW on one leaf in place: views of 256 elements (`ema` may be empty where it is not updated). */
function stepLeaf(leaf: LeafVectors, gradient: Float32Array, s: AdamwScalars): void {
  const c1 = f32(1 - s.beta1);
  const c2 = f32(1 - s.beta2);
  const correction1 = f32(1 / f32(1 - s.beta1t));
  const correction2 = f32(1 / f32(1 - s.beta2t));
  const g = new Float32Array(LEAF);
  const squares = new Float32Array(LEAF);
  const vHat = new Float32Array(LEAF);
  for (let i = 0; i < LEAF; i += 1) {
    g[i] = flushGradient(gradient[i]);
    squares[i] = f32(g[i] * g[i]);
    leaf.v[i] = flushV(f32(f32(s.beta2 * leaf.v[i]) + f32(c2 * squares[i])));
    vHat[i] = f32(leaf.v[i] * correction2);
  }
  const sumV = rowSum(vHat, 0, LEAF);
  if (sumV !== 0) {
    const ratio = f32(Math.sqrt(f32(rowSum(squares, 0, LEAF) / f32(K.F32_CLIP_FOUR * sumV))));
    if (ratio > 1) {
      const shrink = f32(1 / ratio);
      for (let i = 0; i < LEAF; i += 1) g[i] = f32(g[i] * shrink);
    }
  }
  const keep = s.emaDecay;
  const take = f32(1 - keep);
  for (let i = 0; i < LEAF; i += 1) {
    leaf.m[i] = flushM(f32(f32(s.beta1 * leaf.m[i]) + f32(c1 * g[i])));
    const mHat = f32(leaf.m[i] * correction1);
    const update = f32(mHat / f32(f32(Math.sqrt(vHat[i])) + s.epsilon));
    const decayed = f32(update + f32(s.weightDecay * leaf.theta[i]));
    leaf.theta[i] = f32(leaf.theta[i] - f32(s.learningRate * decayed));
    if (s.updateEma) leaf.ema[i] = f32(f32(keep * leaf.ema[i]) + f32(take * leaf.theta[i]));
  }
}

/**
 * One AdamW step of one leaf on copies.
 * @param leaf vectors f32 [256] before the step and the gradient of `sumUnitsLeaf`
 * @returns the vectors after the step
 */
export function adamwLeaf(leaf: LeafVectors & { readonly gradient: Float32Array } & AdamwScalars): LeafVectors {
  const after = {
    theta: leaf.theta.slice(),
    m: leaf.m.slice(),
    v: leaf.v.slice(),
    ema: leaf.ema.slice(),
  };
  stepLeaf(after, leaf.gradient, leaf);
  return after;
}

/** Operation `commitLeaves`: whole leaves of one tensor in place. */
export function commitLeaves(a: {
  theta: Float32Array;
  m: Float32Array;
  v: Float32Array;
  ema: Float32Array;
  codes: readonly Uint8Array[];
  scales: readonly Uint16Array[];
  n: number;
  beta1: number;
  beta2: number;
  b1t: number;
  b2t: number;
  epsilon: number;
  weightDecay: number;
  learningRate: number;
  emaDecay: number;
  updateEma: boolean;
}): void {
  const gradient = new Float32Array(LEAF);
  const scalars: AdamwScalars = {
    beta1: a.beta1,
    beta2: a.beta2,
    beta1t: a.b1t,
    beta2t: a.b2t,
    epsilon: a.epsilon,
    weightDecay: a.weightDecay,
    learningRate: a.learningRate,
    emaDecay: a.emaDecay,
    updateEma: a.updateEma,
  };
  for (let start = 0; start < a.n; start += LEAF) {
    const end = (start + LEAF) | 0;
    sumUnits(a.codes, a.scales, start / LEAF, gradient);
    const leaf = {
      theta: a.theta.subarray(start, end),
      m: a.m.subarray(start, end),
      v: a.v.subarray(start, end),
      ema: a.ema.subarray(start, end),
    };
    stepLeaf(leaf, gradient, scalars);
  }
}

function malformed(message: string, details: Readonly<Record<string, number>>): PogoError {
  return new PogoError('MALFORMED', `${message}; the bytes are not a canonical unit, refuse them`, details);
}

/**
 * Checks that codes and scales are what `quantize4` can have written: no nibble −8, no scale that is negative, −0, Inf
 * or NaN, and only zero codes under a zero scale. Codes u8 [2·64 codes a scale], scales bf16 patterns; any length.
 * @throws PogoError MALFORMED naming the first group
 */
export function assertCanonicalUnit(codes: Uint8Array, scales: Uint16Array): void {
  if (codes.length !== 32 * scales.length) {
    throw malformed(`expected 32 bytes of codes a scale, found ${codes.length} for ${scales.length} scales`, {});
  }
  for (let group = 0; group < scales.length; group += 1) {
    const scale = scales[group];
    if (scale >= 0x7f80) throw malformed(`expected a finite scale ≥ +0, found bf16 ${scale.toString(16)}`, { group });
    for (let i = 0; i < 32; i += 1) {
      const byte = codes[group * 32 + i];
      if (scale === 0 && byte !== 0) throw malformed('expected codes 0 under a scale of 0, found others', { group });
      if ((byte & 15) === 8 || byte >>> 4 === 8) throw malformed('expected nibbles −7 … 7, found −8', { group });
    }
  }
}

/** The values of a unit's codes, after {@link assertCanonicalUnit}. f32 [64 · scales]. */
export function decodeUnitStrict(codes: Uint8Array, scales: Uint16Array): Float32Array {
  assertCanonicalUnit(codes, scales);
  const values = new Float32Array(scales.length * 64);
  for (let i = 0; i < values.length; i += 1) values[i] = f32(nibbleAt(codes, i) * bf16Value(scales[i >>> 6]));
  return values;
}
