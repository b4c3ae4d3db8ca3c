/**
 * Units that train adapters: they start as the frozen model, their gradients are those of a foreign computation, and every
 * set of kernels, order of micro-batches and choice of targets gives one file.
 */
import { describe, expect, it } from 'vitest';
import { openBackend } from '../../../src/backend/open.js';
import type { LaneKernels } from '../../../src/backend/ops.js';
import { referenceKernels } from '../../../src/backend/reference.js';
import type { CpuIsa } from '../../../src/backend/types.js';
import { paddedRank } from '../../../src/model/adapter.js';
import { createModelLayout } from '../../../src/model/layout.js';
import { type AdapterTarget, loadRecipe, type Recipe, validateRecipe } from '../../../src/model/recipe.js';
import { seedState } from '../../../src/model/state.js';
import {
  allocateWeights,
  LossRunner,
  modelPlan,
  quantizeWeights,
  type UnitRequest,
  UnitRunner,
  withFrozen,
} from '../../../src/model/unit.js';
import { gemmaChanges } from '../../support/optionRecipes.js';
import { seededBytes } from '../../support/random.js';
import { nativeIsas } from '../../support/trainers.js';

const TARGETS = ['qkv', 'o', 'fc', 'proj'] as const;
const GEMMA = gemmaChanges({ context: 128 });

function loraRecipe(targets: readonly AdapterTarget[], changes: Partial<Recipe> = {}, rank = 8): Recipe {
  const adapter = { kind: 'lora', rank, alphaBits: 0x41800000, targets, base: new Uint8Array(32).fill(7) } as const;
  return validateRecipe({ ...loadRecipe('tiny'), name: 'small-lora', ...changes, adapter });
}

function baseTheta(recipe: Recipe): Float32Array {
  const { adapter: _adapter, ...base } = recipe;
  return seedState(modelPlan(base)).theta;
}

function request(recipe: Recipe): UnitRequest {
  const count = recipe.sequencesPerUnit * (recipe.context + 1);
  return {
    draw1: new Uint8Array(32).fill(3),
    step: 2,
    unit: 1,
    tokens: Uint32Array.from(seededBytes(count, 5), (byte) => byte % recipe.vocab),
  };
}

/** A state whose adapters have left their start. */
function movedTheta(recipe: Recipe): Float32Array {
  const { theta } = seedState(modelPlan(recipe));
  const noise = seededBytes(theta.length, 9);
  for (const tensor of modelPlan(recipe).layout.tensors) {
    for (let i = 0; i < tensor.size; i += 1) {
      const at = tensor.offset + i;
      theta[at] = Math.fround(theta[at]! + ((noise[at]! - 128) / 128) * 0.03);
    }
  }
  return theta;
}

describe('a model with adapters', () => {
  it.each([
    [TARGETS, {}],
    [['qkv'], {}],
    [['proj'], {}],
    [['o', 'fc'], {}],
    [TARGETS, GEMMA],
  ] as [AdapterTarget[], Partial<Recipe>][])(
    'of %s starts as the frozen model: the same losses, bit for bit',
    (targets, changes) => {
      const recipe = loraRecipe(targets, changes);
      const frozen = baseTheta(recipe);
      const plan = modelPlan(recipe);
      const weights = allocateWeights(withFrozen(plan, frozen), seedState(plan).theta);
      quantizeWeights(plan, referenceKernels, weights);
      const { adapter: _adapter, ...base } = recipe;
      const basePlan = modelPlan(base);
      const baseWeights = allocateWeights(basePlan, frozen);
      quantizeWeights(basePlan, referenceKernels, baseWeights);
      const { tokens } = request(recipe);
      const adapted = new LossRunner(plan, referenceKernels, weights, 1).losses(tokens);
      const alone = new LossRunner(basePlan, referenceKernels, baseWeights, 1).losses(tokens);
      expect(adapted).toEqual(alone);
    },
  );

  it('has a state of the adapters alone', () => {
    const recipe = loraRecipe(['qkv', 'proj']);
    const plan = modelPlan(recipe);
    expect(plan.layout.tensors.map(({ name, rows, cols }) => [name, rows, cols])).toEqual([
      ['h0.qkv.lora.a', 8, 64],
      ['h0.qkv.lora.b', 8, 192],
      ['h0.proj.lora.a', 8, 256],
      ['h0.proj.lora.b', 8, 64],
      ['h1.qkv.lora.a', 8, 64],
      ['h1.qkv.lora.b', 8, 192],
      ['h1.proj.lora.a', 8, 256],
      ['h1.proj.lora.b', 8, 64],
    ]);
    expect(plan.model.length).toBe(createModelLayout(recipe).length);
    expect(() => allocateWeights(plan, seedState(plan).theta)).toThrow(/expected a frozen/);
    expect(paddedRank({ rank: 8 })).toBe(64);
    expect(paddedRank({ rank: 65 })).toBe(128);
  });
});

