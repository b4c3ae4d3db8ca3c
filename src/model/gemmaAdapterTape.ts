/**
 * The tape of a unit that trains adapters over a model of the family `gemma3`: as `adapterTape.ts`, through the layers of
 * `gemmaTape.ts`.
 */
import { PURPOSE } from '../backend/ops.js';
import { AdapterBackward, AdapterGradients, type AdapterLayouts } from './adapterBackward.js';
import { embedTokens, Gemma, type GemmaActivations, gemmaActivations, gemmaLayer, gemmaNorm } from './gemmaForward.js';
import { Adapters, type Bf16, type Codes, type F32 } from './gptForward.js';
import { type GptTape, microBatchTokens, unitTokens } from './gptTape.js';
import { trainingHead } from './headTape.js';
import type { Recipe, RecipeAdapter } from './recipe.js';
import { slice } from './tape.js';

/** The backward pass of a micro-batch, layer by layer. */
class Backward {
  /** Gradient of a norm's output. */
  readonly dy: Bf16;
  readonly #g: Gemma;
  readonly #back: AdapterBackward;
  readonly #U: number;
  readonly #dqkv: Bf16;
  readonly #dOut: Bf16;
  readonly #dHidden: Bf16;
  readonly #dO: Codes;
  readonly #fcError: Codes;
  /** Sums of the frozen norms' columns go here, and nobody reads them. */
  readonly #unread: F32;

