/**
 * `step`: from tokens to the state root by all lanes (units, commit pass, integer weights, BLAKE3 of θ, m, v and EMA),
 * tokens a second, against PyTorch's step of the same model on the same cores.
 * `pipeline/scaling`: the same with 1 … n lanes, against n times one lane.
 */

import { merkleKernels } from '../../src/backend/merkleAddon.js';
import { toHex } from '../../src/hex.js';
import { treeBytes } from '../../src/merkle/shape.js';
import { trainingTape } from '../../src/model/gptTape.js';
import { unitFileBytes } from '../../src/model/layout.js';
import { seedState } from '../../src/model/state.js';
import { laneBytes } from '../../src/model/tape.js';
import { type ModelPlan, modelPlan } from '../../src/model/unit.js';
import { LanePool } from '../../src/pipeline/lanePool.js';
import { Trainer } from '../../src/pipeline/trainer.js';
import { type BenchContext, type BenchGroup, type GroupOutput, skipped } from '../group.js';
import { type BenchLine, lineOf, median, shared } from '../harness.js';
import { type TorchResult, torchStep } from '../peers.js';
import { unitRequest } from './unit.js';

const WARM_UP_STEPS = 2;

interface Steps {
  readonly samples: readonly number[];
  readonly root: Uint8Array;
  /** Resident memory beyond that of the process with its idle lanes. */
  readonly addedBytes: number;
}

/** Runs whole steps of a recipe from its start state; the state root after a fixed number of them names the work. */
async function timeSteps(context: BenchContext, plan: ModelPlan, lanes: number, count: number): Promise<Steps> {
  const { backend, recipe, signal } = context;
  const pool = new LanePool({ backend: backend.name, isa: backend.isa, lanes });
  try {
    const idle = await idleBytes(pool);
    let peak = idle;
    const trainer = new Trainer(plan, pool, merkleKernels(), seedState(plan), undefined, { signal });
    await trainer.prepare();
    const requests = Array.from({ length: recipe.unitsPerStep }, (_, unit) => ({ ...unitRequest(recipe), unit }));
    const samples: number[] = [];
    let header = trainer.stateRoot();
    for (let i = 0; i < WARM_UP_STEPS + count; i++) {
      const start = performance.now();
      // The hashing of the state before runs beside the units, as it does in the miner.
      const units = await Promise.all(requests.map((request) => trainer.computeUnit(request)));
      await header;
      await trainer.commit(units.map((unit) => unit.file));
      header = trainer.stateRoot();
      if (i >= WARM_UP_STEPS) samples.push(performance.now() - start);
      peak = Math.max(peak, process.memoryUsage.rss());
    }
    // The last root is not hidden behind a next step: its time counts once.
    const start = performance.now();
    const root = await header;
    samples[samples.length - 1] += performance.now() - start;
    return { samples, root, addedBytes: peak - idle };
  } finally {
    await pool.dispose();
  }
}

/** Resident memory once every lane runs and has loaded its kernels: Node's own, which no model pays for. */
async function idleBytes(pool: LanePool): Promise<number> {
  const bytes = shared.u8(1024);
  const tree = shared.u8(treeBytes(bytes.length));
  await Promise.all(
    Array.from({ length: 4 * pool.lanes }, () => pool.run({ kind: 'hash', bytes, tree, nodes: 1, first: 0 })),
  );
  return process.memoryUsage.rss();
}

/** What the memory target allows, bytes: 20 a parameter, the lanes' activations, 0.6 a parameter and unit in flight. */
function memoryBudget(plan: ModelPlan, lanes: number): number {
  const n = plan.layout.length;
  const activations = laneBytes(trainingTape(plan.recipe, plan.layout, plan.weights).tape);
  return 1.3 * (20 * n + lanes * activations + 0.6 * n * (plan.recipe.unitsPerStep + lanes));
}

