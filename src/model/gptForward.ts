/**
 * The forward half of the `gpt` tape: what the training and the evaluation tape share.
 */

import { adapterNames, adapterScale, paddedRank, targetShape } from './adapter.js';
import { bitsToFloat } from './fp32.js';
import type { Layout } from './layout.js';
import type { AdapterTarget, Recipe, RecipeAdapter } from './recipe.js';
import { ADAPTER_TARGETS } from './recipeRules.js';
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

  /** {@link w} as a code matrix. */
  rowCodes(name: string): Codes {
    const { w, wScales } = this.w(name);
    return { codes: w, scales: wScales };
  }

  /** {@link wt} as a code matrix. */
  recodes(name: string): Codes {
    const { wt, wtScales } = this.wt(name);
    return { codes: wt, scales: wtScales };
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

/** Adapters of a tape: where their intermediate values lie, and the products that go through them. */
export class Adapters {
  readonly scale: number;
  readonly rows: number;
  /** Sums of a layer before its epilogue, f32 [T, widest output or input]. */
  readonly sum: F32;
  readonly #g: Gpt;
  readonly #small: F32;
  readonly #targets: ReadonlySet<string>;
  readonly #hidden = new Map<string, Codes>();

  constructor(g: Gpt, adapter: RecipeAdapter, T: number) {
    this.#g = g;
    this.scale = adapterScale(adapter);
    this.rows = paddedRank(adapter);
    this.#targets = new Set<string>(adapter.targets);
    const sizes = ADAPTER_TARGETS.map((target) => targetShape(g.recipe, target));
    const widest = Math.max(...sizes.flatMap(({ outputs, inputs }) => [outputs, inputs]));
    this.sum = g.b.buffer('sum', 'f32', T * widest);
    this.#small = g.b.buffer('adapterSum', 'f32', T * this.rows);
  }

  has(target: AdapterTarget): boolean {
    return this.#targets.has(target);
  }

  /** Codes of z, one matrix for each name. */
  hidden(name: string, T: number): Codes {
    const known = this.#hidden.get(name) ?? this.#g.codes(`${name}.adapter`, T, this.rows);
    this.#hidden.set(name, known);
    return known;
  }

  /** out = Q8(s·(input · right)), [T, R]: `right` has R rows of K codes. */
  narrow(name: string, input: Codes, right: Codes, out: Codes, K: number, T: number, seed: U32, t0: number): void {
    const { b, noBias } = this.#g;
    const { rows: R, scale: factor } = this;
    this.#product(`${name}.product`, input, right, this.#small, R, K, T, false);
    b.push('quantizeHeads', name, { sum: this.#small, bias: noBias, ...out, seed, factor, T, N: R, H: 1, t0 });
  }

  /** f32 [T,N]: input · right, going on with narrow · back: the sums of an adapted product. */
  sums(name: string, input: Codes, right: Codes, narrow: Codes, back: Codes, N: number, K: number, T: number): F32 {
    const sum = slice(this.sum, 0, T * N);
    this.#product(`${name}.frozen`, input, right, sum, N, K, T, false);
    this.#product(`${name}.adapter`, narrow, back, sum, N, this.rows, T, true);
    return sum;
  }

  /** z of a layer's input, then the sums of the layer. */
  forward(linear: string, activation: string, input: Codes, N: number, K: number, T: number): F32 {
    const g = this.#g;
    const { a, b } = adapterNames(linear);
    const z = this.hidden(activation, T);
    this.narrow(`${linear}.adapter.forward`, input, g.rowCodes(a), z, K, T, g.noSeed, 0);
    return this.sums(`${linear}.forward`, input, g.rowCodes(`${linear}.weight`), z, g.recodes(b), N, K, T);
  }

  /** A product goes on from f32 sums only as `weightGradient` does: rows of the left operand are tokens here. */
  #product(name: string, left: Codes, right: Codes, dw: F32, N: number, K: number, T: number, accumulate: boolean) {
    const operands = { et: left.codes, etScales: left.scales, xt: right.codes, xtScales: right.scales };
    this.#g.b.push('weightGradient', name, { ...operands, dw, N: T, K: N, T: K, accumulate });
  }
}

/**
 * One block forward: x → xOut. `attention` is scratch [T,C].
 *
 * @param kept name of the activations, for those of adapters: of the layer where they are read again
 */
export function forwardLayer(
  g: Gpt,
  i: number,
  a: LayerActivations,
  xOut: Bf16,
  attention: Bf16,
  T: number,
  adapters?: Adapters,
  kept = `h${i}`,
): void {
  const { width: C, hidden: F, heads: H, context } = g.recipe;
  const h = `h${i}`;
  forwardNorm(g, `${h}.norm1`, a.x, a.norm1, a.rstd1, a.mean1, T);
  if (adapters?.has('qkv') === true) {
    g.b.push('quantizeHeads', `${h}.qkv.forward`, {
      sum: adapters.forward(`${h}.qkv`, `${kept}.qkv`, a.norm1, 3 * C, C, T),
      bias: g.bias(`${h}.qkv`),
      codes: a.qkv,
      scales: a.qkvScales,
      seed: g.noSeed,
      factor: 1,
      T,
      N: 3 * C,
      H: 3 * H,
      t0: 0,
    });
  } else {
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
  }
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
  forwardResidual(g, `${h}.o`, a.o, a.x, a.xMid, C, T, adapters?.has('o') === true ? adapters : undefined, kept);
  forwardNorm(g, `${h}.norm2`, a.xMid, a.norm2, a.rstd2, a.mean2, T);
  const bias = g.bias(`${h}.fc`);
  const hidden = { codes: a.hidden.codes, scales: a.hidden.scales, derivative: a.derivative };
  if (adapters?.has('fc') === true) {
    const sum = adapters.forward(`${h}.fc`, `${kept}.fc`, a.norm2, F, C, T);
    g.b.push('geluRows', `${h}.fc.forward`, { sum, bias, ...hidden, T, N: F });
  } else {
    const operands = { a: a.norm2.codes, aScales: a.norm2.scales, ...g.w(`${h}.fc.weight`) };
    g.b.push('linearGelu', `${h}.fc.forward`, { ...operands, bias, ...hidden, T, N: F, K: C });
  }
  const proj = adapters?.has('proj') === true ? adapters : undefined;
  forwardResidual(g, `${h}.proj`, a.hidden, a.xMid, xOut, F, T, proj, kept);
}

/** y = bf16(x + linear(input)) for the projections that write to the residual stream. */
function forwardResidual(
  g: Gpt,
  linear: string,
  input: Codes,
  x: Bf16,
  y: Bf16,
  K: number,
  T: number,
  adapters: Adapters | undefined,
  kept: string,
): void {
  const { width: C } = g.recipe;
  const bias = g.bias(linear);
  if (adapters !== undefined) {
    const activation = `${kept}.${linear.slice(linear.indexOf('.') + 1)}`;
    const sum = adapters.forward(linear, activation, input, C, K, T);
    g.b.push('addRows', `${linear}.forward`, { sum, bias, x, y, T, N: C });
    return;
  }
  const operands = { a: input.codes, aScales: input.scales, ...g.w(`${linear}.weight`) };
  g.b.push('linearResidual', `${linear}.forward`, { ...operands, bias, x, y, T, N: C, K });
}
