/**
 * A lane: the piscina worker. It runs one task at a time, synchronously: with kernels on shared memory, or with tapes on its
 * group's device.
 */
import { workerData } from 'node:worker_threads';
import type { CpuIsaChoice } from '../backend/cpu.js';
import { cudaTable } from '../backend/cuda.js';
import { loadCudaAddon } from '../backend/cudaAddon.js';
import { merkleKernels } from '../backend/merkleAddon.js';
import { openBackend } from '../backend/open.js';
import type { LaneKernels } from '../backend/types.js';
import { invariant, PogoError } from '../errors.js';
import { LEAF_BYTES } from '../merkle/shape.js';
import { decodeRecipe } from '../model/recipe.js';
import { commitLeafRange, packModel } from '../model/state.js';
import {
  LossRunner,
  type ModelPlan,
  modelPlan,
  quantizeWeights,
  type SharedWeights,
  UnitRunner,
  unitTokens,
} from '../model/unit.js';
import { canonicalUnitFault } from '../protocol/unitBytes.js';
import { DeviceLane, type DeviceSession } from './deviceLane.js';
import { countTask, countUnit } from './progress.js';
import type {
  HashPart,
  HashTask,
  LaneOptions,
  LaneTask,
  LossTask,
  Session,
  TaskResults,
  UnitResult,
  UnitTask,
} from './tasks.js';

/** Sessions a worker keeps bound; a run has one for training and one or two for evaluation. */
const KEPT_SESSIONS = 4;

interface BoundSession {
  readonly plan: ModelPlan;
  readonly session: Session;
  unitRunner?: UnitRunner;
  lossRunner?: LossRunner;
  deviceLane?: DeviceLane;
}

type Result = TaskResults[keyof TaskResults];

// Piscina hands the pool's workerData on as the second half of its own.
const options = (Array.isArray(workerData) ? workerData[1] : workerData) as LaneOptions;
const { backend, isa } = options;
const device = backend === 'cuda' ? openDevice() : undefined;
const kernels = device === undefined ? openKernels() : undefined;
const merkle = merkleKernels();
const sessions = new Map<string, BoundSession>();

/** The pool ran the known-answer vectors in this process before it started its first worker. */
function openKernels(): LaneKernels {
  const tested = { backend, selfTest: 'none' } as const;
  return openBackend(backend === 'cpu' ? { ...tested, isa: isa as CpuIsaChoice } : { ...tested, isa: 'auto' }).kernels;
}

function openDevice(): { addon: ConstructorParameters<typeof DeviceLane>[0]; table: ReturnType<typeof cudaTable> } {
  const loaded = loadCudaAddon(options.addonFile);
  if (loaded.addon === undefined) throw new PogoError('ENVIRONMENT', `${loaded.reason}; ${loaded.fix}`);
  return { addon: loaded.addon, table: cudaTable(loaded.addon) };
}

function bind(session: Session): BoundSession {
  const known = sessions.get(session.id);
  if (known !== undefined) return known;
  if (sessions.size >= KEPT_SESSIONS) {
    const [oldest, bound] = sessions.entries().next().value as [string, BoundSession];
    sessions.delete(oldest);
    bound.deviceLane?.dispose();
  }
  const bound = { plan: modelPlan(decodeRecipe(session.recipe)), session };
  sessions.set(session.id, bound);
  return bound;
}

function host({ session }: BoundSession): { kernels: LaneKernels; weights: SharedWeights } {
  invariant(kernels !== undefined && session.weights !== undefined, 'a task on host memory came to a lane of a device');
  return { kernels, weights: session.weights };
}

function onDevice(bound: BoundSession): DeviceLane {
  const model = bound.session.devices[options.group] as DeviceSession;
  invariant(device !== undefined && model !== undefined, 'a task on a device came to a lane without one');
  const { addon, table } = device;
  bound.deviceLane ??= new DeviceLane(addon, table, bound.plan, bound.session.microBatches, model);
  return bound.deviceLane;
}

/** Errors return as data: structured clone would strip a PogoError of its code. */
export default async function lane(task: LaneTask): Promise<Result | { error: unknown }> {
  try {
    return run(task);
  } catch (error) {
    return { error: PogoError.from(error).toJSON() };
  }
}

function run(task: LaneTask): Result {
  const start = performance.now();
  const done = <R extends object>(result: R): R & { ms: number } => {
    const ms = performance.now() - start;
    countTask(options.progress, ms);
    return { ...result, ms };
  };
  if (task.kind === 'hash') {
    for (const part of task.parts) hashPart(part, task);
    return done({});
  }
  const bound = bind(task.session);
  switch (task.kind) {
    case 'unit':
      return done(runUnit(bound, task));
    case 'commit': {
      const state = task.session.state as NonNullable<Session['state']>;
      commitLeafRange(bound.plan, host(bound).kernels, state, task.before, task.units, task.fromLeaf, task.toLeaf);
      return done({});
    }
    case 'inspect': {
      const root = new Uint8Array(32);
      merkle.hash(task.file, root);
      return done({ root, fault: canonicalUnitFault(bound.plan.layout, task.file) });
    }
    case 'weights':
      quantizeWeights(bound.plan, host(bound).kernels, host(bound).weights, task.places);
      return done({});
    case 'pack':
      packModel(bound.plan, host(bound).kernels, task.vector, task.file, task.tensors);
      return done({});
    case 'loss':
      runLoss(bound, task);
      return done({});
    case 'deviceLoad':
      onDevice(bound).load(task.vectors, task.frozen);
      return done({});
    case 'deviceFetch':
      onDevice(bound).fetch(task.vectors);
      return done({});
    case 'deviceTrees':
      onDevice(bound).fetchTrees(task.trees);
      return done({});
    case 'deviceCommit':
      onDevice(bound).commit(task.before, task.units);
      return done({});
    case 'deviceRoots':
      return done({ roots: onDevice(bound).roots(task.names) });
    case 'devicePack':
      onDevice(bound).pack(task.file);
      return done({});
  }
}

function hashPart({ bytes, tree, nodes, first, end }: HashPart, { spanLog, groupLog }: HashTask): void {
  const nodeBytes = LEAF_BYTES * 2 ** groupLog;
  for (let at = first; at < end; at += 2 ** spanLog) {
    const to = Math.min(end, at + 2 ** spanLog);
    merkle.hashRange(bytes.subarray(at * nodeBytes, to * nodeBytes), tree, nodes, at, 0, groupLog);
  }
}

function runUnit(bound: BoundSession, unit: UnitTask): Omit<UnitResult, 'ms'> {
  const { group } = options;
  if (device !== undefined) {
    const result = onDevice(bound).computeUnit(unit, unit.file, unit.places);
    countUnit(options.progress, unitTokens(bound.plan.recipe));
    return { ...result, group };
  }
  const { weights, kernels: own } = host(bound);
  bound.unitRunner ??= new UnitRunner(bound.plan, own, weights, bound.session.microBatches);
  const lossBits = bound.unitRunner.compute(unit, unit.places);
  unit.file.set(bound.unitRunner.file);
  const root = new Uint8Array(32);
  merkle.hash(unit.file, root);
  countUnit(options.progress, unitTokens(bound.plan.recipe));
  return { lossBits, root, observed: bound.unitRunner.observed, group };
}

function runLoss(bound: BoundSession, loss: LossTask): void {
  if (device !== undefined) {
    onDevice(bound).losses(loss.sequences, loss.losses);
    return;
  }
  bound.lossRunner ??= new LossRunner(bound.plan, host(bound).kernels, host(bound).weights, 1);
  loss.losses.set(bound.lossRunner.losses(loss.sequences));
}
