// exact-arithmetic
/** Rules of the head and the loss (docs/numerics.md §4, headForward and headInputGradient). */
import { PogoError } from '../../errors.js';
import * as K from '../../reference/constants.js';
import { ditherColumns, ditherOf, ditherRow } from '../../reference/dither.js';
import { PANEL, panels } from '../../reference/quantize8.js';
import { bf16, exp2, f32, inverse, log2, nearest } from '../../reference/scalars.js';
import { rowSum } from '../../reference/sums.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';

export interface HeadShape {
  readonly T: number;
  /** Padded and real entries of the vocabulary. */
  readonly V: number;
  readonly vocab: number;
  /** f32 [T, V]: the products, not yet in powers of two. */
  readonly logits: Source;
}

const nonFinite = (what: string): PogoError =>
  new PogoError('NON_FINITE', `head: expected finite values, found an Inf or NaN in ${what}`);

/** z of panel `g` of a token, real entries only. */
function scores(read: Reader, head: HeadShape, t: number, g: number): Float32Array {
  const first = g * PANEL;
  const count = Math.min(head.vocab, first + PANEL) - first;
  const o = read.f32(0, t * head.V + first, count);
  const z = new Float32Array(count);
  for (let n = 0; n < count; n += 1) {
    z[n] = f32(o[n] * K.F32_LOG2E);
    if (!(Math.abs(z[n]) < Infinity)) throw nonFinite(`the logit of token ${t}, entry ${first + n}`);
  }
  return z;
}

/** f32 [T, P(V)]: maximum of each panel. */
export function panelMaximumRule(head: HeadShape): Rule {
  const groups = panels(head.V);
  return {
    kind: 'head.maximum',
    inputs: [head.logits],
    span: single,
    compute(read, start, out) {
      const z = scores(read, head, Math.floor(start / groups), start % groups);
      let m = z[0];
      for (let n = 1; n < z.length; n += 1) m = z[n] > m ? z[n] : m;
      out[0] = f32(m + 0);
    },
  };
}

/** p of panel `g`, masked entries +0; input 1 is the maxima. */
function numerators(read: Reader, head: HeadShape, t: number, g: number): Float32Array {
  const z = scores(read, head, t, g);
  const m = read.f32(1, t * panels(head.V) + g, 1)[0];
  const p = new Float32Array(Math.min(PANEL, head.V - g * PANEL));
  for (let n = 0; n < z.length; n += 1) p[n] = exp2(f32(z[n] - m));
  return p;
}

/** f32 [T, P(V)]: sum of each panel's numerators. */
export function panelSumRule(head: HeadShape, maxima: Source): Rule {
  const groups = panels(head.V);
  return {
    kind: 'head.sum',
    inputs: [head.logits, maxima],
    span: single,
    compute(read, start, out) {
      const p = numerators(read, head, Math.floor(start / groups), start % groups);
      out[0] = rowSum(p, 0, p.length);
    },
  };
}

/** i8 [T, V]: dithered codes of the numerators; masked entries 0. */
export function numeratorCodesRule(head: HeadShape, maxima: Source, seed: () => Uint32Array): Rule {
  return {
    kind: 'head.codes',
    inputs: [head.logits, maxima],
    span: rowGroups(head.V, PANEL),
    compute(read, start, out) {
      const t = Math.floor(start / head.V);
      const first = start % head.V;
      const p = numerators(read, head, t, first / PANEL);
      const columns = ditherColumns(seed(), first, p.length);
      const row = ditherRow(seed(), t);
      for (let n = 0; n < p.length; n += 1) {
        out[n] = first + n < head.vocab ? nearest(f32(f32(p[n] * K.F32_Q8_C) + ditherOf(columns[n], row))) : 0;
      }
    },
  };
}

