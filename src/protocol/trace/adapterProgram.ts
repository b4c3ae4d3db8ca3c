/**
 * The part of a unit's program that only adapters have (docs/numerics.md §4): their weights, the sums of an adapted layer,
 * and the backward pass through the frozen model to them.
 */
import { PURPOSE } from '../../backend/ops.js';
import { adapterNames, adapterScale, paddedRank, targetShape } from '../../model/adapter.js';
import type { AdapterTarget, RecipeAdapter } from '../../model/recipe.js';
import { PANEL } from '../../model/weights.js';
import { at, type Source } from './program.js';
import * as L from './rulesLinear.js';
import * as Q from './rulesQuantize.js';
import type { Codes } from './unitBuilder.js';
import type { GptBuilder, LayerTrace } from './unitProgram.js';

/** Row codes and recodes of every adapter, over its padded rank. */
export function quantizeAdapters(u: GptBuilder, adapter: RecipeAdapter): void {
  const rows = paddedRank(adapter);
  for (const { name, offset, rows: rank, cols } of u.state.tensors) {
    const values = Q.paddedValues('adapterWeight', at(u.theta, offset), rank, cols);
    const forward = u.codes(name, values, rows, cols);
    u.weights.set(name, { ...forward, transposed: u.recode(`${name}.recode`, forward, rows, cols) });
  }
}

/** f32 [T, outputs]: input · W, going on with z · B; keeps z for the way back. */
export function adapterSums(u: GptBuilder, linear: string, input: Codes, outputs: number, inputs: number): Source {
  const adapter = u.recipe.adapter as RecipeAdapter;
  const R = paddedRank(adapter);
  const { a, b } = adapterNames(linear);
  const sum = u.product(`${linear}.adapter`, input, u.weight(a), u.T, R, inputs);
  const values = Q.sumValues('adapter', sum, R);
  const z = u.codes(`${linear}.adapter`, values, u.T, R, R, undefined, adapterScale(adapter));
  u.narrow.set(linear, z);
  const frozen = u.product(`${linear}.frozen`, input, u.weight(`${linear}.weight`), u.T, outputs, inputs);
  return u.product(linear, z, u.weight(b).transposed, u.T, outputs, R, frozen);
}

/** Goes back from the gradient of the last norm's input; every layer's adapters get their gradients. */
export function adapterBackward(
  u: GptBuilder,
  adapter: RecipeAdapter,
  layers: readonly LayerTrace[],
  last: Source,
): void {
  const back = new AdapterBackward(u, adapter);
  let dx: Source | undefined = last;
  for (let i = layers.length - 1; i >= 0 && dx !== undefined; i -= 1) {
    dx = back.layer(`h${i}`, layers[i] as LayerTrace, dx, i === 0 ? adapter.targets[0] : undefined);
  }
}

class AdapterBackward {
  readonly #u: GptBuilder;
  readonly #adapter: RecipeAdapter;
  readonly #rows: number;

  constructor(u: GptBuilder, adapter: RecipeAdapter) {
    this.#u = u;
    this.#adapter = adapter;
    this.#rows = paddedRank(adapter);
  }

