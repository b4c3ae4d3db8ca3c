/**
 * Memory domains: where a copy of the state lives and is advanced. The lanes over host memory share one, each device has one.
 *
 * State(s + 1) is a pure function of state(s) and the step's units, so every domain applies the commit itself and all hold
 * the same bits; between them only units travel. Vectors cross only when somebody asks for them.
 */
import type { MerkleKernels } from '../merkle/kernels.js';
import { evaluatedVector, leafCount, type StateScalars, type StateVectors, vectorBytes } from '../model/state.js';
import { frozenTheta, type ModelPlan } from '../model/unit.js';
import type { LanePool } from './lanePool.js';
import { hashParallel } from './parallelHash.js';
import { balancedGroups, evenRanges } from './shards.js';
import type { LaneTask, Session, TaskResults } from './tasks.js';

export type VectorName = keyof StateVectors;
export type VectorTrees = Readonly<Record<VectorName, Uint8Array>>;

/** A unit of a step and where it was computed. */
export interface StepUnit {
  readonly file: Uint8Array;
  /** The group whose device still holds it as it was computed; absent for bytes from anywhere else. */
  readonly group?: number;
}

export interface MemoryDomain {
  /** False once its device is lost. */
  readonly alive: boolean;
  /** Takes the vectors from the trainer's host memory and makes the integer weights. */
  load(): Promise<void>;
  /**
   * State(s) → state(s + 1) and its integer weights.
   *
   * @param later the weights only when {@link ready} asks for them: who replays a log computes units at few of its steps
   */
  commit(before: StateScalars, units: readonly StepUnit[], later: boolean): Promise<void>;
  /** Makes the integer weights of the current state, unless they are there: before units are computed. */
  ready(): Promise<void>;
  /** BLAKE3 of vectors in the order of `names`. */
  roots(names: readonly VectorName[]): Promise<Uint8Array[]>;
  /** The packed model into `file`. */
  pack(file: Uint8Array): Promise<void>;
  /** Brings the vectors to the trainer's host memory. */
  fetchVectors(): Promise<void>;
  /** Brings the trees of the last roots to the trainer's host memory. */
  fetchTrees(): Promise<void>;
}

export interface DomainContext {
  readonly plan: ModelPlan;
  readonly pool: LanePool;
  readonly session: Session;
  /** The trainer's vectors and trees in host memory. */
  readonly state: StateVectors;
  readonly trees: VectorTrees;
  readonly merkle: MerkleKernels;
  readonly shards: number;
  readonly signal: AbortSignal | undefined;
}

/** Host memory: the vectors are the trainer's own. */
export class HostDomain implements MemoryDomain {
  readonly alive = true;
  readonly #context: DomainContext;
  /** Whether the integer weights are of an older state, and their making once somebody asked. */
  #stale = false;
  #making: Promise<void> | undefined;
  /** The integer weights of a frozen model are made once. */
  #frozenMade = false;

  constructor(context: DomainContext) {
    this.#context = context;
  }

  async load(): Promise<void> {
    const { plan, session, shards } = this.#context;
    const { places, moving } = plan.weights;
    const wanted = this.#frozenMade ? moving : [...places.keys()];
    const groups = balancedGroups(
      wanted.map((i) => (places[i] as (typeof places)[number]).tensor.size),
      shards,
    );
    const indices = groups.map((group) => group.map((i) => wanted[i] as number));
    await Promise.all(indices.map((group) => this.#run({ kind: 'weights', session, places: group })));
    this.#frozenMade = true;
    this.#stale = false;
  }

  async ready(): Promise<void> {
    if (!this.#stale) return;
    this.#making ??= this.load().finally(() => {
      this.#making = undefined;
    });
    await this.#making;
  }

  async commit(before: StateScalars, units: readonly StepUnit[], later: boolean): Promise<void> {
    const { plan, session, shards } = this.#context;
    const files = units.map(({ file }) => file);
    const ranges = evenRanges(leafCount(plan.layout), shards);
    await Promise.all(
      ranges.map(({ from, to }) =>
        this.#run({ kind: 'commit', session, before, units: files, fromLeaf: from, toLeaf: to }),
      ),
    );
    this.#stale = true;
    if (!later) await this.load();
  }

  roots(names: readonly VectorName[]): Promise<Uint8Array[]> {
    const { pool, merkle, state, trees, signal } = this.#context;
    const hashed = names.map((name) => ({ bytes: vectorBytes(state[name]), tree: trees[name] }));
    return hashParallel(pool, merkle, hashed, signal);
  }

  async pack(file: Uint8Array): Promise<void> {
    const { plan, session, state, shards } = this.#context;
    const vector = evaluatedVector(plan.recipe, state);
    const sizes = plan.layout.tensors.map((t) => t.size);
    const groups = balancedGroups(sizes, shards);
    await Promise.all(groups.map((tensors) => this.#run({ kind: 'pack', session, vector, file, tensors })));
  }

  async fetchVectors(): Promise<void> {}
  async fetchTrees(): Promise<void> {}

  #run<T extends LaneTask>(task: T): Promise<TaskResults[T['kind']]> {
    return this.#context.pool.run(task, this.#context.signal);
  }
}

/** Memory of one device. */
export class DeviceDomain implements MemoryDomain {
  readonly #context: DomainContext;
  readonly #group: number;
  /** What the device does not have yet of a frozen model. */
  #frozen: Float32Array | undefined;

  constructor(context: DomainContext, group: number) {
    this.#context = context;
    this.#group = group;
    this.#frozen = frozenTheta(context.plan);
  }

  get alive(): boolean {
    return this.#context.pool.deviceGroups.includes(this.#group);
  }

  async load(): Promise<void> {
    const { session, state } = this.#context;
    const frozen = this.#frozen === undefined ? {} : { frozen: this.#frozen };
    await this.#run({ kind: 'deviceLoad', group: this.#group, session, vectors: state, ...frozen });
    this.#frozen = undefined;
  }

  async commit(before: StateScalars, units: readonly StepUnit[]): Promise<void> {
    const { session } = this.#context;
    const files = units.map(({ file, group }) => (group === this.#group ? undefined : file));
    await this.#run({ kind: 'deviceCommit', group: this.#group, session, before, units: files });
  }

  /** The commit pass of a device makes the weights in the same trip. */
  async ready(): Promise<void> {}

  async roots(names: readonly VectorName[]): Promise<Uint8Array[]> {
    const { session } = this.#context;
    const { roots } = await this.#run({ kind: 'deviceRoots', group: this.#group, session, names });
    return [...roots];
  }

  async pack(file: Uint8Array): Promise<void> {
    await this.#run({ kind: 'devicePack', group: this.#group, session: this.#context.session, file });
  }

  async fetchVectors(): Promise<void> {
    const { session, state } = this.#context;
    await this.#run({ kind: 'deviceFetch', group: this.#group, session, vectors: state });
  }

  async fetchTrees(): Promise<void> {
    const { session, trees } = this.#context;
    await this.#run({ kind: 'deviceTrees', group: this.#group, session, trees });
  }

  #run<T extends LaneTask>(task: T): Promise<TaskResults[T['kind']]> {
    return this.#context.pool.run(task, this.#context.signal);
  }
}
