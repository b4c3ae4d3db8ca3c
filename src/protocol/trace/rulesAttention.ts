// exact-arithmetic
/**
 * Rules of causal attention (docs/numerics.md §4, attentionForward), block by block: every block of 64 keys has its
 * statistics, codes and running sums committed, so that no check reads more than one block.
 */
import { dot } from '../../reference/gemm.js';
import { quantizeGroupUnsigned } from '../../reference/quantize8.js';
import { bf16, exp2, exp2c, f32, log2 } from '../../reference/scalars.js';
import { t64 } from '../../reference/sums.js';
import {
  type AttentionShape,
  BLOCK,
  columnOf,
  common,
  factorOf,
  firstNumber,
  keyBlock,
  keysOf,
  place,
  rowsOf,
  scalesOf,
} from './attentionBlocks.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';

interface ForwardBlock {
  /** Maximum of the scores; 0 where the block is masked altogether, as are the rest. */
  readonly m: number;
  readonly l: number;
  readonly scale: number;
  readonly codes: Uint8Array;
}

function forwardBlock(read: Reader, s: AttentionShape, row: number, b: number): ForwardBlock {
  const codes = new Uint8Array(BLOCK);
  const { head, token, start, block } = place(s, row);
  const keys = keyBlock(s, block, b);
  const { from, count } = keysOf(s, token, keys);
  if (count === 0) return { m: 0, l: 0, scale: 0, codes };
  const firstKey = start + BLOCK * keys;
  const q = rowsOf(read, s, 0, head, token, 1);
  const k = rowsOf(read, s, 1, head, firstKey, count);
  const sk = scalesOf(read, s, 1, head, firstKey, count);
  const sv = scalesOf(read, s, 2, head, firstKey, count);
  const factor = factorOf(scalesOf(read, s, 0, head, token, 1)[0], s.scalar);
  const u = new Float32Array(count);
  for (let j = 0; j < count; j += 1) u[j] = f32(dot(q, 0, k, j * s.h, s.h) * sk[j]);
  let m = u[from];
  for (let j = from + 1; j < count; j += 1) m = u[j] > m ? u[j] : m;
  m = f32(m + 0);
  const p = new Float32Array(BLOCK);
  const x = new Float32Array(BLOCK);
  for (let j = from; j < count; j += 1) {
    p[j] = exp2c(f32(f32(u[j] - m) * factor));
    x[j] = f32(p[j] * sv[j]);
  }
  const scale = quantizeGroupUnsigned(x, BLOCK, codes, undefined, 'attention', `row ${row}, block ${b}`);
  return { m, l: t64(p, 0), scale, codes };
}

/** f32 [H, T, 3]: maximum, sum and code scale of key block number `b` for each query. */
export function statisticsRule(shape: AttentionShape, b: number): Rule {
  return {
    kind: 'attention.statistics',
    inputs: common(shape),
    span: rowGroups(3, 3),
    compute(read, start, out) {
      const { m, l, scale } = forwardBlock(read, shape, Math.floor(start / 3), b);
      out[0] = m;
      out[1] = l;
      out[2] = scale;
    },
  };
}

/** u8 [H, T, 64]: codes of p·sv over key block `b`. */
export function probabilityCodesRule(shape: AttentionShape, b: number): Rule {
  return {
    kind: 'attention.codes',
    inputs: common(shape),
    span: rowGroups(BLOCK, BLOCK),
    compute(read, start, out) {
      (out as Uint8Array).set(forwardBlock(read, shape, Math.floor(start / BLOCK), b).codes);
    },
  };
}

/** α and w of a block: what the sums before it, and its own, are multiplied with. */
function weights(M: number, m: number, factor: number): { next: number; alpha: number; weight: number } {
  const next = m > M ? m : M;
  return { next, alpha: exp2(f32(f32(M - next) * factor)), weight: exp2(f32(f32(m - next) * factor)) };
}

