/**
 * The program of a gradient unit: from θ and the drawn tokens to the unit's file and its loss (docs/disputes.md §2).
 *
 * It is the tape of `src/model/tapes.ts` in the operations of docs/numerics.md, with what its kernels keep to
 * themselves written out: products before their epilogue, transposes, partial sums. One test compares every array that
 * both have.
 */

import { PURPOSE } from '../../backend/ops.js';
import { targetShape } from '../../model/adapter.js';
import { type AdapterTarget, attentionSizes, tokensPerUnit } from '../../model/recipe.js';
import { PANEL } from '../../model/weights.js';
import type { AdapterBackward } from './adapterProgram.js';
import { type AttentionShape, BLOCK } from './attentionBlocks.js';
import { type AttentionTrace, attentionBackward, attentionForward } from './attentionProgram.js';
import { GemmaBuilder } from './gemmaProgram.js';
import { tableBackward } from './headProgram.js';
import { at, type Program, type Source } from './program.js';
import * as E from './rulesEmbedding.js';
import * as L from './rulesLinear.js';
import * as Q from './rulesQuantize.js';
import {
  type Codes,
  type NormTrace,
  type ProgramRecipe,
  UnitBuilder,
  type UnitSubject,
  type UnitTokens,
} from './unitBuilder.js';

export type { ProgramRecipe, UnitSubject } from './unitBuilder.js';

/** What the backward pass of a layer reads again. */
export interface LayerTrace extends AttentionTrace {
  readonly x: Source;
  readonly norm1: NormTrace;
  readonly qkvScales: Source;
  readonly o: Codes;
  readonly xMid: Source;
  readonly norm2: NormTrace;
  readonly hidden: Codes;
  readonly derivative: Source;
}

/** The family gpt. */
export class GptBuilder extends UnitBuilder<LayerTrace> {
  embed(tokens: Source): Source {
    const { width, context } = this.recipe;
    const rule = E.embedRule(tokens, this.parameter('wte'), this.parameter('wpe'), width, context);
    return this.b.add('embedding', 'u16', this.T * width, rule);
  }

  forwardLayer(layer: number, x: Source): { readonly out: Source; readonly trace: LayerTrace } {
    const { b, T, recipe } = this;
    const h = `h${layer}`;
    const { width: C, hidden: F } = recipe;
    const norm1 = this.norm(`${h}.norm1`, x);
    const y = this.linear(h, 'qkv', norm1);
    const qkvValues = Q.sumValues('qkv', y, 3 * C, this.bias(`${h}.qkv`));
    const qkv = this.codes(`${h}.qkv`, qkvValues, T, 3 * C, C / recipe.heads);
    const attention = this.attentionShape(h, qkv);
    const { mixed, lambda } = attentionForward(this, h, attention);
    const o = this.codes(`${h}.o`, Q.bf16Values(mixed, C), T, C);
    const oSum = this.linear(h, 'o', o);
    const xMid = b.add(`${h}.xMid`, 'u16', T * C, L.residualRule(x, oSum, C, this.bias(`${h}.o`)));
    const norm2 = this.norm(`${h}.norm2`, xMid);
    const u = this.linear(h, 'fc', norm2);
    const fcBias = this.bias(`${h}.fc`);
    const hidden = this.codes(`${h}.hidden`, Q.geluValues(u, F, fcBias), T, F);
    const derivative = b.add(`${h}.derivative`, 'i8', T * F, Q.derivativeRule(u, F, fcBias));
    const projSum = this.linear(h, 'proj', hidden);
    const out = b.add(`${h}.out`, 'u16', T * C, L.residualRule(xMid, projSum, C, this.bias(`${h}.proj`)));
    const trace = { x, norm1, qkvScales: qkv.scales, attention, lambda, o, xMid, norm2, hidden, derivative };
    return { out, trace };
  }

  attentionShape(h: string, qkv: Codes): AttentionShape {
    const { b, T, recipe } = this;
    const { width: C, heads: H, context } = recipe;
    const size = C / H;
    return {
      T,
      H,
      G: H,
      h: size,
      context,
      window: 0,
      scalar: size,
      heads: b.add(`${h}.qkv.heads`, 'i8', 3 * T * C, L.headsRule(qkv.codes, T, 3 * H, size)),
      transposed: b.add(`${h}.qkv.transposed`, 'i8', 3 * T * C, L.transposeRule(qkv.codes, 'i8', T, 3 * C)),
      scales: qkv.scales,
    };
  }

