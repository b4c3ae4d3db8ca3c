/**
 * What the programs of gradient units share (docs/disputes.md §2): θ and the drawn tokens at their start, weights' codes,
 * products, norms, attention, the head, the unit's file and its loss at their end.
 */
import { PURPOSE } from '../../backend/ops.js';
import { targetShape } from '../../model/adapter.js';
import { bitsToFloat } from '../../model/fp32.js';
import { createLayout, createModelLayout, type Layout, packedModelLayout, paddedSize } from '../../model/layout.js';
import {
  type AdapterTarget,
  bytesPerToken,
  type Recipe,
  type RecipeAdapter,
  tokensPerUnit,
} from '../../model/recipe.js';
import { ditherSeed } from '../../model/seeds.js';
import { PANEL } from '../../model/weights.js';
import { drawBatch, unitOffsets } from '../draws.js';
import { AdapterBackward, adapterSums, quantizeAdapters } from './adapterProgram.js';
import { evaluationHead, headGradient, unitHead } from './headProgram.js';
import { at, type Program, ProgramBuilder, type Source } from './program.js';
import * as E from './rulesEmbedding.js';
import * as Head from './rulesHead.js';
import * as L from './rulesLinear.js';
import * as N from './rulesNorm.js';
import * as Q from './rulesQuantize.js';
import * as U from './rulesUnit.js';

/** The part of a recipe that programs read: everything but the learning rates, the start and the detection target. */
export type ProgramRecipe = Omit<Recipe, 'learningRateBits' | 'start' | 'detection'>;

/** What makes one unit's program differ from another's. */
export interface UnitSubject {
  readonly recipeRoot: Uint8Array;
  readonly draw1: Uint8Array;
  readonly step: number;
  readonly unit: number;
}

/** Which sequences a packed model is evaluated on. */
export interface EvaluationSubject {
  readonly sequences: number;
  /** First token of each sequence in the token file. */
  readonly offsets: () => readonly number[];
  /** The external is the vector that is packed first: of the state that a first claim starts from. */
  readonly packs: boolean;
}

/** Sequences of one group: the most that a unit has room for and that divide them all. */
export function evaluatedGroup(recipe: Pick<ProgramRecipe, 'sequencesPerUnit'>, sequences: number): number {
  let size = Math.min(recipe.sequencesPerUnit, sequences);
  while (sequences % size !== 0) size -= 1;
  return size;
}

export interface Codes {
  readonly codes: Source;
  readonly scales: Source;
}

/** u32 [T] each. */
export interface UnitTokens {
  readonly tokens: Source;
  readonly targets: Source;
}

export interface NormTrace extends Codes {
  readonly row: N.NormRow;
  readonly rstd: Source;
}

export interface WeightTrace extends Codes {
  /** The recoded transpose. */
  readonly transposed: Codes;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/**
 * What the programs of all families share. Layer: what the backward pass of a layer reads again.
 */
export abstract class UnitBuilder<Layer> {
  readonly b = new ProgramBuilder();
  /** Of the whole model. */
  readonly layout: Layout;
  /** Of what is trained. */
  readonly state: Layout;
  readonly T: number;
  /** θ of the state. */
  readonly theta: Source;
  /** θ of the model: another external where only adapters are trained. */
  readonly #model: Source;
  readonly #file: Source;
  readonly weights = new Map<string, WeightTrace>();
  /** Codes between the two matrices of an adapter, by linear layer. */
  readonly narrow = new Map<string, Codes>();
  readonly #gradients = new Map<string, Codes>();
  readonly #gradientSources = new Map<string, Source>();

  constructor(
    readonly recipe: ProgramRecipe,
    readonly subject: UnitSubject | EvaluationSubject,
  ) {
    this.layout = createModelLayout(recipe);
    this.state = createLayout(recipe);
    this.T = tokensPerUnit(recipe);
    if ('offsets' in subject) {
      this.T = evaluatedGroup(recipe, subject.sequences) * recipe.context;
      this.theta = this.#unpacked(subject);
    } else {
      this.theta = this.b.external('theta', 4 * this.state.length);
    }
    this.#file = this.b.external('tokens', recipe.data.tokens * bytesPerToken(recipe));
    this.#model = recipe.adapter === undefined ? this.theta : this.b.external('frozen', 4 * this.layout.length);
  }

