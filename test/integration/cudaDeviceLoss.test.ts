/**
 * A device that disappears in the middle of a unit: its lanes end, not the process; the unit is redone by other lanes and the
 * run goes on to the same roots. In a file of its own, since a lost device stays lost in its process.
 */
import { describe, expect, it } from 'vitest';
import { openBackend } from '../../src/backend/open.js';
import { toHex } from '../../src/hex.js';
import { LanePool, type LanePoolOptions } from '../../src/pipeline/lanePool.js';
import { trainSteps } from '../../src/pipeline/trainSteps.js';
import { buildModelAddon, modelAddon } from '../support/cudaModel.js';
import { DRAW, loadRecipe, openTrainer, syntheticTokens, trainFor } from '../support/trainers.js';

const addonFile = buildModelAddon();
const model = addonFile === undefined ? undefined : modelAddon(addonFile);

const recipe = loadRecipe('tiny');
const tokens = syntheticTokens(recipe.data.tokens);
const host = openBackend();
const cpu: LanePoolOptions = { backend: host.name, isa: host.isa, lanes: 1 };
const cuda: LanePoolOptions = { backend: 'cuda', isa: 'sm_90a', lanes: 1, addonFile: addonFile as string };

describe.skipIf(model === undefined)('a device that is lost', () => {
  it('leaves its unit and the rest of the run to the other lanes', async () => {
    const expected = (await trainFor(recipe, cpu, 3)).map(({ postStateRoot }) => toHex(postStateRoot));
    const { trainer, close } = await openTrainer(recipe, { ...cuda, also: [cpu] });
    try {
      const train = (untilStep: number): ReturnType<typeof trainSteps> =>
        trainSteps({ trainer, draw1: DRAW, tokens, untilStep, record: () => undefined });
      const roots = await train(1);
      expect(trainer.pool.deviceGroups).toEqual([0]);
      // The next launch, in the middle of the next step, fails and every one after it.
      model?.modelSettings({ lostAt: 1 });
      roots.push(...(await train(3)));
      expect(trainer.pool.deviceGroups).toEqual([]);
      expect(roots.map(({ postStateRoot }) => toHex(postStateRoot))).toEqual(expected);
      // Everything that the device held can be had elsewhere.
      await trainer.packModel();
      await trainer.fetchTrees();
      expect(trainer.state.theta.length).toBeGreaterThan(0);
    } finally {
      await close();
    }
  });

  it('is an error that says what to do where no other lane is left', async () => {
    const failed = await openTrainer(recipe, cuda).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failed).toMatchObject({ code: 'ENVIRONMENT' });
    expect(String((failed as Error).message)).toMatch(/device 0 was lost with CUDA error 719: start the process again/);
    // The process and its other lanes are as they were.
    const pool = new LanePool(cpu);
    expect(pool.deviceGroups).toEqual([]);
    await pool.dispose();
  });
});
