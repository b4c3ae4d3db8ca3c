/**
 * `unit-replay`: one gradient unit computed again, as a verifier does it, one core. `unit-profile/<operation>`: where
 * its time goes. The ceiling counts the integer products of the tape at the int8 peak of a core.
 */

import { seedState } from '../../src/model/state.js';
import { type ModelPlan, modelPlan, type UnitRequest } from '../../src/model/unit.js';
import { unitRequest } from '../benchRecipe.js';
import { int8Peak } from '../ceilings.js';
import type { BenchContext, BenchGroup } from '../group.js';
import { type BenchLine, lineOf, measure } from '../harness.js';
import { requireReferenceStep } from '../stepRunner.js';
import { Trainer } from '../trainer.js';

/**
 * Integer operations (a multiplication or an addition each) of one unit: three GEMMs a weight and token, and seven
 * products of the causal attention (two forward, five backward: scores twice, dP, dV, dK, dQ share the first).
 */
export function unitOperations(plan: ModelPlan): number {
  const { recipe, layout } = plan;
  const tokens = recipe.sequencesPerUnit * recipe.context;
  const weights = layout.tensors.filter((t) => t.kind === 'matrix' || t.name === 'wte');
  const perToken = 3 * 2 * weights.reduce((sum, t) => sum + t.size, 0);
  // A causal row of 64-blocks reads (context + 64)/2 keys on average; each product is 2·width operations a key.
  const attention = (7 * 2 * recipe.width * (recipe.context + 64)) / 2;
  return tokens * (perToken + recipe.layers * attention);
}

function* profileLines(context: BenchContext, trainer: Trainer, request: UnitRequest): Generator<BenchLine> {
  const rounds = context.quick ? 1 : 5;
  const totals = new Map<string, number[]>();
  for (let i = 0; i < rounds; i++) {
    const times = trainer.runner.profile(request, () => performance.now());
    const byKind = new Map<string, number>();
    for (const [name, ms] of times) {
      const kind = name.replace(/^h\d+\./, '');
      byKind.set(kind, (byKind.get(kind) ?? 0) + ms);
    }
    for (const [kind, ms] of byKind) totals.set(kind, [...(totals.get(kind) ?? []), ms]);
  }
  for (const [kind, samples] of totals) {
    const name = `unit-profile/${kind}`;
    const { backend } = context;
    yield lineOf({ name, backend: backend.name, isa: backend.isa, unit: { name: 'ms', perCall: 1 } }, samples);
  }
}

export const unit: BenchGroup = {
  names: ['unit-replay', 'unit-profile/'],
  async *lines(context, wanted) {
    const { backend, recipe, quick, signal } = context;
    const plan = modelPlan(recipe);
    await requireReferenceStep(backend, signal);
    const request = unitRequest(recipe);
    const trainer = new Trainer(plan, backend.kernels, seedState(plan).theta);
    const operations = unitOperations(plan);
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
    if (wanted('unit-profile/')) yield* profileLines(context, trainer, request);
  },
};
