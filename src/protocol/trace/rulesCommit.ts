// exact-arithmetic
/** Rules of a step's commit pass, leaf by leaf (docs/numerics.md §4, commitLeaves). */

import { LEAF } from '../../reference/adamw.js';
import { nibbleAt } from '../../reference/codes4.js';
import * as K from '../../reference/constants.js';
import { bf16Value, f32, flushGradient, flushM, flushV, inverse } from '../../reference/scalars.js';
import { rowSum } from '../../reference/sums.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';

/** Scalars of the step, as fp32 values. */
export interface StepScalars {
  readonly beta1: number;
  readonly beta2: number;
  /** Powers after the step's advance. */
  readonly beta1t: number;
  readonly beta2t: number;
  readonly epsilon: number;
  readonly emaDecay: number;
}

const leaves = rowGroups(LEAF, LEAF);

/** f32 [length]: Σ over units, running. `unit` is the unit's file, `length` the layout's. */
export function unitSumRule(unit: Source, previous: Source | undefined, length: number): Rule {
  return {
    kind: 'commit.sum',
    inputs: previous === undefined ? [unit] : [unit, previous],
    span: leaves,
    compute(read, start, out) {
      const codes = read.u8(0, Math.floor(start / 2), 128);
      // The scales plane begins at byte length / 2.
      const scales = read.u16(0, Math.floor(length / 4) + Math.floor(start / 64), 4);
      const before = previous === undefined ? undefined : read.f32(1, start, LEAF);
      for (let i = 0; i < LEAF; i += 1) {
        const value = f32(nibbleAt(codes, i) * bf16Value(scales[i >>> 6]));
        out[i] = before === undefined ? value : f32(before[i] + value);
      }
    },
  };
}

/** f32 [length]: the mean over units, flushed. */
export function meanGradientRule(sum: Source, units: number): Rule {
  return {
    kind: 'commit.gradient',
    inputs: [sum],
    span: leaves,
    compute(read, start, out) {
      const x = read.f32(0, start, LEAF);
      for (let i = 0; i < LEAF; i += 1) out[i] = flushGradient(f32(x[i] * inverse(units)));
    },
  };
}

/** v'. */
export function secondMomentRule(gradient: Source, v: Source, s: StepScalars): Rule {
  return {
    kind: 'commit.v',
    inputs: [gradient, v],
    span: leaves,
    compute(read, start, out) {
      const g = read.f32(0, start, LEAF);
      const before = read.f32(1, start, LEAF);
      const beta2 = f32(s.beta2);
      const c2 = f32(1 - beta2);
      for (let i = 0; i < LEAF; i += 1) {
        out[i] = flushV(f32(f32(beta2 * before[i]) + f32(c2 * f32(g[i] * g[i]))));
      }
    },
  };
}

/** v̂ of a leaf of v'. */
function corrected(read: Reader, input: number, start: number, s: StepScalars): Float32Array {
  const v = read.f32(input, start, LEAF);
  const correction = f32(1 / f32(1 - f32(s.beta2t)));
  return v.map((value) => f32(value * correction));
}

/** f32 [leaves]: what the leaf's gradient is multiplied with; 1 where it is not clipped. */
export function clipRule(gradient: Source, v: Source, s: StepScalars): Rule {
  return {
    kind: 'commit.clip',
    inputs: [gradient, v],
    span: single,
    compute(read, start, out) {
      const squares = read.f32(0, start * LEAF, LEAF).map((g) => f32(g * g));
      const sumV = rowSum(corrected(read, 1, start * LEAF, s), 0, LEAF);
      out[0] = 1;
      if (sumV === 0) return;
      const ratio = f32(Math.sqrt(f32(rowSum(squares, 0, LEAF) / f32(K.F32_CLIP_FOUR * sumV))));
      if (ratio > 1) out[0] = f32(1 / ratio);
    },
  };
}

/** m'. */
export function firstMomentRule(gradient: Source, clip: Source, m: Source, s: StepScalars): Rule {
  return {
    kind: 'commit.m',
    inputs: [gradient, clip, m],
    span: leaves,
    compute(read, start, out) {
      const g = read.f32(0, start, LEAF);
      const shrink = read.f32(1, Math.floor(start / LEAF), 1)[0];
      const before = read.f32(2, start, LEAF);
      const beta1 = f32(s.beta1);
      const c1 = f32(1 - beta1);
      // A factor of 1 changes no bit, so that one formula serves clipped and unclipped leaves.
      for (let i = 0; i < LEAF; i += 1) {
        out[i] = flushM(f32(f32(beta1 * before[i]) + f32(c1 * f32(g[i] * shrink))));
      }
    },
  };
}

/** θ'. `decay` is the weight decay of the tensor that holds the leaf, `rate` the step's learning rate. */
export function parameterRule(
  m: Source,
  v: Source,
  theta: Source,
  s: StepScalars,
  decay: (element: number) => number,
  rate: () => number,
): Rule {
  return {
    kind: 'commit.theta',
    inputs: [m, v, theta],
    span: leaves,
    compute(read, start, out) {
      const first = read.f32(0, start, LEAF);
      const second = corrected(read, 1, start, s);
      const before = read.f32(2, start, LEAF);
      const correction = f32(1 / f32(1 - f32(s.beta1t)));
      const wd = f32(decay(start));
      const learningRate = f32(rate());
      const epsilon = f32(s.epsilon);
      for (let i = 0; i < LEAF; i += 1) {
        const update = f32(f32(first[i] * correction) / f32(f32(Math.sqrt(second[i])) + epsilon));
        const decayed = f32(update + f32(wd * before[i]));
        out[i] = f32(before[i] - f32(learningRate * decayed));
      }
    },
  };
}

/** EMA'; without an update a copy. */
export function averageRule(ema: Source, theta: Source | undefined, s: StepScalars): Rule {
  return {
    kind: 'commit.ema',
    inputs: theta === undefined ? [ema] : [ema, theta],
    span: leaves,
    compute(read, start, out) {
      const before = read.f32(0, start, LEAF);
      if (theta === undefined) {
        // By words: a copy must keep the bits of a NaN too.
        new Uint32Array(out.buffer, out.byteOffset, LEAF).set(read.u32(0, start, LEAF));
        return;
      }
      const after = read.f32(1, start, LEAF);
      const keep = f32(s.emaDecay);
      const take = f32(1 - keep);
      for (let i = 0; i < LEAF; i += 1) out[i] = f32(f32(keep * before[i]) + f32(take * after[i]));
    },
  };
}
