/**
 * The pool of lanes: piscina workers over shared memory.
 *
 * A worker that dies is replaced by piscina and its task is run again where that is safe: units, hashes, weight codes,
 * packing and losses are pure functions of memory that they do not change. The commit pass works in place, so its loss
 * is reported and the owner rebuilds the state from its checkpoint and log.
 */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { CpuIsaChoice } from '../backend/cpu.js';
import { openBackend } from '../backend/open.js';
import type { Backend, BackendName, IsaName, LaneKernels, WeightPacking } from '../backend/types.js';
import { PogoError } from '../errors.js';
import { allocateProgress, type Progress, readProgress } from './progress.js';
import type { LaneOptions, LaneTask, TaskResults } from './tasks.js';

/** Tries of one task before its failure is reported. */
const MAX_TRIES = 3;

export interface LanePoolOptions {
  readonly backend: BackendName;
  readonly isa: IsaName;
  readonly lanes: number;
}

/** The compiled worker: beside this file when it is compiled itself, else in `dist`. */
function workerFile(): string {
  const beside = fileURLToPath(new URL('./worker.js', import.meta.url));
  if (existsSync(beside)) return beside;
  const built = fileURLToPath(new URL('../../dist/pipeline/worker.js', import.meta.url));
  if (existsSync(built)) return built;
  throw new PogoError('ENVIRONMENT', `expected the compiled worker at ${built}, found none; run: npm run build`);
}

/** POGO_LANES, or one lane per core. @throws PogoError USAGE unless it is an integer of 1 to 1024 */
export function defaultLanes(env: NodeJS.ProcessEnv = process.env): number {
  const text = env['POGO_LANES'];
  if (text === undefined || text === '') return availableParallelism();
  const lanes = Number(text);
  if (!Number.isInteger(lanes) || lanes < 1 || lanes > 1024) {
    throw new PogoError('USAGE', `POGO_LANES: expected an integer of 1 to 1024, found ${JSON.stringify(text)}`);
  }
  return lanes;
}

const tested = new Map<string, Backend>();

/** A backend that fails its vectors is never used; once a process is enough, since workers load the same files. */
function testOnce(backend: BackendName, isa: IsaName): Backend {
  const name = `${backend}/${isa}`;
  const known = tested.get(name);
  if (known !== undefined) return known;
  const opened = openBackend(backend === 'cpu' ? { backend, isa: isa as CpuIsaChoice } : { backend, isa: 'auto' });
  tested.set(name, opened);
  return opened;
}

export class LanePool {
  readonly lanes: number;
  readonly backend: BackendName;
  readonly isa: IsaName;
  /** How the lanes want their weights; undefined where they have no form of their own. */
  readonly packing: WeightPacking | undefined;
  /** The lanes' kernels in the thread that owns the pool, for work that no lane is free for. */
  readonly kernels: LaneKernels;
  readonly #pool: Piscina<LaneTask, TaskResults[keyof TaskResults] | { error: unknown }>;
  readonly #progress = allocateProgress();
  #replaced = 0;

  /** @throws PogoError ENVIRONMENT, SELF_TEST if the backend is missing here or fails its known-answer vectors */
  constructor(options: LanePoolOptions) {
    this.kernels = testOnce(options.backend, options.isa).kernels;
    this.packing = this.kernels.packing;
    this.lanes = options.lanes;
    this.backend = options.backend;
    this.isa = options.isa;
    const workerData: LaneOptions = { backend: options.backend, isa: options.isa, progress: this.#progress };
    this.#pool = new Piscina<LaneTask, TaskResults[keyof TaskResults] | { error: unknown }>({
      filename: workerFile(),
      minThreads: options.lanes,
      maxThreads: options.lanes,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      workerData,
    });
    // A worker's death reaches its task as a rejection; without a listener it would also end the process.
    this.#pool.on('error', () => {
      this.#replaced += 1;
    });
  }

  /**
   * Runs a task on the next free lane.
   *
   * @throws PogoError INTERRUPTED when `signal` aborts; the task's own PogoError; INTERNAL when workers keep dying
   */
  async run<T extends LaneTask>(task: T, signal?: AbortSignal): Promise<TaskResults[T['kind']]> {
    for (let attempt = 1; ; attempt += 1) {
      if (signal?.aborted) throw new PogoError('INTERRUPTED', 'the work was cancelled; it can be resumed');
      try {
        const result = await this.#pool.run(task, signal === undefined ? {} : { signal });
        if ('error' in result) throw PogoError.fromJSON(result.error);
        return result as TaskResults[T['kind']];
      } catch (error) {
        if (signal?.aborted) throw new PogoError('INTERRUPTED', 'the work was cancelled; it can be resumed');
        const known = PogoError.fromJSON(error);
        if (known.code !== 'INTERNAL') throw known;
        if (task.kind === 'commit' || attempt >= MAX_TRIES) {
          const advice = task.kind === 'commit' ? 'the state in memory is lost: reopen the run' : 'see the cause';
          throw new PogoError('INTERNAL', `a lane failed in ${task.kind}: ${known.message}; ${advice}`, {}, error);
        }
        this.#replaced += 1;
      }
    }
  }

  /** Workers that died and were replaced, so far. */
  get replaced(): number {
    return this.#replaced;
  }

  get progress(): Progress {
    return readProgress(this.#progress);
  }

  /** Identifiers of the workers' threads. */
  get threads(): readonly { readonly threadId: number; terminate(): Promise<number> }[] {
    return this.#pool.threads;
  }

  async dispose(): Promise<void> {
    await this.#pool.destroy();
  }
}
