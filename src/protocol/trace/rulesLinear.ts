// exact-arithmetic
/** Rules of integer products, transposes and element by element operations (docs/numerics.md §2.4 and §4). */
import { dot } from '../../reference/gemm.js';
import { PANEL, panels } from '../../reference/quantize8.js';
import { bf16, bf16Value, f32 } from '../../reference/scalars.js';
import { rowSum } from '../../reference/sums.js';
import { type ElementType, type Rule, rowGroups, type Source, single, type WholeInputs } from './program.js';
import type { Values } from './rulesQuantize.js';

/** Contracted elements of one operation: longer rows are cut, and every cut's sum is committed. */
export const SEGMENT = 4096;
/** Rows and columns of a transpose that are worked on together. */
const TILE = 64;

interface Product {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** Contracted elements [first, end): whole panels, but at the end of K. */
  readonly first: number;
  readonly end: number;
}

/**
 * f32 [M, N]: Σ over the panels of [first, end) of a [M, K] · b [N, K], going on from `previous` where there is one.
 * Scales are [P(K), M] and [P(K), N].
 */
export function productRule(
  a: Source,
  aScales: Source,
  b: Source,
  bScales: Source,
  previous: Source | undefined,
  { M, N, K, first, end }: Product,
): Rule {
  const inputs = [a, aScales, b, bScales];
  return {
    kind: 'product',
    inputs: previous === undefined ? inputs : [...inputs, previous],
    span: single,
    compute(read, start, out) {
      const i = Math.floor(start / N);
      const j = start % N;
      const left = read.i8(0, i * K + first, end - first);
      const right = read.i8(2, j * K + first, end - first);
      let sum = previous === undefined ? 0 : read.f32(4, start, 1)[0];
      for (let k = first; k < end; k += PANEL) {
        const panel = k / PANEL;
        const count = Math.min(PANEL, end - k);
        const scale = f32(read.f32(1, panel * M + i, 1)[0] * read.f32(3, panel * N + j, 1)[0]);
        const term = f32(dot(left, k - first, right, k - first, count) * scale);
        sum = previous === undefined && k === first ? term : f32(sum + term);
      }
      out[0] = sum;
    },
    whole(inputsOf, out) {
      wholeProduct(inputsOf, out as Float32Array, previous !== undefined, { M, N, K, first, end });
    },
  };
}

/** By a backend's product where there is one, else by {@link panelSums}: both in the order of the rule. */
function wholeProduct({ read, kernels }: WholeInputs, dw: Float32Array, accumulate: boolean, p: Product): void {
  const { M, N, K, first, end } = p;
  const width = end - first;
  const cut = (codes: Int8Array, rows: number): Int8Array => {
    if (width === K) return codes;
    const part = new Int8Array(rows * width);
    for (let r = 0; r < rows; r += 1) part.set(codes.subarray(r * K + first, r * K + end), r * width);
    return part;
  };
  const firstPanel = Math.floor(first / PANEL);
  const count = panels(width);
  const operands = {
    et: cut(read.i8(0, 0, M * K), M),
    etScales: read.f32(1, firstPanel * M, count * M),
    xt: cut(read.i8(2, 0, N * K), N),
    xtScales: read.f32(3, firstPanel * N, count * N),
  };
  if (accumulate) dw.set(read.f32(4, 0, M * N));
  if (kernels !== undefined) kernels.weightGradient({ ...operands, dw, N: M, K: N, T: width, accumulate });
  else panelSums(operands, dw, M, N, width, accumulate);
}

interface Operands {
  readonly et: Int8Array;
  readonly etScales: Float32Array;
  readonly xt: Int8Array;
  readonly xtScales: Float32Array;
}

function panelSums(o: Operands, dw: Float32Array, M: number, N: number, width: number, accumulate: boolean): void {
  for (let i = 0; i < M; i += 1) {
    for (let first = 0, panel = 0; first < width; first += PANEL, panel += 1) {
      const count = Math.min(PANEL, width - first);
      const scale = o.etScales[panel * M + i];
      for (let j = 0; j < N; j += 1) {
        const acc = dot(o.et, i * width + first, o.xt, j * width + first, count);
        const term = f32(acc * f32(scale * o.xtScales[panel * N + j]));
        const index = i * N + j;
        dw[index] = panel === 0 && !accumulate ? term : f32(dw[index] + term);
      }
    }
  }
}