  /** f32 [length of the state]: what a packed model is evaluated with. */
  #unpacked({ packs }: EvaluationSubject): Source {
    const { b, state } = this;
    const packed = packedModelLayout(state);
    const given = packs ? b.external('vector', 4 * state.length) : b.external('model', packed.bytes);
    const model = packs ? b.add('model', 'u8', packed.bytes, U.packedModelRule(given, packed)) : given;
    return b.add('model.unpacked', 'f32', state.length, U.unpackedModelRule(model, state, packed));
  }

  seed(tensor: string, purpose: number): () => Uint32Array {
    return this.seedOf(this.layout.byName(tensor).id, purpose);
  }

  seedOf(id: number, purpose: number): () => Uint32Array {
    const { recipeRoot, draw1, step, unit } = this.subject as UnitSubject;
    return once(() => ditherSeed(recipeRoot, draw1, step, unit, id, purpose));
  }

  parameter(name: string): Source {
    return at(this.#model, this.layout.byName(name).offset);
  }

  /** What a norm multiplies with. */
  gain(norm: string): Source {
    return this.parameter(`${norm}.gain`);
  }

  bias(name: string): Source | undefined {
    return this.recipe.bias ? this.parameter(`${name}.bias`) : undefined;
  }

  weight(name: string): WeightTrace {
    const found = this.weights.get(name);
    if (found === undefined) throw new RangeError(`${name} is no weight of a GEMM`);
    return found;
  }

  /** Offsets of the unit's sequences. */
  #unitOffsets(): readonly number[] {
    const { recipe } = this;
    const { draw1, step, unit } = this.subject as UnitSubject;
    return unitOffsets(drawBatch(draw1, step, recipe), unit, recipe);
  }

