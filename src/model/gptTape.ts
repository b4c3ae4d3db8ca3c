/**
 * The tape of the `gpt` family: pre-norm blocks, learned positions, tanh GELU, a head tied to the token table.
 *
 * A unit is processed in micro-batches of whole token panels. With one micro-batch a weight's gradient is quantized
 * right after it was made and its fp32 form lives in one scratch buffer; with several, fp32 accumulators hold all
 * gradients until the last. The bits are the same (`docs/numerics.md` §2.4).
 */
import { PURPOSE } from '../backend/ops.js';
import { PogoError } from '../errors.js';
import {
  Adapters,
  type Bf16,
  type Codes,
  type F32,
  forwardLayer,
  forwardNorm,
  Gpt,
  type LayerActivations,
  layerActivations,
} from './gptForward.js';
import { Gradients, type SeedUse } from './gptGradients.js';
import { evaluationHead, trainingHead } from './headTape.js';
import type { Layout } from './layout.js';
import { LinearBackward } from './linearBackward.js';
import type { Recipe } from './recipe.js';
import { slice, type Tape } from './tape.js';
import { PANEL, panels, type WeightsLayout } from './weights.js';

export interface GptTape {
  readonly tape: Tape;
  /** In the order of the seed buffer; empty for an evaluation tape. */
  readonly seeds: readonly SeedUse[];
  /** Tokens of one run of the tape. */
  readonly tokens: number;
}

/** Tokens of a unit. */
export function unitTokens(recipe: Recipe): number {
  return recipe.sequencesPerUnit * recipe.context;
}

/**
 * How many micro-batches a unit may be cut into: each must hold whole panels of 1024 tokens and whole sequences.
 *
 * @throws PogoError RANGE where the unit cannot be cut so
 */
export function microBatchTokens(recipe: Recipe, microBatches: number): number {
  const total = unitTokens(recipe);
  const tokens = total / microBatches;
  const cuts =
    Number.isInteger(tokens) && (microBatches === 1 || tokens % PANEL === 0) && tokens % recipe.context === 0;
  if (!cuts) {
    throw new PogoError(
      'RANGE',
      `a unit of ${total} tokens cannot be cut into ${microBatches} micro-batches of whole sequences (${recipe.context}) and whole panels (${PANEL}); use 1`,
    );
  }
  if (microBatches > 1 && recipe.width > PANEL) {
    throw new PogoError('RANGE', `micro-batches need a width of at most ${PANEL}, found ${recipe.width}; use 1`);
  }
  return tokens;
}

