/**
 * The tape of the `gpt` family: pre-norm blocks, learned positions, tanh GELU, a head tied to the token table.
 *
 * A unit is processed in micro-batches of whole token panels. With one micro-batch a weight's gradient is quantized
 * right after it was made and its fp32 form lives in one scratch buffer; with several, fp32 accumulators hold all
 * gradients until the last. The bits are the same (`docs/numerics.md` §2.4).
 */
import { PURPOSE } from '../backend/ops.js';
import { PogoError } from '../errors.js';
import { bitsToFloat } from './fp32.js';
import type { Layout, TensorSpec } from './layout.js';
import type { Recipe } from './recipe.js';
import { none, type Ref, slice, type Tape, TapeBuilder } from './tape.js';
import { PANEL, panels, type WeightsLayout } from './weights.js';

type F32 = Ref<Float32Array>;
type Bf16 = Ref<Uint16Array>;
type I8 = Ref<Int8Array>;
type U32 = Ref<Uint32Array>;

/** A dithered quantization of the tape: its seed is words [4·index, 4·index + 4) of the buffer `seeds`. */
export interface SeedUse {
  readonly tensorId: number;
  readonly purpose: number;
}

export interface GptTape {
  readonly tape: Tape;
  /** In the order of the seed buffer; empty for an evaluation tape. */
  readonly seeds: readonly SeedUse[];
  /** Tokens of one run of the tape. */
  readonly tokens: number;
}

