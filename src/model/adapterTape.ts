/**
 * The tape of a unit that trains adapters: the forward pass of the frozen model with its adapters, and a backward pass
 * that goes through it to them and no further (docs/numerics.md §4).
 *
 * No frozen tensor has a gradient, so the weight gradients of the model, its column sums and everything below the lowest
 * layer with an adapter are left out.
 */
import { PURPOSE } from '../backend/ops.js';
import { adapterNames, targetShape } from './adapter.js';
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
  type U32,
} from './gptForward.js';
import type { SeedUse } from './gptGradients.js';
import { type GptTape, microBatchTokens, unitTokens } from './gptTape.js';
import { trainingHead } from './headTape.js';
import type { Layout } from './layout.js';
import type { AdapterTarget, Recipe, RecipeAdapter } from './recipe.js';
import { type Ref, slice } from './tape.js';
import { panels, type WeightsLayout } from './weights.js';

export interface AdapterLayouts {
  readonly model: Layout;
  /** The adapters. */
  readonly state: Layout;
  readonly weights: WeightsLayout;
}

/** Dithered quantizations of a layer: errors 4, attention's 4, and five for each target. */
const SEEDS_A_LAYER = 8 + 5 * 4;

/** Gradients of the adapters: memory, quantization, seeds. */
class AdapterGradients {
  readonly seeds: SeedUse[] = [];
  readonly #g: Gpt;
  readonly #state: Layout;
  readonly #seedBuffer: U32;
  readonly #unitCodes: Ref<Uint8Array>;
  readonly #unitScales: Bf16;
  readonly #microBatches: number;
  /** One scratch matrix with a single micro-batch, else one a tensor, with the padding of the rank. */
  readonly #matrices = new Map<string, F32>();

  constructor(g: Gpt, state: Layout, rows: number, microBatches: number) {
    this.#g = g;
    this.#state = state;
    this.#microBatches = microBatches;
    this.#seedBuffer = g.b.buffer('seeds', 'u32', 4 * (SEEDS_A_LAYER * g.recipe.layers + 1));
    this.#unitCodes = g.b.buffer('unitCodes', 'u8', state.length / 2, 'given');
    this.#unitScales = g.b.buffer('unitScales', 'bf16', state.length / 64, 'given');
    const widest = Math.max(...state.tensors.map(({ cols }) => cols));
    const shared = microBatches === 1 ? g.b.buffer('gradient', 'f32', rows * widest) : undefined;
    for (const { name, cols } of state.tensors) {
      const own = shared ?? g.b.buffer(`${name}.sum`, 'f32', rows * cols);
      this.#matrices.set(name, slice(own, 0, rows * cols));
    }
  }