  /** @returns undefined where nothing below needs a gradient: at `lowest` of the lowest layer */
  layer(h: string, layer: LayerTrace, dx: Source, lowest: AdapterTarget | undefined): Source | undefined {
    const u = this.#u;
    const { T, recipe } = u;
    const { width: C, hidden: F, heads: H } = recipe;
    const projError = u.errorCodes(`${h}.proj`, dx, C);
    const proj = this.#gradients(`${h}.proj`, 'proj', projError, layer.hidden);
    if (lowest === 'proj') return undefined;
    const hidden = this.#inputSums(`${h}.proj`, 'proj', projError, proj, `${h}.hidden.gradient`);
    const values = Q.geluGradientValues(hidden, layer.derivative, F);
    const dither = { seed: u.seed(`${h}.fc.weight`, PURPOSE.errorRows), transposed: false };
    const fcError = u.codes(`${h}.fc.error`, values, T, F, PANEL, dither);
    const fc = this.#gradients(`${h}.fc`, 'fc', fcError, layer.norm2);
    if (lowest === 'fc') return undefined;
    const mid = this.#rounded(`${h}.fc`, 'fc', fcError, fc);
    const dxMid = u.normGradient(`${h}.norm2`, layer.norm2, mid, dx).dx;
    const oError = u.errorCodes(`${h}.o`, dxMid, C);
    const o = this.#gradients(`${h}.o`, 'o', oError, layer.o);
    if (lowest === 'o') return undefined;
    const sum = this.#inputSums(`${h}.o`, 'o', oError, o, `${h}.dO`);
    const headsDither = { seed: u.seed(`${h}.o.weight`, PURPOSE.headsError), transposed: false };
    const dO = u.codes(`${h}.dO`, Q.sumValues('heads', sum, C), T, C, C / H, headsDither);
    const qkvError = u.errorCodes(`${h}.qkv`, u.attentionBackward(h, layer, dO), 3 * C);
    const qkv = this.#gradients(`${h}.qkv`, 'qkv', qkvError, layer.norm1);
    if (lowest === 'qkv') return undefined;
    const dy = this.#rounded(`${h}.qkv`, 'qkv', qkvError, qkv);
    return u.normGradient(`${h}.norm1`, layer.norm1, dy, dxMid).dx;
  }

  /** Gradients of A and Bᵀ. @returns the codes g between them; undefined for a layer without an adapter */
  #gradients(linear: string, target: AdapterTarget, error: Codes, input: Codes): Codes | undefined {
    if (!this.#adapter.targets.includes(target)) return undefined;
    const u = this.#u;
    const { T } = u;
    const R = this.#rows;
    const { outputs: N, inputs: K } = targetShape(u.recipe, target);
    const { a, b } = adapterNames(linear);
    const { id } = u.state.byName(a);
    const sum = u.product(`${linear}.adapter.error`, error, u.weight(b), T, R, N);
    const values = Q.sumValues('adapterError', sum, R);
    const dither = { seed: u.seedOf(id, PURPOSE.adapterError), transposed: false };
    const narrow = u.codes(`${linear}.adapter.error`, values, T, R, R, dither, adapterScale(this.#adapter));
    const z = u.recode(`${linear}.adapter.hidden`, u.narrow.get(linear) as Codes, T, R);
    const recode = { seed: u.seed(`${linear}.weight`, PURPOSE.errorRecode), transposed: true };
    const e = u.recode(`${linear}.adapter.recode`, error, T, N, recode);
    u.gradient(b, u.product(`${b}.gradient`, z, e, R, N, T));
    const narrowRecode = { seed: u.seedOf(id, PURPOSE.adapterRecode), transposed: true };
    const g = u.recode(`${linear}.adapter.narrow`, narrow, T, R, narrowRecode);
    const x = u.recode(`${linear}.adapter.input`, input, T, K);
    u.gradient(a, u.product(`${a}.gradient`, g, x, R, K, T));
    return narrow;
  }

  /** f32 [T, inputs]: error · recode(W), going on with g · recode(A) where there is an adapter. */
  #inputSums(linear: string, target: AdapterTarget, error: Codes, narrow: Codes | undefined, name: string): Source {
    const u = this.#u;
    const { outputs: N, inputs: K } = targetShape(u.recipe, target);
    const wt = u.weight(`${linear}.weight`).transposed;
    if (narrow === undefined) return u.product(name, error, wt, u.T, K, N);
    const frozen = u.product(`${name}.frozen`, error, wt, u.T, K, N);
    const back = u.weight(adapterNames(linear).a).transposed;
    return u.product(name, narrow, back, u.T, K, this.#rows, frozen);
  }

  #rounded(linear: string, target: AdapterTarget, error: Codes, narrow: Codes | undefined): Source {
    const u = this.#u;
    const { inputs } = targetShape(u.recipe, target);
    const sum = this.#inputSums(linear, target, error, narrow, `${linear}.inputGradient`);
    return u.b.add(`${linear}.dy`, 'u16', u.T * inputs, L.bf16Rule(sum, inputs));
  }
}
