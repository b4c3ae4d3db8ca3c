import { describe, expect, test } from 'vitest';
import { benchRecipe } from '../../../bench/benchRecipe.js';
import { openCpuBackend } from '../../../src/backend/cpu.js';
import { loadCpuAddon } from '../../../src/backend/cpuAddon.js';
import { FUSION_NAMES, type FusedKernels } from '../../../src/backend/fusions.js';
import { tapeSteps } from '../../../src/model/fusedTape.js';
import { passesOf } from '../../../src/model/passes.js';
import { seedState } from '../../../src/model/state.js';
import { trainingTape } from '../../../src/model/tapes.js';
import { allocateWeights, modelPlan, quantizeWeights, UnitRunner } from '../../../src/model/unit.js';
import { backwardPlaces, forwardPlaces, gradientPlaces } from '../../../src/model/unitPlaces.js';

const ALL = Object.fromEntries(FUSION_NAMES.map((name) => [name, () => undefined])) as FusedKernels;

function tapeOf(name: string, microBatches = 1) {
  const plan = modelPlan(benchRecipe(name));
  return trainingTape(plan.recipe, plan.layout, plan.weights, microBatches).tape;
}

describe('steps of a tape', () => {
  test.each(['tiny', 'moby', 'gpt-5m', 'gpt2-124m', 'gemma-tiny'])('%s: every entry runs once', (name) => {
    const tape = tapeOf(name);
    const entries = tapeSteps(tape, ALL).flatMap((step) => step.entries);
    expect(entries.sort((a, b) => a - b)).toEqual(tape.entries.map((_, i) => i));
  });

  test('without fusions every step is one entry', () => {
    const tape = tapeOf('tiny');
    expect(tapeSteps(tape)).toEqual(tape.entries.map((_, i) => ({ entries: [i] })));
  });

  test('every weight but the tied table goes straight to 4 bits, and none that goes on from a micro-batch', () => {
    const fused = (microBatches: number) =>
      tapeSteps(tapeOf('gpt-5m', microBatches), { weightGradient4: () => undefined })
        .filter(({ fusion }) => fusion !== undefined)
        .map(({ entries }) => entries.length);
    expect(fused(1)).toEqual(Array.from({ length: 4 * 6 }, () => 2));
    expect(fused(2)).toEqual([]);
  });

  test('attention leaves row codes in both directions', () => {
    const { attentionForwardRows, attentionBackwardRows } = ALL;
    const fused = tapeSteps(tapeOf('gpt-5m'), {
      ...(attentionForwardRows && { attentionForwardRows }),
      ...(attentionBackwardRows && { attentionBackwardRows }),
    }).filter(({ fusion }) => fusion !== undefined);
    expect(fused.length).toBe(2 * 6);
  });

  test('a tensor that stays inside a step is not counted as moved', () => {
    const { recipe, layout, weights } = modelPlan(benchRecipe('gpt-5m'));
    const { tape } = trainingTape(recipe, layout, weights);
    const bytes = (fused: FusedKernels) => passesOf(tape, fused).reduce((sum, pass) => sum + pass.bytes, 0);
    const matrices = layout.tensors.filter(({ kind }) => kind === 'matrix').reduce((sum, { size }) => sum + size, 0);
    expect(bytes({}) - bytes({ weightGradient4: () => undefined })).toBe(2 * 4 * matrices);
  });
});

describe.skipIf(loadCpuAddon().addon === undefined)('a unit', () => {
  test.each(['tiny', 'gemma-tiny'])('%s: has the same bits with and without fusions, and whoever looks', (name) => {
    const { kernels } = openCpuBackend();
    const plan = modelPlan(benchRecipe(name));
    const { recipe, layout } = plan;
    const shared = allocateWeights(plan, seedState(plan).theta, kernels.packing);
    quantizeWeights(plan, kernels, shared);
    const tokens = Uint32Array.from(
      { length: recipe.sequencesPerUnit * (recipe.context + 1) },
      (_, i) => (i * 37) % recipe.vocab,
    );
    const request = { draw1: new Uint8Array(32).fill(3), step: 0, unit: 0, tokens };
    const places = [...forwardPlaces(recipe), ...backwardPlaces(recipe), ...gradientPlaces(layout)].map((range) => ({
      ...range,
      row: range.rows - 1,
    }));
    const { fused: _, ...plain } = kernels;
    const outcomes = [plain, kernels].flatMap((these) =>
      [[], places].map((looked) => {
        const runner = new UnitRunner(plan, these, shared);
        const loss = runner.compute(request, looked);
        return { loss, file: runner.file.slice(), observed: runner.observed };
      }),
    );
    const [unseen, seen, fusedUnseen, fusedSeen] = outcomes;
    expect(seen?.observed.length).toBeGreaterThan(places.length);
    expect(fusedUnseen).toEqual(unseen);
    expect(fusedSeen).toEqual(seen);
    expect(fusedSeen?.file).toEqual(unseen?.file);
  });
});