  tokens(offsets = once(() => this.#unitOffsets())): UnitTokens {
    const { b, recipe, T } = this;
    const type = bytesPerToken(recipe) === 2 ? 'u16' : 'u32';
    const rule = (shift: 0 | 1) => E.tokensRule(this.#file, type, offsets, recipe.context, shift);
    return { tokens: b.add('tokens', 'u32', T, rule(0)), targets: b.add('targets', 'u32', T, rule(1)) };
  }

  /** Row codes and scales of values [rows, columns]. */
  codes(
    name: string,
    values: Q.Values,
    rows: number,
    columns: number,
    group = PANEL,
    dither?: Q.Dither,
    factor = 1,
  ): Codes {
    const groups = { rows, columns, group, factor, ...(dither === undefined ? {} : { dither }) };
    return {
      codes: this.b.add(`${name}.codes`, 'i8', rows * columns, Q.codesRule(values, groups)),
      scales: this.b.add(`${name}.scales`, 'f32', Math.ceil(columns / group) * rows, Q.scalesRule(values, groups)),
    };
  }

  /** Codes [T, N] in the other orientation, [N, T]. */
  recode(name: string, { codes, scales }: Codes, T: number, columns: number, dither?: Q.Dither): Codes {
    const transposed = this.b.add(`${name}.transposed`, 'i8', T * columns, L.transposeRule(codes, 'i8', T, columns));
    return this.codes(name, Q.recodeValues(transposed, scales, T), columns, T, PANEL, dither);
  }

  quantizeWeights(): void {
    for (const tensor of this.layout.tensors) {
      if (tensor.kind !== 'matrix' && tensor.name !== 'wte') continue;
      const { name, rows, cols } = tensor;
      const values = Q.sumValues('weight', this.parameter(name), cols);
      const forward = this.codes(name, values, rows, cols);
      const transposed = once(() => this.recode(`${name}.recode`, forward, rows, cols));
      // Nothing goes back through a model that is only evaluated.
      if (!('offsets' in this.subject)) transposed();
      const weight = {
        ...forward,
        get transposed() {
          return transposed();
        },
      };
      this.weights.set(name, weight);
    }
    if (this.recipe.adapter !== undefined) quantizeAdapters(this, this.recipe.adapter);
  }

  /** f32 [T, outputs] of a linear layer without its bias. */
  linear(h: string, target: AdapterTarget, input: Codes): Source {
    const name = `${h}.${target}`;
    if (this.recipe.adapter?.targets.includes(target) === true) return adapterSums(this, name, target, input);
    const { outputs, inputs } = targetShape(this.recipe, target);
    return this.product(name, input, this.weight(`${name}.weight`), this.T, outputs, inputs);
  }

  /** f32 [rows, columns]: a [rows, K] · b [columns, K], in segments; going on from `before` where there is one. */
  product(name: string, a: Codes, b: Codes, M: number, columns: number, K: number, before?: Source): Source {
    let sum = before;
    for (let first = 0, s = 0; first < K; first += L.SEGMENT, s += 1) {
      const end = Math.min(K, first + L.SEGMENT);
      const rule = L.productRule(a.codes, a.scales, b.codes, b.scales, sum, { M, N: columns, K, first, end });
      const isLast = end === K;
      sum = this.b.add(isLast ? `${name}.product` : `${name}.product.${s}`, 'f32', M * columns, rule);
    }
    return sum as Source;
  }

  /** f32 [rows]: sums of rows, in segments. */
  rowSum(name: string, values: Q.Values, rows: number, columns: number): Source {
    let sum: Source | undefined;
    for (let first = 0, s = 0; first < columns; first += L.SEGMENT, s += 1) {
      const end = Math.min(columns, first + L.SEGMENT);
      const part = end === columns ? name : `${name}.${s}`;
      sum = this.b.add(part, 'f32', rows, L.rowSumRule(values, sum, first, end));
    }
    return sum as Source;
  }

  /** f32 [columns]: sums over tokens of transposed values [columns, T]. */
  columnSum(name: string, transposed: Source, type: 'f32' | 'u16', columns: number): Source {
    const { b, T } = this;
    const rule = L.columnSumsRule(transposed, type, b.next(), T, columns);
    return at(b.add(name, 'f32', (T / 64) * columns, rule), (T / 64 - 1) * columns);
  }

  norm(name: string, x: Source): NormTrace {
    const { b, T, recipe } = this;
    const C = recipe.width;
    let row: N.NormRow = { x, mean: undefined, columns: C };
    if (recipe.norm === 'layer') {
      const sum = this.rowSum(`${name}.sum`, N.inputValues(row), T, C);
      row = { ...row, mean: b.add(`${name}.mean`, 'f32', T, N.meanRule(sum, C)) };
    }
    const squares = this.rowSum(`${name}.squares`, N.squareValues(row), T, C);
    const epsilon = bitsToFloat(recipe.normEpsilonBits);
    const rstd = b.add(`${name}.rstd`, 'f32', T, N.reciprocalRootRule(squares, C, epsilon));
    const bias = recipe.norm === 'layer' ? this.parameter(`${name}.bias`) : undefined;
    const values = N.normValues(row, rstd, this.gain(name), bias);
    return { row, rstd, ...this.codes(name, values, T, C) };
  }

  /** 4-bit codes of a tensor's gradient: f32 [rows, columns]. */
  gradient(name: string, x: Source): void {
    const tensor = this.state.byName(name);
    this.#gradientSources.set(`${name}.gradient`, x);
    const third = tensor.size / 3;
    const g: U.Gradient4 = {
      x,
      rows: tensor.rows,
      columns: tensor.cols,
      zero: name.endsWith('.qkv.bias') ? [third, 2 * third] : [0, 0],
      seed: this.seedOf(tensor.id, PURPOSE.gradient4),
    };
    const size = paddedSize(tensor);
    this.#gradients.set(name, {
      codes: this.b.add(`${name}.gradient.codes`, 'u8', size / 2, U.gradientCodesRule4(g)),
      scales: this.b.add(`${name}.gradient.scales`, 'u16', size / 64, U.gradientScalesRule4(g)),
    });
  }

