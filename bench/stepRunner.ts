/**
 * Whole training steps, from tokens to the state root, by lanes that stay warm between rounds, with the time that each
 * kind of task took.
 */

import { merkleKernels } from '../src/backend/merkleAddon.js';
import type { BackendName, IsaName } from '../src/backend/types.js';
import { treeBytes } from '../src/merkle/shape.js';
import { seedState } from '../src/model/state.js';
import { type ModelPlan, modelPlan } from '../src/model/unit.js';
import { LanePool } from '../src/pipeline/lanePool.js';
import type { LaneTask } from '../src/pipeline/tasks.js';
import { Trainer } from '../src/pipeline/trainer.js';
import { benchRecipe, unitRequest } from './benchRecipe.js';
import { median, requireSameBytes, shared } from './harness.js';
import { peakResidentBytes, resetPeak } from './memory.js';

/** Steps before the first round. The state root after them names the work: it is the same for every lane count and set. */
export const WARM_UP_STEPS = 2;
/** Empty tasks whose median is the cost of a task. */
const EMPTY_TASKS = 200;

export interface StepBackend {
  readonly name: BackendName;
  readonly isa: IsaName;
}

/** Where the time of the lanes went; all lanes together are 1. */
export interface LaneShares {
  /** by kind of task: unit, commit, weights, hash, … */
  readonly byKind: Readonly<Record<string, number>>;
  /** lanes that had nothing to do: waiting for the slowest, and for the main thread */
  readonly idle: number;
}

/** The round with the least median of its steps: what disturbs a round makes it longer, never shorter. */
export interface LeastRound extends LaneShares {
  readonly stepMs: number;
}

/** Of all rounds so far. */
export interface Shares extends LaneShares {
  readonly leastRound: LeastRound;
  /** tasks × the time of a task with next to nothing to do: what the pool itself costs */
  readonly pool: number;
  readonly tasksPerStep: number;
  readonly emptyTaskUs: number;
}

export class StepRunner {
  readonly lanes: number;
  /** State root after the warm-up. */
  root: Uint8Array = new Uint8Array(0);
  /** Resident memory with idle lanes, before the model. */
  readonly idleBytes: number;
  peakBytes = 0;
  readonly #pool: LanePool;
  readonly #trainer: Trainer;
  readonly #emptyTaskMs: number;
  readonly #rounds: { readonly samples: readonly number[]; readonly busyMs: ReadonlyMap<string, number> }[] = [];
  #busyMs = new Map<string, number>();
  #tasks = 0;

  private constructor(pool: LanePool, trainer: Trainer, idleBytes: number, emptyTaskMs: number) {
    this.lanes = pool.lanes;
    this.#pool = pool;
    this.#trainer = trainer;
    this.idleBytes = idleBytes;
    this.#emptyTaskMs = emptyTaskMs;
  }

  /** Starts lanes, fills the start state, warms up. */
  static async open(backend: StepBackend, plan: ModelPlan, lanes: number, signal: AbortSignal): Promise<StepRunner> {
    const pool = new LanePool({ backend: backend.name, isa: backend.isa, lanes });
    try {
      const emptyTaskMs = await timeEmptyTask(pool);
      const idleBytes = resetPeak();
      const trainer = new Trainer(plan, pool, merkleKernels(), seedState(plan), undefined, { signal });
      await trainer.prepare();
      const runner = new StepRunner(pool, trainer, idleBytes, emptyTaskMs);
      await runner.round(WARM_UP_STEPS);
      runner.root = await trainer.stateRoot();
      runner.#watch();
      return runner;
    } catch (error) {
      await pool.dispose();
      throw error;
    }
  }

