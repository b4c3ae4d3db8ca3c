/**
 * The forward half of the `gemma3` tape: what the training and the evaluation tape share.
 *
 * The product of q, k and v is stored in bf16 before norm and rotation, which the backward pass reads again; only what
 * attention multiplies becomes codes, one scale per token and head, after the rotation.
 */
import { targetShape } from './adapter.js';
import { bitsToFloat } from './fp32.js';
import { type Adapters, type Bf16, type Codes, type F32, Gpt, type I8 } from './gptForward.js';
import type { Layout } from './layout.js';
import { type AdapterTarget, attentionSizes, type GemmaOptions, type Recipe } from './recipe.js';
import { slice } from './tape.js';
import type { WeightsLayout } from './weights.js';

/** Sizes of a layer's attention and whether it is a global one. */
export interface LayerShape {
  readonly H: number;
  readonly G: number;
  readonly h: number;
  /** Elements of a row of heads: (H + 2G)·h. */
  readonly N: number;
}

/** The builder with what every tape of the family reads. */
export class Gemma extends Gpt {
  readonly options: GemmaOptions;
  readonly shape: LayerShape;
  readonly #rope: F32;
  readonly #gains = new Map<string, F32>();

  constructor(recipe: Recipe, layout: Layout, weights: WeightsLayout, total: number) {
    super(recipe, layout, weights, total);
    this.options = recipe.gemma as GemmaOptions;
    const { heads: H, keyValueHeads: G, headSize: h } = attentionSizes(recipe);
    this.shape = { H, G, h, N: (H + 2 * G) * h };
    this.#rope = this.b.buffer('rope', 'f32', 2 * recipe.context * h, 'given');
    // 1 + gain of every norm, once a run.
    for (const { name, size } of layout.tensors.filter((tensor) => tensor.name.endsWith('.gain'))) {
      const out = this.b.buffer(`${name}.plusOne`, 'f32', size);
      this.#gains.set(name, out);
      this.b.push('gainPlusOne', `${name}.plusOne`, { gain: this.parameter(name), out, n: size });
    }
  }

  /** 1 + gain of a norm. */
  gain(norm: string): F32 {
    return this.#gains.get(`${norm}.gain`) as F32;
  }

  isGlobal(layer: number): boolean {
    return (layer + 1) % this.options.globalEvery === 0;
  }

