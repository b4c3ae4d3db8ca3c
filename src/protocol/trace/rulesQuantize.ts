// exact-arithmetic
/**
 * Rules of the 8-bit quantizers (docs/numerics.md §2.1 to §2.3): one rule for the codes, one for the scales, over rows of
 * values that are computed on the way and never committed.
 */
import { PogoError } from '../../errors.js';
import * as K from '../../reference/constants.js';
import { ditherColumn, ditherColumns, ditherRow, ditherRows } from '../../reference/dither.js';
import { type GroupDither, groupScale, PANEL, quantizeGroup } from '../../reference/quantize8.js';
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

/** The dither of columns [first, first + count): of any row, for the group that begins at a column of them. */
function groupDither(
  dither: Dither | undefined,
  first: number,
  count: number,
): (row: number, column: number) => GroupDither | undefined {
  if (dither === undefined) return () => undefined;
  const { transposed } = dither;
  const seed = dither.seed();
  const columns = transposed ? ditherRows(seed, first, count) : ditherColumns(seed, first, count);
  return (row, column) => ({
    columns,
    first: column - first,
    row: transposed ? ditherColumn(seed, row) : ditherRow(seed, row),
  });
}

const placeOf = (row: number, first: number) => (): string => `row ${row}, columns from ${first}`;

/** i8 [rows, columns]. */
export function codesRule(values: Values, { rows, columns, group, dither }: Groups): Rule {
  return {
    kind: `${values.name}.codes`,
    inputs: values.inputs,
    span: rowGroups(columns, group),
    compute(read, start, out) {
      const row = Math.floor(start / columns);
      const first = start % columns;
      const x = new Float32Array(out.length);
      values.fill(read, row, first, x);
      const rounding = groupDither(dither, first, x.length)(row, first);
      quantizeGroup(x, 0, x.length, out as Int8Array, 0, rounding, values.name, placeOf(row, first));
    },
    whole({ read }, out) {
      const rounding = groupDither(dither, 0, columns);
      eachGroup(values, read, { rows, columns, group }, (row, first, x) => {
        const start = row * columns + first;
        const place = placeOf(row, first);
        quantizeGroup(x, 0, x.length, out as Int8Array, start, rounding(row, first), values.name, place);
      });
    },
  };
}

/** f32 [⌈columns / group⌉, rows]. Scales need no codes, and so no dither. */
export function scalesRule(values: Values, { rows, columns, group, factor = 1 }: Groups): Rule {
  const scale = (x: Float32Array, row: number, first: number): number =>
    f32(groupScale(x, 0, x.length, values.name, placeOf(row, first)) * factor);
  return {
    kind: `${values.name}.scales`,
    inputs: values.inputs,
    span: single,
    compute(read, start, out) {
      const row = start % rows;
      const first = Math.floor(start / rows) * group;
      const x = new Float32Array(Math.min(group, columns - first));
      values.fill(read, row, first, x);
      out[0] = scale(x, row, first);
    },
    whole({ read }, out) {
      eachGroup(values, read, { rows, columns, group }, (row, first, x) => {
        out[Math.floor(first / group) * rows + row] = scale(x, row, first);
      });
    },
  };
}

/** Values of all groups, row by row, as they lie in their inputs; the array is used again for the next group. */
function eachGroup(
  values: Values,
  read: Reader,
  { rows, columns, group }: Groups,
  visit: (row: number, first: number, x: Float32Array) => void,
): void {
  const whole = new Float32Array(Math.min(group, columns));
  const rest = whole.subarray(0, columns % group);
  for (let row = 0; row < rows; row += 1) {
    for (let first = 0; first < columns; first += group) {
      const x = first + group <= columns ? whole : rest;
      values.fill(read, row, first, x);
      visit(row, first, x);
    }
  }
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
