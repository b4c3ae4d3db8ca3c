/** Losses of a model in our own format and in Hugging Face's: the same weights, the same bits. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { hfConfig } from '../../src/model/hf.js';
import { writeCheckpoint } from '../../src/model/node/checkpoint.js';
import { loadRecipe, validateRecipe } from '../../src/model/recipe.js';
import { START_SCALARS, seedState } from '../../src/model/state.js';
import { isInMemory, tokenRange } from '../../src/model/tokens.js';
import { allocateWeights, LossRunner, modelPlan, quantizeWeights } from '../../src/model/unit.js';
import { evaluateText, readTokenData } from '../../src/node/evaluateText.js';
import { openModel, shortenContext } from '../../src/node/openModel.js';
import { sampleText } from '../../src/node/sampleText.js';
import { temporaryFolder, testEnvironment } from '../support/bundles.js';

const folder = temporaryFolder();
const environment = testEnvironment(folder.path);
const recipe = validateRecipe({ ...loadRecipe('tiny'), name: 'tiny-layer', norm: 'layer', bias: true, context: 128 });
const plan = modelPlan(recipe);
const state = seedState(plan);
const own = join(folder.path, 'own.safetensors');
const hf = join(folder.path, 'model.safetensors');
const text = join(folder.path, 'text.txt');

beforeAll(async () => {
  // Weights with some spread, so that positions and tokens matter.
  for (let i = 0; i < state.theta.length; i += 1) state.theta[i] = Math.fround((state.theta[i] as number) * 3);
  state.ema.set(state.theta);
  await writeCheckpoint(own, recipe, START_SCALARS, state, 'pogo');
  await writeCheckpoint(hf, recipe, START_SCALARS, state, 'hf');
  writeFileSync(join(folder.path, 'config.json'), JSON.stringify(hfConfig(recipe)));
  writeFileSync(text, 'Call me Ishmael. Some years ago, never mind how long precisely. '.repeat(5));
});

afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

async function lossOf(path: string, context?: number): Promise<number> {
  const model = await openModel(path);
  const options = context === undefined ? {} : { context };
  return (await evaluateText(environment, model, readTokenData(text, model), options)).lossBits;
}

describe('evaluation', () => {
  it('gives the same bits for a Hugging Face file as for our own', async () => {
    expect(await lossOf(hf)).toBe(await lossOf(own));
    expect(await lossOf(hf, 100)).toBe(await lossOf(own, 100));
  });

  it('is the loss of the tape where the windows fit', async () => {
    const model = await openModel(own);
    const data = readTokenData(text, model);
    const tokens = Uint32Array.from(tokenRange(data.tokens, 0, 2 * 128 + 1));
    const weights = allocateWeights(plan, state.theta);
    quantizeWeights(plan, environment.backend.kernels, weights);
    const sequences = new Uint32Array(2 * 129);
    for (let s = 0; s < 2; s += 1) sequences.set(tokens.subarray(128 * s, 128 * s + 129), 129 * s);
    const expected = new LossRunner(plan, environment.backend.kernels, weights, 2).lossBits(sequences);
    expect((await evaluateText(environment, model, { ...data, tokens })).lossBits).toBe(expected);
  });

  it('gives a window’s losses in a shorter context the same bits', async () => {
    const model = await openModel(own);
    const data = readTokenData(text, model);
    const short = { ...model, ...shortenContext(model, 64) };
    expect(short.plan.recipe.context).toBe(64);
    const shortened = await evaluateText(environment, short, data);
    expect((await evaluateText(environment, model, data, { context: 64 })).lossBits).toBe(shortened.lossBits);
    expect(shortened.tokens).toBe(5 * 64 - 1);
  });

  it('of a token file is the same whether it is held in memory or read by ranges', async () => {
    const model = await openModel(own);
    const file = join(folder.path, 'text.tokens');
    writeFileSync(file, Uint16Array.from(tokenRange(readTokenData(text, model).tokens, 0, 300)));
    const held = readTokenData(file, model);
    vi.stubEnv('POGO_TOKEN_MEMORY', '0');
    const read = readTokenData(file, model);
    vi.unstubAllEnvs();
    expect([held.tokens, read.tokens].map(isInMemory)).toEqual([true, false]);
    expect(read.root).toEqual(held.root);
    const options = { context: 100 };
    const expected = await evaluateText(environment, model, held, options);
    expect(await evaluateText(environment, model, read, options)).toEqual(expected);
    expect(expected.tokens).toBe(299);
  });

  it('writes the same text from both files', async () => {
    const sample = async (path: string): Promise<number[]> =>
      Array.from(sampleText(environment.backend, await openModel(path), { prompt: 'Call', count: 5, seed: 2 }));
    expect(await sample(hf)).toEqual(await sample(own));
  });

  it('refuses another recipe, a context the model does not have, and tokens beyond the vocabulary', async () => {
    const code = async (work: () => Promise<unknown>): Promise<string> => {
      try {
        await work();
        return 'no error';
      } catch (error) {
        return PogoError.from(error).code;
      }
    };
    expect(await code(() => openModel(hf, loadRecipe('tiny')))).toBe('MISMATCH');
    expect(await code(() => lossOf(own, 129))).toBe('RANGE');
    const tokens = join(folder.path, 'wide.tokens');
    writeFileSync(tokens, new Uint8Array(Uint16Array.of(1, 2, 256).buffer));
    expect(await code(async () => readTokenData(tokens, await openModel(own)))).toBe('DATA');
  });
});