  /** The RoPE table of a layer: f32 [context, h]. */
  rope(layer: number): F32 {
    const size = this.recipe.context * this.shape.h;
    return slice(this.#rope, this.isGlobal(layer) ? size : 0, size);
  }

  /** Arguments of a layer's attention. */
  attention(layer: number, T: number) {
    const { H, G, h } = this.shape;
    const window = this.isGlobal(layer) ? 0 : this.options.slidingWindow;
    return { T, H, G, h, context: this.recipe.context, window, scalar: this.options.queryScalar };
  }
}

/** Everything that the backward pass reads again, per layer. */
export interface GemmaActivations {
  readonly x: Bf16;
  readonly norm1: Codes;
  readonly rstd1: F32;
  /** What the product of q, k, v gave. */
  readonly heads: Bf16;
  readonly headsRstd: F32;
  readonly qkv: I8;
  readonly qkvScales: F32;
  readonly lambda: F32;
  readonly o: Codes;
  /** What attention adds to the residual stream, before its norm. */
  readonly attended: Bf16;
  readonly attendedRstd: F32;
  readonly xMid: Bf16;
  readonly norm2: Codes;
  readonly rstd2: F32;
  /** Gates and the other half. */
  readonly u: Bf16;
  readonly hidden: Codes;
  readonly projected: Bf16;
  readonly projectedRstd: F32;
}

export function gemmaActivations(g: Gemma, T: number, name: string): GemmaActivations {
  const { width: C, hidden: F } = g.recipe;
  const { H, G, h, N } = g.shape;
  return {
    x: g.b.buffer(`${name}.x`, 'bf16', T * C),
    norm1: g.codes(`${name}.norm1`, T, C),
    rstd1: g.b.buffer(`${name}.rstd1`, 'f32', T),
    heads: g.b.buffer(`${name}.heads`, 'bf16', T * N),
    headsRstd: g.b.buffer(`${name}.headsRstd`, 'f32', (H + G) * T),
    qkv: g.b.buffer(`${name}.qkv.codes`, 'i8', T * N),
    qkvScales: g.b.buffer(`${name}.qkv.scales`, 'f32', (H + 2 * G) * T),
    lambda: g.b.buffer(`${name}.lambda`, 'f32', H * T),
    o: g.codes(`${name}.o`, T, H * h),
    attended: g.b.buffer(`${name}.attended`, 'bf16', T * C),
    attendedRstd: g.b.buffer(`${name}.attendedRstd`, 'f32', T),
    xMid: g.b.buffer(`${name}.xMid`, 'bf16', T * C),
    norm2: g.codes(`${name}.norm2`, T, C),
    rstd2: g.b.buffer(`${name}.rstd2`, 'f32', T),
    u: g.b.buffer(`${name}.u`, 'bf16', T * 2 * F),
    hidden: g.codes(`${name}.hidden`, T, F),
    projected: g.b.buffer(`${name}.projected`, 'bf16', T * C),
    projectedRstd: g.b.buffer(`${name}.projectedRstd`, 'f32', T),
  };
}

export function embedTokens(g: Gemma, x: Bf16, T: number, t0: number): void {
  g.b.push('embedScaled', 'embedding.forward', {
    tokens: slice(g.tokens, t0, T),
    wte: g.parameter('wte'),
    x,
    T,
    C: g.recipe.width,
    scale: bitsToFloat(g.options.embeddingScaleBits),
  });
}

/** The norm before a linear layer, and the last one. */
export function gemmaNorm(g: Gemma, name: string, x: Bf16, out: Codes, rstd: F32, T: number): void {
  g.b.push('normForward', `${name}.forward`, {
    x,
    gain: g.gain(name),
    bias: g.noBias,
    codes: out.codes,
    scales: out.scales,
    rstd,
    mean: g.noBias,
    T,
    C: g.recipe.width,
    layer: false,
    epsilon: g.epsilon,
  });
}

/** Adapters of a tape, and the name of the activations that their own are kept with. */
interface Adapted {
  readonly adapters: Adapters | undefined;
  readonly kept: string;
}

/** A layer without epilogue: y bf16 [T,N]. */
function rows(
  g: Gemma,
  layer: string,
  target: AdapterTarget,
  a: Codes,
  y: Bf16,
  T: number,
  { adapters, kept }: Adapted,
): void {
  const name = `${layer}.${target}`;
  const { outputs: N, inputs: K } = targetShape(g.recipe, target);
  if (adapters?.has(target) === true) {
    const sum = adapters.forward(name, `${kept}.${target}`, a, N, K, T);
    g.b.push('roundRows', `${name}.forward`, { sum, y, T, N });
    return;
  }
  const operands = { a: a.codes, aScales: a.scales, ...g.w(`${name}.weight`) };
  g.b.push('linearRows', `${name}.forward`, { ...operands, y, T, N, K });
}

/** The norm behind attention or MLP, and the residual stream. */
function residual(g: Gemma, name: string, x: Bf16, o: Bf16, y: Bf16, rstd: F32, T: number): void {
  const C = g.recipe.width;
  g.b.push('normResidual', `${name}.forward`, { x, o, gain: g.gain(name), y, rstd, T, C, epsilon: g.epsilon });
}

/**
 * One block forward: x → xOut. `mixed` is scratch [T,H·h].
 *
 * @param kept name of the activations, for those of adapters: of the layer where they are read again
 */
export function gemmaLayer(
  g: Gemma,
  i: number,
  a: GemmaActivations,
  xOut: Bf16,
  mixed: Bf16,
  T: number,
  adapters?: Adapters,
  kept = `h${i}`,
): void {
  const { hidden: F, context } = g.recipe;
  const { H, G, h } = g.shape;
  const name = `h${i}`;
  const adapted = { adapters, kept };
  gemmaNorm(g, `${name}.norm1`, a.x, a.norm1, a.rstd1, T);
  rows(g, name, 'qkv', a.norm1, a.heads, T, adapted);
  g.b.push('rotateHeads', `${name}.heads.forward`, {
    y: a.heads,
    gainQ: g.gain(`${name}.qNorm`),
    gainK: g.gain(`${name}.kNorm`),
    rope: g.rope(i),
    codes: a.qkv,
    scales: a.qkvScales,
    rstd: a.headsRstd,
    T,
    H,
    G,
    h,
    context,
    epsilon: g.epsilon,
  });
  g.b.push('groupedAttentionForward', `${name}.attention.forward`, {
    qkv: a.qkv,
    qkvScales: a.qkvScales,
    o: mixed,
    lambda: a.lambda,
    ...g.attention(i, T),
  });
  g.b.push('quantizeRows', `${name}.attention.quantize`, { x: mixed, ...a.o, T, N: H * h });
  rows(g, name, 'o', a.o, a.attended, T, adapted);
  residual(g, `${name}.postNorm1`, a.x, a.attended, a.xMid, a.attendedRstd, T);
  gemmaNorm(g, `${name}.norm2`, a.xMid, a.norm2, a.rstd2, T);
  rows(g, name, 'fc', a.norm2, a.u, T, adapted);
  g.b.push('geglu', `${name}.geglu.forward`, { u: a.u, ...a.hidden, T, N: F });
  rows(g, name, 'proj', a.hidden, a.projected, T, adapted);
  residual(g, `${name}.postNorm2`, a.xMid, a.projected, xOut, a.projectedRstd, T);
}