  constructor(g: Gemma, back: AdapterBackward, U: number, dqkv: Bf16) {
    const { width: C, hidden: F } = g.recipe;
    const { H, h } = g.shape;
    const { T } = back;
    this.#g = g;
    this.#back = back;
    this.#U = U;
    this.#dqkv = dqkv;
    this.dy = g.b.buffer('dy', 'bf16', T * C);
    this.#dOut = g.b.buffer('dOut', 'bf16', T * C);
    this.#dHidden = g.b.buffer('dHidden', 'bf16', T * F);
    this.#dO = {
      codes: g.b.buffer('dO.codes', 'i8', T * H * h),
      scales: g.b.buffer('dO.scales', 'f32', H * T),
    };
    this.#fcError = back.error(2 * F);
    this.#unread = g.b.buffer('unread', 'f32', Math.max(C, 2 * h));
  }

  norm(name: string, dy: Bf16, x: Bf16, rstd: F32, dx: Bf16, residual: boolean): void {
    const g = this.#g;
    const { width: C } = g.recipe;
    g.b.push('normBackward', `${name}.backward`, {
      dy,
      x,
      gain: g.gain(name),
      rstd,
      mean: g.noBias,
      dx,
      dGain: slice(this.#unread, 0, C),
      dBias: g.noBias,
      T: this.#back.T,
      C,
      layer: false,
      residual,
      accumulate: false,
    });
  }

  /** Goes through one block; in the lowest one only as far as an adapter needs it. */
  layer(i: number, a: GemmaActivations, dx: Bf16, lowest: string | undefined, t0: number): void {
    const back = this.#back;
    const { width: C, hidden: F } = this.#g.recipe;
    const { H, N } = this.#g.shape;
    const name = `h${i}`;
    this.norm(`${name}.postNorm2`, dx, a.projected, a.projectedRstd, this.#dOut, false);
    const projError = back.errorRows(`${name}.proj`, this.#dOut, C, t0);
    back.adapter(`${name}.proj`, 'proj', projError, a.hidden, t0);
    if (lowest === 'proj') return;
    back.input(`${name}.proj`, 'proj', projError, this.#dHidden);
    this.#geglu(name, a, F, t0);
    back.adapter(`${name}.fc`, 'fc', this.#fcError, a.norm2, t0);
    if (lowest === 'fc') return;
    back.input(`${name}.fc`, 'fc', this.#fcError, this.dy);
    this.norm(`${name}.norm2`, this.dy, a.xMid, a.rstd2, dx, true);

    this.norm(`${name}.postNorm1`, dx, a.attended, a.attendedRstd, this.#dOut, false);
    const oError = back.errorRows(`${name}.o`, this.#dOut, C, t0);
    back.adapter(`${name}.o`, 'o', oError, a.o, t0);
    if (lowest === 'o') return;
    back.heads(`${name}.o`, oError, this.#dO, H, t0);
    this.#attention(i, a, t0);
    const qkvError = back.errorRows(`${name}.qkv`, this.#dqkv, N, t0);
    back.adapter(`${name}.qkv`, 'qkv', qkvError, a.norm1, t0);
    if (lowest === 'qkv') return;
    back.input(`${name}.qkv`, 'qkv', qkvError, this.dy);
    this.norm(`${name}.norm1`, this.dy, a.x, a.rstd1, dx, true);
  }

  #geglu(name: string, a: GemmaActivations, N: number, t0: number): void {
    const { T } = this.#back;
    const seed = this.#back.seed(`${name}.fc.weight`, PURPOSE.errorRows);
    const row = { dh: this.#dHidden, u: a.u, ...this.#fcError, seed, T, N, t0 };
    this.#g.b.push('gegluGradient', `${name}.fc.error`, row);
  }

  /** From the codes of dO to the gradient of what the layer qkv gave. */
  #attention(i: number, a: GemmaActivations, t0: number): void {
    const g = this.#g;
    const { b } = g;
    const { H, G, h } = g.shape;
    const { T } = this.#back;
    const name = `h${i}`;
    const seed = (purpose: number) => this.#back.seed(`${name}.qkv.weight`, purpose);
    b.push('groupedAttentionBackward', `${name}.attention.backward`, {
      qkv: a.qkv,
      qkvScales: a.qkvScales,
      dO: this.#dO.codes,
      dOScales: this.#dO.scales,
      lambda: a.lambda,
      dqkv: this.#dqkv,
      seedV: seed(PURPOSE.attentionV),
      seedK: seed(PURPOSE.attentionK),
      seedQ: seed(PURPOSE.attentionQ),
      ...g.attention(i, T),
      t0,
      U: this.#U,
    });
    b.push('rotateHeadsBackward', `${name}.heads.backward`, {
      dqkv: this.#dqkv,
      y: a.heads,
      rstd: a.headsRstd,
      gainQ: g.gain(`${name}.qNorm`),
      gainK: g.gain(`${name}.kNorm`),
      rope: g.rope(i),
      dy: this.#dqkv,
      dGainQ: slice(this.#unread, 0, h),
      dGainK: slice(this.#unread, h, h),
      T,
      H,
      G,
      h,
      context: g.recipe.context,
      accumulate: false,
    });
  }
}

/** The tape that turns a unit's tokens into the 4-bit gradient of the adapters, and the loss. */
export function gemmaAdapterTape(
  recipe: Recipe,
  adapter: RecipeAdapter,
  { model, state, weights }: AdapterLayouts,
  microBatches = 1,
): GptTape {
  const { width: C, layers } = recipe;
  const U = unitTokens(recipe);
  const T = microBatchTokens(recipe, microBatches);
  const V = model.byName('wte').rows;
  const g = new Gemma(recipe, model, weights, U);
  const { H, h, N } = g.shape;
  const { b } = g;
  const adapters = new Adapters(g, adapter, T);
  const gradients = new AdapterGradients(g, state, adapters.rows, microBatches);
  const back = new AdapterBackward(g, adapters, gradients, T);

  const activations = Array.from({ length: layers }, (_, i) => gemmaActivations(g, T, `h${i}`));
  const xLast = b.buffer('x', 'bf16', T * C);
  const finalNorm = g.codes('norm', T, C);
  const finalRstd = b.buffer('norm.rstd', 'f32', T);
  const loss = b.buffer('loss', 'f32', U);
  const unitLoss = b.buffer('unitLoss', 'f32', 1);
  const dx = b.buffer('dx', 'bf16', T * C);
  const dqkv = b.buffer('dqkv', 'bf16', T * N);
  const mixed = slice(dqkv, 0, T * H * h);
  const backward = new Backward(g, back, U, dqkv);

  for (let t0 = 0; t0 < U; t0 += T) {
    embedTokens(g, (activations[0] as GemmaActivations).x, T, t0);
    activations.forEach((a, i) => {
      gemmaLayer(g, i, a, activations[i + 1]?.x ?? xLast, mixed, T, adapters);
    });
    gemmaNorm(g, 'norm', xLast, finalNorm, finalRstd, T);
    const { codes: e, scales: eScales } = back.error(V);
    const head = { norm: finalNorm, error: { e, eScales }, dx: backward.dy, loss };
    trainingHead(g, head, (name, purpose) => back.seed(name, purpose), T, t0, U);
    backward.norm('norm', backward.dy, xLast, finalRstd, dx, false);
    for (let i = layers - 1; i >= 0; i--) {
      backward.layer(i, activations[i] as GemmaActivations, dx, i === 0 ? adapter.targets[0] : undefined, t0);
    }
  }
  gradients.finish();
  b.push('unitLoss', 'loss', { loss, out: unitLoss, U });
  return { tape: b.build(), seeds: gradients.seeds, tokens: U };
}
