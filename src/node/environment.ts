/**
 * What every command takes from its surroundings, in one place: backend, lanes, data directory.
 *
 * Variables: `POGO_BACKEND`, `POGO_ISA`, `POGO_LANES`, `POGO_DEVICES`, `POGO_HOME` (docs/cli.md).
 */
import { join, resolve } from 'node:path';
import { merkleKernels } from '../backend/merkleAddon.js';
import { type OpenBackendOptions, openBackend } from '../backend/open.js';
import type { Backend } from '../backend/types.js';
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { type PreparedData, prepareData } from '../model/node/dataset.js';
import type { Recipe } from '../model/recipe.js';
import { type StateScalars, type StateVectors, seedState } from '../model/state.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import { defaultDevices, type LaneDevice, laneGroups } from '../pipeline/laneChoice.js';
import { LanePool, type LanePoolOptions } from '../pipeline/lanePool.js';
import { Trainer } from '../pipeline/trainer.js';
import { BackendExecutor } from '../pipeline/unitExecutor.js';
import type { Bls } from '../protocol/bls.js';
import { createNativeBls } from '../protocol/blsNative.js';
import { FrozenModels } from './frozenModels.js';
import { pogoHome } from './home.js';

export interface EnvironmentOptions {
  readonly backend?: OpenBackendOptions['backend'];
  readonly isa?: OpenBackendOptions['isa'];
  readonly require?: OpenBackendOptions['require'];
  /** Executors of gradient units; POGO_LANES, else one per core, or two a CUDA device. */
  readonly lanes?: number;
  /** With CUDA: devices by index, and `cpu` for lanes over host memory beside them; POGO_DEVICES, else the first. */
  readonly devices?: readonly LaneDevice[];
  /** Many small calls on host arrays are to come: CUDA only if it is forced. */
  readonly hostArrays?: boolean;
  /** Data directory; POGO_HOME, else `./.pogo`. */
  readonly home?: string;
  readonly signal?: AbortSignal;
}

/** A state to start a trainer from. */
export interface TrainerStart {
  /** f32 on shared memory, `ema` empty where the recipe has none. */
  readonly vectors: StateVectors;
  readonly scalars: StateScalars;
}

/** An opened backend with its lanes. Holds threads and memory until {@link Environment.dispose}. */
export class Environment {
  readonly backend: Backend;
  readonly bls: Bls = createNativeBls();
  readonly lanes: number;
  readonly #groups: LanePoolOptions;
  /** Absolute path. */
  readonly home: string;
  readonly signal: AbortSignal | undefined;
  /** θ of models that adapters stand on. */
  readonly models: FrozenModels;
  #pool: LanePool | undefined;
  #executor: BackendExecutor | undefined;

  /**
   * @throws PogoError ENVIRONMENT or SELF_TEST when a demanded backend or instruction set cannot be used, USAGE for an
   *   unknown name
   */
  constructor(options: EnvironmentOptions = {}) {
    const { backend, isa, require } = options;
    const devices = options.devices ?? defaultDevices();
    this.backend = openBackend({
      ...(backend === undefined ? {} : { backend }),
      ...(isa === undefined ? {} : { isa }),
      ...(require === undefined ? {} : { require }),
      hostArrays: options.hostArrays ?? false,
      cuda: { device: devices.find((device) => device !== 'cpu') ?? 0 },
    });
    this.#groups = laneGroups(this.backend, devices, options.lanes);
    this.lanes = [this.#groups, ...(this.#groups.also ?? [])].reduce((sum, { lanes }) => sum + lanes, 0);
    this.home = resolve(options.home ?? pogoHome());
    this.signal = options.signal;
    this.models = new FrozenModels(this.home);
  }

  /** The lanes: started at first use. */
  get pool(): LanePool {
    this.#pool ??= new LanePool(this.#groups);
    return this.#pool;
  }

  /** What evidence is recomputed with. */
  get executor(): BackendExecutor {
    this.#executor ??= new BackendExecutor(this.backend, hashBytes, (plan) => this.models.complete(plan));
    return this.#executor;
  }

  /** A trainer at a state; at the recipe's start state by default. @throws PogoError RECIPE without a seed to start from */
  async createTrainer(recipe: Recipe | ModelPlan, start?: TrainerStart): Promise<Trainer> {
    const plan = this.models.complete('layout' in recipe ? recipe : modelPlan(recipe));
    const state = start?.vectors ?? seedState(plan);
    const options = this.signal === undefined ? {} : { signal: this.signal };
    const trainer = new Trainer(plan, this.pool, merkleKernels(), state, start?.scalars, options);
    await trainer.prepare();
    return trainer;
  }

  /** The tokens of a recipe, from the data directory or made there. @throws PogoError DATA, IO */
  async tokens(recipe: Recipe): Promise<PreparedData> {
    return prepareData(recipe, join(this.home, 'data'));
  }

  /** Ends the lanes. The environment may be used again afterwards; it then starts new ones. */
  async dispose(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    this.#executor = undefined;
    await pool?.dispose();
  }
}

/** Runs `work` with an environment that is disposed of afterwards, whatever happens. */
export async function withEnvironment<T>(
  options: EnvironmentOptions,
  work: (environment: Environment) => Promise<T>,
): Promise<T> {
  const environment = new Environment(options);
  try {
    return await work(environment);
  } finally {
    await environment.dispose();
  }
}

/** Throws INTERRUPTED once a signal has aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new PogoError('INTERRUPTED', 'the work was cancelled; it can be resumed');
}
