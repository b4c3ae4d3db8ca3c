/** The unit's program in the family gemma3: the tape of `src/model/gemmaTape.ts`, written out. */
import { PURPOSE } from '../../backend/ops.js';
import { targetShape } from '../../model/adapter.js';
import { bitsToFloat } from '../../model/fp32.js';
import { type AdapterTarget, attentionSizes, type GemmaOptions } from '../../model/recipe.js';
import { ropeRow } from '../../model/rope.js';
import { PANEL } from '../../model/weights.js';
import type { AdapterBackward } from './adapterProgram.js';
import type { AttentionShape } from './attentionBlocks.js';
import { type AttentionTrace, attentionBackward, attentionForward } from './attentionProgram.js';
import { tableBackward } from './headProgram.js';
import type { Source } from './program.js';
import * as E from './rulesEmbedding.js';
import * as G from './rulesGemma.js';
import * as L from './rulesLinear.js';
import * as N from './rulesNorm.js';
import * as Q from './rulesQuantize.js';
import {
  type Codes,
  type EvaluationSubject,
  type NormTrace,
  type ProgramRecipe,
  UnitBuilder,
  type UnitSubject,
  type UnitTokens,
} from './unitBuilder.js';

/** A norm behind attention or MLP: what its gradient reads again. */
type PostTrace = Pick<NormTrace, 'row' | 'rstd'>;

/** What the backward pass of a layer reads again. */
interface LayerTrace extends AttentionTrace {
  readonly norm1: NormTrace;
  readonly heads: G.HeadsShape;
  readonly headsRstd: Source;
  readonly o: Codes;
  readonly attended: PostTrace;
  readonly norm2: NormTrace;
  readonly u: Source;
  readonly hidden: Codes;
  readonly projected: PostTrace;
}

export class GemmaBuilder extends UnitBuilder<LayerTrace> {
  readonly #options: GemmaOptions;
  readonly #H: number;
  readonly #G: number;
  readonly #h: number;
  /** Elements of a row of heads. */
  readonly #N: number;
  readonly #epsilon: number;
  readonly #gains = new Map<string, Source>();
  readonly #turns = new Map<string, Float32Array>();

  constructor(recipe: ProgramRecipe, subject: UnitSubject | EvaluationSubject) {
    super(recipe, subject);
    const { heads, keyValueHeads, headSize } = attentionSizes(recipe);
    this.#options = recipe.gemma as GemmaOptions;
    this.#H = heads;
    this.#G = keyValueHeads;
    this.#h = headSize;
    this.#N = (heads + 2 * keyValueHeads) * headSize;
    this.#epsilon = bitsToFloat(recipe.normEpsilonBits);
  }

  override gain(norm: string): Source {
    const name = `${norm}.gain`;
    const known = this.#gains.get(name);
    if (known !== undefined) return known;
    const { size } = this.layout.byName(name);
    const gain = this.b.add(`${name}.plusOne`, 'f32', size, G.gainPlusOneRule(this.parameter(name), size));
    this.#gains.set(name, gain);
    return gain;
  }

