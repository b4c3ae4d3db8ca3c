// exact-arithmetic
/**
 * Rules of the 8-bit quantizers (docs/numerics.md §2.1 to §2.3): one rule for the codes, one for the scales, over rows of
 * values that are computed on the way and never committed.
 */
import { PogoError } from '../../errors.js';
import * as K from '../../reference/constants.js';
import { ditherColumn, ditherColumns, ditherRow, ditherRows } from '../../reference/dither.js';
import { type GroupDither, PANEL, quantizeGroup } from '../../reference/quantize8.js';
import { bf16Row, f32, gelu, geluDerivative, nearest } from '../../reference/scalars.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';

/** Rows of f32 values that follow from committed inputs. */
export interface Values {
  readonly name: string;
  readonly inputs: readonly Source[];
  /** Writes values [first, first + out.length) of a row. */
  fill(read: Reader, row: number, first: number, out: Float32Array): void;
}

/** Dither of a quantizer; `seed` is asked for when it is needed. */
export interface Dither {
  readonly seed: () => Uint32Array;
  /** Rows of the values are columns of the tensor, as in a dithered recode. */
  readonly transposed: boolean;
}

interface Groups {
  readonly rows: number;
  readonly columns: number;
  /** Columns of one scale. */
  readonly group: number;
  /** Scales are multiplied by it; 1 changes none. */
  readonly factor?: number;
  readonly dither?: Dither;
}

function groupDither(dither: Dither | undefined, row: number, first: number, count: number): GroupDither | undefined {
  if (dither === undefined) return undefined;
  const seed = dither.seed();
  if (dither.transposed) return { columns: ditherRows(seed, first, count), first: 0, row: ditherColumn(seed, row) };
  return { columns: ditherColumns(seed, first, count), first: 0, row: ditherRow(seed, row) };
}

function quantize(read: Reader, values: Values, groups: Groups, row: number, first: number, codes: Int8Array): number {
  const x = new Float32Array(codes.length);
  values.fill(read, row, first, x);
  const dither = groupDither(groups.dither, row, first, codes.length);
  return quantizeGroup(x, 0, codes.length, codes, 0, dither, values.name, () => `row ${row}, columns from ${first}`);
}

/** i8 [rows, columns]. */
export function codesRule(values: Values, groups: Groups): Rule {
  const { columns } = groups;
  return {
    kind: `${values.name}.codes`,
    inputs: values.inputs,
    span: rowGroups(columns, groups.group),
    compute(read, start, out) {
      quantize(read, values, groups, Math.floor(start / columns), start % columns, out as Int8Array);
    },
  };
}

/** f32 [⌈columns / group⌉, rows]. */
export function scalesRule(values: Values, groups: Groups): Rule {
  const { rows, columns, group, factor = 1 } = groups;
  return {
    kind: `${values.name}.scales`,
    inputs: values.inputs,
    span: single,
    compute(read, start, out) {
      const first = Math.floor(start / rows) * group;
      const codes = new Int8Array(Math.min(group, columns - first));
      out[0] = f32(quantize(read, values, groups, start % rows, first, codes) * factor);
    },
  };
}

/** bf16 [rows, columns] as values. */
export function bf16Values(x: Source, columns: number): Values {
  return {
    name: 'rows',
    inputs: [x],
    fill(read, row, first, out) {
      bf16Row(read.u16(0, row * columns + first, out.length), 0, out.length, out);
    },
  };
}

/** f32 [rows, columns] as values, with a bias for each column where there is one. */
export function sumValues(name: string, y: Source, columns: number, bias?: Source): Values {
  return {
    name,
    inputs: bias === undefined ? [y] : [y, bias],
    fill(read, row, first, out) {
      out.set(read.f32(0, row * columns + first, out.length));
      if (bias === undefined) return;
      const b = read.f32(1, first, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(out[i] + b[i]);
    },
  };
}

/** f32 [rows, columns] as values, with rows of +0 behind it. */
export function paddedValues(name: string, y: Source, rows: number, columns: number): Values {
  return {
    name,
    inputs: [y],
    fill(read, row, first, out) {
      if (row < rows) out.set(read.f32(0, row * columns + first, out.length));
      else out.fill(0);
    },
  };
}

/** gelu of a linear layer's output. */
export function geluValues(y: Source, columns: number, bias?: Source): Values {
  const sums = sumValues('gelu', y, columns, bias);
  return {
    ...sums,
    fill(read, row, first, out) {
      sums.fill(read, row, first, out);
      for (let i = 0; i < out.length; i += 1) out[i] = gelu(out[i]);
    },
  };
}

/** The derivative of gelu as a code: i8 [rows, columns], nearest(112·gelu'(u)). */
export function derivativeRule(y: Source, columns: number, bias?: Source): Rule {
  const sums = sumValues('gelu', y, columns, bias);
  return {
    kind: 'gelu.derivative',
    inputs: sums.inputs,
    span: rowGroups(columns, 256),
    compute(read, start, out) {
      const u = new Float32Array(out.length);
      sums.fill(read, Math.floor(start / columns), start % columns, u);
      for (let i = 0; i < out.length; i += 1) {
        const slope = geluDerivative(u[i]);
        if (Number.isNaN(slope)) {
          throw new PogoError('NON_FINITE', 'gelu.derivative: expected a finite slope, found a NaN');
        }
        out[i] = nearest(f32(slope * K.F32_DERIVATIVE));
      }
    },
  };
}

/** The gradient before an activation: y·(derivative ÷ 112). */
export function geluGradientValues(y: Source, derivative: Source, columns: number): Values {
  return {
    name: 'geluGradient',
    inputs: [y, derivative],
    fill(read, row, first, out) {
      const start = row * columns + first;
      const sums = read.f32(0, start, out.length);
      const codes = read.i8(1, start, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(sums[i] * f32(codes[i] * K.F32_INV_DERIVATIVE));
    },
  };
}

/**
 * What a recode reads: row n of transposed codes [N, T] with the scales [P(N), T] of the codes before the transpose.
 */
export function recodeValues(transposed: Source, scales: Source, T: number): Values {
  return {
    name: 'recode',
    inputs: [transposed, scales],
    fill(read, row, first, out) {
      const codes = read.i8(0, row * T + first, out.length);
      const s = read.f32(1, Math.floor(row / PANEL) * T + first, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = f32(codes[i] * s[i]);
    },
  };
}
