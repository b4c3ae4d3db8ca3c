/**
 * One state in memory and the lanes that advance it: gradient units, the commit pass, roots.
 *
 * The miner and the verifier use the same class; a verifier feeds it with units from a claim's log. The vectors of
 * state s are hashed while the lanes already compute the units of step s: hashing and lanes only read them.
 *
 * Where all lanes drive devices the state lives there, and {@link Trainer.fetchState} brings it to host memory; with lanes
 * over host memory it is there in any case.
 */
import { setMaxListeners } from 'node:events';
import { losesDevice } from '../backend/cuda.js';
import { sharedArray } from '../backend/sharedArrays.js';
import { invariant, PogoError } from '../errors.js';
import type { MerkleKernels } from '../merkle/kernels.js';
import { treeBytes } from '../merkle/shape.js';
import { packedModelLayout, unitFileBytes } from '../model/layout.js';
import { encodeRecipe } from '../model/recipe.js';
import { advanceScalars, movesEma, START_SCALARS, type StateScalars, type StateVectors } from '../model/state.js';
import { allocateWeights, type ModelPlan, type UnitRequest } from '../model/unit.js';
import type { UnitPlace } from '../model/unitPlaces.js';
import type { StateHeader } from '../protocol/types.js';
import { STATE_VERSION, stateRoot, ZERO_ROOT } from '../protocol/types.js';
import {
  DeviceDomain,
  type DomainContext,
  HostDomain,
  type MemoryDomain,
  type StepUnit,
  type VectorName,
  type VectorTrees,
} from './domains.js';
import { Evaluator } from './evaluator.js';
import type { LanePool } from './lanePool.js';
import type { Session, TaskResults, UnitResult } from './tasks.js';

export interface TrainerOptions {
  readonly microBatches?: number;
  /** Parts of the commit pass; the pool's lanes by default. */
  readonly shards?: number;
  readonly signal?: AbortSignal;
}

export interface ComputedUnit extends UnitResult {
  /** The unit's bytes: valid until the second next call of {@link Trainer.computeUnit} for this unit index. */
  readonly file: Uint8Array;
}

let sessionCounter = 0;

export class Trainer {
  readonly plan: ModelPlan;
  readonly pool: LanePool;
  /**
   * The vectors' place in host memory: to write a state into before {@link reset} or {@link prepare}. To read it use
   * {@link state}.
   */
  readonly memory: StateVectors;
  readonly session: Session;
  readonly evaluator: Evaluator;
  readonly #options: TrainerOptions;
  readonly #domains: readonly MemoryDomain[];
  /** Two sets of M unit files: one is written by lanes while the other is committed and stored. */
  readonly #slots: readonly (readonly Uint8Array[])[];
  /** Units of the current step whose device still holds them, by their index: the group. */
  readonly #onDevice = new Map<number, number>();
  #scalars: StateScalars;
  /**
   * The trees of the vectors of the current state, every chaining value kept; complete once the header is there and, with
   * lanes on devices, {@link fetchTrees} was awaited.
   */
  readonly trees: VectorTrees;
  #header: Promise<StateHeader> | undefined;
  /** Root of the EMA while its tree is that of its bytes: seven steps of eight leave it as it was. */
  #emaRoot: Promise<Uint8Array> | undefined;
  /** Whether {@link memory} holds the current vectors. */
  #fetched = true;
  /** Whether somebody wrote into {@link memory} what the devices do not have. */
  #written = true;