  /** The row of a RoPE table, made from the recipe alone. */
  #turn(global: boolean, token: number): Float32Array {
    const { context } = this.recipe;
    const position = token % context;
    const key = `${global} ${position}`;
    const known = this.#turns.get(key) ?? ropeRow({ ...this.#options, context }, global, position);
    this.#turns.set(key, known);
    return known;
  }

  #isGlobal(layer: number): boolean {
    return (layer + 1) % this.#options.globalEvery === 0;
  }

  embed(tokens: Source): Source {
    const { width } = this.recipe;
    const scale = bitsToFloat(this.#options.embeddingScaleBits);
    const rule = E.scaledEmbedRule(tokens, this.parameter('wte'), width, scale);
    return this.b.add('embedding', 'u16', this.T * width, rule);
  }

  /** u16 [T, outputs]: a layer without epilogue. */
  #rows(h: string, target: AdapterTarget, a: Codes): Source {
    const { outputs } = targetShape(this.recipe, target);
    const sum = this.linear(h, target, a);
    return this.b.add(`${h}.${target}.rows`, 'u16', this.T * outputs, L.bf16Rule(sum, outputs));
  }

  #post(name: string, out: string, x: Source, o: Source): { readonly sum: Source; readonly trace: PostTrace } {
    const { b, T } = this;
    const C = this.recipe.width;
    const row: N.NormRow = { x: o, mean: undefined, columns: C };
    const squares = this.rowSum(`${name}.squares`, N.squareValues(row), T, C);
    const rstd = b.add(`${name}.rstd`, 'f32', T, N.reciprocalRootRule(squares, C, this.#epsilon));
    const sum = b.add(out, 'u16', T * C, G.normResidualRule(x, o, rstd, this.gain(name), C));
    return { sum, trace: { row, rstd } };
  }

  forwardLayer(layer: number, x: Source): { readonly out: Source; readonly trace: LayerTrace } {
    const { b, T } = this;
    const { hidden: F } = this.recipe;
    const columns = this.#H * this.#h;
    const h = `h${layer}`;
    const norm1 = this.norm(`${h}.norm1`, x);
    const heads: G.HeadsShape = {
      T,
      H: this.#H,
      G: this.#G,
      h: this.#h,
      y: this.#rows(h, 'qkv', norm1),
      gainQ: this.gain(`${h}.qNorm`),
      gainK: this.gain(`${h}.kNorm`),
      epsilon: this.#epsilon,
      rope: (token) => this.#turn(this.#isGlobal(layer), token),
    };
    const headsRstd = b.add(`${h}.heads.roots`, 'f32', T * (this.#H + this.#G), G.headsRootRule(heads));
    const qkv = this.codes(`${h}.heads`, G.rotatedValues(heads, headsRstd), T, this.#N, this.#h);
    const attention = this.#attentionShape(h, layer, qkv);
    const { mixed, lambda } = attentionForward(this, h, attention);
    const o = this.codes(`${h}.o`, Q.bf16Values(mixed, columns), T, columns);
    const attendedRows = this.#rows(h, 'o', o);
    const attended = this.#post(`${h}.postNorm1`, `${h}.xMid`, x, attendedRows);
    const norm2 = this.norm(`${h}.norm2`, attended.sum);
    const u = this.#rows(h, 'fc', norm2);
    const hidden = this.codes(`${h}.hidden`, G.gegluValues(u, F), T, F);
    const projectedRows = this.#rows(h, 'proj', hidden);
    const projected = this.#post(`${h}.postNorm2`, `${h}.out`, attended.sum, projectedRows);
    const trace: LayerTrace = {
      norm1,
      heads,
      headsRstd,
      attention,
      lambda,
      o,
      attended: attended.trace,
      norm2,
      u,
      hidden,
      projected: projected.trace,
    };
    return { out: projected.sum, trace };
  }

  #attentionShape(h: string, layer: number, qkv: Codes): AttentionShape {
    const { b, T } = this;
    const { context } = this.recipe;
    const heads = this.#H + 2 * this.#G;
    return {
      T,
      H: this.#H,
      G: this.#G,
      h: this.#h,
      context,
      window: this.#isGlobal(layer) ? 0 : this.#options.slidingWindow,
      scalar: this.#options.queryScalar,
      heads: b.add(`${h}.qkv.heads`, 'i8', T * this.#N, L.headsRule(qkv.codes, T, heads, this.#h)),
      transposed: b.add(`${h}.qkv.transposed`, 'i8', T * this.#N, L.transposeRule(qkv.codes, 'i8', T, this.#N)),
      scales: qkv.scales,
    };
  }

  backwardLayer(layer: number, trace: LayerTrace, dx: Source): Source {
    return this.#backwardAttention(`h${layer}`, trace, this.#backwardMlp(`h${layer}`, trace, dx));
  }

  #backwardMlp(h: string, layer: LayerTrace, dx: Source): Source {
    const { T } = this;
    const { width: C, hidden: F } = this.recipe;
    const dOut = this.backwardNorm(`${h}.postNorm2`, layer.projected, dx, undefined);
    const error = this.errorRows(`${h}.proj`, dOut, C);
    this.gradient(`${h}.proj.weight`, this.weightGradient(`${h}.proj.weight`, error, layer.hidden, C, F));
    const dh = this.inputGradient(`${h}.proj`, error, C, F);
    const dither = { seed: this.seed(`${h}.fc.weight`, PURPOSE.errorRows), transposed: false };
    const values = G.gegluGradientValues(dh, layer.u, F);
    const fc = this.codes(`${h}.fc.error`, values, T, 2 * F, PANEL, dither);
    this.gradient(`${h}.fc.weight`, this.weightGradient(`${h}.fc.weight`, fc, layer.norm2, 2 * F, C));
    const dy = this.inputGradient(`${h}.fc`, fc, 2 * F, C);
    return this.backwardNorm(`${h}.norm2`, layer.norm2, dy, dx);
  }

  #backwardAttention(h: string, layer: LayerTrace, dx: Source): Source {
    const { T } = this;
    const { width: C } = this.recipe;
    const columns = this.#H * this.#h;
    const dOut = this.backwardNorm(`${h}.postNorm1`, layer.attended, dx, undefined);
    const error = this.errorRows(`${h}.o`, dOut, C);
    this.gradient(`${h}.o.weight`, this.weightGradient(`${h}.o.weight`, error, layer.o, C, columns));
    const wt = this.weight(`${h}.o.weight`).transposed;
    const sum = this.product(`${h}.dO`, error, wt, T, columns, C);
    const dither = { seed: this.seed(`${h}.o.weight`, PURPOSE.headsError), transposed: false };
    const dO = this.codes(`${h}.dO`, Q.sumValues('heads', sum, columns), T, columns, this.#h, dither);
    const dqkv = attentionBackward(this, h, layer, dO);
    const dHeads = this.#backwardHeads(h, layer, dqkv);
    const wide = this.errorRows(`${h}.qkv`, dHeads, this.#N);
    this.gradient(`${h}.qkv.weight`, this.weightGradient(`${h}.qkv.weight`, wide, layer.norm1, this.#N, C));
    const dy = this.inputGradient(`${h}.qkv`, wide, this.#N, C);
    return this.backwardNorm(`${h}.norm1`, layer.norm1, dy, dx);
  }

  /** The gradient of what was normed and turned. */
  #headsGradient(h: string, g: G.HeadsGradient): Source {
    const { b, T } = this;
    const mean = b.add(`${h}.heads.means`, 'f32', T * (this.#H + this.#G), G.headsMeanRule(g));
    return b.add(`${h}.heads.dy`, 'u16', T * this.#N, G.headsGradientRule(g, mean));
  }

  #backwardHeads(h: string, layer: LayerTrace, dqkv: Source): Source {
    const { b, T } = this;
    const g: G.HeadsGradient = { shape: layer.heads, rstd: layer.headsRstd, dqkv };
    const gradient = this.#headsGradient(h, g);
    // Heads whose rows together are a segment: no check reads more.
    const step = Math.floor(L.SEGMENT / this.#h);
    for (const [part, first, end] of [
      ['qNorm', 0, this.#H],
      ['kNorm', this.#H, this.#H + this.#G],
    ] as const) {
      let sum: Source | undefined;
      for (let head = first; head < end; head += step) {
        const last = Math.min(end, head + step);
        const name = `${h}.${part}.gain.terms${last === end ? '' : `.${head}`}`;
        sum = b.add(name, 'f32', this.#h * T, G.headsGainRule(g, sum, head, last));
      }
      const total = this.columnSum(`${h}.${part}.gain.gradient`, sum as Source, 'f32', this.#h);
      this.gradient(`${h}.${part}.gain`, total);
    }
    return gradient;
  }

  adapterLayer(
    back: AdapterBackward,
    index: number,
    layer: LayerTrace,
    dx: Source,
    lowest: AdapterTarget | undefined,
  ): Source | undefined {
    const { T } = this;
    const { width: C, hidden: F } = this.recipe;
    const columns = this.#H * this.#h;
    const h = `h${index}`;
    const dProjected = this.normGradient(`${h}.postNorm2`, layer.projected, dx, undefined).dx;
    const projError = this.errorCodes(`${h}.proj`, dProjected, C);
    const proj = back.gradients(`${h}.proj`, 'proj', projError, layer.hidden);
    if (lowest === 'proj') return undefined;
    const dh = back.rounded(`${h}.proj`, 'proj', projError, proj);
    const dither = { seed: this.seed(`${h}.fc.weight`, PURPOSE.errorRows), transposed: false };
    const fcError = this.codes(`${h}.fc.error`, G.gegluGradientValues(dh, layer.u, F), T, 2 * F, PANEL, dither);
    const fc = back.gradients(`${h}.fc`, 'fc', fcError, layer.norm2);
    if (lowest === 'fc') return undefined;
    const mid = back.rounded(`${h}.fc`, 'fc', fcError, fc);
    const dxMid = this.normGradient(`${h}.norm2`, layer.norm2, mid, dx).dx;
    const dAttended = this.normGradient(`${h}.postNorm1`, layer.attended, dxMid, undefined).dx;
    const oError = this.errorCodes(`${h}.o`, dAttended, C);
    const o = back.gradients(`${h}.o`, 'o', oError, layer.o);
    if (lowest === 'o') return undefined;
    const sum = back.inputSums(`${h}.o`, 'o', oError, o, `${h}.dO`);
    const headsDither = { seed: this.seed(`${h}.o.weight`, PURPOSE.headsError), transposed: false };
    const dO = this.codes(`${h}.dO`, Q.sumValues('heads', sum, columns), T, columns, this.#h, headsDither);
    const dqkv = attentionBackward(this, h, layer, dO);
    const dHeads = this.#headsGradient(h, { shape: layer.heads, rstd: layer.headsRstd, dqkv });
    const qkvError = this.errorCodes(`${h}.qkv`, dHeads, this.#N);
    const qkv = back.gradients(`${h}.qkv`, 'qkv', qkvError, layer.norm1);
    if (lowest === 'qkv') return undefined;
    const dy = back.rounded(`${h}.qkv`, 'qkv', qkvError, qkv);
    return this.normGradient(`${h}.norm1`, layer.norm1, dy, dxMid).dx;
  }

  embedBackward(dense: Source, norm: Codes, dx: Source, tokens: UnitTokens): void {
    tableBackward(this, dense, norm, dx, tokens, bitsToFloat(this.#options.embeddingScaleBits));
  }
}
