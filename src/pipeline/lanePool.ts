/**
 * The pool of lanes: piscina workers over shared memory, and workers that drive GPUs.
 *
 * Lanes come in *groups*: those over host memory are one, those of one device another. A task on a session's memory goes to
 * the group that has it; units, losses and hashes go to whichever lane is free.
 *
 * A worker that dies is replaced by piscina and its task is run again where that is safe: units, hashes, weight codes,
 * packing and losses are pure functions of memory that they do not change. The commit pass works in place, so its loss
 * is reported and the owner rebuilds the state from its checkpoint and log. A group whose device is lost takes no more
 * tasks; what it was doing is done by another group.
 */
import { Piscina } from 'piscina';
import type { CpuIsaChoice } from '../backend/cpu.js';
import { cudaError, cudaTable, losesDevice } from '../backend/cuda.js';
import { type CudaAddon, loadCudaAddon } from '../backend/cudaAddon.js';
import { openBackend } from '../backend/open.js';
import { compiledThread } from '../backend/packageRoot.js';
import type { Backend, BackendName, IsaName, LaneKernels, WeightPacking } from '../backend/types.js';
import { PogoError } from '../errors.js';
import type { ModelPlan } from '../model/unit.js';
import type { DeviceSession } from './deviceLane.js';
import { type DevicePlanOptions, deviceNeeds, devicePlan, laneRegions } from './devicePlan.js';
import { allocateProgress, type Progress, readProgress } from './progress.js';
import type { LaneOptions, LaneTask, TaskResults } from './tasks.js';

/** Tries of one task before its failure is reported. */
const MAX_TRIES = 3;

/** Lanes that share one memory. */
export interface LaneGroupOptions {
  readonly backend: BackendName;
  readonly isa: IsaName;
  readonly lanes: number;
  /** Of CUDA lanes: index of their device; 0 by default. */
  readonly device?: number;
  /** Of CUDA lanes: the addon over the device model, for tests. */
  readonly addonFile?: string;
}

export interface LanePoolOptions extends LaneGroupOptions {
  /** Further groups: other devices, or lanes over host memory beside a device. */
  readonly also?: readonly LaneGroupOptions[];
}

type Workers = Piscina<LaneTask, TaskResults[keyof TaskResults] | { error: unknown }>;

interface LaneGroup extends LaneGroupOptions {
  readonly index: number;
  readonly backendOpened: Backend;
  readonly workers: Workers;
  /** False once its device is lost. */
  alive: boolean;
  running: number;
}

const tested = new Map<string, Backend>();

/** A backend that fails its vectors is never used; once a process is enough, since workers load the same files. */
function testOnce({ backend, isa, device, addonFile }: LaneGroupOptions): Backend {
  const name = `${backend}/${isa}/${device ?? 0}/${addonFile ?? ''}`;
  const known = tested.get(name);
  if (known !== undefined) return known;
  const cuda = { ...(device === undefined ? {} : { device }), ...(addonFile === undefined ? {} : { addonFile }) };
  const opened = openBackend(
    backend === 'cpu' ? { backend, isa: isa as CpuIsaChoice } : { backend, isa: 'auto', cuda },
  );
  tested.set(name, opened);
  return opened;
}

/** Lets go of a model on a device when nobody has its session any more. */
const forgotten = new FinalizationRegistry<() => void>((release) => release());

export class LanePool {
  /** Of all groups. */
  readonly lanes: number;
  /** Of the first group. */
  readonly backend: BackendName;
  readonly isa: IsaName;
  /** How the lanes over host memory want their weights; undefined where they have no form of their own. */
  readonly packing: WeightPacking | undefined;
  /** The lanes' kernels in the thread that owns the pool, for work that no lane is free for. */
  readonly kernels: LaneKernels;
  readonly #groups: readonly LaneGroup[];
  readonly #progress = allocateProgress();
  readonly #models = new Set<() => void>();
  #waiting: (() => void)[] = [];
  #replaced = 0;