  /** dW of a weight [rows, columns] from the error's codes [T, rows] and the input's codes [T, columns]. */
  weightGradient(name: string, error: Codes, input: Codes, rows: number, columns: number): Source {
    const { T } = this;
    const dither = { seed: this.seed(name, PURPOSE.errorRecode), transposed: true };
    const e = this.recode(`${name}.error`, error, T, rows, dither);
    const x = this.recode(`${name}.input`, input, T, columns);
    return this.product(`${name}.gradient`, e, x, rows, columns, T);
  }

  /** Dithered codes of a bf16 gradient. */
  errorCodes(name: string, x: Source, columns: number): Codes {
    const dither = { seed: this.seed(`${name}.weight`, PURPOSE.errorRows), transposed: false };
    return this.codes(`${name}.error`, Q.bf16Values(x, columns), this.T, columns, PANEL, dither);
  }

  /** {@link errorCodes}, and the bias's gradient. */
  errorRows(name: string, x: Source, columns: number): Codes {
    const { b, T } = this;
    const codes = this.errorCodes(name, x, columns);
    if (this.recipe.bias) {
      const transposed = L.transposeRule(x, 'u16', T, columns);
      const rows = b.add(`${name}.error.values`, 'u16', T * columns, transposed);
      this.gradient(`${name}.bias`, this.columnSum(`${name}.bias.gradient`, rows, 'u16', columns));
    }
    return codes;
  }

  /** dx' of a norm, and what its gain's gradient reads. */
  normGradient(
    name: string,
    trace: Pick<NormTrace, 'row' | 'rstd'>,
    dy: Source,
    before: Source | undefined,
  ): { readonly dx: Source; readonly backward: N.NormBackward } {
    const { b, T, recipe } = this;
    const C = recipe.width;
    const backward: N.NormBackward = { norm: trace.row, rstd: trace.rstd, dy, gain: this.gain(name) };
    const mean = (part: string, values: Q.Values): Source => {
      const sum = this.rowSum(`${name}.${part}`, values, T, C);
      return b.add(`${name}.${part}.mean`, 'f32', T, N.meanRule(sum, C));
    };
    const s = mean('products', N.productValues(backward));
    const layer = recipe.norm === 'layer';
    const a = layer ? mean('gradients', N.gainGradientValues(backward)) : undefined;
    const dx = b.add(`${name}.dx`, 'u16', T * C, N.normGradientRule(backward, s, a, before));
    return { dx, backward };
  }

  backwardNorm(name: string, trace: Pick<NormTrace, 'row' | 'rstd'>, dy: Source, before: Source | undefined): Source {
    const { b, T, recipe } = this;
    const C = recipe.width;
    const layer = recipe.norm === 'layer';
    const { dx, backward } = this.normGradient(name, trace, dy, before);
    const termRule = L.transposedValuesRule(N.gainTermValues(backward), T);
    const terms = b.add(`${name}.gain.terms`, 'f32', T * C, termRule);
    this.gradient(`${name}.gain`, this.columnSum(`${name}.gain.gradient`, terms, 'f32', C));
    if (layer) {
      const rows = b.add(`${name}.bias.values`, 'u16', T * C, L.transposeRule(dy, 'u16', T, C));
      this.gradient(`${name}.bias`, this.columnSum(`${name}.bias.gradient`, rows, 'u16', C));
    }
    return dx;
  }

  /** bf16 of E · recode(W). */
  inputGradient(name: string, error: Codes, outputs: number, inputs: number): Source {
    const { b, T } = this;
    const wt = this.weight(`${name}.weight`).transposed;
    const sum = this.product(`${name}.inputGradient`, error, wt, T, inputs, outputs);
    return b.add(`${name}.dy`, 'u16', T * inputs, L.bf16Rule(sum, inputs));
  }

