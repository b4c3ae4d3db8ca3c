/**
 * The part of a unit's program at its head: logits with their loss, the head's gradient, and the gradient of the table that
 * head and embedding share.
 */
import { PURPOSE } from '../../backend/ops.js';
import { panels } from '../../model/weights.js';
import type { Source } from './program.js';
import * as E from './rulesEmbedding.js';
import * as Head from './rulesHead.js';
import type { Codes, NormTrace, UnitBuilder, UnitTokens } from './unitBuilder.js';

type Builder = UnitBuilder<unknown>;

/** Logits with their maxima and sums by panels: what a loss needs, and the codes of a gradient. */
function headSums(
  u: Builder,
  norm: NormTrace,
): { readonly head: Head.HeadShape; readonly maxima: Source; readonly sums: Source } {
  const { b, T, recipe } = u;
  const V = u.layout.byName('wte').rows;
  const logits = u.product('head', norm, u.weight('wte'), T, V, recipe.width);
  const head: Head.HeadShape = { T, V, vocab: recipe.vocab, logits };
  const groups = panels(V);
  const maxima = b.add('head.maxima', 'f32', T * groups, Head.panelMaximumRule(head));
  const sums = b.add('head.sums', 'f32', T * groups, Head.panelSumRule(head, maxima));
  return { head, maxima, sums };
}

/** f32 [T]: losses, and the codes of the error that goes back from them. */
export function unitHead(
  u: Builder,
  norm: NormTrace,
  targets: Source,
): { readonly error: Codes; readonly losses: Source } {
  const { b, T } = u;
  const { head, maxima, sums } = headSums(u, norm);
  const seed = u.seed('wte', PURPOSE.probabilities);
  const codes = b.add('head.codes', 'i8', T * head.V, Head.numeratorCodesRule(head, maxima, seed));
  const normalizer = b.add('head.normalizer', 'f32', T, Head.normalizerRule(head, maxima, sums));
  const scales = b.add('head.scales', 'f32', panels(head.V) * T, Head.numeratorScalesRule(head, maxima, normalizer));
  const losses = b.add('losses', 'f32', T, Head.lossRule(head, normalizer, targets));
  return { error: { codes, scales }, losses };
}

/** f32 [T]: losses without what a gradient needs. */
export function evaluationHead(u: Builder, norm: NormTrace, targets: Source): Source {
  const { b, T } = u;
  const { head, maxima, sums } = headSums(u, norm);
  const normalizer = b.add('head.normalizer', 'f32', T, Head.normalizerRule(head, maxima, sums));
  return b.add('losses', 'f32', T, Head.lossRule(head, normalizer, targets));
}

/** bf16 [T, width]: the gradient of what the head reads. */
export function headGradient(u: Builder, error: Codes, targets: Source): Source {
  const { b, T, recipe } = u;
  const { width: C } = recipe;
  const V = u.layout.byName('wte').rows;
  const { transposed, codes, scales } = u.weight('wte');
  const sum = u.product('head.inputGradient', error, transposed, T, C, V);
  const rule = Head.headGradientRule(sum, codes, scales, targets, { T, V, C });
  return b.add('head.dy', 'u16', T * C, rule);
}

/** The gradient of wte: the head's dense part, targets, and tokens times the embedding's factor. */
export function tableBackward(
  u: Builder,
  dense: Source,
  norm: Codes,
  dx: Source,
  { tokens, targets }: UnitTokens,
  scale: number,
): void {
  const { b, T, recipe, layout } = u;
  const { width: C } = recipe;
  const V = layout.byName('wte').rows;
  const sizes = { T, C, V };
  const last = (name: string, of: Source): Source =>
    b.add(`${name}.last`, 'i32', (Math.ceil(T / E.LOOKUP) + 1) * V, E.lastOccurrenceRule(of, b.next(), T, V));
  const lastTarget = last('wte.targets', targets);
  const targetRule = E.targetScatterRule(norm.codes, norm.scales, targets, lastTarget, b.next(), sizes);
  const targetSums = b.add('wte.targets.sums', 'f32', T * C, targetRule);
  const lastToken = last('wte.tokens', tokens);
  const tokenRule = E.tokenScatterRule(dx, tokens, lastToken, b.next(), { C, V, scale });
  const tokenSums = b.add('wte.tokens.sums', 'f32', T * C, tokenRule);
  const tableRule = E.tableGradientRule(
    dense,
    { last: lastTarget, sums: targetSums },
    { last: lastToken, sums: tokenSums },
    sizes,
  );
  u.gradient('wte', b.add('wte.gradient', 'f32', V * C, tableRule));
}