/** f32 [H, T, 2]: maximum and sum after key block `b`. */
export function runningRule(shape: AttentionShape, statistics: Source, previous: Source | undefined, b: number): Rule {
  return {
    kind: 'attention.running',
    inputs: [...common(shape), statistics, ...(previous === undefined ? [] : [previous])],
    span: rowGroups(2, 2),
    compute(read, start, out) {
      const row = Math.floor(start / 2);
      const { head, token, block } = place(shape, row);
      if (keyBlock(shape, block, b) > block) {
        (out as Float32Array).set(read.f32(4, start, 2));
        return;
      }
      // Before its first block a query has zeros, as that block has for it.
      const [m, l] = read.f32(3, 3 * row, 2);
      if (b <= firstNumber(shape, token, block)) {
        out[0] = m;
        out[1] = l;
        return;
      }
      const [M, before] = read.f32(4, start, 2);
      const factor = factorOf(scalesOf(read, shape, 0, head, token, 1)[0], shape.scalar);
      const { next, alpha, weight } = weights(M, m, factor);
      out[0] = next;
      out[1] = f32(f32(before * alpha) + f32(l * weight));
    },
  };
}

/** f32 [T, H·h]: the mix of values after key block `b`, not yet divided by the sum. */
export function mixRule(
  shape: AttentionShape,
  statistics: Source,
  codes: Source,
  previous: { readonly running: Source; readonly mix: Source } | undefined,
  b: number,
): Rule {
  const columns = shape.H * shape.h;
  return {
    kind: 'attention.mix',
    inputs: [...common(shape), statistics, codes, ...(previous === undefined ? [] : [previous.running, previous.mix])],
    span: single,
    compute(read, start, out) {
      const token = Math.floor(start / columns);
      const column = start % columns;
      const head = Math.floor(column / shape.h);
      const row = head * shape.T + token;
      const { start: sequence, block } = place(shape, row);
      const keys = keyBlock(shape, block, b);
      const { count } = keysOf(shape, token, keys);
      if (count === 0) {
        out[0] = b === 0 ? 0 : read.f32(6, start, 1)[0];
        return;
      }
      const weightsOfKeys = read.u8(4, row * BLOCK, count);
      const v = columnOf(read, shape, 2, head, column % shape.h, sequence + BLOCK * keys, count);
      const [m, , scale] = read.f32(3, 3 * row, 3);
      const mixed = f32(dot(weightsOfKeys, 0, v, 0, count) * scale);
      const first = firstNumber(shape, token, block);
      if (b === first) {
        // Who begins late adds to +0.
        out[0] = first === 0 ? mixed : f32(mixed + 0);
        return;
      }
      const factor = factorOf(scalesOf(read, shape, 0, head, token, 1)[0], shape.scalar);
      const { alpha, weight } = weights(read.f32(5, 2 * row, 1)[0], m, factor);
      out[0] = f32(f32(read.f32(6, start, 1)[0] * alpha) + f32(mixed * weight));
    },
  };
}

/** bf16 [T, H·h]: the mix over the sum. */
export function attentionOutputRule(shape: AttentionShape, running: Source, mix: Source): Rule {
  const columns = shape.H * shape.h;
  return {
    kind: 'attention.output',
    inputs: [running, mix],
    span: rowGroups(columns, shape.h),
    compute(read, start, out) {
      const head = Math.floor((start % columns) / shape.h);
      const row = head * shape.T + Math.floor(start / columns);
      const normalizer = f32(1 / read.f32(0, 2 * row + 1, 1)[0]);
      const sums = read.f32(1, start, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = bf16(f32(sums[i] * normalizer));
    },
  };
}

/** f32 [H, T]: Λ. */
export function lambdaRule(shape: AttentionShape, running: Source): Rule {
  return {
    kind: 'attention.lambda',
    inputs: [...common(shape), running],
    span: single,
    compute(read, start, out) {
      const { head, token } = place(shape, start);
      const [M, l] = read.f32(3, 2 * start, 2);
      const factor = factorOf(scalesOf(read, shape, 0, head, token, 1)[0], shape.scalar);
      out[0] = f32(f32(M * factor) + log2(l));
    },
  };
}