  constructor(
    plan: ModelPlan,
    pool: LanePool,
    merkle: MerkleKernels,
    state: StateVectors,
    scalars: StateScalars = START_SCALARS,
    options: TrainerOptions = {},
  ) {
    this.plan = plan;
    this.pool = pool;
    this.memory = state;
    this.#scalars = scalars;
    this.#options = options;
    sessionCounter += 1;
    const microBatches = options.microBatches ?? 1;
    const { hasHostLanes } = pool;
    this.session = {
      id: `train-${sessionCounter}`,
      recipe: encodeRecipe(plan.recipe),
      microBatches,
      ...(hasHostLanes ? { weights: allocateWeights(plan, state.theta, pool.packing) } : {}),
      state,
      devices: pool.openModels(this, plan, { microBatches, training: true }),
    };
    const unitBytes = unitFileBytes(plan.layout).total;
    this.#slots = [0, 1].map(() =>
      Array.from({ length: plan.recipe.unitsPerStep }, () => sharedArray(Uint8Array, unitBytes)),
    );
    const tree = (name: VectorName): Uint8Array =>
      new Uint8Array(new SharedArrayBuffer(state[name].length === 0 ? 0 : treeBytes(state[name].byteLength)));
    this.trees = { theta: tree('theta'), m: tree('m'), v: tree('v'), ema: tree('ema') };
    const context: DomainContext = {
      plan,
      pool,
      session: this.session,
      state,
      trees: this.trees,
      merkle,
      shards: options.shards ?? pool.lanes,
      signal: options.signal,
    };
    // Every task that waits listens to the one signal, a large state's hash with dozens: not a leak that Node should warn of.
    if (options.signal !== undefined) setMaxListeners(0, options.signal);
    // Devices first: they hash and pack faster.
    this.#domains = [
      ...pool.deviceGroups.map((group) => new DeviceDomain(context, group)),
      ...(hasHostLanes ? [new HostDomain(context)] : []),
    ];
    this.evaluator = new Evaluator(plan, pool, options.signal);
  }

  get scalars(): StateScalars {
    return this.#scalars;
  }

  /**
   * The vectors of the current state in host memory.
   *
   * @throws PogoError INTERNAL where only devices have them and {@link fetchState} was not awaited
   */
  get state(): StateVectors {
    invariant(this.#fetched, 'the vectors are on a device: await fetchState() before they are read');
    return this.memory;
  }

  /** Brings the vectors of the current state to host memory, unless they are there. */
  async fetchState(): Promise<StateVectors> {
    if (!this.#fetched) {
      await this.#one((domain) => domain.fetchVectors());
      this.#fetched = true;
    }
    return this.memory;
  }

  /** Brings the trees of the current state to host memory. */
  async fetchTrees(): Promise<VectorTrees> {
    await this.header();
    await this.#one((domain) => domain.fetchTrees());
    return this.trees;
  }

  /** Makes the integer weights of the current θ: once after the vectors were filled from outside. */
  async prepare(): Promise<void> {
    this.#fetched = true;
    this.#written = false;
    await this.#all((domain) => domain.load());
  }

  /** Goes to another state whose vectors were just written into {@link memory}. */
  async reset(scalars: StateScalars): Promise<void> {
    this.#scalars = scalars;
    this.#onDevice.clear();
    this.vectorsChanged();
    await this.prepare();
  }

  /** Forgets what is known of the vectors' bytes: after anybody but {@link commit} wrote into {@link state}. */
  vectorsChanged(): void {
    this.#header = undefined;
    this.#emaRoot = undefined;
    // Nobody can have written into memory that was not the state's.
    if (this.#fetched) this.#written = true;
  }

  /**
   * One unit of the current step, on the next free lane. Its file is valid until the same unit of the second next step
   * is computed.
   */
  async computeUnit(
    request: Omit<UnitRequest, 'step'> & { readonly places?: readonly UnitPlace[] },
  ): Promise<ComputedUnit> {
    await this.#loadWritten();
    await this.#all((domain) => domain.ready());
    const { step } = this.#scalars;
    const slots = this.#slots[step % 2] as readonly Uint8Array[];
    const file = slots[request.unit] as Uint8Array;
    const result = await this.#run({ kind: 'unit', session: this.session, ...request, step, file });
    this.#onDevice.set(request.unit, result.group);
    return { ...result, file };
  }

  /** Root of a unit file (on shared memory) that came from elsewhere, and what in it no encoder writes; on the next free lane. */
  async inspectUnit(file: Uint8Array): Promise<TaskResults['inspect']> {
    return this.#run({ kind: 'inspect', session: this.session, file });
  }

  /**
   * State(s) → state(s + 1) from the M unit files of step s in index order (on shared memory).
   *
   * @param computed the files are what {@link computeUnit} gave for this step, unchanged: a device that computed one does
   *   not need it again
   */
  async commit(units: readonly Uint8Array[], computed = false): Promise<void> {
    // The current vectors are about to change: their hashing, if any, ends first.
    await this.#header;
    await this.#loadWritten();
    const before = this.#scalars;
    const files = units.map((file, unit): StepUnit => {
      const group = computed ? this.#onDevice.get(unit) : undefined;
      return group === undefined ? { file } : { file, group };
    });
    this.#onDevice.clear();
    // Who brings units from elsewhere replays a log, and may compute none of the next step.
    await this.#all((domain) => domain.commit(before, files, !computed));
    this.#scalars = advanceScalars(this.plan.recipe, before);
    this.#fetched = this.#domains.some((domain) => domain instanceof HostDomain);
    this.#header = undefined;
    if (movesEma(this.plan.recipe, this.#scalars)) this.#emaRoot = undefined;
  }

  /** Header of the current state; hashes the vectors once per state, in the background of whatever else runs. */
  header(): Promise<StateHeader> {
    this.#header ??= this.#computeHeader();
    return this.#header;
  }

  async stateRoot(): Promise<Uint8Array> {
    return stateRoot(await this.header());
  }

  async #computeHeader(): Promise<StateHeader> {
    await this.#loadWritten();
    const scalars = this.#scalars;
    const moved = this.#one((domain) => domain.roots(['theta', 'm', 'v']));
    this.#emaRoot ??= this.#rootOfEma();
    // Together: where both fail, as on a cancel, neither is left without a handler.
    const [roots, emaRoot] = await Promise.all([moved, this.#emaRoot]);
    const [thetaRoot, mRoot, vRoot] = roots as [Uint8Array, Uint8Array, Uint8Array];
    return {
      version: STATE_VERSION,
      recipeRoot: this.plan.root,
      ...scalars,
      thetaRoot,
      mRoot,
      vRoot,
      emaRoot,
    };
  }

  async #rootOfEma(): Promise<Uint8Array> {
    if (this.memory.ema.length === 0) return ZERO_ROOT;
    const [root] = await this.#one((domain) => domain.roots(['ema']));
    return root as Uint8Array;
  }

  /** The packed 4-bit model of the current state. */
  async packModel(): Promise<Uint8Array> {
    await this.#loadWritten();
    const file = sharedArray(Uint8Array, packedModelLayout(this.plan.layout).bytes);
    await this.#one((domain) => domain.pack(file));
    return file;
  }

  /** Brings to the devices what was written into host memory since they were loaded. */
  async #loadWritten(): Promise<void> {
    if (!this.#written || this.pool.deviceGroups.length === 0) return;
    this.#written = false;
    await this.#all((domain) => (domain instanceof DeviceDomain ? domain.load() : Promise.resolve()));
  }

  /** Work in one domain; in the next where its device is lost. */
  async #one<T>(work: (domain: MemoryDomain) => Promise<T>): Promise<T> {
    const domain = this.#alive()[0] as MemoryDomain;
    try {
      return await work(domain);
    } catch (error) {
      if (!losesDevice(error) || this.#alive().length === 0) throw error;
      return this.#one(work);
    }
  }

  /** Work in every domain. A device that is lost in it is left behind where another domain went through. */
  async #all(work: (domain: MemoryDomain) => Promise<void>): Promise<void> {
    const results = await Promise.allSettled(this.#alive().map(work));
    const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason as unknown);
    const fatal = failures.find((error) => !losesDevice(error)) ?? failures[0];
    if (failures.length > 0 && (!failures.every(losesDevice) || failures.length === results.length)) throw fatal;
  }

  #alive(): MemoryDomain[] {
    const alive = this.#domains.filter((domain) => domain.alive);
    if (alive.length > 0) return alive;
    throw new PogoError('ENVIRONMENT', 'every device of this run was lost: start it again with --resume');
  }

  #run<T extends Parameters<LanePool['run']>[0]>(task: T): ReturnType<typeof this.pool.run<T>> {
    return this.pool.run(task, this.#options.signal);
  }
}
