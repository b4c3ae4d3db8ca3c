/**
 * The training step in one thread: units in order, commit pass, integer weights, without hashing. What the experiments
 * train with, and the yardstick of the kernels' speed without any pool around them.
 */

import type { LaneKernels } from '../src/backend/types.js';
import { unitFileBytes } from '../src/model/layout.js';
import {
  advanceScalars,
  allocateState,
  commitLeafRange,
  leafCount,
  START_SCALARS,
  type StateScalars,
  type StateVectors,
} from '../src/model/state.js';
import {
  allocateWeights,
  gatherSequences,
  type ModelPlan,
  quantizeWeights,
  type SharedWeights,
  UnitRunner,
} from '../src/model/unit.js';
import { shared } from './harness.js';

export class Trainer {
  readonly plan: ModelPlan;
  readonly state: StateVectors;
  readonly weights: SharedWeights;
  readonly runner: UnitRunner;
  /** One unit file a unit of the step. */
  readonly units: readonly Uint8Array[];
  scalars: StateScalars = START_SCALARS;
  readonly #kernels: LaneKernels;

  /** @param initial θ of step 0, f32 [layout.length]; the EMA starts as θ, the moments as zero */
  constructor(plan: ModelPlan, kernels: LaneKernels, initial: Float32Array, microBatches = 1) {
    this.plan = plan;
    this.#kernels = kernels;
    this.state = stateFrom(plan, initial);
    this.weights = allocateWeights(plan, this.state.theta, kernels.packing);
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
  computeUnit(tokens: Uint16Array | Uint32Array, offsets: readonly number[], unit: number, draw1: Uint8Array): number {
    const sequences = gatherSequences(tokens, offsets, this.plan.recipe.context);
    const bits = this.runner.compute({ draw1, step: this.scalars.step, unit, tokens: sequences });
    this.units[unit].set(this.runner.file);
    return bits;
  }

  /** Adds the units, moves θ, m, v and the EMA, and makes the integer weights of the next step. */
  commit(): void {
    const { plan, state, scalars, units } = this;
    commitLeafRange(plan, this.#kernels, state, scalars, units, 0, leafCount(plan.layout));
    this.scalars = advanceScalars(plan.recipe, scalars);
    quantizeWeights(plan, this.#kernels, this.weights);
  }
}

/** A state of step 0 whose θ is given. */
export function stateFrom(plan: ModelPlan, initial: Float32Array): StateVectors {
  const state = allocateState(plan.layout, plan.recipe.ema);
  state.theta.set(initial);
  state.ema.set(initial.subarray(0, state.ema.length));
  return state;
}