/** The tape that turns a unit's tokens into its 4-bit gradient and loss. */
export function gptTrainingTape(recipe: Recipe, layout: Layout, weights: WeightsLayout, microBatches = 1): GptTape {
  const { width: C, hidden: F, heads: H, context, layers } = recipe;
  const U = unitTokens(recipe);
  const T = microBatchTokens(recipe, microBatches);
  const V = layout.byName('wte').rows;
  const g = new Gpt(recipe, layout, weights, U);
  const { b } = g;
  const gradients = new Gradients(g, microBatches);
  const layer = recipe.norm === 'layer';

  const activations = Array.from({ length: layers }, (_, i) => layerActivations(g, T, `h${i}`));
  const xLast = b.buffer('x', 'bf16', T * C);
  const finalNorm = g.codes('norm', U, C);
  const finalRstd = b.buffer('norm.rstd', 'f32', T);
  const finalMean = b.buffer('norm.mean', 'f32', layer ? T : 0);
  const loss = b.buffer('loss', 'f32', U);
  const unitLoss = b.buffer('unitLoss', 'f32', 1);
  const dxUnit = b.buffer('dx', 'bf16', U * C);
  const dy = b.buffer('dy', 'bf16', T * C);
  const wide = b.buffer('dqkv', 'bf16', T * 3 * C);
  const attention = slice(wide, 0, T * C);
  const linear = new LinearBackward(g, gradients, T, Math.max(V, 3 * C, F), Math.max(C, F));
  const dO: Codes = {
    codes: b.buffer('dO.codes', 'i8', T * C),
    scales: b.buffer('dO.scales', 'f32', H * T),
  };

  const backwardNorm = (name: string, x: Bf16, rstd: F32, mean: F32, dx: Bf16, residual: boolean, t0: number): void => {
    b.push('normBackward', `${name}.backward`, {
      dy,
      x,
      gain: g.parameter(`${name}.gain`),
      rstd,
      mean,
      dx,
      dGain: gradients.of(`${name}.gain`),
      dBias: layer ? gradients.of(`${name}.bias`, true) : g.noBias,
      T,
      C,
      layer,
      residual,
      accumulate: t0 > 0,
    });
    gradients.done(`${name}.gain`);
    if (layer) gradients.done(`${name}.bias`, true);
  };

  const backwardMlp = (i: number, a: LayerActivations, dx: Bf16, t0: number): void => {
    const h = `h${i}`;
    linear.errorRows(`${h}.proj`, dx, C, t0);
    linear.weightGradient(`${h}.proj.weight`, a.hidden, C, F, t0);
    gradients.done(`${h}.proj.weight`);
    // The error codes of proj are read while those of fc are written: they need two places.
    const fc = { codes: slice(linear.et.codes, 0, T * F), scales: slice(linear.et.scales, 0, panels(F) * T) };
    b.push('linearGeluInputGradient', `${h}.fc.error`, {
      ...linear.error(C),
      ...g.wt(`${h}.proj.weight`),
      derivative: a.derivative,
      ...fc,
      bias: recipe.bias ? gradients.of(`${h}.fc.bias`) : g.noBias,
      seed: gradients.seed(`${h}.fc.weight`, PURPOSE.errorRows),
      T,
      N: C,
      K: F,
      t0,
      accumulate: t0 > 0,
    });
    if (recipe.bias) gradients.done(`${h}.fc.bias`);
    b.push('linearInputGradient', `${h}.fc.inputGradient`, {
      e: fc.codes,
      eScales: fc.scales,
      ...g.wt(`${h}.fc.weight`),
      dx: dy,
      T,
      N: F,
      K: C,
    });
    linear.weightGradient(`${h}.fc.weight`, a.norm2, F, C, t0, { e: fc.codes, eScales: fc.scales });
    gradients.done(`${h}.fc.weight`);
    backwardNorm(`${h}.norm2`, a.xMid, a.rstd2, a.mean2, dx, true, t0);
  };

  const backwardAttention = (i: number, a: LayerActivations, dx: Bf16, t0: number): void => {
    const h = `h${i}`;
    linear.errorRows(`${h}.o`, dx, C, t0);
    linear.weightGradient(`${h}.o.weight`, a.o, C, C, t0);
    gradients.done(`${h}.o.weight`);
    b.push('linearHeadsInputGradient', `${h}.o.inputGradient`, {
      ...linear.error(C),
      ...g.wt(`${h}.o.weight`),
      ...dO,
      seed: gradients.seed(`${h}.o.weight`, PURPOSE.headsError),
      T,
      N: C,
      K: C,
      H,
      t0,
    });
    b.push('attentionBackward', `${h}.attention.backward`, {
      qkv: a.qkv,
      qkvScales: a.qkvScales,
      dO: dO.codes,
      dOScales: dO.scales,
      lambda: a.lambda,
      dqkv: wide,
      seedV: gradients.seed(`${h}.qkv.weight`, PURPOSE.attentionV),
      seedK: gradients.seed(`${h}.qkv.weight`, PURPOSE.attentionK),
      seedQ: gradients.seed(`${h}.qkv.weight`, PURPOSE.attentionQ),
      T,
      C,
      H,
      context,
      t0,
      U,
    });
    linear.errorRows(`${h}.qkv`, wide, 3 * C, t0);
    linear.weightGradient(`${h}.qkv.weight`, a.norm1, 3 * C, C, t0);
    gradients.done(`${h}.qkv.weight`);
    const wt = g.wt(`${h}.qkv.weight`);
    b.push('linearInputGradient', `${h}.qkv.inputGradient`, {
      ...linear.error(3 * C),
      ...wt,
      dx: dy,
      T,
      N: 3 * C,
      K: C,
    });
    backwardNorm(`${h}.norm1`, a.x, a.rstd1, a.mean1, dx, true, t0);
  };

  for (let t0 = 0; t0 < U; t0 += T) {
    const tokens = slice(g.tokens, t0, T);
    const dx = slice(dxUnit, t0 * C, T * C);
    // With several panels of the width the scales of a micro-batch are not contiguous: microBatchTokens refuses that.
    const scales = T === U ? finalNorm.scales : slice(finalNorm.scales, t0, T);
    const norm: Codes = { codes: slice(finalNorm.codes, t0 * C, T * C), scales };

    const x0 = (activations[0] as LayerActivations).x;
    const table = { wte: g.parameter('wte'), wpe: g.parameter('wpe') };
    b.push('embed', 'embedding.forward', { tokens, ...table, x: x0, T, C, context });
    activations.forEach((a, i) => {
      forwardLayer(g, i, a, activations[i + 1]?.x ?? xLast, attention, T);
    });
    forwardNorm(g, 'norm', xLast, norm, finalRstd, finalMean, T);
    const error = linear.error(V);
    trainingHead(g, { norm, error, dx: dy, loss }, (name, purpose) => gradients.seed(name, purpose), T, t0, U);
    linear.weightGradient('wte', norm, V, C, t0);
    backwardNorm('norm', xLast, finalRstd, finalMean, dx, false, t0);
    for (let i = layers - 1; i >= 0; i--) {
      const a = activations[i] as LayerActivations;
      backwardMlp(i, a, dx, t0);
      backwardAttention(i, a, dx, t0);
    }
  }

  b.push('embedBackward', 'embedding.backward', {
    tokens: g.tokens,
    targets: g.targets,
    a: finalNorm.codes,
    aScales: finalNorm.scales,
    dx: dxUnit,
    dWte: gradients.of('wte'),
    dWpe: gradients.of('wpe'),
    U,
    C,
    V,
    context,
  });
  gradients.done('wte');
  gradients.done('wpe');
  gradients.finish();
  b.push('unitLoss', 'loss', { loss, out: unitLoss, U });
  return { tape: b.build(), seeds: gradients.seeds, tokens: U };
}

