/**
 * The program of a gradient unit: from θ and the drawn tokens to the unit's file and its loss (docs/disputes.md §2).
 *
 * It is the tape of `src/model/gptTape.ts` in the operations of docs/numerics.md, with what its kernels keep to
 * themselves written out: products before their epilogue, transposes, partial sums. One test compares every array that
 * both have.
 */
import { PURPOSE } from '../../backend/ops.js';
import { PogoError } from '../../errors.js';
import { bitsToFloat } from '../../model/fp32.js';
import { createLayout, type Layout, paddedSize } from '../../model/layout.js';
import { bytesPerToken, type Recipe, tokensPerUnit } from '../../model/recipe.js';
import { ditherSeed } from '../../model/seeds.js';
import { PANEL, panels } from '../../model/weights.js';
import { drawBatch, unitOffsets } from '../draws.js';
import { at, type Program, ProgramBuilder, type Source } from './program.js';
import * as A from './rulesAttention.js';
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

interface Codes {
  readonly codes: Source;
  readonly scales: Source;
}

/** What the backward pass of a layer reads again. */
interface LayerTrace {
  readonly x: Source;
  readonly norm1: NormTrace;
  readonly qkvScales: Source;
  readonly attention: A.AttentionShape;
  readonly lambda: Source;
  readonly o: Codes;
  readonly xMid: Source;
  readonly norm2: NormTrace;
  readonly hidden: Codes;
  readonly derivative: Source;
}

interface NormTrace extends Codes {
  readonly row: N.NormRow;
  readonly rstd: Source;
}

interface WeightTrace extends Codes {
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

/** Externals of a unit's program, in order. */
export const UNIT_EXTERNALS = { theta: 0, tokens: 1 } as const;

class UnitBuilder {
  readonly b = new ProgramBuilder();
  readonly layout: Layout;
  readonly T: number;
  readonly #theta: Source;
  readonly #file: Source;
  readonly #weights = new Map<string, WeightTrace>();
  readonly #gradients = new Map<string, Codes>();

  constructor(
    readonly recipe: ProgramRecipe,
    readonly subject: UnitSubject,
  ) {
    this.layout = createLayout(recipe);
    this.T = tokensPerUnit(recipe);
    this.#theta = this.b.external('theta', 4 * this.layout.length);
    this.#file = this.b.external('tokens', recipe.data.tokens * bytesPerToken(recipe));
  }

  seed(tensor: string, purpose: number): () => Uint32Array {
    const { recipeRoot, draw1, step, unit } = this.subject;
    const { id } = this.layout.byName(tensor);
    return once(() => ditherSeed(recipeRoot, draw1, step, unit, id, purpose));
  }

