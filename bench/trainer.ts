/**
 * The training step in one thread: units in order, commit pass, integer weights. What the experiments train with, and
 * the yardstick of the kernels' speed without any pool around them.
 */

import type { Kernels } from '../src/backend/types.js';
import { bitsToFloat } from '../src/model/fp32.js';
import { paddedSize, unitFileBytes } from '../src/model/layout.js';
import {
  allocateWeights,
  gatherSequences,
  type ModelPlan,
  quantizeWeights,
  type SharedWeights,
  UnitRunner,
} from '../src/model/unit.js';
import { shared } from './harness.js';

/** β^t below this is +0 (docs/numerics.md §1.5). */
const POWER_FLUSH = 2 ** -100;
const EMA_EVERY = 8;

export interface State {
  readonly theta: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  readonly ema: Float32Array;
}

/** A state of step 0: θ and EMA are `initial`, the moments zero. */
export function newState(initial: Float32Array): State {
  const n = initial.length;
  const state = { theta: shared.f32(n), m: shared.f32(n), v: shared.f32(n), ema: shared.f32(n) };
  state.theta.set(initial);
  state.ema.set(initial);
  return state;
}

export class Trainer {
  readonly plan: ModelPlan;
  readonly state: State;
  readonly weights: SharedWeights;
  readonly runner: UnitRunner;
  /** One unit file a unit of the step. */
  readonly units: readonly Uint8Array[];
  step = 0;
  readonly #kernels: Kernels;
  #power1 = 1;
  #power2 = 1;

  constructor(plan: ModelPlan, kernels: Kernels, initial: Float32Array, microBatches = 1) {
    this.plan = plan;
    this.#kernels = kernels;
    this.state = newState(initial);
    this.weights = allocateWeights(plan, this.state.theta);
    this.runner = new UnitRunner(plan, kernels, this.weights, microBatches);
    const bytes = unitFileBytes(plan.layout).total;
    this.units = Array.from({ length: plan.recipe.unitsPerStep }, () => shared.u8(bytes));
    quantizeWeights(plan, kernels, this.weights);
  }

  /**
   * One unit of the current step into `units[unit]`.
   *
   * @param offsets of its sequences in the token file
   * @returns fp32 bits of the unit's loss
   */
  computeUnit(tokens: Uint16Array | Uint32Array, offsets: readonly bigint[], unit: number, draw1: Uint8Array): number {
    const sequences = gatherSequences(tokens, offsets, this.plan.recipe.context);
    const bits = this.runner.compute({ draw1, step: this.step, unit, tokens: sequences });
    this.units[unit].set(this.runner.file);
    return bits;
  }

  /** Adds the units, moves θ, m, v and the EMA, and makes the integer weights of the next step. */
  commit(): void {
    const { recipe } = this.plan;
    const beta1 = bitsToFloat(recipe.optimizer.beta1Bits);
    const beta2 = bitsToFloat(recipe.optimizer.beta2Bits);
    this.#power1 = flushed(Math.fround(this.#power1 * beta1));
    this.#power2 = flushed(Math.fround(this.#power2 * beta2));
    commitUnits(this.plan, this.#kernels, this.state, this.units, this.step, this.#power1, this.#power2);
    this.step += 1;
    quantizeWeights(this.plan, this.#kernels, this.weights);
  }
}

function flushed(power: number): number {
  return power < POWER_FLUSH ? 0 : power;
}

/** The commit pass over all tensors, without hashing. */
export function commitUnits(
  plan: ModelPlan,
  kernels: Kernels,
  state: State,
  units: readonly Uint8Array[],
  step: number,
  b1t: number,
  b2t: number,
): void {
  const { recipe, layout } = plan;
  const { codes: codesBytes, scales: scalesBytes } = unitFileBytes(layout);
  const codes = units.map((u) => new Uint8Array(u.buffer, u.byteOffset, codesBytes));
  const scales = units.map((u) => new Uint16Array(u.buffer, u.byteOffset + codesBytes, scalesBytes / 2));
  const rates = recipe.learningRateBits;
  const common = {
    beta1: bitsToFloat(recipe.optimizer.beta1Bits),
    beta2: bitsToFloat(recipe.optimizer.beta2Bits),
    b1t,
    b2t,
    epsilon: bitsToFloat(recipe.optimizer.epsilonBits),
    learningRate: bitsToFloat(rates[Math.min(step, rates.length - 1)]),
    emaDecay: bitsToFloat(recipe.emaDecayBits),
    updateEma: recipe.ema && (step + 1) % EMA_EVERY === 0,
  };
  const decay = bitsToFloat(recipe.optimizer.weightDecayBits);
  for (const tensor of layout.tensors) {
    const n = paddedSize(tensor);
    const from = tensor.offset;
    const part = (x: Float32Array): Float32Array => x.subarray(from, from + n);
    kernels.commitLeaves({
      ...common,
      theta: part(state.theta),
      m: part(state.m),
      v: part(state.v),
      ema: part(state.ema),
      codes: codes.map((c) => c.subarray(from / 2, (from + n) / 2)),
      scales: scales.map((s) => s.subarray(from / 64, (from + n) / 64)),
      n,
      weightDecay: tensor.decay ? decay : 0,
    });
  }
}
