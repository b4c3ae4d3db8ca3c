/**
 * Training on CUDA lanes gives the bits of the CPU: on the device model, so without a GPU. The kernels are those that run on
 * one; streams, staging, tapes and memory are the addon's own.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { openCudaBackend } from '../../src/backend/cuda.js';
import { openBackend } from '../../src/backend/open.js';
import { PogoError } from '../../src/errors.js';
import { toHex } from '../../src/hex.js';
import { unitFileBytes } from '../../src/model/layout.js';
import { validateRecipe } from '../../src/model/recipe.js';
import { gatherSequences, unitTokens } from '../../src/model/unit.js';
import { backwardPlaces, forwardPlaces, gradientPlaces, type UnitPlace } from '../../src/model/unitPlaces.js';
import { devicePlan, unitEntries } from '../../src/pipeline/devicePlan.js';
import type { LanePoolOptions } from '../../src/pipeline/lanePool.js';
import type { Trainer } from '../../src/pipeline/trainer.js';
import { trainSteps } from '../../src/pipeline/trainSteps.js';
import { drawBatch, unitOffsets } from '../../src/protocol/draws.js';
import type { StepCommitment } from '../../src/protocol/types.js';
import { adapterOver } from '../support/adapters.js';
import { buildModelAddon, modelAddon } from '../support/cudaModel.js';
import { DRAW, loadRecipe, openTrainer, syntheticTokens, trainFor } from '../support/trainers.js';

const addonFile = buildModelAddon();
const model = addonFile === undefined ? undefined : modelAddon(addonFile);

const recipe = loadRecipe('tiny');
const tokens = syntheticTokens(recipe.data.tokens);
const host = openBackend();
const cpu: LanePoolOptions = { backend: host.name, isa: host.isa, lanes: 1 };
const cuda = (lanes: number, device = 0): LanePoolOptions => ({
  backend: 'cuda',
  isa: 'sm_90a',
  lanes,
  device,
  addonFile: addonFile as string,
});
const STEPS = 2;

function text(commitments: readonly StepCommitment[]): string[] {
  return commitments.flatMap(({ unitRoots, unitLosses, postStateRoot }) => [
    ...unitRoots.map(toHex),
    ...unitLosses.map(String),
    toHex(postStateRoot),
  ]);
}

function request(step: number, unit: number): { draw1: Uint8Array; unit: number; tokens: Uint32Array } {
  const offsets = unitOffsets(drawBatch(DRAW, step, recipe), unit, recipe);
  return { draw1: DRAW, unit, tokens: gatherSequences(tokens, offsets, recipe.context) };
}

async function withTrainer<T>(setup: LanePoolOptions, work: (trainer: Trainer) => Promise<T>): Promise<T> {
  const { trainer, close } = await openTrainer(recipe, setup);
  try {
    return await work(trainer);
  } finally {
    await close();
  }
}

// Without a C++ compiler or CMake there is no model.
describe.skipIf(model === undefined)('training on CUDA lanes', () => {
  const expected = trainFor(recipe, cpu, STEPS).then(text);
  afterEach(() => model?.modelSettings({ lostAt: 0, devices: 1, deferred: false, memory: 8 * 2 ** 30 }));

  it('opens a backend that passes its known answers', () => {
    const backend = openCudaBackend({ addonFile: addonFile as string });
    expect(backend).toMatchObject({ name: 'cuda', isa: 'sm_90a' });
    expect(backend.features[0]).toBe('device model');
  });

  it('on one lane', async () => {
    expect(text(await trainFor(recipe, cuda(1), STEPS))).toEqual(await expected);
  });

  it('on two lanes, with streams whose work is done only when it is waited for', async () => {
    model?.modelSettings({ deferred: true });
    expect(text(await trainFor(recipe, cuda(2), STEPS))).toEqual(await expected);
  });

  it('by CUDA graphs, and without', async () => {
    model?.modelSettings({ deferred: true });
    const graphs = (): number => (model as NonNullable<typeof model>).counters().graphs;
    for (const [mode, least, most] of [
      ['on', 1, Number.POSITIVE_INFINITY],
      ['off', 0, 0],
    ] as const) {
      process.env.POGO_CUDA_GRAPHS = mode;
      const before = graphs();
      expect(text(await trainFor(recipe, cuda(2), STEPS))).toEqual(await expected);
      expect(graphs() - before).toBeGreaterThanOrEqual(least);
      expect(graphs() - before).toBeLessThanOrEqual(most);
    }
    delete process.env.POGO_CUDA_GRAPHS;
  });

  it('on two devices', async () => {
    model?.modelSettings({ devices: 2 });
    expect(text(await trainFor(recipe, { ...cuda(1), also: [cuda(1, 1)] }, STEPS))).toEqual(await expected);
  });

  it('on a CUDA lane beside a CPU lane', async () => {
    expect(text(await trainFor(recipe, { ...cuda(1), also: [cpu] }, STEPS))).toEqual(await expected);
    expect(text(await trainFor(recipe, { ...cpu, also: [cuda(1)] }, STEPS))).toEqual(await expected);
  });

  it('of the family gemma3', async () => {
    const gemma = loadRecipe('gemma-tiny');
    expect(text(await trainFor(gemma, cuda(1), 1))).toEqual(text(await trainFor(gemma, cpu, 1)));
  });

  it.each([
    ['all matrices, rank 8', adapterOver(recipe, ['qkv', 'o', 'fc', 'proj'])],
    ['rank 64, whose gradients become 4-bit codes in the product', adapterOver(recipe, ['fc', 'proj'], 64)],
  ])('of adapters: %s', async (_name, adapter) => {
    const lora = validateRecipe({ ...recipe, name: 'lora', adapter });
    const expected = text(await trainFor(lora, cpu, STEPS));
    expect(text(await trainFor(lora, cuda(2), STEPS))).toEqual(expected);
    expect(text(await trainFor(lora, { ...cpu, also: [cuda(1)] }, STEPS))).toEqual(expected);
  });

  it('of adapters over the family gemma3', async () => {
    const gemma = loadRecipe('gemma-tiny');
    const adapter = adapterOver(gemma, ['qkv', 'o', 'fc', 'proj']);
    const lora = validateRecipe({ ...gemma, name: 'lora', adapter });
    expect(text(await trainFor(lora, cuda(1), 1))).toEqual(text(await trainFor(lora, cpu, 1)));
  });

  it('brings a frozen model to the device once, and evaluates adapters over it', async () => {
    const lora = validateRecipe({ ...recipe, name: 'lora', adapter: adapterOver(recipe, ['qkv', 'proj']) });
    const sequences = gatherSequences(tokens, [0, 100, 7], recipe.context);
    const sent = (): number => (model as NonNullable<typeof model>).counters().toDevice;
    const look = async (trainer: Trainer): Promise<{ losses: string; bytes: number }> => {
      await trainSteps({ trainer, draw1: DRAW, tokens, untilStep: 2, record: () => undefined });
      await trainer.fetchState();
      const before = sent();
      await trainer.prepare();
      const bytes = sent() - before;
      trainer.evaluator.theta.set(await trainer.fetchState().then(({ theta }) => theta));
      for (const _ of [0, 1]) await trainer.evaluator.prepare();
      const losses = await trainer.evaluator.losses(sequences);
      expect(await trainer.evaluator.losses(sequences, trainer.session)).toEqual(losses);
      return { losses: Buffer.from(losses.buffer).toString('base64'), bytes };
    };
    const { trainer, close } = await openTrainer(lora, cuda(1));
    const onDevice = await look(trainer).finally(close);
    const host = await openTrainer(lora, cpu);
    expect(onDevice.losses).toBe((await look(host.trainer).finally(host.close)).losses);
    // θ, m, v and EMA of the adapters, and nothing of the model under them.
    expect(onDevice.bytes).toBeLessThanOrEqual(4 * 4 * trainer.plan.layout.length);
  });

  it('moves no more bytes over the bus than units, tokens and 1 MB a step', async () => {
    await withTrainer(cuda(2), async (trainer) => {
      let before = 0;
      const seen: number[] = [];
      const total = (): number => {
        const { toDevice, fromDevice } = (model as NonNullable<typeof model>).counters();
        return toDevice + fromDevice;
      };
      await trainer.stateRoot();
      before = total();
      for (let step = 0; step < STEPS; step += 1) {
        await trainSteps({ trainer, draw1: DRAW, tokens, untilStep: step + 1, record: () => undefined });
        seen.push(total() - before);
        before = total();
      }
      const units = recipe.unitsPerStep * unitFileBytes(trainer.plan.layout).total;
      const tokenBytes = recipe.unitsPerStep * unitTokens(recipe) * 2 * 4;
      for (const bytes of seen) {
        expect(bytes).toBeGreaterThanOrEqual(units);
        expect(bytes).toBeLessThanOrEqual(units + tokenBytes + 2 ** 20);
      }
      // The state itself, which is larger than all of that, stayed there.
      expect(() => trainer.state).toThrow(/await fetchState/);
    });
  });

  it('writes no fp32 gradient where the products can emit 4-bit codes', async () => {
    await withTrainer(cuda(1), async (trainer) => {
      const places = devicePlan(trainer.plan, { microBatches: 1, training: true });
      const kinds = (watched: boolean): string[] => unitEntries(places, watched).map(({ kind }) => kind);
      const fused = kinds(false).filter((kind) => kind === 'weightGradient4').length;
      expect(fused).toBe(4 * recipe.layers);
      expect(kinds(false).length).toBe(kinds(true).length - fused);
      expect(kinds(true)).not.toContain('weightGradient4');
    });
  });

  it('gives the memory back when its pool ends', async () => {
    const free = (): number => (model as NonNullable<typeof model>).freeBytes(0);
    await withTrainer(cuda(1), () => Promise.resolve());
    const before = free();
    const during = await withTrainer(cuda(2), async (trainer) => {
      await trainer.computeUnit(request(0, 0));
      return free();
    });
    expect(during).toBeLessThan(before);
    expect(free()).toBe(before);
  });

  it('redoes the unit of a worker that dies, on the model that is still there', async () => {
    await withTrainer(cuda(1), async (trainer) => {
      const expectedRoot = toHex((await trainer.computeUnit(request(0, 0))).root);
      const again = trainer.computeUnit(request(0, 0));
      await Promise.all(trainer.pool.threads.map((worker) => worker.terminate()));
      expect(toHex((await again).root)).toBe(expectedRoot);
      expect(trainer.pool.replaced).toBeGreaterThan(0);
    });
  });

  it('brings vectors, trees and the packed model when they are asked for', async () => {
    const look = async (trainer: Trainer): Promise<Record<string, string>> => {
      await trainSteps({ trainer, draw1: DRAW, tokens, untilStep: 1, record: () => undefined });
      const { theta, m, v, ema } = await trainer.fetchState();
      const trees = await trainer.fetchTrees();
      const arrays = { theta, m, v, ema, tree: trees.theta, second: trees.v, model: await trainer.packModel() };
      return Object.fromEntries(
        Object.entries(arrays).map(([name, array]) => [
          name,
          Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64'),
        ]),
      );
    };
    expect(await withTrainer(cuda(1), look)).toEqual(await withTrainer(cpu, look));
  });

  it('takes a state that was written into host memory', async () => {
    const look = async (trainer: Trainer): Promise<string[]> => {
      const roots = [toHex(await trainer.stateRoot())];
      await trainSteps({ trainer, draw1: DRAW, tokens, untilStep: 1, record: () => undefined });
      (await trainer.fetchState()).theta[7] = 0.125;
      trainer.vectorsChanged();
      roots.push(toHex(await trainer.stateRoot()));
      await trainer.reset(trainer.scalars);
      roots.push(toHex((await trainer.computeUnit(request(1, 0))).root), toHex(await trainer.stateRoot()));
      return roots;
    };
    expect(await withTrainer(cuda(1), look)).toEqual(await withTrainer(cpu, look));
  });

  it('applies units that came from elsewhere', async () => {
    const files = await withTrainer(cpu, async (trainer) => {
      const units = await Promise.all([0, 1].map((unit) => trainer.computeUnit(request(0, unit))));
      return units.map(({ file }) => file);
    });
    const commit = async (trainer: Trainer): Promise<string> => {
      await trainer.commit(files);
      return toHex(await trainer.stateRoot());
    };
    expect(await withTrainer(cuda(1), commit)).toBe(await withTrainer(cpu, commit));
  });

  it('sees the values at the places that a receipt asks for', async () => {
    const look = (trainer: Trainer): Promise<string> => {
      const { layout } = trainer.plan;
      const ranges = [...forwardPlaces(recipe), ...backwardPlaces(recipe), ...gradientPlaces(layout)];
      const places: UnitPlace[] = ranges.map(({ rows, ...range }, i) => ({ ...range, row: (37 * i) % rows }));
      return trainer.computeUnit({ ...request(0, 1), places }).then(({ observed }) => toHex(observed));
    };
    const found = await withTrainer(cuda(1), look);
    expect(found.length).toBeGreaterThan(1000);
    expect(found).toBe(await withTrainer(cpu, look));
  });

  it('gives the null unit where one would hold an Inf or NaN, and goes on after it', async () => {
    const look = async (trainer: Trainer): Promise<unknown> => {
      (await trainer.fetchState()).theta[0] = 3e38;
      await trainer.prepare();
      const poisoned = await trainer.computeUnit(request(0, 0));
      const found = [poisoned.lossBits, toHex(poisoned.root), toHex(poisoned.file).replace(/0+/, 'zeros')];
      (await trainer.fetchState()).theta[0] = 0;
      await trainer.prepare();
      const good = await trainer.computeUnit(request(0, 0));
      return [...found, good.lossBits, toHex(good.root)];
    };
    expect(await withTrainer(cuda(1), look)).toEqual(await withTrainer(cpu, look));
  });

  it('reports the error of the CPU for a θ that cannot be quantized', async () => {
    const look = async (trainer: Trainer): Promise<unknown> => {
      (await trainer.fetchState()).theta[0] = Number.NaN;
      return trainer.prepare().then(
        () => 'no error',
        (error: unknown) => ({ code: PogoError.from(error).code, details: PogoError.from(error).details }),
      );
    };
    const found = await withTrainer(cuda(1), look);
    expect(found).toEqual(await withTrainer(cpu, look));
    expect(found).toMatchObject({ code: 'NON_FINITE' });
  });

  it('evaluates to the same losses, also with a short last group', async () => {
    const sequences = gatherSequences(tokens, [0, 100, 7, 2000, 5], recipe.context);
    const look = async (trainer: Trainer): Promise<string> => {
      trainer.evaluator.theta.set(await trainer.fetchState().then(({ theta }) => theta));
      await trainer.evaluator.prepare();
      const own = await trainer.evaluator.losses(sequences);
      const shared = await trainer.evaluator.losses(sequences, trainer.session);
      expect(shared).toEqual(own);
      return Buffer.from(own.buffer).toString('base64');
    };
    expect(await withTrainer(cuda(2), look)).toBe(await withTrainer(cpu, look));
  });

  it('says how many bytes a model needs where a device has too few', async () => {
    model?.modelSettings({ memory: 2 ** 20 });
    const failed = await withTrainer(cuda(1), async () => undefined).then(
      () => undefined,
      (error: unknown) => error as PogoError,
    );
    expect(failed).toMatchObject({ code: 'ENVIRONMENT', details: { backend: 'cuda' } });
    expect(failed?.message).toMatch(/expected \d+ bytes of free memory, found \d+; use fewer lanes/);
    expect(failed?.details['needed']).toBeGreaterThan(failed?.details['available'] as number);
  });
});
