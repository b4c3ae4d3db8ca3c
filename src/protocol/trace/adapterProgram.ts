/**
 * The part of a unit's program that only adapters have (docs/numerics.md §4): their weights, the sums of an adapted layer,
 * their gradients, and what goes on through the frozen layers to those below.
 */
import { PURPOSE } from '../../backend/ops.js';
import { adapterNames, adapterScale, paddedRank, targetShape } from '../../model/adapter.js';
import type { AdapterTarget, RecipeAdapter } from '../../model/recipe.js';
import { at, type Source } from './program.js';
import * as L from './rulesLinear.js';
import * as Q from './rulesQuantize.js';
import type { Codes, UnitBuilder } from './unitBuilder.js';

type Builder = UnitBuilder<unknown>;

/** Row codes and recodes of every adapter, over its padded rank. */
export function quantizeAdapters(u: Builder, adapter: RecipeAdapter): void {
  const rows = paddedRank(adapter);
  for (const { name, offset, rows: rank, cols } of u.state.tensors) {
    const values = Q.paddedValues('adapterWeight', at(u.theta, offset), rank, cols);
    const forward = u.codes(name, values, rows, cols);
    u.weights.set(name, { ...forward, transposed: u.recode(`${name}.recode`, forward, rows, cols) });
  }
}

/** f32 [T, outputs]: input · W, going on with z · B; keeps z for the way back. */
export function adapterSums(u: Builder, linear: string, target: AdapterTarget, input: Codes): Source {
  const adapter = u.recipe.adapter as RecipeAdapter;
  const { outputs, inputs } = targetShape(u.recipe, target);
  const R = paddedRank(adapter);
  const { a, b } = adapterNames(linear);
  const sum = u.product(`${linear}.adapter`, input, u.weight(a), u.T, R, inputs);
  const values = Q.sumValues('adapter', sum, R);
  const z = u.codes(`${linear}.adapter`, values, u.T, R, R, undefined, adapterScale(adapter));
  u.narrow.set(linear, z);
  const frozen = u.product(`${linear}.frozen`, input, u.weight(`${linear}.weight`), u.T, outputs, inputs);
  return u.product(linear, z, u.weight(b).transposed, u.T, outputs, R, frozen);
}

/** The way back through linear layers with adapters and without. */
export class AdapterBackward {
  readonly #u: Builder;
  readonly #adapter: RecipeAdapter;
  readonly #rows: number;

  constructor(u: Builder, adapter: RecipeAdapter) {
    this.#u = u;
    this.#adapter = adapter;
    this.#rows = paddedRank(adapter);
  }

  /** Gradients of A and Bᵀ. @returns the codes g between them; undefined for a layer without an adapter */
  gradients(linear: string, target: AdapterTarget, error: Codes, input: Codes): Codes | undefined {
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
  inputSums(linear: string, target: AdapterTarget, error: Codes, narrow: Codes | undefined, name: string): Source {
    const u = this.#u;
    const { outputs: N, inputs: K } = targetShape(u.recipe, target);
    const wt = u.weight(`${linear}.weight`).transposed;
    if (narrow === undefined) return u.product(name, error, wt, u.T, K, N);
    const frozen = u.product(`${name}.frozen`, error, wt, u.T, K, N);
    const back = u.weight(adapterNames(linear).a).transposed;
    return u.product(name, narrow, back, u.T, K, this.#rows, frozen);
  }

  /** bf16 [T, inputs] of {@link inputSums}. */
  rounded(linear: string, target: AdapterTarget, error: Codes, narrow: Codes | undefined): Source {
    const u = this.#u;
    const { inputs } = targetShape(u.recipe, target);
    const sum = this.inputSums(linear, target, error, narrow, `${linear}.inputGradient`);
    return u.b.add(`${linear}.dy`, 'u16', u.T * inputs, L.bf16Rule(sum, inputs));
  }
}
