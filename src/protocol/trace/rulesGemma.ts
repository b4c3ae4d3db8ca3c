// exact-arithmetic
/** Rules of what the family gemma3 has beside the operations of all models (docs/numerics.md §4, gainPlusOne … gegluGradient). */
import { bf16, bf16Row, bf16Value, f32, gelu, geluDerivative, inverse } from '../../reference/scalars.js';
import { rowSum } from '../../reference/sums.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';
import type { Values } from './rulesQuantize.js';

/** f32 [n]: 1 + gain. */
export function gainPlusOneRule(gain: Source, n: number): Rule {
  return {
    kind: 'gain.plusOne',
    inputs: [gain],
    span: rowGroups(n, 256),
    compute(read, start, out) {
      const g = read.f32(0, start, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(1 + g[i]);
    },
  };
}

/** u16 [rows, columns]: bf16(x + (o·r)·gain). */
export function normResidualRule(x: Source, o: Source, rstd: Source, gain: Source, columns: number): Rule {
  return {
    kind: 'norm.residual',
    inputs: [x, o, rstd, gain],
    span: rowGroups(columns, 256),
    compute(read, start, out) {
      const before = read.u16(0, start, out.length);
      const values = read.u16(1, start, out.length);
      const r = read.f32(2, Math.floor(start / columns), 1)[0];
      const g = read.f32(3, start % columns, out.length);
      for (let i = 0; i < out.length; i += 1) {
        out[i] = bf16(f32(bf16Value(before[i]) + f32(f32(bf16Value(values[i]) * r) * g[i])));
      }
    },
  };
}

/** Heads of q, k and v before attention: bf16 [T, (H + 2G)·h]. */
export interface HeadsShape {
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly h: number;
  readonly y: Source;
  /** 1 + gain, f32 [h]. */
  readonly gainQ: Source;
  readonly gainK: Source;
  readonly epsilon: number;
  /** Cosines, then sines, of a token's position. */
  readonly rope: (token: number) => Float32Array;
}

const rowOf = ({ H, G, h }: HeadsShape): number => (H + 2 * G) * h;

/** Sum of a head's values in blocks of 64. */
function headSum(x: Float32Array): number {
  return rowSum(x, 0, x.length);
}

/** f32 [T, H + G]: 1 ÷ √(mean square + ε) of each head of q and k. */
export function headsRootRule(s: HeadsShape): Rule {
  const heads = s.H + s.G;
  return {
    kind: 'heads.rstd',
    inputs: [s.y],
    span: single,
    compute(read, start, out) {
      const token = Math.floor(start / heads);
      const x = new Float32Array(s.h);
      bf16Row(read.u16(0, token * rowOf(s) + (start % heads) * s.h, s.h), 0, s.h, x);
      for (let i = 0; i < s.h; i += 1) x[i] = f32(x[i] * x[i]);
      out[0] = f32(1 / f32(Math.sqrt(f32(f32(headSum(x) * inverse(s.h)) + f32(s.epsilon)))));
    },
  };
}

/** What becomes codes: a head normalized and rotated, a head of v as it is. Groups are whole heads. */
export function rotatedValues(s: HeadsShape, rstd: Source): Values {
  const { H, G, h } = s;
  const half = Math.floor(h / 2);
  return {
    name: 'heads.rotated',
    inputs: [s.y, rstd, s.gainQ, s.gainK],
    fill(read, token, first, out) {
      bf16Row(read.u16(0, token * rowOf(s) + first, h), 0, h, out);
      const head = Math.floor(first / h);
      if (head >= H + G) return;
      const r = read.f32(1, token * (H + G) + head, 1)[0];
      const gain = read.f32(head < H ? 2 : 3, 0, h);
      const turn = s.rope(token);
      for (let i = 0; i < half; i += 1) {
        const a = f32(f32(out[i] * r) * gain[i]);
        const b = f32(f32(out[half + i] * r) * gain[half + i]);
        out[i] = f32(f32(a * turn[i]) - f32(b * turn[half + i]));
        out[half + i] = f32(f32(b * turn[i]) + f32(a * turn[half + i]));
      }
    },
  };
}

/** What the backward rules read beside {@link HeadsShape}. */
export interface HeadsGradient {
  readonly shape: HeadsShape;
  /** f32 [T, H + G]. */
  readonly rstd: Source;
  /** bf16 [T, (H + 2G)·h]. */
  readonly dqkv: Source;
}

/** Inputs 0 … 4 of the backward rules. */
const gradientInputs = ({ shape, rstd, dqkv }: HeadsGradient): Source[] => [
  shape.y,
  rstd,
  shape.gainQ,
  shape.gainK,
  dqkv,
];

interface HeadGradient {
  /** The gradient turned back. */
  readonly n: Float32Array;
  readonly xhat: Float32Array;
  /** n·gain. */
  readonly gy: Float32Array;
  readonly r: number;
}

function headGradient(read: Reader, s: HeadsShape, token: number, head: number): HeadGradient {
  const { H, G, h } = s;
  const half = Math.floor(h / 2);
  const at = token * rowOf(s) + head * h;
  const d = new Float32Array(h);
  const n = new Float32Array(h);
  const xhat = new Float32Array(h);
  const gy = new Float32Array(h);
  bf16Row(read.u16(4, at, h), 0, h, d);
  bf16Row(read.u16(0, at, h), 0, h, xhat);
  const turn = s.rope(token);
  for (let i = 0; i < half; i += 1) {
    n[i] = f32(f32(d[i] * turn[i]) + f32(d[half + i] * turn[half + i]));
    n[half + i] = f32(f32(d[half + i] * turn[i]) - f32(d[i] * turn[half + i]));
  }
  const r = read.f32(1, token * (H + G) + head, 1)[0];
  const gain = read.f32(head < H ? 2 : 3, 0, h);
  for (let i = 0; i < h; i += 1) {
    xhat[i] = f32(xhat[i] * r);
    gy[i] = f32(n[i] * gain[i]);
  }
  return { n, xhat, gy, r };
}

/** f32 [T, H + G]: the mean of gy·x̂ of each head. */
export function headsMeanRule(g: HeadsGradient): Rule {
  const s = g.shape;
  const heads = s.H + s.G;
  return {
    kind: 'heads.mean',
    inputs: gradientInputs(g),
    span: single,
    compute(read, start, out) {
      const { gy, xhat } = headGradient(read, s, Math.floor(start / heads), start % heads);
      for (let i = 0; i < s.h; i += 1) gy[i] = f32(gy[i] * xhat[i]);
      out[0] = f32(headSum(gy) * inverse(s.h));
    },
  };
}

/** u16 [T, (H + 2G)·h]: the gradient of y. */
export function headsGradientRule(g: HeadsGradient, mean: Source): Rule {
  const s = g.shape;
  const columns = rowOf(s);
  return {
    kind: 'heads.gradient',
    inputs: [...gradientInputs(g), mean],
    span: rowGroups(columns, s.h),
    compute(read, start, out) {
      const token = Math.floor(start / columns);
      const head = Math.floor((start % columns) / s.h);
      if (head >= s.H + s.G) {
        (out as Uint16Array).set(read.u16(4, start, s.h));
        return;
      }
      const { gy, xhat, r } = headGradient(read, s, token, head);
      const m = read.f32(5, token * (s.H + s.G) + head, 1)[0];
      for (let i = 0; i < s.h; i += 1) out[i] = bf16(f32(r * f32(gy[i] - f32(xhat[i] * m))));
    },
  };
}

/** f32 [h, T]: sums of n·x̂ over heads [first, end), going on from `previous`: the terms of one gain's gradient. */
export function headsGainRule(g: HeadsGradient, previous: Source | undefined, first: number, end: number): Rule {
  const s = g.shape;
  const inputs = gradientInputs(g);
  return {
    kind: 'heads.gain',
    inputs: previous === undefined ? inputs : [...inputs, previous],
    span: single,
    compute(read, start, out) {
      const d = Math.floor(start / s.T);
      const token = start % s.T;
      let sum = previous === undefined ? 0 : read.f32(inputs.length, start, 1)[0];
      for (let head = first; head < end; head += 1) {
        const { n, xhat } = headGradient(read, s, token, head);
        const term = f32(n[d] * xhat[d]);
        sum = previous === undefined && head === first ? term : f32(sum + term);
      }
      out[0] = sum;
    },
  };
}

/** gelu(gate)·up of u bf16 [T, 2F]. */
export function gegluValues(u: Source, F: number): Values {
  return {
    name: 'geglu',
    inputs: [u],
    fill(read, row, first, out) {
      const gate = read.u16(0, row * 2 * F + first, out.length);
      const up = read.u16(0, row * 2 * F + F + first, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(gelu(bf16Value(gate[i])) * bf16Value(up[i]));
    },
  };
}

/** The gradient of u: 2F columns, gates first. */
export function gegluGradientValues(dh: Source, u: Source, F: number): Values {
  const fill = (read: Reader, row: number, first: number, out: Float32Array, isGate: boolean): void => {
    const d = read.u16(0, row * F + first, out.length);
    const gate = read.u16(1, row * 2 * F + first, out.length);
    if (!isGate) {
      for (let i = 0; i < out.length; i += 1) out[i] = f32(bf16Value(d[i]) * gelu(bf16Value(gate[i])));
      return;
    }
    const up = read.u16(1, row * 2 * F + F + first, out.length);
    for (let i = 0; i < out.length; i += 1) {
      out[i] = f32(f32(bf16Value(d[i]) * bf16Value(up[i])) * geluDerivative(bf16Value(gate[i])));
    }
  };
  return {
    name: 'gegluGradient',
    inputs: [dh, u],
    fill(read, row, first, out) {
      // A group of columns may hold the last gates and the first of the other half.
      const gates = Math.max(0, Math.min(out.length, F - first));
      if (gates > 0) fill(read, row, first, out.subarray(0, gates), true);
      if (gates < out.length) fill(read, row, Math.max(0, first - F), out.subarray(gates), false);
    },
  };
}
