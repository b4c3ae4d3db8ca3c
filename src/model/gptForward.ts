/**
 * The forward half of the `gpt` tape: what the training and the evaluation tape share.
 */
import { bitsToFloat } from './fp32.js';
import type { Layout } from './layout.js';
import type { Recipe } from './recipe.js';
import { none, type Ref, slice, TapeBuilder } from './tape.js';
import { panels, type WeightsLayout } from './weights.js';

export type F32 = Ref<Float32Array>;
export type Bf16 = Ref<Uint16Array>;
export type I8 = Ref<Int8Array>;
export type U32 = Ref<Uint32Array>;

/** A code matrix: codes [rows, K] with scales [panels(K), rows]. */
export interface Codes {
  readonly codes: I8;
  readonly scales: F32;
}

/** The builder with the buffers that every tape of a model reads. */
export class Gpt {
  readonly b = new TapeBuilder();
  readonly theta: F32;
  readonly weightCodes: I8;
  readonly weightScales: F32;
  readonly tokens: U32;
  readonly targets: U32;
  readonly noBias: F32;
  readonly noSeed: U32;
  readonly epsilon: number;

  constructor(
    readonly recipe: Recipe,
    readonly layout: Layout,
    readonly weights: WeightsLayout,
    total: number,
  ) {
    this.theta = this.b.buffer('theta', 'f32', layout.length, 'given');
    this.weightCodes = this.b.buffer('weightCodes', 'i8', weights.codesLength, 'given');
    this.weightScales = this.b.buffer('weightScales', 'f32', weights.scalesLength, 'given');
    this.tokens = this.b.buffer('tokens', 'u32', total);
    this.targets = this.b.buffer('targets', 'u32', total);
    this.noBias = none(this.theta);
    this.noSeed = none(this.tokens);
    this.epsilon = bitsToFloat(recipe.normEpsilonBits);
  }

  parameter(name: string): F32 {
    const t = this.layout.byName(name);
    return slice(this.theta, t.offset, t.size);
  }

  bias(name: string): F32 {
    return this.recipe.bias ? this.parameter(`${name}.bias`) : this.noBias;
  }

  /** Row codes of a weight: the forward operand. */
  w(name: string): { w: I8; wScales: F32 } {
    const p = this.weights.of(name);
    return {
      w: slice(this.weightCodes, p.codes, p.tensor.size),
      wScales: slice(this.weightScales, p.scales, panels(p.tensor.cols) * p.tensor.rows),
    };
  }

  /** The recoded transpose of a weight: the operand of input gradients. */
  wt(name: string): { wt: I8; wtScales: F32 } {
    const p = this.weights.of(name);
    return {
      wt: slice(this.weightCodes, p.transposed, p.tensor.size),
      wtScales: slice(this.weightScales, p.transposedScales, panels(p.tensor.rows) * p.tensor.cols),
    };
  }

  codes(name: string, rows: number, cols: number): Codes {
    return {
      codes: this.b.buffer(`${name}.codes`, 'i8', rows * cols),
      scales: this.b.buffer(`${name}.scales`, 'f32', panels(cols) * rows),
    };
  }
}

/** Everything that the backward pass reads again, per layer. */
export interface LayerActivations {
  readonly x: Bf16;
  readonly norm1: Codes;
  readonly rstd1: F32;
  readonly mean1: F32;
  readonly qkv: I8;
  readonly qkvScales: F32;
  readonly lambda: F32;
  readonly o: Codes;
  readonly xMid: Bf16;
  readonly norm2: Codes;
  readonly rstd2: F32;
  readonly mean2: F32;
  readonly hidden: Codes;
  readonly derivative: I8;
}

