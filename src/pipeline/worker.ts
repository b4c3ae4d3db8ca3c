/**
 * A lane: the piscina worker. It runs one task at a time with synchronous kernels on shared memory.
 */
import { workerData } from 'node:worker_threads';
import type { CpuIsaChoice } from '../backend/cpu.js';
import { merkleKernels } from '../backend/merkleAddon.js';
import { openBackend } from '../backend/open.js';
import { PogoError } from '../errors.js';
import { decodeRecipe } from '../model/recipe.js';
import { commitLeafRange, packModel } from '../model/state.js';
import { LossRunner, type ModelPlan, modelPlan, quantizeWeights, UnitRunner, unitTokens } from '../model/unit.js';
import { countTask, countUnit } from './progress.js';
import type { LaneOptions, LaneTask, LossTask, Session, UnitResult, UnitTask } from './tasks.js';

/** Sessions a worker keeps bound; a run has one for training and one or two for evaluation. */
const KEPT_SESSIONS = 4;

interface BoundSession {
  readonly plan: ModelPlan;
  readonly session: Session;
  unitRunner?: UnitRunner;
  lossRunner?: LossRunner;
}

// Piscina hands the pool's workerData on as the second half of its own.
const options = (Array.isArray(workerData) ? workerData[1] : workerData) as LaneOptions;
const { backend, isa } = options;
// The pool ran the known-answer vectors in this process before it started its first worker.
const tested = { backend, selfTest: 'none' } as const;
const { kernels } = openBackend(
  backend === 'cpu' ? { ...tested, isa: isa as CpuIsaChoice } : { ...tested, isa: 'auto' },
);
const merkle = merkleKernels();
const sessions = new Map<string, BoundSession>();

function bind(session: Session): BoundSession {
  const known = sessions.get(session.id);
  if (known !== undefined) return known;
  if (sessions.size >= KEPT_SESSIONS) sessions.delete(sessions.keys().next().value as string);
  const bound = { plan: modelPlan(decodeRecipe(session.recipe)), session };
  sessions.set(session.id, bound);
  return bound;
}

/** Errors return as data: structured clone would strip a PogoError of its code. */
export default async function lane(task: LaneTask): Promise<UnitResult | { ms: number } | { error: unknown }> {
  try {
    return run(task);
  } catch (error) {
    return { error: PogoError.from(error).toJSON() };
  }
}

function run(task: LaneTask): UnitResult | { ms: number } {
  const start = performance.now();
  const done = <R extends object>(result: R): R & { ms: number } => {
    const ms = performance.now() - start;
    countTask(options.progress, ms);
    return { ...result, ms };
  };
  switch (task.kind) {
    case 'unit':
      return done(runUnit(task));
    case 'commit': {
      const { plan } = bind(task.session);
      const state = task.session.state as NonNullable<Session['state']>;
      commitLeafRange(plan, kernels, state, task.before, task.units, task.fromLeaf, task.toLeaf);
      return done({});
    }
    case 'weights':
      quantizeWeights(bind(task.session).plan, kernels, task.session.weights, task.places);
      return done({});
    case 'hash':
      merkle.hashRange(task.bytes, task.tree, task.nodes, task.first, 0, task.groupLog ?? 0);
      return done({});
    case 'pack':
      packModel(bind(task.session).plan, kernels, task.vector, task.file, task.tensors);
      return done({});
    case 'loss':
      runLoss(task);
      return done({});
  }

  function runUnit(unit: UnitTask): Omit<UnitResult, 'ms'> {
    const bound = bind(unit.session);
    bound.unitRunner ??= new UnitRunner(bound.plan, kernels, bound.session.weights, bound.session.microBatches);
    const lossBits = bound.unitRunner.compute(unit, unit.places);
    unit.file.set(bound.unitRunner.file);
    const root = new Uint8Array(32);
    merkle.hash(unit.file, root);
    countUnit(options.progress, unitTokens(bound.plan.recipe));
    return { lossBits, root, observed: bound.unitRunner.observed };
  }

  function runLoss(loss: LossTask): void {
    const bound = bind(loss.session);
    bound.lossRunner ??= new LossRunner(bound.plan, kernels, bound.session.weights, 1);
    loss.losses.set(bound.lossRunner.losses(loss.sequences));
  }
}