/** The forward pass alone: losses of `sequences` sequences (and with `logits` the logits of all their tokens). */
export function gptEvaluationTape(
  recipe: Recipe,
  layout: Layout,
  weights: WeightsLayout,
  sequences: number,
  logits = false,
): GptTape {
  const { width: C, context, layers } = recipe;
  const T = sequences * context;
  const g = new Gpt(recipe, layout, weights, T);
  const { b } = g;
  const attention = b.buffer('attention', 'bf16', T * C);
  const x = b.buffer('x', 'bf16', T * C);
  // One layer's activations serve all layers: nothing is read again.
  const a = { ...layerActivations(g, T, 'h'), x };
  const norm = g.codes('norm', T, C);
  const loss = b.buffer('loss', 'f32', T);
  b.push('embed', 'embedding.forward', {
    tokens: g.tokens,
    wte: g.parameter('wte'),
    wpe: g.parameter('wpe'),
    x,
    T,
    C,
    context,
  });
  const adapters = recipe.adapter === undefined ? undefined : new Adapters(g, recipe.adapter, T);
  for (let i = 0; i < layers; i++) forwardLayer(g, i, a, x, attention, T, adapters, 'h');
  forwardNorm(g, 'norm', x, norm, a.rstd1, a.mean1, T);
  evaluationHead(g, norm, loss, T, logits);
  return { tape: b.build(), seeds: [], tokens: T };
}
