/**
 * `step`: from tokens to the state root by all lanes (units, commit pass, integer weights, BLAKE3 of θ, m, v and EMA),
 * tokens a second, in turn with PyTorch's step of the same model on as many threads, in every mode.
 * `pipeline/scaling`: the same with 1 … n lanes, against n times one lane.
 */

import { leastRoundPercent } from '../../src/cost/resultLines.js';
import { toHex } from '../../src/hex.js';
import { unitFileBytes } from '../../src/model/layout.js';
import { laneBytes } from '../../src/model/tape.js';
import { trainingTape } from '../../src/model/tapes.js';
import { type ModelPlan, modelPlan } from '../../src/model/unit.js';
import { stepTokens } from '../benchRecipe.js';
import { type BenchContext, type BenchGroup, type GroupOutput, skipped } from '../group.js';
import { type BenchLine, type Job, lineOf, median, type PeerResult, requireSameBytes, round } from '../harness.js';
import { bestOf, interleave, type PeerProcess, ROUNDS } from '../interleave.js';
import { startLlmC, startTorch, targetKind, torchModes } from '../peers.js';
import { type LaneShares, requireReferenceStep, StepRunner } from '../stepRunner.js';

const MIB = 2 ** 20;
/** Fewest steps of a round; most beside a peer, which takes as many and is slower; most of ours alone. */
const MIN_STEPS = 1;
const MAX_STEPS = 8;
const MAX_STEPS_ALONE = 64;
/** Rounds of ours without a peer: with peers there are as many for each of them. */
const ROUNDS_ALONE = 5;

/** What the memory target allows, bytes: 20 a parameter, the lanes' activations, 0.6 a parameter and unit in flight. */
function memoryBudget(plan: ModelPlan, lanes: number): number {
  const n = plan.layout.length;
  const activations = laneBytes(trainingTape(plan.recipe, plan.layout, plan.weights).tape);
  return 1.3 * (20 * n + lanes * activations + 0.6 * n * (plan.recipe.unitsPerStep + lanes));
}

const percent = (share: number): number => round(100 * share, 3);

/** Where the lanes' time went, in percent of all lanes. */
function shareDetails(runner: StepRunner): Record<string, number> {
  const { leastRound, pool, tasksPerStep, emptyTaskUs, ...all } = runner.shares();
  const percents = ({ byKind, idle }: LaneShares, name: (kind: string) => string): Record<string, number> =>
    Object.fromEntries(Object.entries({ ...byKind, idle }).map(([kind, share]) => [name(kind), percent(share)]));
  return {
    ...percents(all, (kind) => `${kind}Percent`),
    leastRoundMs: round(leastRound.stepMs, 5),
    ...percents(leastRound, leastRoundPercent),
    poolPercent: percent(pool),
    tasksPerStep: round(tasksPerStep, 4),
    emptyTaskUs: round(emptyTaskUs, 3),
  };
}

function stepJob(context: BenchContext, plan: ModelPlan, name: string, runner: StepRunner): Omit<Job, 'run'> {
  const { backend, recipe } = context;
  const { lanes } = runner;
  return {
    name,
    backend: backend.name,
    isa: backend.isa,
    unit: { name: 'tokens/s', perCall: stepTokens(recipe) },
    peakBytes: runner.peakBytes,
    details: {
      recipe: recipe.name,
      lanes,
      tokensPerStep: stepTokens(recipe),
      stateRoot: toHex(runner.root),
      unitBytes: unitFileBytes(plan.layout).total,
      packingInside: true,
      addedMiB: Math.round((runner.peakBytes - runner.idleBytes) / MIB),
      budgetMiB: Math.round(memoryBudget(plan, lanes) / MIB),
      ...shareDetails(runner),
    },
  };
}

/** Steps of a round: about two seconds, so that a round is long beside what disturbs it. */
async function stepsOfRound(context: BenchContext, runner: StepRunner, most: number): Promise<number> {
  if (context.quick) return MIN_STEPS;
  const [ms] = await runner.round(1);
  return Math.max(MIN_STEPS, Math.min(most, Math.round(2000 / ms)));
}

interface StepPeer {
  readonly name: string;
  readonly kind: string;
  readonly start: () => Promise<PeerProcess | string>;
}