/** f32 [T]: the base-2 logarithm of the whole sum. */
export function normalizerRule(head: HeadShape, maxima: Source, sums: Source): Rule {
  const groups = panels(head.V);
  return {
    kind: 'head.normalizer',
    inputs: [maxima, sums],
    span: single,
    compute(read, start, out) {
      const m = read.f32(0, start * groups, groups);
      const l = read.f32(1, start * groups, groups);
      let M = m[0];
      for (let g = 1; g < groups; g += 1) M = m[g] > M ? m[g] : M;
      let S = f32(l[0] * exp2(f32(m[0] - M)));
      for (let g = 1; g < groups; g += 1) S = f32(S + f32(l[g] * exp2(f32(m[g] - M))));
      out[0] = f32(M + log2(S));
    },
  };
}

/** f32 [P(V), T]: the codes' scales. */
export function numeratorScalesRule(head: HeadShape, maxima: Source, normalizer: Source): Rule {
  const groups = panels(head.V);
  return {
    kind: 'head.scales',
    inputs: [maxima, normalizer],
    span: single,
    compute(read, start, out) {
      const t = start % head.T;
      const m = read.f32(0, t * groups + Math.floor(start / head.T), 1)[0];
      const lse = read.f32(1, t, 1)[0];
      out[0] = f32(f32(exp2(f32(m - lse)) * K.F32_Q8_R) * inverse(head.T));
    },
  };
}

/** f32 [T]: losses in nats. */
export function lossRule(head: HeadShape, normalizer: Source, targets: Source): Rule {
  return {
    kind: 'head.loss',
    inputs: [head.logits, normalizer, targets],
    span: single,
    compute(read, start, out) {
      const target = read.u32(2, start, 1)[0];
      const z = f32(read.f32(0, start * head.V + target, 1)[0] * K.F32_LOG2E);
      const loss = f32(f32(read.f32(1, start, 1)[0] - z) * K.F32_LN2);
      if (!(Math.abs(loss) < Infinity)) throw nonFinite(`the loss of token ${start}`);
      out[0] = loss;
    },
  };
}

/** bf16 [T, C]: the product's row less the target's row of the table × 1/T. */
export function headGradientRule(
  y: Source,
  codes: Source,
  scales: Source,
  targets: Source,
  { T, V, C }: { readonly T: number; readonly V: number; readonly C: number },
): Rule {
  return {
    kind: 'head.gradient',
    inputs: [y, codes, scales, targets],
    span: rowGroups(C, 256),
    compute(read, start, out) {
      const t = Math.floor(start / C);
      const first = start % C;
      const target = read.u32(3, t, 1)[0];
      const row = read.f32(0, start, out.length);
      const w = read.i8(1, target * C + first, out.length);
      // Groups of 256 never straddle a panel of 1024.
      const scale = read.f32(2, Math.floor(first / PANEL) * V + target, 1)[0];
      for (let i = 0; i < out.length; i += 1) out[i] = bf16(f32(row[i] - f32(f32(w[i] * scale) * inverse(T))));
    },
  };
}

/**
 * f32 [⌈T / segment⌉]: the losses' sum after each segment, T64 blocks ascending.
 *
 * @param before sum that it goes on from: of the losses before these
 */
export function lossSumRule(losses: Source, self: Source, T: number, segment: number, before?: Source): Rule {
  return {
    kind: 'loss.sum',
    inputs: before === undefined ? [losses, self] : [losses, self, before],
    span: single,
    compute(read, start, out) {
      const first = start * segment;
      const x = read.f32(0, first, Math.min(segment, T - first));
      if (start === 0 && before === undefined) {
        out[0] = rowSum(x, 0, x.length);
        return;
      }
      let sum = start === 0 ? read.f32(2, 0, 1)[0] : read.f32(1, start - 1, 1)[0];
      for (let block = 0; block < x.length; block += 64) sum = f32(sum + rowSum(x, block, 64));
      out[0] = sum;
    },
  };
}

/** f32 [1]: the unit's loss. */
export function unitLossRule(sum: Source, T: number): Rule {
  return {
    kind: 'loss',
    inputs: [sum],
    span: single,
    compute(read, _start, out) {
      out[0] = f32(read.f32(0, 0, 1)[0] * inverse(T));
    },
  };
}