  backwardLayer(layer: number, trace: LayerTrace, dx: Source): Source {
    return this.backwardAttention(`h${layer}`, trace, this.backwardMlp(`h${layer}`, trace, dx));
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
    const dqkv = attentionBackward(this, h, layer, dO);
    const wide = this.errorRows(`${h}.qkv`, dqkv, 3 * C);
    this.gradient(`${h}.qkv.weight`, this.weightGradient(`${h}.qkv.weight`, wide, layer.norm1, 3 * C, C));
    const dy = this.inputGradient(`${h}.qkv`, wide, 3 * C, C);
    return this.backwardNorm(`${h}.norm1`, layer.norm1, dy, dx);
  }

  adapterLayer(
    back: AdapterBackward,
    index: number,
    layer: LayerTrace,
    dx: Source,
    lowest: AdapterTarget | undefined,
  ): Source | undefined {
    const { T, recipe } = this;
    const { width: C, hidden: F, heads: H } = recipe;
    const h = `h${index}`;
    const projError = this.errorCodes(`${h}.proj`, dx, C);
    const proj = back.gradients(`${h}.proj`, 'proj', projError, layer.hidden);
    if (lowest === 'proj') return undefined;
    const hidden = back.inputSums(`${h}.proj`, 'proj', projError, proj, `${h}.hidden.gradient`);
    const values = Q.geluGradientValues(hidden, layer.derivative, F);
    const dither = { seed: this.seed(`${h}.fc.weight`, PURPOSE.errorRows), transposed: false };
    const fcError = this.codes(`${h}.fc.error`, values, T, F, PANEL, dither);
    const fc = back.gradients(`${h}.fc`, 'fc', fcError, layer.norm2);
    if (lowest === 'fc') return undefined;
    const mid = back.rounded(`${h}.fc`, 'fc', fcError, fc);
    const dxMid = this.normGradient(`${h}.norm2`, layer.norm2, mid, dx).dx;
    const oError = this.errorCodes(`${h}.o`, dxMid, C);
    const o = back.gradients(`${h}.o`, 'o', oError, layer.o);
    if (lowest === 'o') return undefined;
    const sum = back.inputSums(`${h}.o`, 'o', oError, o, `${h}.dO`);
    const headsDither = { seed: this.seed(`${h}.o.weight`, PURPOSE.headsError), transposed: false };
    const dO = this.codes(`${h}.dO`, Q.sumValues('heads', sum, C), T, C, C / H, headsDither);
    const qkvError = this.errorCodes(`${h}.qkv`, attentionBackward(this, h, layer, dO), 3 * C);
    const qkv = back.gradients(`${h}.qkv`, 'qkv', qkvError, layer.norm1);
    if (lowest === 'qkv') return undefined;
    const dy = back.rounded(`${h}.qkv`, 'qkv', qkvError, qkv);
    return this.normGradient(`${h}.norm1`, layer.norm1, dy, dxMid).dx;
  }

  embedBackward(dense: Source, norm: Codes, dx: Source, tokens: UnitTokens): void {
    const { b, T, recipe } = this;
    const { width: C, context } = recipe;
    tableBackward(this, dense, norm, dx, tokens, 1);
    const positions = b.add('wpe.sums', 'f32', T * C, E.positionScatterRule(dx, b.next(), C, context));
    this.gradient('wpe', at(positions, (T - context) * C));
  }
}

/**
 * The program of one gradient unit. Externals: θ of the step, the recipe's token file, with adapters θ of the frozen model.
 * Results: `loss`, `unit`.
 */
export function unitProgram(recipe: ProgramRecipe, subject: UnitSubject): Program {
  const Builder = recipe.family === 'gemma3' ? GemmaBuilder : GptBuilder;
  return new Builder(recipe, subject).build();
}

/**
 * An upper bound of the operations of a recipe's program, without making it: attention has some of every block of keys,
 * products and row sums some of every segment.
 */
export function unitOperations(recipe: ProgramRecipe): number {
  const segments = (elements: number): number => Math.ceil(elements / L.SEGMENT);
  const { width, hidden, context, layers } = recipe;
  const { heads, keyValueHeads, headSize } = attentionSizes(recipe);
  const blocks = (14 + 2 * (heads / keyValueHeads - 1)) * (context / BLOCK);
  const linear = 12 * segments(width) + 6 * segments(hidden) + 6 * segments(tokensPerUnit(recipe));
  const gemma = recipe.gemma === undefined ? 0 : 64 + 6 * segments(heads * headSize) + 12 * segments(width + hidden);
  // Of an adapter: its weights 10, forward 4, backward 26, and the segments of two more products.
  const adapters = (recipe.adapter?.targets ?? []).reduce((sum, target) => {
    const { outputs, inputs } = targetShape(recipe, target);
    return sum + 40 + segments(outputs) + segments(inputs);
  }, 0);
  const layer = 160 + blocks + linear + gemma + adapters;
  return layers * layer + 64 + 2 * segments(recipe.vocab) + 2 * segments(width) + segments(tokensPerUnit(recipe));
}