  parameter(name: string): Source {
    return at(this.#theta, this.layout.byName(name).offset);
  }

  bias(name: string): Source | undefined {
    return this.recipe.bias ? this.parameter(`${name}.bias`) : undefined;
  }

  weight(name: string): WeightTrace {
    const found = this.#weights.get(name);
    if (found === undefined) throw new RangeError(`${name} is no weight of a GEMM`);
    return found;
  }

  tokens(): { tokens: Source; targets: Source } {
    const { b, recipe, T, subject } = this;
    const type = bytesPerToken(recipe) === 2 ? 'u16' : 'u32';
    const offsets = once(() => unitOffsets(drawBatch(subject.draw1, subject.step, recipe), subject.unit, recipe));
    const rule = (shift: 0 | 1) => E.tokensRule(this.#file, type, offsets, recipe.context, shift);
    return { tokens: b.add('tokens', 'u32', T, rule(0)), targets: b.add('targets', 'u32', T, rule(1)) };
  }

  /** Row codes and scales of values [rows, columns]. */
  codes(name: string, values: Q.Values, rows: number, columns: number, group = PANEL, dither?: Q.Dither): Codes {
    const groups = { rows, columns, group, ...(dither === undefined ? {} : { dither }) };
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
      this.#weights.set(name, { ...forward, transposed: this.recode(`${name}.recode`, forward, rows, cols) });
    }
  }

  /** f32 [rows, columns]: a [rows, K] · b [columns, K], in segments. */
  product(name: string, a: Codes, b: Codes, M: number, columns: number, K: number): Source {
    let sum: Source | undefined;
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
    const values = N.normValues(row, rstd, this.parameter(`${name}.gain`), bias);
    return { row, rstd, ...this.codes(name, values, T, C) };
  }

  forwardLayer(h: string, x: Source): { readonly out: Source; readonly trace: LayerTrace } {
    const { b, T, recipe } = this;
    const { width: C, hidden: F } = recipe;
    const norm1 = this.norm(`${h}.norm1`, x);
    const y = this.product(`${h}.qkv`, norm1, this.weight(`${h}.qkv.weight`), T, 3 * C, C);
    const qkvValues = Q.sumValues('qkv', y, 3 * C, this.bias(`${h}.qkv`));
    const qkv = this.codes(`${h}.qkv`, qkvValues, T, 3 * C, C / recipe.heads);
    const attention = this.attentionShape(h, qkv);
    const { mixed, lambda } = this.attentionForward(h, attention);
    const o = this.codes(`${h}.o`, Q.bf16Values(mixed, C), T, C);
    const oSum = this.product(`${h}.o`, o, this.weight(`${h}.o.weight`), T, C, C);
    const xMid = b.add(`${h}.xMid`, 'u16', T * C, L.residualRule(x, oSum, C, this.bias(`${h}.o`)));
    const norm2 = this.norm(`${h}.norm2`, xMid);
    const u = this.product(`${h}.fc`, norm2, this.weight(`${h}.fc.weight`), T, F, C);
    const fcBias = this.bias(`${h}.fc`);
    const hidden = this.codes(`${h}.hidden`, Q.geluValues(u, F, fcBias), T, F);
    const derivative = b.add(`${h}.derivative`, 'i8', T * F, Q.derivativeRule(u, F, fcBias));
    const projSum = this.product(`${h}.proj`, hidden, this.weight(`${h}.proj.weight`), T, C, F);
    const out = b.add(`${h}.out`, 'u16', T * C, L.residualRule(xMid, projSum, C, this.bias(`${h}.proj`)));
    const trace = { x, norm1, qkvScales: qkv.scales, attention, lambda, o, xMid, norm2, hidden, derivative };
    return { out, trace };
  }

  attentionShape(h: string, qkv: Codes): A.AttentionShape {
    const { b, T, recipe } = this;
    const { width: C, heads: H, context } = recipe;
    const size = C / H;
    return {
      T,
      H,
      h: size,
      context,
      heads: b.add(`${h}.qkv.heads`, 'i8', 3 * T * C, L.headsRule(qkv.codes, T, 3 * H, size)),
      transposed: b.add(`${h}.qkv.transposed`, 'i8', 3 * T * C, L.transposeRule(qkv.codes, 'i8', T, 3 * C)),
      scales: qkv.scales,
    };
  }

  attentionForward(h: string, shape: A.AttentionShape): { readonly mixed: Source; readonly lambda: Source } {
    const { b, T } = this;
    const { H } = shape;
    const columns = H * shape.h;
    let previous: { readonly running: Source; readonly mix: Source } | undefined;
    for (let block = 0; block < shape.context / A.BLOCK; block += 1) {
      const name = `${h}.attention.${block}`;
      const statistics = b.add(`${name}.statistics`, 'f32', 3 * H * T, A.statisticsRule(shape, block));
      const codes = b.add(`${name}.codes`, 'u8', A.BLOCK * H * T, A.probabilityCodesRule(shape, block));
      const mixRule = A.mixRule(shape, statistics, codes, previous, block);
      const runningRule = A.runningRule(shape, statistics, previous?.running, block);
      previous = {
        mix: b.add(`${name}.mix`, 'f32', T * columns, mixRule),
        running: b.add(`${name}.running`, 'f32', 2 * H * T, runningRule),
      };
    }
    const { running, mix } = previous as NonNullable<typeof previous>;
    return {
      mixed: b.add(`${h}.attention`, 'u16', T * columns, A.attentionOutputRule(shape, running, mix)),
      lambda: b.add(`${h}.lambda`, 'f32', H * T, A.lambdaRule(shape, running)),
    };
  }

  /** 4-bit codes of a tensor's gradient: f32 [rows, columns]. */
  gradient(name: string, x: Source): void {
    const tensor = this.layout.byName(name);
    const third = tensor.size / 3;
    const g: U.Gradient4 = {
      x,
      rows: tensor.rows,
      columns: tensor.cols,
      zero: name.endsWith('.qkv.bias') ? [third, 2 * third] : [0, 0],
      seed: this.seed(name, PURPOSE.gradient4),
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

  /** Dithered codes of a bf16 gradient, and the bias's gradient. */
  errorRows(name: string, x: Source, columns: number): Codes {
    const { b, T } = this;
    const dither = { seed: this.seed(`${name}.weight`, PURPOSE.errorRows), transposed: false };
    const codes = this.codes(`${name}.error`, Q.bf16Values(x, columns), T, columns, PANEL, dither);
    if (this.recipe.bias) {
      const transposed = L.transposeRule(x, 'u16', T, columns);
      const rows = b.add(`${name}.error.values`, 'u16', T * columns, transposed);
      this.gradient(`${name}.bias`, this.columnSum(`${name}.bias.gradient`, rows, 'u16', columns));
    }
    return codes;
  }

  backwardNorm(name: string, trace: NormTrace, dy: Source, before: Source | undefined): Source {
    const { b, T, recipe } = this;
    const C = recipe.width;
    const backward: N.NormBackward = { norm: trace.row, rstd: trace.rstd, dy, gain: this.parameter(`${name}.gain`) };
    const mean = (part: string, values: Q.Values): Source => {
      const sum = this.rowSum(`${name}.${part}`, values, T, C);
      return b.add(`${name}.${part}.mean`, 'f32', T, N.meanRule(sum, C));
    };
    const s = mean('products', N.productValues(backward));
    const layer = recipe.norm === 'layer';
    const a = layer ? mean('gradients', N.gainGradientValues(backward)) : undefined;
    const dx = b.add(`${name}.dx`, 'u16', T * C, N.normGradientRule(backward, s, a, before));
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

  backwardMlp(h: string, layer: LayerTrace, dx: Source): Source {
    const { b, T, recipe } = this;
    const { width: C, hidden: F } = recipe;
    const error = this.errorRows(`${h}.proj`, dx, C);
    this.gradient(`${h}.proj.weight`, this.weightGradient(`${h}.proj.weight`, error, layer.hidden, C, F));
    const wt = this.weight(`${h}.proj.weight`).transposed;
    const sum = this.product(`${h}.hidden.gradient`, error, wt, T, F, C);
    const values = Q.geluGradientValues(sum, layer.derivative, F);
    const dither = { seed: this.seed(`${h}.fc.weight`, PURPOSE.errorRows), transposed: false };
    const fc = this.codes(`${h}.fc.error`, values, T, F, PANEL, dither);
    if (recipe.bias) {
      const rows = b.add(`${h}.fc.error.values`, 'f32', T * F, L.transposedValuesRule(values, T));
      this.gradient(`${h}.fc.bias`, this.columnSum(`${h}.fc.bias.gradient`, rows, 'f32', F));
    }
    const dy = this.inputGradient(`${h}.fc`, fc, F, C);
    this.gradient(`${h}.fc.weight`, this.weightGradient(`${h}.fc.weight`, fc, layer.norm2, F, C));
    return this.backwardNorm(`${h}.norm2`, layer.norm2, dy, dx);
  }

  backwardAttention(h: string, layer: LayerTrace, dx: Source): Source {
    const { T, recipe } = this;
    const { width: C, heads: H } = recipe;
    const error = this.errorRows(`${h}.o`, dx, C);
    this.gradient(`${h}.o.weight`, this.weightGradient(`${h}.o.weight`, error, layer.o, C, C));
    const wt = this.weight(`${h}.o.weight`).transposed;
    const sum = this.product(`${h}.dO`, error, wt, T, C, C);
    const dither = { seed: this.seed(`${h}.o.weight`, PURPOSE.headsError), transposed: false };
    const dO = this.codes(`${h}.dO`, Q.sumValues('heads', sum, C), T, C, C / H, dither);
    const dqkv = this.attentionBackward(h, layer, dO);
    const wide = this.errorRows(`${h}.qkv`, dqkv, 3 * C);
    this.gradient(`${h}.qkv.weight`, this.weightGradient(`${h}.qkv.weight`, wide, layer.norm1, 3 * C, C));
    const dy = this.inputGradient(`${h}.qkv`, wide, 3 * C, C);
    return this.backwardNorm(`${h}.norm1`, layer.norm1, dy, dx);
  }

  attentionBackward(h: string, layer: LayerTrace, dO: Codes): Source {
    const { b, T } = this;
    const shape = layer.attention;
    const { H } = shape;
    const columns = H * shape.h;
    const seed = (purpose: number) => this.seed(`${h}.qkv.weight`, purpose);
    const g: A.AttentionGradient = {
      shape,
      heads: b.add(`${h}.dO.heads`, 'i8', T * columns, L.headsRule(dO.codes, T, H, shape.h)),
      transposed: b.add(`${h}.dO.transposed`, 'i8', T * columns, L.transposeRule(dO.codes, 'i8', T, columns)),
      scales: dO.scales,
      lambda: layer.lambda,
      seedV: seed(PURPOSE.attentionV),
      seedK: seed(PURPOSE.attentionK),
      seedQ: seed(PURPOSE.attentionQ),
      U: T,
    };
    const blocks = shape.context / A.BLOCK;
    let difference: Source | undefined;
    for (let block = 0; block < blocks; block += 1) {
      const rule = A.differenceRule(g, difference, block);
      difference = b.add(`${h}.difference.${block}`, 'f32', H * T, rule);
    }
    const D = difference as Source;
    const sums = (['Q', 'K', 'V'] as const).map((part) => {
      let sum: Source | undefined;
      for (let block = 0; block < blocks; block += 1) {
        const name = `${h}.d${part}.${block}`;
        const type = part === 'V' ? 'u8' : 'i8';
        const codes = b.add(`${name}.codes`, type, A.BLOCK * H * T, A.gradientCodesRule(g, part, D, block));
        const scales = b.add(`${name}.scales`, 'f32', H * T, A.gradientScalesRule(g, part, D, block));
        const rule = A.gradientSumRule(g, part, codes, scales, sum, block);
        sum = b.add(`${name}.sum`, 'f32', T * columns, rule);
      }
      return sum as Source;
    });
    const rule = A.attentionGradientRule(shape, sums[0]!, sums[1]!, sums[2]!);
    return b.add(`${h}.dqkv`, 'u16', 3 * T * columns, rule);
  }

  head(norm: NormTrace, targets: Source): { readonly error: Codes; readonly losses: Source } {
    const { b, T, recipe } = this;
    const V = this.layout.byName('wte').rows;
    const logits = this.product('head', norm, this.weight('wte'), T, V, recipe.width);
    const head: Head.HeadShape = { T, V, vocab: recipe.vocab, logits };
    const groups = panels(V);
    const maxima = b.add('head.maxima', 'f32', T * groups, Head.panelMaximumRule(head));
    const sums = b.add('head.sums', 'f32', T * groups, Head.panelSumRule(head, maxima));
    const seed = this.seed('wte', PURPOSE.probabilities);
    const codes = b.add('head.codes', 'i8', T * V, Head.numeratorCodesRule(head, maxima, seed));
    const normalizer = b.add('head.normalizer', 'f32', T, Head.normalizerRule(head, maxima, sums));
    const scales = b.add('head.scales', 'f32', groups * T, Head.numeratorScalesRule(head, maxima, normalizer));
    const losses = b.add('losses', 'f32', T, Head.lossRule(head, normalizer, targets));
    return { error: { codes, scales }, losses };
  }

  headGradient(error: Codes, targets: Source): Source {
    const { b, T, recipe } = this;
    const { width: C } = recipe;
    const V = this.layout.byName('wte').rows;
    const { transposed, codes, scales } = this.weight('wte');
    const sum = this.product('head.inputGradient', error, transposed, T, C, V);
    const rule = Head.headGradientRule(sum, codes, scales, targets, { T, V, C });
    return b.add('head.dy', 'u16', T * C, rule);
  }

  embedBackward(dense: Source, norm: Codes, dx: Source, tokens: Source, targets: Source): void {
    const { b, T, recipe, layout } = this;
    const { width: C, context } = recipe;
    const V = layout.byName('wte').rows;
    const sizes = { T, C, V };
    const last = (name: string, of: Source): Source =>
      b.add(`${name}.last`, 'i32', (Math.ceil(T / E.LOOKUP) + 1) * V, E.lastOccurrenceRule(of, b.next(), T, V));
    const lastTarget = last('wte.targets', targets);
    const targetRule = E.targetScatterRule(norm.codes, norm.scales, targets, lastTarget, b.next(), sizes);
    const targetSums = b.add('wte.targets.sums', 'f32', T * C, targetRule);
    const lastToken = last('wte.tokens', tokens);
    const tokenRule = E.tokenScatterRule(dx, tokens, lastToken, b.next(), C, V);
    const tokenSums = b.add('wte.tokens.sums', 'f32', T * C, tokenRule);
    const tableRule = E.tableGradientRule(
      dense,
      { last: lastTarget, sums: targetSums },
      { last: lastToken, sums: tokenSums },
      sizes,
    );
    this.gradient('wte', b.add('wte.gradient', 'f32', V * C, tableRule));
    const positions = b.add('wpe.sums', 'f32', T * C, E.positionScatterRule(dx, b.next(), C, context));
    this.gradient('wpe', at(positions, (T - context) * C));
  }

  build(): Program {
    const { b, T, recipe, layout } = this;
    this.quantizeWeights();
    const { tokens, targets } = this.tokens();
    const embedding = E.embedRule(tokens, this.parameter('wte'), this.parameter('wpe'), recipe.width, recipe.context);
    let x = b.add('embedding', 'u16', T * recipe.width, embedding);
    const layers: LayerTrace[] = [];
    for (let i = 0; i < recipe.layers; i += 1) {
      const { out, trace } = this.forwardLayer(`h${i}`, x);
      layers.push(trace);
      x = out;
    }
    const norm = this.norm('norm', x);
    const { error, losses } = this.head(norm, targets);
    const dy = this.headGradient(error, targets);
    const dense = this.weightGradient('wte', error, norm, layout.byName('wte').rows, recipe.width);
    let dx = this.backwardNorm('norm', norm, dy, undefined);
    for (let i = recipe.layers - 1; i >= 0; i -= 1) {
      const layer = layers[i] as LayerTrace;
      dx = this.backwardMlp(`h${i}`, layer, dx);
      dx = this.backwardAttention(`h${i}`, layer, dx);
    }
    this.embedBackward(dense, norm, dx, tokens, targets);
    const segments = Math.ceil(T / L.SEGMENT);
    const sum = b.add('loss.sums', 'f32', segments, Head.lossSumRule(losses, b.next(), T, L.SEGMENT));
    const loss = b.add('loss', 'f32', 1, Head.unitLossRule(at(sum, segments - 1), T));
    const planes = layout.tensors.map(({ name }) => this.#gradients.get(name) as Codes);
    const bytes = layout.length / 2 + layout.length / 32;
    b.result('loss', loss);
    b.result('unit', b.add('unit', 'u8', bytes, U.unitFileRule(layout, planes)));
    return b.build();
  }
}

/** The program of one gradient unit. Externals: θ of the step, the recipe's token file. Results: `loss`, `unit`. */
export function unitProgram(recipe: ProgramRecipe, subject: UnitSubject): Program {
  if (recipe.gemma !== undefined || recipe.adapter !== undefined) {
    throw new PogoError('RECIPE', 'expected a recipe without options, found one; disputes know none of them yet');
  }
  return new UnitBuilder(recipe, subject).build();
}

/**
 * An upper bound of the operations of a recipe's program, without making it: attention has some of every block of keys,
 * products and row sums some of every segment.
 */
export function unitOperations(recipe: ProgramRecipe): number {
  const segments = (elements: number): number => Math.ceil(elements / L.SEGMENT);
  const { width, hidden, context, layers } = recipe;
  const blocks = 14 * (context / A.BLOCK);
  const layer = 160 + blocks + 12 * segments(width) + 6 * segments(hidden) + 6 * segments(tokensPerUnit(recipe));
  return layers * layer + 64 + 2 * segments(recipe.vocab) + 2 * segments(width) + segments(tokensPerUnit(recipe));
}