interface Codes {
  readonly codes: I8;
  readonly scales: F32;
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

/** What both the training and the evaluation tape use. */
class Gpt {
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
interface LayerActivations {
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

function layerActivations(g: Gpt, T: number, name: string): LayerActivations {
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

function forwardNorm(g: Gpt, name: string, x: Bf16, out: Codes, rstd: F32, mean: F32, T: number): void {
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
function forwardLayer(g: Gpt, i: number, a: LayerActivations, xOut: Bf16, attention: Bf16, T: number): void {
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

/** Where gradients go and how their seeds are numbered. */
class Gradients {
  readonly seeds: SeedUse[] = [];
  readonly seedBuffer: U32;
  readonly #flat: F32 | undefined;
  readonly #matrix: F32;
  readonly #vectors: F32;
  readonly #table: F32;
  readonly #unitCodes: Ref<Uint8Array>;
  readonly #unitScales: Bf16;

  constructor(
    readonly g: Gpt,
    readonly microBatches: number,
  ) {
    const { layout, b } = g;
    // One per tensor (purpose 1), twelve more per layer (proj 2, fc 2, o 3, qkv 5), two for the head.
    this.seedBuffer = b.buffer('seeds', 'u32', 4 * (layout.tensors.length + 12 * g.recipe.layers + 2));
    this.#unitCodes = b.buffer('unitCodes', 'u8', layout.length / 2, 'given');
    this.#unitScales = b.buffer('unitScales', 'bf16', layout.length / 64, 'given');
    const single = microBatches === 1;
    this.#flat = single ? undefined : b.buffer('gradients', 'f32', layout.length);
    const largest = (kind: TensorSpec['kind']): number =>
      Math.max(...layout.tensors.filter((t) => t.kind === kind && t.name !== 'wte').map((t) => t.size), 0);
    this.#matrix = b.buffer('dMatrix', 'f32', single ? Math.max(largest('matrix'), layout.byName('wpe').size) : 0);
    this.#vectors = b.buffer('dVectors', 'f32', single ? 2 * largest('vector') : 0);
    this.#table = b.buffer('dWte', 'f32', single ? layout.byName('wte').size : 0);
  }

  /** The seed of a quantization; the same use in several micro-batches has one seed. */
  seed(tensorName: string, purpose: number): U32 {
    const tensorId = this.g.layout.byName(tensorName).id;
    let index = this.seeds.findIndex((s) => s.tensorId === tensorId && s.purpose === purpose);
    if (index < 0) index = this.seeds.push({ tensorId, purpose }) - 1;
    return slice(this.seedBuffer, 4 * index, 4);
  }

  /** Memory of a tensor's fp32 gradient; `second` of two vectors that are alive together. */
  of(name: string, second = false): F32 {
    const t = this.g.layout.byName(name);
    if (this.#flat !== undefined) return slice(this.#flat, t.offset, t.size);
    if (name === 'wte') return this.#table;
    if (t.kind !== 'vector') return slice(this.#matrix, 0, t.size);
    return slice(this.#vectors, second ? this.#vectors.length / 2 : 0, t.size);
  }

  /** Called when a tensor's gradient of this micro-batch is complete: quantizes it if nothing more is added later. */
  done(name: string, second = false): void {
    if (this.microBatches === 1) this.quantize(name, this.of(name, second));
  }

  /** With several micro-batches: all tensors at the end, but those that {@link done} at the unit's end quantized. */
  finish(): void {
    if (this.microBatches === 1) return;
    for (const t of this.g.layout.tensors) this.quantize(t.name, this.of(t.name));
  }

  private quantize(name: string, x: F32): void {
    const t = this.g.layout.byName(name);
    if (name.endsWith('.qkv.bias')) {
      // The K third is constant along every softmax row: it has no gradient (docs/numerics.md §5).
      this.g.b.push('fillZero', `${name}.gradient`, { x: slice(x, t.size / 3, t.size / 3) });
    }
    this.g.b.push('quantize4', `${name}.gradient`, {
      x,
      codes: slice(this.#unitCodes, t.offset / 2, t.size / 2),
      scales: slice(this.#unitScales, t.offset / 64, t.size / 64),
      seed: this.seed(name, PURPOSE.gradient4),
      rows: t.rows,
      cols: t.cols,
    });
  }
}

/** The tape that turns a unit's tokens into its 4-bit gradient and loss. */
export function trainingTape(recipe: Recipe, layout: Layout, weights: WeightsLayout, microBatches = 1): GptTape {
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
  const widest = Math.max(V, 3 * C, F);
  // Both hold error codes of either orientation in turn, so their scales have room for both.
  const errorScales = Math.max(panels(widest) * T, panels(T) * widest);
  const errorBuffer = (name: string): Codes => ({
    codes: b.buffer(`${name}.codes`, 'i8', T * widest),
    scales: b.buffer(`${name}.scales`, 'f32', errorScales),
  });
  const e = errorBuffer('error');
  const et = errorBuffer('errorTransposed');
  const xt = g.codes('inputTransposed', Math.max(C, F), T);
  const dO: Codes = {
    codes: b.buffer('dO.codes', 'i8', T * C),
    scales: b.buffer('dO.scales', 'f32', H * T),
  };

  const error = (N: number): { e: I8; eScales: F32 } => ({
    e: slice(e.codes, 0, T * N),
    eScales: slice(e.scales, 0, panels(N) * T),
  });

  /** dW of a weight [N,K] from the error codes in `e` and the input codes `input`. */
  const weightGradient = (name: string, input: Codes, N: number, K: number, t0: number): void => {
    const errorT = { et: slice(et.codes, 0, N * T), etScales: slice(et.scales, 0, panels(T) * N) };
    const inputT = { xt: slice(xt.codes, 0, K * T), xtScales: slice(xt.scales, 0, panels(T) * K) };
    const { e: codes, eScales: scales } = error(N);
    const recoded = { out: errorT.et, outScales: errorT.etScales };
    const seed = gradients.seed(name, PURPOSE.errorRecode);
    b.push('recode', `${name}.recodeError`, { codes, scales, ...recoded, seed, dither: true, T, N, t0 });
    b.push('recode', `${name}.recodeInput`, {
      ...input,
      out: inputT.xt,
      outScales: inputT.xtScales,
      seed: g.noSeed,
      dither: false,
      T,
      N: K,
      t0,
    });
    const dw = gradients.of(name);
    b.push('weightGradient', `${name}.gradient`, { ...errorT, ...inputT, dw, N, K, T, accumulate: t0 > 0 });
  };

  const errorRows = (name: string, x: Bf16, N: number, t0: number): void => {
    const bias = recipe.bias ? gradients.of(`${name}.bias`) : g.noBias;
    const seed = gradients.seed(`${name}.weight`, PURPOSE.errorRows);
    const { e: codes, eScales: scales } = error(N);
    const row = { x, codes, scales, bias, seed, T, N, t0, accumulate: t0 > 0 };
    b.push('quantizeGradientRows', `${name}.error`, row);
    if (recipe.bias) gradients.done(`${name}.bias`);
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
    errorRows(`${h}.proj`, dx, C, t0);
    weightGradient(`${h}.proj.weight`, a.hidden, C, F, t0);
    gradients.done(`${h}.proj.weight`);
    // The error codes of proj are read while those of fc are written: they need two places.
    const fc = { codes: slice(et.codes, 0, T * F), scales: slice(et.scales, 0, panels(F) * T) };
    b.push('linearGeluInputGradient', `${h}.fc.error`, {
      ...error(C),
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
    const into = { out: slice(e.codes, 0, F * T), outScales: slice(e.scales, 0, panels(T) * F) };
    const seed = gradients.seed(`${h}.fc.weight`, PURPOSE.errorRecode);
    b.push('recode', `${h}.fc.weight.recodeError`, { ...fc, ...into, seed, dither: true, T, N: F, t0 });
    const inputT = { out: slice(xt.codes, 0, C * T), outScales: slice(xt.scales, 0, panels(T) * C) };
    b.push('recode', `${h}.fc.weight.recodeInput`, {
      ...a.norm2,
      ...inputT,
      seed: g.noSeed,
      dither: false,
      T,
      N: C,
      t0,
    });
    b.push('weightGradient', `${h}.fc.weight.gradient`, {
      et: into.out,
      etScales: into.outScales,
      xt: inputT.out,
      xtScales: inputT.outScales,
      dw: gradients.of(`${h}.fc.weight`),
      N: F,
      K: C,
      T,
      accumulate: t0 > 0,
    });
    gradients.done(`${h}.fc.weight`);
    backwardNorm(`${h}.norm2`, a.xMid, a.rstd2, a.mean2, dx, true, t0);
  };

  const backwardAttention = (i: number, a: LayerActivations, dx: Bf16, t0: number): void => {
    const h = `h${i}`;
    errorRows(`${h}.o`, dx, C, t0);
    weightGradient(`${h}.o.weight`, a.o, C, C, t0);
    gradients.done(`${h}.o.weight`);
    b.push('linearHeadsInputGradient', `${h}.o.inputGradient`, {
      ...error(C),
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
    errorRows(`${h}.qkv`, wide, 3 * C, t0);
    weightGradient(`${h}.qkv.weight`, a.norm1, 3 * C, C, t0);
    gradients.done(`${h}.qkv.weight`);
    const wt = g.wt(`${h}.qkv.weight`);
    b.push('linearInputGradient', `${h}.qkv.inputGradient`, { ...error(3 * C), ...wt, dx: dy, T, N: 3 * C, K: C });
    backwardNorm(`${h}.norm1`, a.x, a.rstd1, a.mean1, dx, true, t0);
  };

  for (let t0 = 0; t0 < U; t0 += T) {
    const tokens = slice(g.tokens, t0, T);
    const targets = slice(g.targets, t0, T);
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
    const head = error(V);
    b.push('headForward', 'head.forward', {
      a: norm.codes,
      aScales: norm.scales,
      ...g.w('wte'),
      targets,
      codes: head.e,
      eScales: head.eScales,
      loss: slice(loss, t0, T),
      seed: gradients.seed('wte', PURPOSE.probabilities),
      T,
      C,
      V,
      vocab: recipe.vocab,
      t0,
      U,
    });

    b.push('headInputGradient', 'head.inputGradient', {
      ...head,
      ...g.wt('wte'),
      ...g.w('wte'),
      targets,
      dx: dy,
      T,
      V,
      C,
      U,
    });
    weightGradient('wte', norm, V, C, t0);
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
export function evaluationTape(
  recipe: Recipe,
  layout: Layout,
  weights: WeightsLayout,
  sequences: number,
  logits = false,
): GptTape {
  const { width: C, context, layers } = recipe;
  const T = sequences * context;
  const V = layout.byName('wte').rows;
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
  for (let i = 0; i < layers; i++) forwardLayer(g, i, a, x, attention, T);
  forwardNorm(g, 'norm', x, norm, a.rstd1, a.mean1, T);
  const operands = { a: norm.codes, aScales: norm.scales, ...g.w('wte') };
  if (logits) {
    b.push('headLogits', 'head.logits', { ...operands, logits: b.buffer('logits', 'f32', T * V), T, C, V });
  } else {
    b.push('headForward', 'head.forward', {
      ...operands,
      targets: g.targets,
      codes: none(norm.codes),
      eScales: none(norm.scales),
      loss,
      seed: g.noSeed,
      T,
      C,
      V,
      vocab: recipe.vocab,
      t0: 0,
      U: T,
    });
  }
  return { tape: b.build(), seeds: [], tokens: T };
}