describe('a unit of adapters', () => {
  const shapes: readonly [string, Recipe][] = [
    ['all targets', loraRecipe(TARGETS)],
    ['qkv alone', loraRecipe(['qkv'])],
    ['proj alone, one layer', loraRecipe(['proj'], { layers: 1 })],
    ['fc and proj, rank 24', loraRecipe(['fc', 'proj'], {}, 24)],
    ['o, LayerNorm and biases', loraRecipe(['o'], { norm: 'layer', bias: true, heads: 2, width: 128, hidden: 256 })],
    ['all targets, rank 65', loraRecipe(TARGETS, { layers: 1 }, 65)],
    ['gemma3: all targets, a local and a global layer', loraRecipe(TARGETS, GEMMA)],
    ['gemma3: fc alone', loraRecipe(['fc'], GEMMA)],
    ['gemma3: qkv and proj, rank 24', loraRecipe(['qkv', 'proj'], gemmaChanges({ context: 64, layers: 1 }), 24)],
  ];

  it.each(shapes)('%s: the native kernels give the bits of the reference', async (_, recipe) => {
    const plan = modelPlan(recipe);
    const frozen = baseTheta(recipe);
    const theta = movedTheta(recipe);
    const results: [number, Uint8Array][] = [];
    const kernels: LaneKernels[] = [
      referenceKernels,
      ...(await nativeIsas()).map(
        (isa) => openBackend({ backend: 'cpu', isa: isa as CpuIsa, selfTest: 'none' }).kernels,
      ),
    ];
    for (const one of kernels) {
      const weights = allocateWeights(withFrozen(plan, frozen), theta, one.packing);
      quantizeWeights(plan, one, weights);
      const runner = new UnitRunner(plan, one, weights);
      results.push([runner.compute(request(recipe)), runner.file.slice()]);
    }
    const [first] = results;
    expect(first![1].some((byte) => byte !== 0)).toBe(true);
    for (const [loss, file] of results.slice(1)) {
      expect(loss).toBe(first![0]);
      expect(Buffer.compare(file, first![1])).toBe(0);
    }
  });

  it.each([
    ['gpt', {}],
    ['gemma3', gemmaChanges({ context: 64, layers: 1 })],
  ])('gives one file whatever its micro-batches are: %s', async (_, changes) => {
    const recipe = loraRecipe(TARGETS, { ...changes, sequencesPerUnit: 32, layers: 1 });
    const plan = modelPlan(recipe);
    const [isa] = await nativeIsas();
    const { kernels } =
      isa === undefined
        ? { kernels: referenceKernels }
        : openBackend({ backend: 'cpu', isa: isa as CpuIsa, selfTest: 'none' });
    const weights = allocateWeights(withFrozen(plan, baseTheta(recipe)), movedTheta(recipe));
    quantizeWeights(plan, kernels, weights);
    const files = [1, 2].map((microBatches) => {
      const runner = new UnitRunner(plan, kernels, weights, microBatches);
      return [runner.compute(request(recipe)), Buffer.from(runner.file).toString('hex')];
    });
    expect(files[1]).toEqual(files[0]);
  });
});