  /**
   * @throws PogoError ENVIRONMENT, SELF_TEST if a backend is missing here or fails its known-answer vectors; USAGE for two
   *   groups over the same memory
   */
  constructor({ also = [], ...first }: LanePoolOptions) {
    const wanted = [first, ...also];
    const memories = wanted.map(({ backend, device }) => (backend === 'cuda' ? `cuda:${device ?? 0}` : 'host'));
    const twice = memories.find((memory, i) => memories.indexOf(memory) < i);
    if (twice !== undefined) {
      throw new PogoError('USAGE', `expected one group of lanes a memory, found two of ${twice}; give one more lanes`);
    }
    this.#groups = wanted.map((options, index) => ({
      ...options,
      index,
      backendOpened: testOnce(options),
      workers: this.#start(options, index),
      alive: true,
      running: 0,
    }));
    this.kernels = (this.#groups[0] as LaneGroup).backendOpened.kernels;
    this.packing = this.#groups.find(({ backend }) => backend !== 'cuda')?.backendOpened.kernels.packing;
    this.lanes = wanted.reduce((sum, { lanes }) => sum + lanes, 0);
    this.backend = first.backend;
    this.isa = first.isa;
  }

  #start({ backend, isa, lanes, addonFile }: LaneGroupOptions, group: number): Workers {
    const workerData: LaneOptions = {
      backend,
      isa,
      group,
      progress: this.#progress,
      ...(addonFile === undefined ? {} : { addonFile }),
    };
    const workers: Workers = new Piscina({
      filename: compiledThread(new URL('./worker.js', import.meta.url), 'worker', 'pipeline', 'worker.js'),
      minThreads: lanes,
      maxThreads: lanes,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      workerData,
    });
    // A worker's death reaches its task as a rejection; without a listener it would also end the process.
    workers.on('error', () => {
      this.#replaced += 1;
    });
    return workers;
  }

  /** Whether a group's lanes compute in host memory. */
  get hasHostLanes(): boolean {
    return this.#groups.some(({ backend }) => backend !== 'cuda');
  }

  /** Groups of lanes on devices that can still be used, by index. */
  get deviceGroups(): readonly number[] {
    return this.#groups.filter(({ backend, alive }) => backend === 'cuda' && alive).map(({ index }) => index);
  }

  /**
   * Allocates a model's memory on every device of the pool. It is free again when `owner` is, or with the pool.
   *
   * @returns by index of the group
   * @throws PogoError ENVIRONMENT where a device has too little memory, with the bytes that are needed and free
   */
  openModels(owner: object, plan: ModelPlan, options: DevicePlanOptions): (DeviceSession | undefined)[] {
    return this.#groups.map((group) => {
      if (group.backend !== 'cuda' || !group.alive) return undefined;
      const { addon } = loadCudaAddon(group.addonFile);
      if (addon === undefined) return undefined;
      const device = group.device ?? 0;
      const places = devicePlan(plan, options);
      const needs = deviceNeeds(addon, cudaTable(addon), device, plan, places);
      const model = createModel(addon, device, places.sharedBytes, laneRegions(places, needs).bytes, group.lanes);
      const release = (): void => {
        if (this.#models.delete(release)) addon.releaseModel(model);
      };
      this.#models.add(release);
      forgotten.register(owner, release);
      return { model, training: options.training, needs };
    });
  }

  /**
   * Runs a task on the next free lane that can do it.
   *
   * @throws PogoError INTERRUPTED when `signal` aborts; the task's own PogoError; INTERNAL when workers keep dying;
   *   ENVIRONMENT when the only device that could do it is lost
   */
  async run<T extends LaneTask>(task: T, signal?: AbortSignal): Promise<TaskResults[T['kind']]> {
    for (let attempt = 1; ; attempt += 1) {
      if (signal?.aborted) throw interrupted();
      const group = await this.#freeGroup(task, signal);
      try {
        const result = await group.workers.run(task, signal === undefined ? {} : { signal });
        if ('error' in result) throw PogoError.fromJSON(result.error);
        return result as TaskResults[T['kind']];
      } catch (error) {
        if (signal?.aborted) throw interrupted();
        const known = PogoError.fromJSON(error);
        if (losesDevice(known)) {
          group.alive = false;
          if (this.#able(task).length === 0) throw known;
          continue;
        }
        if (known.code !== 'INTERNAL') throw known;
        const inPlace = task.kind === 'commit' || task.kind === 'deviceCommit';
        if (inPlace || attempt >= MAX_TRIES) {
          const advice = inPlace ? 'the state in memory is lost: reopen the run' : 'see the cause';
          throw new PogoError('INTERNAL', `a lane failed in ${task.kind}: ${known.message}; ${advice}`, {}, error);
        }
        this.#replaced += 1;
      } finally {
        group.running -= 1;
        const waiting = this.#waiting;
        this.#waiting = [];
        for (const wake of waiting) wake();
      }
    }
  }

  /** Groups whose lanes can do a task. */
  #able(task: LaneTask): LaneGroup[] {
    const alive = this.#groups.filter((group) => group.alive);
    if ('group' in task) return alive.filter(({ index }) => index === task.group);
    // A session has models only on devices that were there when it began.
    const onDevice = (index: number): boolean =>
      (task.kind === 'unit' || task.kind === 'loss') && task.session.devices[index] !== undefined;
    // Hashing bytes of the host is a processor's work: lanes of devices do it only where there are no others.
    const hashes = task.kind === 'hash' || task.kind === 'inspect';
    const able = alive.filter(({ backend, index }) => backend !== 'cuda' || hashes || onDevice(index));
    const ofHost = able.filter(({ backend }) => backend !== 'cuda');
    return hashes && ofHost.length > 0 ? ofHost : able;
  }

  /** Waits for a lane. Where only one group can do the task its own queue does the waiting. */
  async #freeGroup(task: LaneTask, signal: AbortSignal | undefined): Promise<LaneGroup> {
    for (;;) {
      const able = this.#able(task);
      if (able.length === 0)
        throw new PogoError('ENVIRONMENT', `no lane is left for ${task.kind}: its device was lost`);
      const free = able.length === 1 ? able[0] : able.find(({ running, lanes }) => running < lanes);
      if (free !== undefined) {
        free.running += 1;
        return free;
      }
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
      if (signal?.aborted) throw interrupted();
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
    return this.#groups.flatMap(({ workers }) => workers.threads);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#groups.map(({ workers }) => workers.destroy()));
    for (const release of [...this.#models]) release();
  }
}

function createModel(addon: CudaAddon, device: number, shared: number, lane: number, lanes: number): number {
  try {
    return addon.createModel(device, shared, lane, lanes);
  } catch (error) {
    throw cudaError(error, 'model');
  }
}

function interrupted(): PogoError {
  return new PogoError('INTERRUPTED', 'the work was cancelled; it can be resumed');
}
