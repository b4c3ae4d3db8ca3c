/** A model of the family gemma3 from training to text: what depends on what, losses, shorter contexts, samples. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bitsToFloat } from '../../src/model/fp32.js';
import { writeCheckpoint } from '../../src/model/node/checkpoint.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { START_SCALARS, seedState } from '../../src/model/state.js';
import { allocateWeights, LossRunner, modelPlan, quantizeWeights } from '../../src/model/unit.js';
import { evaluateText, readTokenData } from '../../src/node/evaluateText.js';
import { openModel, shortenContext } from '../../src/node/openModel.js';
import { sampleText } from '../../src/node/sampleText.js';
import { temporaryFolder, testEnvironment } from '../support/bundles.js';
import { nativeIsas, type Setup, trainFor } from '../support/trainers.js';

const best = (await nativeIsas()).at(-1);
const folder = temporaryFolder();
const environment = testEnvironment(folder.path);
const recipe = loadRecipe('gemma-tiny');
const plan = modelPlan(recipe);
const state = seedState(plan);
const file = join(folder.path, 'model.safetensors');
const text = join(folder.path, 'text.txt');

beforeAll(async () => {
  // Weights with some spread, so that positions and tokens matter.
  for (let i = 0; i < state.theta.length; i += 1) state.theta[i] = Math.fround((state.theta[i] as number) * 3);
  state.ema.set(state.theta);
  await writeCheckpoint(file, recipe, START_SCALARS, state, 'pogo');
  writeFileSync(text, 'Call me Ishmael. Some years ago, never mind how long precisely. '.repeat(5));
});

afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

describe('a model of the family gemma3', () => {
  it('computes no loss from a later token or another sequence', () => {
    const { kernels } = environment.backend;
    const weights = allocateWeights(plan, state.theta);
    quantizeWeights(plan, kernels, weights);
    const runner = new LossRunner(plan, kernels, weights, 2);
    const tokens = Uint32Array.from({ length: 2 * 129 }, (_, i) => (i * i * 7 + i) % 256);
    const before = runner.losses(tokens);
    for (const place of [1, 63, 64, 65, 127]) {
      const changed = tokens.slice();
      changed[place] ^= 1;
      const after = runner.losses(changed);
      // Token `place` is an input from there on and the target one before.
      const first = after.findIndex((loss, i) => loss !== before[i]);
      expect(first, `token ${place}`).toBe(place - 1);
      expect(after.subarray(128)).toEqual(before.subarray(128));
    }
  });

  it('gives a window’s losses in a shorter context the same bits, and the same text', async () => {
    const model = await openModel(file);
    const data = readTokenData(text, model);
    const short = { ...model, ...shortenContext(model, 64) };
    expect(short.plan.recipe.context).toBe(64);
    const shortened = await evaluateText(environment, short, data);
    expect((await evaluateText(environment, model, data, { context: 64 })).lossBits).toBe(shortened.lossBits);
    const options = { prompt: 'Call me', count: 4, seed: 2 };
    const whole = sampleText(environment.backend, model, { ...options, prompt: options.prompt.padEnd(70, '.') });
    expect(whole.length).toBe(4);
    expect(sampleText(environment.backend, short, options)).toEqual(sampleText(environment.backend, model, options));
  });

  it.skipIf(best === undefined)('learns', async () => {
    const setup: Setup = { backend: 'cpu', isa: best as Setup['isa'], lanes: 2 };
    const commitments = await trainFor(recipe, setup, 40);
    const losses = commitments.map(
      ({ unitLosses }) => unitLosses.reduce((sum, bits) => sum + bitsToFloat(bits), 0) / 2,
    );
    expect(losses[0]).toBeGreaterThan(5.4);
    expect(losses.at(-1)).toBeLessThan(3.3);
  });
});
