/**
 * The tape of the `gemma3` family: norms before and after attention and MLP, rotated heads in groups, local and global
 * layers, GeGLU, a scaled embedding, a head tied to the token table.
 */
import { PURPOSE } from '../backend/ops.js';
import { bitsToFloat } from './fp32.js';
import { embedTokens, Gemma, type GemmaActivations, gemmaActivations, gemmaLayer, gemmaNorm } from './gemmaForward.js';
import { Adapters, type Bf16, type Codes, type F32 } from './gptForward.js';
import { Gradients } from './gptGradients.js';
import { type GptTape, microBatchTokens, unitTokens } from './gptTape.js';
import { evaluationHead, trainingHead } from './headTape.js';
import type { Layout } from './layout.js';
import { LinearBackward } from './linearBackward.js';
import type { Recipe } from './recipe.js';
import { slice } from './tape.js';
import type { WeightsLayout } from './weights.js';

/** The backward pass of a micro-batch, layer by layer. */
class Backward {
  readonly linear: LinearBackward;
  /** Gradient of a norm's output; of what a norm behind a layer gave. */
  readonly dy: Bf16;
  readonly #dOut: Bf16;
  readonly #dqkv: Bf16;
  readonly #dHidden: Bf16;
  readonly #dO: Codes;

  constructor(
    readonly g: Gemma,
    readonly gradients: Gradients,
    readonly T: number,
    readonly U: number,
    dqkv: Bf16,
  ) {
    const { width: C, hidden: F } = g.recipe;
    const { H, h, N } = g.shape;
    const V = g.layout.byName('wte').rows;
    this.dy = g.b.buffer('dy', 'bf16', T * C);
    this.#dOut = g.b.buffer('dOut', 'bf16', T * C);
    this.#dqkv = dqkv;
    this.#dHidden = g.b.buffer('dHidden', 'bf16', T * F);
    this.linear = new LinearBackward(g, gradients, T, Math.max(V, N, 2 * F, C), Math.max(C, F, H * h));
    this.#dO = {
      codes: g.b.buffer('dO.codes', 'i8', T * H * h),
      scales: g.b.buffer('dO.scales', 'f32', H * T),
    };
  }

  norm(name: string, dy: Bf16, x: Bf16, rstd: F32, dx: Bf16, residual: boolean, t0: number): void {
    const { g, gradients, T } = this;
    g.b.push('normBackward', `${name}.backward`, {
      dy,
      x,
      gain: g.gain(name),
      rstd,
      mean: g.noBias,
      dx,
      dGain: gradients.of(`${name}.gain`),
      dBias: g.noBias,
      T,
      C: g.recipe.width,
      layer: false,
      residual,
      accumulate: t0 > 0,
    });
    gradients.done(`${name}.gain`);
  }

  /** The weight's gradient and the error codes of a layer [N,K] whose output has the gradient x. */
  weight(name: string, x: Bf16, input: Codes, N: number, K: number, t0: number): void {
    this.linear.errorRows(name, x, N, t0);
    this.linear.weightGradient(`${name}.weight`, input, N, K, t0);
    this.gradients.done(`${name}.weight`);
  }

  /** dx bf16 [T,K] from the error codes of a layer [N,K]. */
  input(name: string, dx: Bf16, N: number, K: number): void {
    const { g, T } = this;
    g.b.push('linearInputGradient', `${name}.inputGradient`, {
      ...this.linear.error(N),
      ...g.wt(`${name}.weight`),
      dx,
      T,
      N,
      K,
    });
  }

  mlp(i: number, a: GemmaActivations, dx: Bf16, t0: number): void {
    const { g, gradients, linear, T } = this;
    const { width: C, hidden: F } = g.recipe;
    const name = `h${i}`;
    this.norm(`${name}.postNorm2`, dx, a.projected, a.projectedRstd, this.#dOut, false, t0);
    this.weight(`${name}.proj`, this.#dOut, a.hidden, C, F, t0);
    this.input(`${name}.proj`, this.#dHidden, C, F);
    const { e: codes, eScales: scales } = linear.error(2 * F);
    const seed = gradients.seed(`${name}.fc.weight`, PURPOSE.errorRows);
    g.b.push('gegluGradient', `${name}.fc.error`, { dh: this.#dHidden, u: a.u, codes, scales, seed, T, N: F, t0 });
    linear.weightGradient(`${name}.fc.weight`, a.norm2, 2 * F, C, t0);
    gradients.done(`${name}.fc.weight`);
    this.input(`${name}.fc`, this.dy, 2 * F, C);
    this.norm(`${name}.norm2`, this.dy, a.xMid, a.rstd2, dx, true, t0);
  }

  attention(i: number, a: GemmaActivations, dx: Bf16, t0: number): void {
    const { g, gradients, linear, T, U } = this;
    const { width: C, context } = g.recipe;
    const { H, G, h, N } = g.shape;
    const name = `h${i}`;
    this.norm(`${name}.postNorm1`, dx, a.attended, a.attendedRstd, this.#dOut, false, t0);
    this.weight(`${name}.o`, this.#dOut, a.o, C, H * h, t0);
    g.b.push('linearHeadsInputGradient', `${name}.o.inputGradient`, {
      ...linear.error(C),
      ...g.wt(`${name}.o.weight`),
      ...this.#dO,
      seed: gradients.seed(`${name}.o.weight`, PURPOSE.headsError),
      T,
      N: C,
      K: H * h,
      H,
      t0,
    });
    g.b.push('groupedAttentionBackward', `${name}.attention.backward`, {
      qkv: a.qkv,
      qkvScales: a.qkvScales,
      dO: this.#dO.codes,
      dOScales: this.#dO.scales,
      lambda: a.lambda,
      dqkv: this.#dqkv,
      seedV: gradients.seed(`${name}.qkv.weight`, PURPOSE.attentionV),
      seedK: gradients.seed(`${name}.qkv.weight`, PURPOSE.attentionK),
      seedQ: gradients.seed(`${name}.qkv.weight`, PURPOSE.attentionQ),
      ...g.attention(i, T),
      t0,
      U,
    });
    g.b.push('rotateHeadsBackward', `${name}.heads.backward`, {
      dqkv: this.#dqkv,
      y: a.heads,
      rstd: a.headsRstd,
      gainQ: g.gain(`${name}.qNorm`),
      gainK: g.gain(`${name}.kNorm`),
      rope: g.rope(i),
      dy: this.#dqkv,
      dGainQ: gradients.of(`${name}.qNorm.gain`),
      dGainK: gradients.of(`${name}.kNorm.gain`, true),
      T,
      H,
      G,
      h,
      context,
      accumulate: t0 > 0,
    });
    gradients.done(`${name}.qNorm.gain`);
    gradients.done(`${name}.kNorm.gain`, true);
    this.weight(`${name}.qkv`, this.#dqkv, a.norm1, N, C, t0);
    this.input(`${name}.qkv`, this.dy, N, C);
    this.norm(`${name}.norm1`, this.dy, a.x, a.rstd1, dx, true, t0);
  }
}

/** The tape that turns a unit's tokens into its 4-bit gradient and loss. */
export function gemmaTrainingTape(recipe: Recipe, layout: Layout, weights: WeightsLayout, microBatches = 1): GptTape {
  const { width: C, layers } = recipe;
  const U = unitTokens(recipe);
  const T = microBatchTokens(recipe, microBatches);
  const V = layout.byName('wte').rows;
  const g = new Gemma(recipe, layout, weights, U);
  const { H, h, N } = g.shape;
  const { b } = g;
  const gradients = new Gradients(g, microBatches);

  const activations = Array.from({ length: layers }, (_, i) => gemmaActivations(g, T, `h${i}`));
  const xLast = b.buffer('x', 'bf16', T * C);
  const finalNorm = g.codes('norm', U, C);
  const finalRstd = b.buffer('norm.rstd', 'f32', T);
  const loss = b.buffer('loss', 'f32', U);
  const unitLoss = b.buffer('unitLoss', 'f32', 1);
  const dxUnit = b.buffer('dx', 'bf16', U * C);
  const dqkv = b.buffer('dqkv', 'bf16', T * N);
  const mixed = slice(dqkv, 0, T * H * h);
  const backward = new Backward(g, gradients, T, U, dqkv);
  const { linear, dy } = backward;

  for (let t0 = 0; t0 < U; t0 += T) {
    const dx = slice(dxUnit, t0 * C, T * C);
    // With several panels of the width the scales of a micro-batch are not contiguous: microBatchTokens refuses that.
    const scales = T === U ? finalNorm.scales : slice(finalNorm.scales, t0, T);
    const norm: Codes = { codes: slice(finalNorm.codes, t0 * C, T * C), scales };

    embedTokens(g, (activations[0] as GemmaActivations).x, T, t0);
    activations.forEach((a, i) => {
      gemmaLayer(g, i, a, activations[i + 1]?.x ?? xLast, mixed, T);
    });
    gemmaNorm(g, 'norm', xLast, norm, finalRstd, T);
    const error = linear.error(V);
    trainingHead(g, { norm, error, dx: dy, loss }, (name, purpose) => gradients.seed(name, purpose), T, t0, U);
    linear.weightGradient('wte', norm, V, C, t0);
    backward.norm('norm', dy, xLast, finalRstd, dx, false, t0);
    for (let i = layers - 1; i >= 0; i--) {
      const a = activations[i] as GemmaActivations;
      backward.mlp(i, a, dx, t0);
      backward.attention(i, a, dx, t0);
    }
  }

  b.push('embedScaledBackward', 'embedding.backward', {
    tokens: g.tokens,
    targets: g.targets,
    a: finalNorm.codes,
    aScales: finalNorm.scales,
    dx: dxUnit,
    dWte: gradients.of('wte'),
    U,
    C,
    V,
    scale: bitsToFloat(g.options.embeddingScaleBits),
  });
  gradients.done('wte');
  gradients.finish();
  b.push('unitLoss', 'loss', { loss, out: unitLoss, U });
  return { tape: b.build(), seeds: gradients.seeds, tokens: U };
}

/** The forward pass alone: losses of `sequences` sequences (and with `logits` the logits of all their tokens). */
export function gemmaEvaluationTape(
  recipe: Recipe,
  layout: Layout,
  weights: WeightsLayout,
  sequences: number,
  logits = false,
): GptTape {
  const { width: C, context, layers } = recipe;
  const T = sequences * context;
  const g = new Gemma(recipe, layout, weights, T);
  const { b } = g;
  const mixed = b.buffer('attention', 'bf16', T * g.shape.H * g.shape.h);
  const x = b.buffer('x', 'bf16', T * C);
  // One layer's activations serve all layers: nothing is read again.
  const a = { ...gemmaActivations(g, T, 'h'), x };
  const norm = g.codes('norm', T, C);
  const loss = b.buffer('loss', 'f32', T);
  embedTokens(g, x, T, 0);
  const adapters = recipe.adapter === undefined ? undefined : new Adapters(g, recipe.adapter, T);
  for (let i = 0; i < layers; i++) gemmaLayer(g, i, a, x, mixed, T, adapters, 'h');
  gemmaNorm(g, 'norm', x, norm, a.rstd1, T);
  evaluationHead(g, norm, loss, T, logits);
  return { tape: b.build(), seeds: [], tokens: T };
}
