/**
 * The tape of a unit that trains adapters over a model of the family `gpt`: the forward pass of the frozen model with its
 * adapters, and a backward pass that goes through it to them and no further.
 */
import { PURPOSE } from '../backend/ops.js';
import { AdapterBackward, AdapterGradients, type AdapterLayouts } from './adapterBackward.js';
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
import { type GptTape, microBatchTokens, unitTokens } from './gptTape.js';
import { trainingHead } from './headTape.js';
import type { Recipe, RecipeAdapter } from './recipe.js';
import { slice } from './tape.js';

/** The tape that turns a unit's tokens into the 4-bit gradient of the adapters, and the loss. */
export function gptAdapterTape(
  recipe: Recipe,
  adapter: RecipeAdapter,
  { model, state, weights }: AdapterLayouts,
  microBatches = 1,
): GptTape {
  const { width: C, hidden: F, heads: H, context, layers } = recipe;
  const U = unitTokens(recipe);
  const T = microBatchTokens(recipe, microBatches);
  const V = model.byName('wte').rows;
  const g = new Gpt(recipe, model, weights, U);
  const { b } = g;
  const layer = recipe.norm === 'layer';
  const adapters = new Adapters(g, adapter, T);
  const gradients = new AdapterGradients(g, state, adapters.rows, microBatches);
  const back = new AdapterBackward(g, adapters, gradients, T);

  const activations = Array.from({ length: layers }, (_, i) => layerActivations(g, T, `h${i}`));
  const xLast = b.buffer('x', 'bf16', T * C);
  const finalNorm = g.codes('norm', T, C);
  const finalRstd = b.buffer('norm.rstd', 'f32', T);
  const finalMean = b.buffer('norm.mean', 'f32', layer ? T : 0);
  const loss = b.buffer('loss', 'f32', U);
  const unitLoss = b.buffer('unitLoss', 'f32', 1);
  const dx = b.buffer('dx', 'bf16', T * C);
  const dy = b.buffer('dy', 'bf16', T * C);
  const wide = b.buffer('dqkv', 'bf16', T * 3 * C);
  const attention = slice(wide, 0, T * C);
  // The column sums of the frozen norms go here, and nobody reads them.
  const unread = b.buffer('unread', 'f32', 2 * C);
  // The error codes of proj are read while those of fc are written: they need two places.
  const fcError = g.codes('hiddenError', T, F);
  const dO: Codes = { codes: b.buffer('dO.codes', 'i8', T * C), scales: b.buffer('dO.scales', 'f32', H * T) };

  const backwardNorm = (name: string, x: Bf16, rstd: F32, mean: F32, residual: boolean): void => {
    b.push('normBackward', `${name}.backward`, {
      dy,
      x,
      gain: g.parameter(`${name}.gain`),
      rstd,
      mean,
      dx,
      dGain: slice(unread, 0, C),
      dBias: layer ? slice(unread, C, C) : g.noBias,
      T,
      C,
      layer,
      residual,
      accumulate: false,
    });
  };

  /** Goes through one block; in the lowest one only as far as an adapter needs it. */
  const backwardLayer = (i: number, a: LayerActivations, t0: number): void => {
    const h = `h${i}`;
    const lowest = i === 0 ? adapter.targets[0] : undefined;
    const projError = back.errorRows(`${h}.proj`, dx, C, t0);
    back.adapter(`${h}.proj`, 'proj', projError, a.hidden, t0);
    if (lowest === 'proj') return;

    const fcSeed = back.seed(`${h}.fc.weight`, PURPOSE.errorRows);
    const fc = { ...fcError, derivative: a.derivative, bias: g.noBias, seed: fcSeed, T, t0, accumulate: false };
    if (adapters.has('proj')) {
      const sum = back.inputSums(`${h}.proj`, 'proj', projError);
      b.push('geluGradientRows', `${h}.fc.error`, { ...fc, sum, N: F });
    } else {
      const operands = { e: projError.codes, eScales: projError.scales, ...g.wt(`${h}.proj.weight`) };
      b.push('linearGeluInputGradient', `${h}.fc.error`, { ...fc, ...operands, N: C, K: F });
    }
    back.adapter(`${h}.fc`, 'fc', fcError, a.norm2, t0);
    if (lowest === 'fc') return;
    back.input(`${h}.fc`, 'fc', fcError, dy);
    backwardNorm(`${h}.norm2`, a.xMid, a.rstd2, a.mean2, true);

    const oError = back.errorRows(`${h}.o`, dx, C, t0);
    back.adapter(`${h}.o`, 'o', oError, a.o, t0);
    if (lowest === 'o') return;
    back.heads(`${h}.o`, oError, dO, H, t0);
    b.push('attentionBackward', `${h}.attention.backward`, {
      qkv: a.qkv,
      qkvScales: a.qkvScales,
      dO: dO.codes,
      dOScales: dO.scales,
      lambda: a.lambda,
      dqkv: wide,
      seedV: back.seed(`${h}.qkv.weight`, PURPOSE.attentionV),
      seedK: back.seed(`${h}.qkv.weight`, PURPOSE.attentionK),
      seedQ: back.seed(`${h}.qkv.weight`, PURPOSE.attentionQ),
      T,
      C,
      H,
      context,
      t0,
      U,
    });
    const qkvError = back.errorRows(`${h}.qkv`, wide, 3 * C, t0);
    back.adapter(`${h}.qkv`, 'qkv', qkvError, a.norm1, t0);
    if (lowest === 'qkv') return;
    back.input(`${h}.qkv`, 'qkv', qkvError, dy);
    backwardNorm(`${h}.norm1`, a.x, a.rstd1, a.mean1, true);
  };

  for (let t0 = 0; t0 < U; t0 += T) {
    const tokens = slice(g.tokens, t0, T);
    const x0 = (activations[0] as LayerActivations).x;
    const table = { wte: g.parameter('wte'), wpe: g.parameter('wpe') };
    b.push('embed', 'embedding.forward', { tokens, ...table, x: x0, T, C, context });
    activations.forEach((a, i) => {
      forwardLayer(g, i, a, activations[i + 1]?.x ?? xLast, attention, T, adapters);
    });
    forwardNorm(g, 'norm', xLast, finalNorm, finalRstd, finalMean, T);
    const { codes: e, scales: eScales } = back.error(V);
    const head = { norm: finalNorm, error: { e, eScales }, dx: dy, loss };
    trainingHead(g, head, (name, purpose) => back.seed(name, purpose), T, t0, U);
    backwardNorm('norm', xLast, finalRstd, finalMean, false);
    for (let i = layers - 1; i >= 0; i--) backwardLayer(i, activations[i] as LayerActivations, t0);
  }
  gradients.finish();
  b.push('unitLoss', 'loss', { loss, out: unitLoss, U });
  return { tape: b.build(), seeds: gradients.seeds, tokens: U };
}
