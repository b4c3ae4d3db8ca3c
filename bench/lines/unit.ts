/**
 * `unit-replay`: one gradient unit computed again, as a verifier does it, one core. `unit-profile/<operation>`: where
 * its time goes. The ceiling counts the integer products of the tape at the int8 peak of a core. `loss-profile/<operation>`:
 * the same of the loss of one sequence, of which a held-out loss is made; its buffers lie in nearer caches than a unit's.
 */

import { passesOf, passName } from '../../src/model/passes.js';
import { seedState } from '../../src/model/state.js';
import type { Tape } from '../../src/model/tape.js';
import { evaluationTape, trainingTape } from '../../src/model/tapes.js';
import { LossRunner, modelPlan } from '../../src/model/unit.js';
import { unitRequest } from '../benchRecipe.js';
import { copyBandwidth, int8Peak } from '../ceilings.js';
import type { BenchContext, BenchGroup } from '../group.js';
import { type BenchLine, lineOf, measure, median, round } from '../harness.js';
import { requireReferenceStep } from '../stepRunner.js';
import { Trainer } from '../trainer.js';

/** Profiles of a unit, and of the loss of a sequence, which is a fraction of it. */
const UNIT_PROFILES = 5;
const LOSS_PROFILES = 25;

interface Profiled {
  /** Before the name of the pass. */
  readonly prefix: 'unit-profile' | 'loss-profile';
  readonly tape: Tape;
  readonly profiles: number;
  /** Runs the tape once: milliseconds by operation. */
  run(): Map<string, number>;
}

/**
 * Times of the passes of a tape. The ceiling of a pass is the slower of streaming its bytes at copy bandwidth and its
 * integer products at the int8 peak; small models lie in a cache and may stream faster than that.
 */
function* profileLines(context: BenchContext, { prefix, tape, profiles, run }: Profiled): Generator<BenchLine> {
  const { backend, recipe } = context;
  const passes = passesOf(tape, backend.kernels.fused);
  const samples = new Map<string, number[]>(passes.map(({ name }) => [name, []]));
  // Once before: memory is touched for the first time.
  run();
  for (let i = 0; i < (context.quick ? 1 : profiles); i++) {
    const times = new Map<string, number>();
    for (const [name, ms] of run()) {
      times.set(passName(name), (times.get(passName(name)) ?? 0) + ms);
    }
    for (const [name, ms] of times) samples.get(name)?.push(ms);
  }
  const all = [...samples.values()].reduce((sum, ms) => sum + median(ms), 0);
  const copy = copyBandwidth();
  const peak = int8Peak(backend.isa);
  for (const { name, kinds, calls, bytes, operations } of passes) {
    const ms = samples.get(name) ?? [];
    const products = typeof peak === 'string' || operations === 0 ? 0 : operations / peak.value;
    const streaming = bytes / copy.value;
    const seconds = Math.max(median(ms) / 1e3, 1e-9);
    const details: Record<string, string | number> = {
      recipe: recipe.name,
      operation: kinds.join(', '),
      calls,
      [prefix === 'unit-profile' ? 'unitPercent' : 'lossPercent']: round((100 * median(ms)) / all, 3),
      GBs: round(bytes / seconds / 1e9, 4),
      copyPercent: round((100 * streaming) / seconds, 3),
      GOPs: round(operations / seconds / 1e9, 4),
      peakPercent: round((100 * products) / seconds, 3),
    };
    const what = products > streaming ? 'integer products at the int8 peak' : `streaming at ${copy.name}`;
    const ceiling = { name: what, value: Math.max(products, streaming) };
    const unitOfTime = { name: 'ms', perCall: 1 } as const;
    const job = { name: `${prefix}/${name}`, backend: backend.name, isa: backend.isa, unit: unitOfTime };
    yield lineOf({ ...job, bytes, operations, ceiling, details }, ms);
  }
}

export const unit: BenchGroup = {
  names: ['unit-replay', 'unit-profile/', 'loss-profile/'],
  async *lines(context, wanted) {
    const { backend, recipe, quick, signal } = context;
    const plan = modelPlan(recipe);
    await requireReferenceStep(backend, signal);
    const request = unitRequest(recipe);
    const trainer = new Trainer(plan, backend.kernels, seedState(plan).theta);
    const { tape } = trainingTape(recipe, plan.layout, plan.weights);
    const operations = passesOf(tape).reduce((sum, pass) => sum + pass.operations, 0);
    const peak = int8Peak(backend.isa);
    const ceiling =
      typeof peak === 'string'
        ? undefined
        : { name: `integer products at the ${peak.name}`, value: operations / peak.value };
    if (wanted('unit-replay')) {
      yield await measure({
        name: 'unit-replay',
        backend: backend.name,
        isa: backend.isa,
        unit: { name: 'ms', perCall: 1 },
        operations,
        ceiling,
        details: { recipe: recipe.name, tokens: recipe.sequencesPerUnit * recipe.context },
        budgetMs: quick ? 50 : 1500,
        minSamples: quick ? 1 : 5,
        run: () => trainer.runner.compute(request),
        result: () => trainer.runner.file,
      });
    }
    if (wanted('unit-profile/')) {
      const run = () => trainer.runner.profile(request, () => performance.now());
      yield* profileLines(context, { prefix: 'unit-profile', tape, profiles: UNIT_PROFILES, run });
    }
    if (wanted('loss-profile/')) {
      const { model, weights } = plan;
      const runner = new LossRunner(plan, backend.kernels, trainer.weights, 1);
      const sequence = request.tokens.subarray(0, recipe.context + 1);
      const run = () => runner.profile(sequence, () => performance.now());
      const lossTape = evaluationTape(recipe, model, weights, 1).tape;
      yield* profileLines(context, { prefix: 'loss-profile', tape: lossTape, profiles: LOSS_PROFILES, run });
    }
  },
};