/** [columns, rows] from [rows, columns]. */
export function transposeRule<T extends ElementType>(x: Source, type: T, rows: number, columns: number): Rule {
  return {
    kind: 'transpose',
    inputs: [x],
    span: single,
    compute(read, start, out) {
      const column = Math.floor(start / rows);
      out[0] = read[type](0, (start % rows) * columns + column, 1)[0];
    },
    whole({ read }, out) {
      const from = read[type](0, 0, rows * columns);
      // Tile by tile: down whole columns every element would be another cache line.
      for (let top = 0; top < rows; top += TILE) {
        const end = Math.min(rows, top + TILE);
        for (let left = 0; left < columns; left += TILE) {
          const right = Math.min(columns, left + TILE);
          for (let c = left; c < right; c += 1) {
            for (let r = top; r < end; r += 1) out[c * rows + r] = from[r * columns + c];
          }
        }
      }
    },
  };
}

/** [heads, T, h] from [T, heads · h]: the rows of one head lie together. */
export function headsRule(x: Source, T: number, heads: number, h: number): Rule {
  return {
    kind: 'heads',
    inputs: [x],
    span: rowGroups(h, h),
    compute(read, start, out) {
      const row = Math.floor(start / h);
      const head = Math.floor(row / T);
      (out as Int8Array).set(read.i8(0, (row % T) * heads * h + head * h, h));
    },
  };
}

/** bf16(x + (y + bias)): u16 [rows, columns]. */
export function residualRule(x: Source, y: Source, columns: number, bias?: Source): Rule {
  return {
    kind: 'residual',
    inputs: bias === undefined ? [x, y] : [x, y, bias],
    span: rowGroups(columns, 256),
    compute(read, start, out) {
      const before = read.u16(0, start, out.length);
      const sum = read.f32(1, start, out.length);
      const b = bias === undefined ? undefined : read.f32(2, start % columns, out.length);
      for (let i = 0; i < out.length; i += 1) {
        const value = b === undefined ? sum[i] : f32(sum[i] + b[i]);
        out[i] = bf16(f32(bf16Value(before[i]) + value));
      }
    },
  };
}

/** bf16 of f32 values: u16 [rows, columns]. */
export function bf16Rule(y: Source, columns: number): Rule {
  return {
    kind: 'bf16',
    inputs: [y],
    span: rowGroups(columns, 256),
    compute(read, start, out) {
      const values = read.f32(0, start, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = bf16(values[i]);
    },
  };
}

/** f32 [columns, rows]: values, transposed, so that sums over rows run along contiguous bytes. */
export function transposedValuesRule(values: Values, rows: number): Rule {
  return {
    kind: `${values.name}.transposed`,
    inputs: values.inputs,
    span: single,
    compute(read, start, out) {
      values.fill(read, start % rows, Math.floor(start / rows), out as Float32Array);
    },
  };
}

/** f32 [rows]: the sum over columns [first, end), T64 blocks ascending, going on from `previous`. */
export function rowSumRule(values: Values, previous: Source | undefined, first: number, end: number): Rule {
  const { inputs } = values;
  return {
    kind: `${values.name}.rowSum`,
    inputs: previous === undefined ? inputs : [...inputs, previous],
    span: single,
    compute(read, start, out) {
      const x = new Float32Array(end - first);
      values.fill(read, start, first, x);
      if (previous === undefined) {
        out[0] = rowSum(x, 0, x.length);
        return;
      }
      let sum = read.f32(inputs.length, start, 1)[0];
      for (let block = 0; block < x.length; block += 64) sum = f32(sum + rowSum(x, block, 64));
      out[0] = sum;
    },
  };
}

/**
 * Column sums, running: f32 [T / 64, columns] from transposed rows [columns, T]. Row b is the sum after block b of 64
 * tokens; a block is summed sequentially, then added to the row before. The last row is the sum.
 */
export function columnSumsRule(
  transposed: Source,
  type: 'f32' | 'u16',
  self: Source,
  T: number,
  columns: number,
): Rule {
  return {
    kind: 'columnSums',
    inputs: [transposed, self],
    span: single,
    compute(read, start, out) {
      const block = Math.floor(start / columns);
      const from = (start % columns) * T + 64 * block;
      let sum = 0;
      if (type === 'f32') {
        const x = read.f32(0, from, 64);
        for (let t = 0; t < 64; t += 1) sum = t === 0 ? x[0] : f32(sum + x[t]);
      } else {
        const x = read.u16(0, from, 64);
        for (let t = 0; t < 64; t += 1) sum = t === 0 ? bf16Value(x[0]) : f32(sum + bf16Value(x[t]));
      }
      out[0] = block === 0 ? sum : f32(read.f32(1, start - columns, 1)[0] + sum);
    },
  };
}