/** PyTorch in every mode that is asked for, then llm.c where a checkout is named. */
function peersOf(context: BenchContext): StepPeer[] {
  const { backend, recipe, lanes, quick, benchFolder, signal, seconds } = context;
  const options = { benchFolder, recipe, threads: lanes, seconds, quick, signal };
  const torch = torchModes(backend.isa, context.peerModes).map((mode) => ({
    name: `pytorch ${mode.name}`,
    kind: mode.kind,
    start: () => startTorch({ ...options, mode }),
  }));
  return [...torch, { name: 'llm.c', kind: 'llm.c', start: () => startLlmC(options) }];
}

async function* stepLines(context: BenchContext, plan: ModelPlan): AsyncGenerator<GroupOutput> {
  const { backend, recipe, lanes, signal } = context;
  const runner = await StepRunner.open(backend, plan, lanes, signal);
  try {
    const count = await stepsOfRound(context, runner, context.peers ? MAX_STEPS : MAX_STEPS_ALONE);
    const samples: number[] = [];
    const peers: PeerResult[] = [];
    if (!context.peers) yield skipped('step/pytorch', 'not asked for (--no-peers)');
    for (const { name, kind, start } of context.peers ? peersOf(context) : []) {
      const peer = await start();
      if (typeof peer === 'string') {
        yield skipped(`step/${name}`, peer);
        continue;
      }
      try {
        const unit = { name: 'tokens/s', perCall: stepTokens(recipe) } as const;
        const both = await interleave(peer, kind, unit, () => runner.round(count), count);
        peers.push(both.peer);
        samples.push(...both.oursMs);
      } finally {
        await peer.close();
      }
    }
    while (samples.length < (context.quick ? ROUNDS : ROUNDS_ALONE) * count)
      samples.push(...(await runner.round(count)));
    const best = bestOf(peers, [targetKind(backend.isa)]) ?? bestOf(peers, ['fp32', 'bf16']);
    const job = stepJob(context, plan, 'step', runner);
    const line = lineOf({ ...job, peers }, samples, runner.root);
    // Against the rounds that ran in turn with this peer, not against the median of all.
    yield best === undefined ? line : { ...line, peer: best.name, peerValue: best.value, peerRatio: best.ratio };
  } finally {
    await runner.dispose();
  }
}

/** Rounds of several runners in turn. @returns all samples of each, milliseconds of a step */
async function rounds(runners: readonly StepRunner[], count: number): Promise<number[][]> {
  const samples: number[][] = runners.map(() => []);
  for (let i = 0; i < ROUNDS; i++) {
    for (const [index, runner] of runners.entries()) samples[index].push(...(await runner.round(count)));
  }
  return samples;
}

/** One line: all lanes against that many times one lane, in turn; the counts between follow, each alone. */
async function scaling(context: BenchContext, plan: ModelPlan): Promise<BenchLine> {
  const { backend, recipe, signal, lanes } = context;
  const open = (count: number): Promise<StepRunner> => StepRunner.open(backend, plan, count, signal);
  const speed = (ms: readonly number[]): number => (1e3 * stepTokens(recipe)) / median(ms);
  const one = await open(1);
  const all = lanes === 1 ? one : await open(lanes);
  const speeds: Record<string, number> = {};
  try {
    requireSameBytes(`state root of ${lanes} lanes`, all.root, one.root);
    const count = await stepsOfRound(context, one, MAX_STEPS_ALONE);
    const samples = await rounds(all === one ? [one] : [one, all], count);
    const [first] = samples;
    const last = samples[samples.length - 1];
    speeds['tokensPerSecond1'] = Math.round(speed(first));
    for (let between = 2; between < lanes; between++) {
      const runner = await open(between);
      const [ms] = await rounds([runner], count).finally(() => runner.dispose());
      speeds[`tokensPerSecond${between}`] = Math.round(speed(ms));
    }
    speeds[`tokensPerSecond${lanes}`] = Math.round(speed(last));
    // Two models lie in memory together: the mark is no one's own.
    const { peakBytes: _, ...job } = stepJob(context, plan, 'pipeline/scaling', all);
    const timesOneLane = round(speed(last) / speed(first), 4);
    const ceiling = { name: `${lanes} times one lane`, value: lanes * speed(first) };
    return lineOf({ ...job, details: { ...job.details, ...speeds, timesOneLane }, ceiling }, last, all.root);
  } finally {
    await one.dispose();
    await all.dispose();
  }
}

export const step: BenchGroup = {
  names: ['step', 'pipeline/scaling'],
  async *lines(context, wanted) {
    const plan = modelPlan(context.recipe);
    await requireReferenceStep(context.backend, context.signal);
    if (wanted('step')) yield* stepLines(context, plan);
    if (wanted('pipeline/scaling')) yield await scaling(context, plan);
  },
};
