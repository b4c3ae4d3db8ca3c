// exact-arithmetic
/** Rules of the norms (docs/numerics.md §4, normForward and normBackward). */
import { bf16, bf16Row, bf16Value, f32, inverse } from '../../reference/scalars.js';
import { type Reader, type Rule, rowGroups, type Source } from './program.js';
import type { Values } from './rulesQuantize.js';

/** What both passes of a norm read. `mean` is absent for RMSNorm. */
export interface NormRow {
  readonly x: Source;
  readonly mean: Source | undefined;
  readonly columns: number;
}

const optional = (source: Source | undefined): Source[] => (source === undefined ? [] : [source]);

/** x, or x − mean, of columns [first, first + out.length); `meanInput` is the reader's index of the mean. */
function centred(read: Reader, row: number, first: number, norm: NormRow, meanInput: number, out: Float32Array): void {
  bf16Row(read.u16(0, row * norm.columns + first, out.length), 0, out.length, out);
  if (norm.mean === undefined) return;
  const mean = read.f32(meanInput, row, 1)[0];
  for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] - mean);
}

/** The row itself: what the mean is summed from. */
export function inputValues({ x, columns }: NormRow): Values {
  return {
    name: 'norm.x',
    inputs: [x],
    fill(read, row, first, out) {
      bf16Row(read.u16(0, row * columns + first, out.length), 0, out.length, out);
    },
  };
}

/** Squares of the centred row. */
export function squareValues(norm: NormRow): Values {
  return {
    name: 'norm.squares',
    inputs: [norm.x, ...optional(norm.mean)],
    fill(read, row, first, out) {
      centred(read, row, first, norm, 1, out);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] * out[i]);
    },
  };
}

/** f32 [rows]: sum × 1/columns. */
export function meanRule(sum: Source, columns: number): Rule {
  return {
    kind: 'mean',
    inputs: [sum],
    span: (element) => [element, element + 1],
    compute(read, start, out) {
      out[0] = f32(read.f32(0, start, 1)[0] * inverse(columns));
    },
  };
}

/** f32 [rows]: 1 ÷ √(sum × 1/columns + ε). */
export function reciprocalRootRule(sum: Source, columns: number, epsilon: number): Rule {
  return {
    kind: 'norm.rstd',
    inputs: [sum],
    span: (element) => [element, element + 1],
    compute(read, start, out) {
      const variance = f32(read.f32(0, start, 1)[0] * inverse(columns));
      out[0] = f32(1 / f32(Math.sqrt(f32(variance + f32(epsilon)))));
    },
  };
}

/** The normalized row, with gain and, for LayerNorm, bias: what is quantized. */
export function normValues(norm: NormRow, rstd: Source, gain: Source, bias: Source | undefined): Values {
  return {
    name: 'norm',
    inputs: [norm.x, rstd, gain, ...optional(norm.mean), ...optional(bias)],
    fill(read, row, first, out) {
      centred(read, row, first, norm, 3, out);
      const r = read.f32(1, row, 1)[0];
      const g = read.f32(2, first, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(f32(out[i] * r) * g[i]);
      if (bias === undefined) return;
      const b = read.f32(norm.mean === undefined ? 3 : 4, first, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] + b[i]);
    },
  };
}

/** Inputs of the backward pass. */
export interface NormBackward {
  readonly norm: NormRow;
  readonly rstd: Source;
  readonly dy: Source;
  readonly gain: Source;
}

const backwardInputs = ({ norm, rstd, dy, gain }: NormBackward): Source[] => [
  norm.x,
  rstd,
  dy,
  gain,
  ...optional(norm.mean),
];

/** x̂ of columns [first, first + out.length). */
function normalized(read: Reader, row: number, first: number, norm: NormRow, out: Float32Array): void {
  centred(read, row, first, norm, 4, out);
  const r = read.f32(1, row, 1)[0];
  for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] * r);
}

function gainGradient(read: Reader, row: number, first: number, columns: number, out: Float32Array): void {
  bf16Row(read.u16(2, row * columns + first, out.length), 0, out.length, out);
  const gain = read.f32(3, first, out.length);
  for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] * gain[i]);
}

/** (dy·gain)·x̂. */
export function productValues(backward: NormBackward): Values {
  const { norm } = backward;
  return {
    name: 'norm.products',
    inputs: backwardInputs(backward),
    fill(read, row, first, out) {
      const xhat = new Float32Array(out.length);
      normalized(read, row, first, norm, xhat);
      gainGradient(read, row, first, norm.columns, out);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] * xhat[i]);
    },
  };
}

/** dy·gain, summed for LayerNorm. */
export function gainGradientValues(backward: NormBackward): Values {
  return {
    name: 'norm.gradients',
    inputs: backwardInputs(backward),
    fill(read, row, first, out) {
      gainGradient(read, row, first, backward.norm.columns, out);
    },
  };
}

/** dy·x̂: the terms of the gain's gradient. */
export function gainTermValues(backward: NormBackward): Values {
  const { norm } = backward;
  return {
    name: 'norm.gainTerms',
    inputs: backwardInputs(backward),
    fill(read, row, first, out) {
      normalized(read, row, first, norm, out);
      const dy = read.u16(2, row * norm.columns + first, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(bf16Value(dy[i]) * out[i]);
    },
  };
}

/**
 * dx: u16 [rows, columns].
 *
 * @param s f32 [rows], the mean of the products; `a`, for LayerNorm, that of the gradients
 * @param before the residual stream's gradient; absent for the final norm
 */
export function normGradientRule(
  backward: NormBackward,
  s: Source,
  a: Source | undefined,
  before: Source | undefined,
): Rule {
  const { norm } = backward;
  const inputs = backwardInputs(backward);
  const sInput = inputs.length;
  return {
    kind: 'norm.backward',
    inputs: [...inputs, s, ...optional(a), ...optional(before)],
    span: rowGroups(norm.columns, 256),
    compute(read, start, out) {
      const row = Math.floor(start / norm.columns);
      const first = start % norm.columns;
      const xhat = new Float32Array(out.length);
      const gy = new Float32Array(out.length);
      normalized(read, row, first, norm, xhat);
      gainGradient(read, row, first, norm.columns, gy);
      const r = read.f32(1, row, 1)[0];
      const mean = read.f32(sInput, row, 1)[0];
      if (a !== undefined) {
        const m = read.f32(sInput + 1, row, 1)[0];
        for (let i = 0; i < out.length; i += 1) gy[i] = f32(gy[i] - m);
      }
      const dx =
        before === undefined ? undefined : read.u16(a === undefined ? sInput + 1 : sInput + 2, start, out.length);
      for (let i = 0; i < out.length; i += 1) {
        const d = f32(r * f32(gy[i] - f32(xhat[i] * mean)));
        out[i] = bf16(dx === undefined ? d : f32(bf16Value(dx[i]) + d));
      }
    },
  };
}
