/**
 * One state in memory and the lanes that advance it: gradient units, the commit pass, roots.
 *
 * The miner and the verifier use the same class; a verifier feeds it with units from a claim's log. The vectors of
 * state s are hashed while the lanes already compute the units of step s: hashing and lanes only read them.
 */
import type { MerkleKernels } from '../merkle/kernels.js';
import { nodeCount, treeBytes } from '../merkle/shape.js';
import { packedModelLayout, unitFileBytes } from '../model/layout.js';
import { encodeRecipe } from '../model/recipe.js';
import {
  advanceScalars,
  evaluatedVector,
  leafCount,
  movesEma,
  START_SCALARS,
  type StateScalars,
  type StateVectors,
  vectorBytes,
} from '../model/state.js';
import { allocateWeights, type ModelPlan, type UnitRequest } from '../model/unit.js';
import type { UnitPlace } from '../model/unitPlaces.js';
import type { StateHeader } from '../protocol/types.js';
import { STATE_VERSION, stateRoot, ZERO_ROOT } from '../protocol/types.js';
import { Evaluator } from './evaluator.js';
import type { LanePool } from './lanePool.js';
import { balancedGroups, evenRanges } from './shards.js';
import type { Session, UnitResult } from './tasks.js';

/** Leaves that one hash task takes: 4 MiB, aligned, so that a task also computes the 12 levels above its leaves. */
const HASH_LEAVES_LOG = 12;

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

export type VectorName = keyof StateVectors;

let sessionCounter = 0;