  /** From now on adds up what the tasks of the pool take, by kind. */
  #watch(): void {
    this.#rounds.length = 0;
    const run = this.#pool.run.bind(this.#pool);
    this.#pool.run = async <T extends LaneTask>(task: T, signal?: AbortSignal) => {
      const result = await run(task, signal);
      this.#tasks += 1;
      this.#busyMs.set(task.kind, (this.#busyMs.get(task.kind) ?? 0) + result.ms);
      return result;
    };
  }

  /** @returns milliseconds of each step; the root of the last one is part of its time */
  async round(steps: number): Promise<number[]> {
    const trainer = this.#trainer;
    const { recipe } = trainer.plan;
    const request = unitRequest(recipe);
    resetPeak();
    const samples: number[] = [];
    let header = trainer.stateRoot();
    await header;
    this.#busyMs = new Map();
    for (let i = 0; i < steps; i++) {
      const start = performance.now();
      // The hashing of the state before runs beside the units, as it does in the miner.
      const computing = Array.from({ length: recipe.unitsPerStep }, (_, unit) =>
        trainer.computeUnit({ ...request, unit }),
      );
      const units = await Promise.all(computing);
      await header;
      await trainer.commit(
        units.map((unit) => unit.file),
        true,
      );
      header = trainer.stateRoot();
      // The last root is not hidden behind a next step: its time counts once.
      if (i === steps - 1) await header;
      samples.push(performance.now() - start);
    }
    this.peakBytes = Math.max(this.peakBytes, peakResidentBytes());
    this.#rounds.push({ samples, busyMs: this.#busyMs });
    return samples;
  }

  shares(): Shares {
    const samples = this.#rounds.flatMap((round) => round.samples);
    const all = this.#laneShares(
      samples,
      this.#rounds.map(({ busyMs }) => busyMs),
    );
    const rounds = this.#rounds.map((round) => ({
      stepMs: median(round.samples),
      ...this.#laneShares(round.samples, [round.busyMs]),
    }));
    return {
      ...all,
      leastRound: rounds.reduce((least, round) => (round.stepMs < least.stepMs ? round : least)),
      pool: (this.#tasks * this.#emptyTaskMs) / (sum(samples) * this.lanes),
      tasksPerStep: this.#tasks / samples.length,
      emptyTaskUs: 1e3 * this.#emptyTaskMs,
    };
  }

  #laneShares(samples: readonly number[], busyMs: readonly ReadonlyMap<string, number>[]): LaneShares {
    const all = sum(samples) * this.lanes;
    const kinds = new Set(busyMs.flatMap((round) => [...round.keys()]));
    const byKind = Object.fromEntries(
      [...kinds].map((kind) => [kind, sum(busyMs.map((round) => round.get(kind) ?? 0)) / all]),
    );
    return { byKind, idle: 1 - sum(Object.values(byKind)) };
  }

  async dispose(): Promise<void> {
    await this.#pool.dispose();
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Round trip of a task with next to nothing to do, milliseconds; every lane runs and has loaded its kernels then. */
async function timeEmptyTask(pool: LanePool): Promise<number> {
  const bytes = shared.u8(1024);
  const tree = shared.u8(treeBytes(bytes.length));
  const parts = [{ bytes, tree, nodes: 1, first: 0, end: 1 }];
  const empty = { kind: 'hash', parts, spanLog: 0, groupLog: 0 } as const;
  await Promise.all(Array.from({ length: 4 * pool.lanes }, () => pool.run(empty)));
  const samples: number[] = [];
  for (let i = 0; i < EMPTY_TASKS; i++) {
    const start = performance.now();
    await pool.run(empty);
    samples.push(performance.now() - start);
  }
  return median(samples);
}

let compared: string | undefined;

/**
 * One step of the recipe `tiny` by the measured backend and by the reference, through the same pipeline: state roots must
 * be equal before a step is timed. (A step of a larger recipe would take the reference minutes; the sizes of the kernels'
 * own tests cover those.)
 *
 * @throws PogoError SELF_TEST where they differ
 */
export async function requireReferenceStep(backend: StepBackend, signal: AbortSignal): Promise<void> {
  const name = `${backend.name}/${backend.isa}`;
  if (compared === name || backend.name === 'reference') return;
  const plan = modelPlan(benchRecipe('tiny'));
  const roots: Uint8Array[] = [];
  for (const one of [backend, { name: 'reference', isa: 'typescript' } as const]) {
    const runner = await StepRunner.open(one, plan, 1, signal);
    roots.push(runner.root);
    await runner.dispose();
  }
  requireSameBytes(`state root of ${WARM_UP_STEPS} steps of tiny`, roots[0], roots[1]);
  compared = name;
}