export function layerActivations(g: Gpt, T: number, name: string): LayerActivations {
  const { width: C, hidden: F, heads: H, norm } = g.recipe;
  const means = norm === 'layer' ? T : 0;
  return {
    x: g.b.buffer(`${name}.x`, 'bf16', T * C),
    norm1: g.codes(`${name}.norm1`, T, C),
    rstd1: g.b.buffer(`${name}.rstd1`, 'f32', T),
    mean1: g.b.buffer(`${name}.mean1`, 'f32', means),
    qkv: g.b.buffer(`${name}.qkv.codes`, 'i8', T * 3 * C),
    qkvScales: g.b.buffer(`${name}.qkv.scales`, 'f32', 3 * H * T),
    lambda: g.b.buffer(`${name}.lambda`, 'f32', H * T),
    o: g.codes(`${name}.o`, T, C),
    xMid: g.b.buffer(`${name}.xMid`, 'bf16', T * C),
    norm2: g.codes(`${name}.norm2`, T, C),
    rstd2: g.b.buffer(`${name}.rstd2`, 'f32', T),
    mean2: g.b.buffer(`${name}.mean2`, 'f32', means),
    hidden: g.codes(`${name}.hidden`, T, F),
    derivative: g.b.buffer(`${name}.derivative`, 'i8', T * F),
  };
}

export function forwardNorm(g: Gpt, name: string, x: Bf16, out: Codes, rstd: F32, mean: F32, T: number): void {
  const layer = g.recipe.norm === 'layer';
  g.b.push('normForward', `${name}.forward`, {
    x,
    gain: g.parameter(`${name}.gain`),
    bias: layer ? g.parameter(`${name}.bias`) : g.noBias,
    codes: out.codes,
    scales: out.scales,
    rstd,
    mean,
    T,
    C: g.recipe.width,
    layer,
    epsilon: g.epsilon,
  });
}

/** One block forward: x → xOut. `attention` is scratch [T,C]. */
export function forwardLayer(g: Gpt, i: number, a: LayerActivations, xOut: Bf16, attention: Bf16, T: number): void {
  const { width: C, hidden: F, heads: H, context } = g.recipe;
  const h = `h${i}`;
  forwardNorm(g, `${h}.norm1`, a.x, a.norm1, a.rstd1, a.mean1, T);
  g.b.push('linearQkv', `${h}.qkv.forward`, {
    a: a.norm1.codes,
    aScales: a.norm1.scales,
    ...g.w(`${h}.qkv.weight`),
    bias: g.bias(`${h}.qkv`),
    codes: a.qkv,
    scales: a.qkvScales,
    T,
    C,
    H,
  });
  g.b.push('attentionForward', `${h}.attention.forward`, {
    qkv: a.qkv,
    qkvScales: a.qkvScales,
    o: attention,
    lambda: a.lambda,
    T,
    C,
    H,
    context,
  });
  g.b.push('quantizeRows', `${h}.attention.quantize`, { x: attention, ...a.o, T, N: C });
  g.b.push('linearResidual', `${h}.o.forward`, {
    a: a.o.codes,
    aScales: a.o.scales,
    ...g.w(`${h}.o.weight`),
    bias: g.bias(`${h}.o`),
    x: a.x,
    y: a.xMid,
    T,
    N: C,
    K: C,
  });
  forwardNorm(g, `${h}.norm2`, a.xMid, a.norm2, a.rstd2, a.mean2, T);
  g.b.push('linearGelu', `${h}.fc.forward`, {
    a: a.norm2.codes,
    aScales: a.norm2.scales,
    ...g.w(`${h}.fc.weight`),
    bias: g.bias(`${h}.fc`),
    codes: a.hidden.codes,
    scales: a.hidden.scales,
    derivative: a.derivative,
    T,
    N: F,
    K: C,
  });
  g.b.push('linearResidual', `${h}.proj.forward`, {
    a: a.hidden.codes,
    aScales: a.hidden.scales,
    ...g.w(`${h}.proj.weight`),
    bias: g.bias(`${h}.proj`),
    x: a.xMid,
    y: xOut,
    T,
    N: C,
    K: F,
  });
}