function stepLine(context: BenchContext, plan: ModelPlan, name: string, lanes: number, steps: Steps) {
  const { backend, recipe } = context;
  const tokens = recipe.unitsPerStep * recipe.sequencesPerUnit * recipe.context;
  return {
    name,
    backend: backend.name,
    isa: backend.isa,
    unit: { name: 'tokens/s', perCall: tokens } as const,
    details: {
      recipe: recipe.name,
      lanes,
      tokensPerStep: tokens,
      stateRoot: toHex(steps.root),
      unitBytes: unitFileBytes(plan.layout).total,
      addedMiB: Math.round(steps.addedBytes / 2 ** 20),
      budgetMiB: Math.round(memoryBudget(plan, lanes) / 2 ** 20),
    },
  };
}

/** Rounds of ours and PyTorch's in turn: what else the machine does falls on both. */
const ROUNDS = 3;

/** PyTorch in the mode that the target names for this instruction set, on as many threads as lanes. */
function peerStep(context: BenchContext): Promise<TorchResult | string> {
  const { backend, recipe, lanes, quick, benchFolder, signal } = context;
  if (!context.peers) return Promise.resolve('not asked for (--no-peers)');
  const avx2 = backend.isa === 'avx2' || backend.isa === 'scalar' || backend.isa === 'typescript';
  return torchStep({ benchFolder, recipe, threads: lanes, mode: 'fp32', avx2, quick, signal });
}

/** `step`, in rounds; every round's medians are in the details, so that a disturbed run can be seen. */
async function* stepLines(context: BenchContext, plan: ModelPlan, count: number): AsyncGenerator<GroupOutput> {
  const { recipe, lanes } = context;
  const tokens = recipe.unitsPerStep * recipe.sequencesPerUnit * recipe.context;
  const ours: Steps[] = [];
  const peers: TorchResult[] = [];
  let missing: string | undefined;
  while (ours.length < ROUNDS && missing === undefined) {
    ours.push(await timeSteps(context, plan, lanes, count));
    const peer = await peerStep(context);
    if (typeof peer === 'string') missing = peer;
    else peers.push(peer);
  }
  if (missing !== undefined) yield skipped('step/pytorch', missing);
  const [first] = ours;
  const addedBytes = Math.max(...ours.map((steps) => steps.addedBytes));
  const line = stepLine(context, plan, 'step', lanes, { ...first, addedBytes });
  const samples = ours.flatMap((steps) => steps.samples);
  if (peers.length === 0) {
    yield lineOf(line, samples, first.root);
    return;
  }
  const perRound = (lists: readonly (readonly number[])[]): string =>
    lists.map((ms) => median(ms).toFixed(0)).join('/');
  const peer = { name: peers[0].name, value: (1e3 * tokens) / median(peers.flatMap((result) => result.samplesMs)) };
  const rounds = {
    roundsMs: perRound(ours.map((steps) => steps.samples)),
    peerRoundsMs: perRound(peers.map((result) => result.samplesMs)),
  };
  yield lineOf({ ...line, peer, details: { ...line.details, ...rounds } }, samples, first.root);
}

/** One line: all lanes together against that many times one lane; every count between is in the details. */
async function scaling(context: BenchContext, plan: ModelPlan, count: number): Promise<BenchLine> {
  const { recipe } = context;
  const tokens = recipe.unitsPerStep * recipe.sequencesPerUnit * recipe.context;
  const speeds: Record<string, number> = {};
  for (let lanes = 1; ; lanes++) {
    const steps = await timeSteps(context, plan, lanes, count);
    const speed = tokens / (median(steps.samples) / 1e3);
    speeds[`tokensPerSecond${lanes}`] = Math.round(speed);
    if (lanes < context.lanes) continue;
    const line = stepLine(context, plan, 'pipeline/scaling', lanes, steps);
    const ceiling = { name: `${lanes} times one lane`, value: lanes * speeds['tokensPerSecond1'] };
    return lineOf({ ...line, details: { ...line.details, ...speeds }, ceiling }, steps.samples, steps.root);
  }
}

export const step: BenchGroup = {
  names: ['step', 'pipeline/scaling'],
  async *lines(context, wanted) {
    const { recipe, quick } = context;
    const plan = modelPlan(recipe);
    const count = quick ? 2 : 8;
    if (wanted('step')) yield* stepLines(context, plan, count);
    if (wanted('pipeline/scaling')) yield await scaling(context, plan, count);
  },
};