  /** bf16 [T, width]: the residual stream at its start. */
  abstract embed(tokens: Source): Source;
  abstract forwardLayer(layer: number, x: Source): { readonly out: Source; readonly trace: Layer };
  /** @returns the gradient of the layer's input */
  abstract backwardLayer(layer: number, trace: Layer, dx: Source): Source;
  abstract embedBackward(dense: Source, norm: Codes, dx: Source, tokens: UnitTokens): void;
  /**
   * Through a layer of a frozen model, with the gradients of its adapters.
   *
   * @returns the gradient of the layer's input; undefined where nothing below needs one: at `lowest` of the lowest layer
   */
  abstract adapterLayer(
    back: AdapterBackward,
    layer: number,
    trace: Layer,
    dx: Source,
    lowest: AdapterTarget | undefined,
  ): Source | undefined;

  /** From the head back to every gradient. */
  backward(layers: readonly Layer[], norm: NormTrace, error: Codes, tokens: UnitTokens): void {
    const { recipe, layout } = this;
    const dy = headGradient(this, error, tokens.targets);
    if (recipe.adapter !== undefined) {
      const { dx } = this.normGradient('norm', norm, dy, undefined);
      this.#backwardToAdapters(recipe.adapter, layers, dx);
      return;
    }
    const dense = this.weightGradient('wte', error, norm, layout.byName('wte').rows, recipe.width);
    let dx = this.backwardNorm('norm', norm, dy, undefined);
    for (let i = recipe.layers - 1; i >= 0; i -= 1) dx = this.backwardLayer(i, layers[i] as Layer, dx);
    this.embedBackward(dense, norm, dx, tokens);
  }

  #backwardToAdapters(adapter: RecipeAdapter, layers: readonly Layer[], last: Source): void {
    const back = new AdapterBackward(this, adapter);
    let dx: Source | undefined = last;
    for (let i = layers.length - 1; i >= 0 && dx !== undefined; i -= 1) {
      dx = this.adapterLayer(back, i, layers[i] as Layer, dx, i === 0 ? adapter.targets[0] : undefined);
    }
  }

  build(): Program {
    const { b, T, recipe, state } = this;
    this.quantizeWeights();
    const tokens = this.tokens();
    let x = this.embed(tokens.tokens);
    const layers: Layer[] = [];
    for (let i = 0; i < recipe.layers; i += 1) {
      const { out, trace } = this.forwardLayer(i, x);
      layers.push(trace);
      x = out;
    }
    const norm = this.norm('norm', x);
    const { error, losses } = unitHead(this, norm, tokens.targets);
    this.backward(layers, norm, error, tokens);
    const segments = Math.ceil(T / L.SEGMENT);
    const sum = b.add('loss.sums', 'f32', segments, Head.lossSumRule(losses, b.next(), T, L.SEGMENT));
    const loss = b.add('loss', 'f32', 1, Head.unitLossRule(at(sum, segments - 1), T));
    const planes = state.tensors.map(({ name }) => this.#gradients.get(name) as Codes);
    const bytes = state.length / 2 + state.length / 32;
    b.result('loss', loss);
    b.result('unit', b.add('unit', 'u8', bytes, U.unitFileRule(state, planes)));
    return { ...b.build(), gradients: this.#gradientSources };
  }

  /** The mean loss of a packed model: the forward pass over groups of sequences, one after the other. */
  evaluate({ sequences, offsets }: EvaluationSubject): Program {
    const { b, T, recipe } = this;
    this.quantizeWeights();
    const all = once(offsets);
    const size = T / recipe.context;
    const segments = Math.ceil(T / L.SEGMENT);
    let sum: Source | undefined;
    for (let first = 0; first < sequences; first += size) {
      b.prefix = `group ${first / size}: `;
      const { tokens, targets } = this.tokens(() => all().slice(first, first + size));
      let x = this.embed(tokens);
      for (let i = 0; i < recipe.layers; i += 1) x = this.forwardLayer(i, x).out;
      const losses = evaluationHead(this, this.norm('norm', x), targets);
      const rule = Head.lossSumRule(losses, b.next(), T, L.SEGMENT, sum);
      sum = at(b.add('loss.sums', 'f32', segments, rule), segments - 1);
    }
    b.prefix = '';
    const rule = Head.unitLossRule(sum as Source, sequences * recipe.context);
    b.result('loss', b.add('loss', 'f32', 1, rule));
    return b.build();
  }
}