  /** The seed of a quantization; the same use in several micro-batches has one seed. */
  seed(tensorId: number, purpose: number): U32 {
    let index = this.seeds.findIndex((s) => s.tensorId === tensorId && s.purpose === purpose);
    if (index < 0) index = this.seeds.push({ tensorId, purpose }) - 1;
    return slice(this.#seedBuffer, 4 * index, 4);
  }

  /** f32 [R, cols] */
  of(name: string): F32 {
    return this.#matrices.get(name) as F32;
  }

  done(name: string): void {
    if (this.#microBatches === 1) this.#quantize(name);
  }

  finish(): void {
    if (this.#microBatches > 1) for (const { name } of this.#state.tensors) this.#quantize(name);
  }

  #quantize(name: string): void {
    const t = this.#state.byName(name);
    this.#g.b.push('quantize4', `${name}.gradient`, {
      x: slice(this.of(name), 0, t.size),
      codes: slice(this.#unitCodes, t.offset / 2, t.size / 2),
      scales: slice(this.#unitScales, t.offset / 64, t.size / 64),
      seed: this.seed(t.id, PURPOSE.gradient4),
      rows: t.rows,
      cols: t.cols,
    });
  }
}

/** The tape that turns a unit's tokens into the 4-bit gradient of the adapters, and the loss. */
export function adapterTape(
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
  const R = adapters.rows;
  const gradients = new AdapterGradients(g, state, R, microBatches);
  const seed = (weight: string, purpose: number): U32 => gradients.seed(model.byName(weight).id, purpose);

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
  const widest = Math.max(V, 3 * C, F);
  const matrix = (name: string, rows: number, cols: number): Codes => ({
    codes: b.buffer(`${name}.codes`, 'i8', rows * cols),
    scales: b.buffer(`${name}.scales`, 'f32', Math.max(panels(cols) * rows, panels(rows) * cols)),
  });
  const errorBuffer = matrix('error', T, widest);
  const hiddenError = matrix('hiddenError', T, F);
  const transposed = matrix('errorTransposed', Math.max(3 * C, F), T);
  const inputTransposed = matrix('inputTransposed', Math.max(C, F), T);
  const narrow = matrix('narrow', T, R);
  const narrowTransposed = matrix('narrowTransposed', R, T);
  const dO: Codes = { codes: b.buffer('dO.codes', 'i8', T * C), scales: b.buffer('dO.scales', 'f32', H * T) };

  const cut = ({ codes, scales }: Codes, rows: number, cols: number): Codes => ({
    codes: slice(codes, 0, rows * cols),
    scales: slice(scales, 0, panels(cols) * rows),
  });
  const error = (N: number): Codes => cut(errorBuffer, T, N);
  const asError = ({ codes, scales }: Codes): { e: Codes['codes']; eScales: F32 } => ({ e: codes, eScales: scales });

  const errorRows = (linear: string, x: Bf16, N: number, t0: number): Codes => {
    const e = error(N);
    const dither = seed(`${linear}.weight`, PURPOSE.errorRows);
    b.push('quantizeGradientRows', `${linear}.error`, {
      x,
      ...e,
      bias: g.noBias,
      seed: dither,
      T,
      N,
      t0,
      accumulate: false,
    });
    return e;
  };

  /** Gradients of a layer's A and Bᵀ from the codes of its error [T,N] and of its input [T,K]; leaves g in `narrow`. */
  const adapterGradients = (linear: string, target: AdapterTarget, e: Codes, input: Codes, t0: number): void => {
    const { outputs: N, inputs: K } = targetShape(recipe, target);
    const names = adapterNames(linear);
    const { id } = state.byName(names.a);
    const z = adapters.hidden(linear, T);
    const errorSeed = gradients.seed(id, PURPOSE.adapterError);
    adapters.narrow(`${linear}.adapter.error`, e, g.rowCodes(names.b), narrow, N, T, errorSeed, t0);
    const recode = (name: string, { codes, scales }: Codes, into: Codes, cols: number, dither?: U32): Codes => {
      const out = cut(into, cols, T);
      b.push('recode', name, {
        codes,
        scales,
        out: out.codes,
        outScales: out.scales,
        seed: dither ?? g.noSeed,
        dither: dither !== undefined,
        T,
        N: cols,
        t0,
      });
      return out;
    };
    const gradient = (name: string, left: Codes, right: Codes, cols: number): void => {
      b.push('weightGradient', `${name}.product`, {
        et: left.codes,
        etScales: left.scales,
        xt: right.codes,
        xtScales: right.scales,
        dw: gradients.of(name),
        N: R,
        K: cols,
        T,
        accumulate: t0 > 0,
      });
      gradients.done(name);
    };
    const zT = recode(`${linear}.adapter.recodeHidden`, z, narrowTransposed, R);
    const recodeSeed = seed(`${linear}.weight`, PURPOSE.errorRecode);
    const eT = recode(`${linear}.adapter.recodeError`, e, transposed, N, recodeSeed);
    gradient(names.b, zT, eT, N);
    const narrowSeed = gradients.seed(id, PURPOSE.adapterRecode);
    const gT = recode(`${linear}.adapter.recodeNarrow`, narrow, narrowTransposed, R, narrowSeed);
    const xT = recode(`${linear}.adapter.recodeInput`, input, inputTransposed, K);
    gradient(names.a, gT, xT, K);
  };

  /** f32 [T,K]: the gradient of a layer's input, through the frozen weight and through the adapter. */
  const inputSums = (linear: string, target: AdapterTarget, e: Codes): F32 => {
    const { outputs: N, inputs: K } = targetShape(recipe, target);
    const weight = g.recodes(`${linear}.weight`);
    const back = g.recodes(adapterNames(linear).a);
    return adapters.sums(`${linear}.inputGradient`, e, weight, narrow, back, K, N, T);
  };

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

  /** dy of the input of a layer that a norm feeds. */
  const normInputGradient = (linear: string, target: 'qkv' | 'fc', e: Codes): void => {
    const { outputs: N, inputs: K } = targetShape(recipe, target);
    const name = `${linear}.inputGradient`;
    if (adapters.has(target)) b.push('roundRows', name, { sum: inputSums(linear, target, e), y: dy, T, N: K });
    else b.push('linearInputGradient', name, { ...asError(e), ...g.wt(`${linear}.weight`), dx: dy, T, N, K });
  };

  /** Goes through one block; in the lowest one only as far as an adapter needs it. */
  const backwardLayer = (i: number, a: LayerActivations, t0: number): void => {
    const h = `h${i}`;
    const lowest = i === 0 ? adapter.targets[0] : undefined;
    const projError = errorRows(`${h}.proj`, dx, C, t0);
    if (adapters.has('proj')) adapterGradients(`${h}.proj`, 'proj', projError, a.hidden, t0);
    if (lowest === 'proj') return;

    const fcError = cut(hiddenError, T, F);
    const fcSeed = seed(`${h}.fc.weight`, PURPOSE.errorRows);
    const fc = { ...fcError, derivative: a.derivative, bias: g.noBias, seed: fcSeed, T, t0, accumulate: false };
    if (adapters.has('proj')) {
      b.push('geluGradientRows', `${h}.fc.error`, { ...fc, sum: inputSums(`${h}.proj`, 'proj', projError), N: F });
    } else {
      const wt = g.wt(`${h}.proj.weight`);
      b.push('linearGeluInputGradient', `${h}.fc.error`, { ...fc, ...asError(projError), ...wt, N: C, K: F });
    }
    if (adapters.has('fc')) adapterGradients(`${h}.fc`, 'fc', fcError, a.norm2, t0);
    if (lowest === 'fc') return;
    normInputGradient(`${h}.fc`, 'fc', fcError);
    backwardNorm(`${h}.norm2`, a.xMid, a.rstd2, a.mean2, true);

    const oError = errorRows(`${h}.o`, dx, C, t0);
    if (adapters.has('o')) adapterGradients(`${h}.o`, 'o', oError, a.o, t0);
    if (lowest === 'o') return;
    const heads = { ...dO, seed: seed(`${h}.o.weight`, PURPOSE.headsError), T, H, t0 };
    if (adapters.has('o')) {
      const sum = inputSums(`${h}.o`, 'o', oError);
      b.push('quantizeHeads', `${h}.o.inputGradient`, { ...heads, sum, bias: g.noBias, factor: 1, N: C });
    } else {
      const wt = g.wt(`${h}.o.weight`);
      b.push('linearHeadsInputGradient', `${h}.o.inputGradient`, { ...heads, ...asError(oError), ...wt, N: C, K: C });
    }
    b.push('attentionBackward', `${h}.attention.backward`, {
      qkv: a.qkv,
      qkvScales: a.qkvScales,
      dO: dO.codes,
      dOScales: dO.scales,
      lambda: a.lambda,
      dqkv: wide,
      seedV: seed(`${h}.qkv.weight`, PURPOSE.attentionV),
      seedK: seed(`${h}.qkv.weight`, PURPOSE.attentionK),
      seedQ: seed(`${h}.qkv.weight`, PURPOSE.attentionQ),
      T,
      C,
      H,
      context,
      t0,
      U,
    });
    const qkvError = errorRows(`${h}.qkv`, wide, 3 * C, t0);
    if (adapters.has('qkv')) adapterGradients(`${h}.qkv`, 'qkv', qkvError, a.norm1, t0);
    if (lowest === 'qkv') return;
    normInputGradient(`${h}.qkv`, 'qkv', qkvError);
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
    trainingHead(g, { norm: finalNorm, error: asError(error(V)), dx: dy, loss }, seed, T, t0, U);
    backwardNorm('norm', xLast, finalRstd, finalMean, false);
    for (let i = layers - 1; i >= 0; i--) backwardLayer(i, activations[i] as LayerActivations, t0);
  }
  gradients.finish();
  b.push('unitLoss', 'loss', { loss, out: unitLoss, U });
  return { tape: b.build(), seeds: gradients.seeds, tokens: U };
}
