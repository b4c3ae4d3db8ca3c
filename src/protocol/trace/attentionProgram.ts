/**
 * The part of a unit's program that is attention (docs/disputes.md §2): block by block, so that statistics, codes and running
 * sums of every block are outputs of their own.
 */
import { PURPOSE } from '../../backend/ops.js';
import { type AttentionShape, BLOCK, blockCount } from './attentionBlocks.js';
import type { Source } from './program.js';
import * as A from './rulesAttention.js';
import * as G from './rulesAttentionGradient.js';
import * as L from './rulesLinear.js';
import type { Codes, UnitBuilder } from './unitBuilder.js';

type Builder = UnitBuilder<unknown>;

/** What the backward pass of attention reads again. */
export interface AttentionTrace {
  readonly attention: AttentionShape;
  readonly lambda: Source;
}

/** The mix of values, bf16 [T, H·h], and Λ, f32 [H, T]. */
export function attentionForward(
  u: Builder,
  h: string,
  shape: AttentionShape,
): { readonly mixed: Source; readonly lambda: Source } {
  const { b, T } = u;
  const { H } = shape;
  const columns = H * shape.h;
  let previous: { readonly running: Source; readonly mix: Source } | undefined;
  for (let block = 0; block < blockCount(shape); block += 1) {
    const name = `${h}.attention.${block}`;
    const statistics = b.add(`${name}.statistics`, 'f32', 3 * H * T, A.statisticsRule(shape, block));
    const codes = b.add(`${name}.codes`, 'u8', BLOCK * H * T, A.probabilityCodesRule(shape, block));
    const mixRule = A.mixRule(shape, statistics, codes, previous, block);
    const runningRule = A.runningRule(shape, statistics, previous?.running, block);
    previous = {
      mix: b.add(`${name}.mix`, 'f32', T * columns, mixRule),
      running: b.add(`${name}.running`, 'f32', 2 * H * T, runningRule),
    };
  }
  const { running, mix } = previous as NonNullable<typeof previous>;
  return {
    mixed: b.add(`${h}.attention`, 'u16', T * columns, A.attentionOutputRule(shape, running, mix)),
    lambda: b.add(`${h}.lambda`, 'f32', H * T, A.lambdaRule(shape, running)),
  };
}

/** The gradient of q, k and v side by side, bf16 [T, (H + 2G)·h]. */
export function attentionBackward(
  u: Builder,
  h: string,
  { attention: shape, lambda }: AttentionTrace,
  dO: Codes,
): Source {
  const { b, T } = u;
  const { H, G: groups } = shape;
  const columns = H * shape.h;
  const seed = (purpose: number) => u.seed(`${h}.qkv.weight`, purpose);
  const g: G.AttentionGradient = {
    shape,
    heads: b.add(`${h}.dO.heads`, 'i8', T * columns, L.headsRule(dO.codes, T, H, shape.h)),
    transposed: b.add(`${h}.dO.transposed`, 'i8', T * columns, L.transposeRule(dO.codes, 'i8', T, columns)),
    scales: dO.scales,
    lambda,
    seedV: seed(PURPOSE.attentionV),
    seedK: seed(PURPOSE.attentionK),
    seedQ: seed(PURPOSE.attentionQ),
    U: T,
  };
  const blocks = blockCount(shape);
  let difference: Source | undefined;
  for (let block = 0; block < blocks; block += 1) {
    const rule = G.differenceRule(g, difference, block);
    difference = b.add(`${h}.difference.${block}`, 'f32', H * T, rule);
  }
  const D = difference as Source;
  const codesOf = (part: G.GradientPart, block: number): Codes => {
    const name = `${h}.d${part}.${block}`;
    const type = part === 'V' ? 'u8' : 'i8';
    return {
      codes: b.add(`${name}.codes`, type, BLOCK * H * T, G.gradientCodesRule(g, part, D, block)),
      scales: b.add(`${name}.scales`, 'f32', H * T, G.gradientScalesRule(g, part, D, block)),
    };
  };
  let dQ: Source | undefined;
  for (let block = 0; block < blocks; block += 1) {
    const { codes, scales } = codesOf('Q', block);
    dQ = b.add(`${h}.dQ.${block}.sum`, 'f32', T * columns, G.querySumRule(g, codes, scales, dQ, block));
  }
  // The sums of a key go on over the query heads of its group; all heads have their codes with the first.
  const keySums = (part: 'K' | 'V'): Source => {
    const made: Codes[] = [];
    let sum: Source | undefined;
    for (let member = 0; member < H / groups; member += 1) {
      for (let block = 0; block < blocks; block += 1) {
        if (member === 0) made.push(codesOf(part, block));
        const { codes, scales } = made[block] as Codes;
        const name = `${h}.d${part}.${block}.sum${member === 0 ? '' : `.${member}`}`;
        const rule = G.keySumRule(g, part, codes, scales, sum, { member, b: block });
        sum = b.add(name, 'f32', T * groups * shape.h, rule);
      }
    }
    return sum as Source;
  };
  const rule = G.attentionGradientRule(shape, dQ as Source, keySums('K'), keySums('V'));
  return b.add(`${h}.dqkv`, 'u16', T * (H + 2 * groups) * shape.h, rule);
}