export class Trainer {
  readonly plan: ModelPlan;
  readonly pool: LanePool;
  readonly state: StateVectors;
  readonly session: Session;
  readonly evaluator: Evaluator;
  readonly #merkle: MerkleKernels;
  readonly #options: TrainerOptions;
  readonly #shards: number;
  /** Two sets of M unit files: one is written by lanes while the other is committed and stored. */
  readonly #slots: readonly (readonly Uint8Array[])[];
  #scalars: StateScalars;
  /** The trees of the vectors of the current state, every chaining value kept; complete once `#header` resolved. */
  readonly trees: Readonly<Record<VectorName, Uint8Array>>;
  #header: Promise<StateHeader> | undefined;
  /** Root of the EMA while its tree is that of its bytes: seven steps of eight leave it as it was. */
  #emaRoot: Promise<Uint8Array> | undefined;

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
    this.state = state;
    this.#merkle = merkle;
    this.#scalars = scalars;
    this.#options = options;
    this.#shards = options.shards ?? pool.lanes;
    sessionCounter += 1;
    this.session = {
      id: `train-${sessionCounter}`,
      recipe: encodeRecipe(plan.recipe),
      microBatches: options.microBatches ?? 1,
      weights: allocateWeights(plan, state.theta, pool.packing),
      state,
    };
    const unitBytes = unitFileBytes(plan.layout).total;
    this.#slots = [0, 1].map(() =>
      Array.from({ length: plan.recipe.unitsPerStep }, () => new Uint8Array(new SharedArrayBuffer(unitBytes))),
    );
    const tree = (name: VectorName): Uint8Array =>
      new Uint8Array(new SharedArrayBuffer(state[name].length === 0 ? 0 : treeBytes(state[name].byteLength)));
    this.trees = { theta: tree('theta'), m: tree('m'), v: tree('v'), ema: tree('ema') };
    this.evaluator = new Evaluator(plan, pool, options.signal);
  }

  get scalars(): StateScalars {
    return this.#scalars;
  }

  /** Makes the integer weights of the current θ: once after the vectors were filled from outside. */
  async prepare(): Promise<void> {
    const sizes = this.plan.weights.places.map((p) => p.tensor.size);
    const groups = balancedGroups(sizes, this.#shards);
    await Promise.all(groups.map((places) => this.#run({ kind: 'weights', session: this.session, places })));
  }

  /** Goes to another state whose vectors were just written into {@link state}. */
  async reset(scalars: StateScalars): Promise<void> {
    this.#scalars = scalars;
    this.vectorsChanged();
    await this.prepare();
  }

  /** Forgets what is known of the vectors' bytes: after anybody but {@link commit} wrote into {@link state}. */
  vectorsChanged(): void {
    this.#header = undefined;
    this.#emaRoot = undefined;
  }

  /**
   * One unit of the current step, on the next free lane. Its file is valid until the same unit of the second next step
   * is computed.
   */
  async computeUnit(
    request: Omit<UnitRequest, 'step'> & { readonly places?: readonly UnitPlace[] },
  ): Promise<ComputedUnit> {
    const { step } = this.#scalars;
    const slots = this.#slots[step % 2] as readonly Uint8Array[];
    const file = slots[request.unit] as Uint8Array;
    const result = await this.#run({ kind: 'unit', session: this.session, ...request, step, file });
    return { ...result, file };
  }

  /** State(s) → state(s + 1) from the M unit files of step s in index order (on shared memory). */
  async commit(units: readonly Uint8Array[]): Promise<void> {
    // The current vectors are about to change: their hashing, if any, ends first.
    await this.#header;
    const { session } = this;
    const before = this.#scalars;
    const ranges = evenRanges(leafCount(this.plan.layout), this.#shards);
    await Promise.all(
      ranges.map(({ from, to }) => this.#run({ kind: 'commit', session, before, units, fromLeaf: from, toLeaf: to })),
    );
    this.#scalars = advanceScalars(this.plan.recipe, before);
    this.#header = undefined;
    if (movesEma(this.plan.recipe, this.#scalars)) this.#emaRoot = undefined;
    await this.prepare();
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
    const scalars = this.#scalars;
    const moved = Promise.all([this.#hashVector('theta'), this.#hashVector('m'), this.#hashVector('v')]);
    this.#emaRoot ??= this.#hashVector('ema');
    const [thetaRoot, mRoot, vRoot] = await moved;
    const emaRoot = await this.#emaRoot;
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

  async #hashVector(name: VectorName): Promise<Uint8Array> {
    const vector = this.state[name];
    if (vector.length === 0) return ZERO_ROOT;
    return hashParallel(this.pool, this.#merkle, vectorBytes(vector), this.trees[name], this.#options.signal);
  }

  /** The packed 4-bit model of the current state. */
  async packModel(): Promise<Uint8Array> {
    const file = new Uint8Array(new SharedArrayBuffer(packedModelLayout(this.plan.layout).bytes));
    const vector = evaluatedVector(this.plan.recipe, this.state);
    const sizes = this.plan.layout.tensors.map((t) => t.size);
    const groups = balancedGroups(sizes, this.#shards);
    await Promise.all(
      groups.map((tensors) => this.#run({ kind: 'pack', session: this.session, vector, file, tensors })),
    );
    return file;
  }

  #run<T extends Parameters<LanePool['run']>[0]>(task: T): ReturnType<typeof this.pool.run<T>> {
    return this.pool.run(task, this.#options.signal);
  }
}

/** Hash tasks a lane, where a vector is large enough for tasks over {@link HASH_LEAVES_LOG}: few, since each is a round trip. */
const HASH_TASKS_A_LANE = 4;

/**
 * BLAKE3 root of `bytes` (on shared memory) by all lanes; every chaining value is left in `tree`.
 *
 * @param tree shared memory of `treeBytes(bytes.length, groupLog)` bytes
 * @param groupLog 0: 1 KiB leaves are kept; 4: 16 KiB groups
 */
export async function hashParallel(
  pool: LanePool,
  merkle: MerkleKernels,
  bytes: Uint8Array,
  tree: Uint8Array,
  signal?: AbortSignal,
  groupLog: 0 | 4 = 0,
): Promise<Uint8Array> {
  const nodes = nodeCount(bytes.length, groupLog);
  const shared = Math.floor(Math.log2(Math.max(1, nodes / (pool.lanes * HASH_TASKS_A_LANE))));
  const spanLog = Math.max(HASH_LEAVES_LOG - groupLog, shared);
  const span = 2 ** spanLog;
  const nodeBytes = 1024 * 2 ** groupLog;
  const tasks = [];
  for (let first = 0; first < nodes; first += span) {
    const part = bytes.subarray(first * nodeBytes, Math.min(bytes.length, (first + span) * nodeBytes));
    tasks.push(pool.run({ kind: 'hash', bytes: part, tree, nodes, first, groupLog }, signal));
  }
  await Promise.all(tasks);
  merkle.finish(tree, nodes, Math.min(spanLog, Math.ceil(Math.log2(nodes))));
  return tree.slice(tree.length - 32);
}
