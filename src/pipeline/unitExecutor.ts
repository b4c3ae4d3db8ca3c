/**
 * The executor that evidence checks recompute with: one backend, this thread.
 *
 * Vectors and units arrive as bytes of any alignment and are copied into memory of our own, so nothing that a caller
 * changes meanwhile can change a verdict.
 */
import type { Backend } from '../backend/types.js';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { createLayout, packedModelLayout } from '../model/layout.js';
import type { Recipe } from '../model/recipe.js';
import {
  advanceScalars,
  allocateState,
  commitLeafRange,
  leafCount,
  packModel,
  unpackModel,
  vectorBytes,
} from '../model/state.js';
import {
  allocateWeights,
  LossRunner,
  type ModelPlan,
  modelPlan,
  NULL_LOSS_BITS,
  quantizeWeights,
  type SharedWeights,
  UnitRunner,
} from '../model/unit.js';
import type {
  CommitStepRequest,
  ComputedUnit,
  ComputeUnitRequest,
  ModelLossRequest,
  PackModelRequest,
  UnitExecutor,
} from '../protocol/executor.js';
import { headerOf } from '../protocol/stateHeader.js';
import type { StateHeader } from '../protocol/types.js';

interface Bound {
  readonly plan: ModelPlan;
  readonly weights: SharedWeights;
  readonly runner: UnitRunner;
}

export class BackendExecutor implements UnitExecutor {
  readonly #backend: Backend;
  readonly #hash: (bytes: Uint8Array) => Uint8Array;
  /** The last recipe's memory: evidence of one run names one recipe. */
  #bound: Bound | undefined;

  readonly #complete: (plan: ModelPlan) => ModelPlan;

  /**
   * @param hash BLAKE3 of bytes
   * @param complete brings the θ of a frozen model to the plan of a recipe with adapters
   */
  constructor(
    backend: Backend,
    hash: (bytes: Uint8Array) => Uint8Array,
    complete: (plan: ModelPlan) => ModelPlan = (plan) => plan,
  ) {
    this.#backend = backend;
    this.#hash = hash;
    this.#complete = complete;
  }

  async computeUnit(request: ComputeUnitRequest): Promise<ComputedUnit> {
    const { plan, weights, runner } = this.#bind(request.recipe, request.recipeRoot);
    fill('theta', request.theta, weights.theta);
    try {
      quantizeWeights(plan, this.#backend.kernels, weights);
    } catch (error) {
      // A θ with an Inf or NaN gives null units, as any other source of one does.
      if (!(error instanceof PogoError && error.code === 'NON_FINITE')) throw error;
      return { unit: new Uint8Array(runner.file.length), lossBits: NULL_LOSS_BITS, observed: new Uint8Array(0) };
    }
    const lossBits = runner.compute(request, request.places);
    return { unit: Uint8Array.from(runner.file), lossBits, observed: runner.observed };
  }

  async commitStep(request: CommitStepRequest): Promise<{ readonly header: StateHeader }> {
    const plan = modelPlan(request.recipe);
    const state = allocateState(createLayout(request.recipe), request.recipe.ema);
    for (const name of ['theta', 'm', 'v', 'ema'] as const) fill(name, request[name], state[name]);
    const units = request.units.map((unit) => {
      const copy = new Uint8Array(new SharedArrayBuffer(unit.length));
      copy.set(unit);
      return copy;
    });
    const { step, tokens, beta1Power, beta2Power } = request.header;
    const before = { step, tokens, beta1Power, beta2Power };
    commitLeafRange(plan, this.#backend.kernels, state, before, units, 0, leafCount(plan.layout));
    const after = advanceScalars(request.recipe, before);
    return { header: headerOf(plan.root, after, state, this.#hash) };
  }

  async packModel({ recipe, vector }: PackModelRequest): Promise<Uint8Array> {
    const plan = modelPlan(recipe);
    const values = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
    fill('model vector', vector, values);
    const file = new Uint8Array(new SharedArrayBuffer(packedModelLayout(plan.layout).bytes));
    packModel(plan, this.#backend.kernels, values, file);
    return file;
  }

  async modelLoss({ recipe, model, tokens }: ModelLossRequest): Promise<number> {
    const plan = this.#complete(modelPlan(recipe));
    const theta = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
    unpackModel(plan, this.#backend.kernels, model, theta);
    const weights = allocateWeights(plan, theta);
    quantizeWeights(plan, this.#backend.kernels, weights);
    return new LossRunner(plan, this.#backend.kernels, weights, 1).lossBits(tokens);
  }

  #bind(recipe: Recipe, root: Uint8Array): Bound {
    if (this.#bound === undefined || !equalBytes(this.#bound.plan.root, root)) {
      const plan = this.#complete(modelPlan(recipe));
      const theta = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
      const weights = allocateWeights(plan, theta, this.#backend.kernels.packing);
      this.#bound = { plan, weights, runner: new UnitRunner(plan, this.#backend.kernels, weights) };
    }
    return this.#bound;
  }
}

function fill(name: string, bytes: Uint8Array, vector: Float32Array): void {
  if (bytes.length !== vector.byteLength) {
    throw new PogoError('SHAPE', `${name}: expected ${vector.byteLength} bytes, found ${bytes.length}`);
  }
  vectorBytes(vector).set(bytes);
}
