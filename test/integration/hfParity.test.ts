/**
 * Losses and logits against Hugging Face's `transformers`: small models from integer weights, its values committed. A
 * foreign floating-point system, so there is a tolerance here. `scripts/hf-parity.mjs` made the values and compares live.
 */
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readCheckpointWeights } from '../../src/model/node/checkpoint.js';
import { byteTokenizer } from '../../src/model/tokenizer.js';
import { modelPlan } from '../../src/model/unit.js';
import { evaluateText } from '../../src/node/evaluateText.js';
import { temporaryFolder, testEnvironment } from '../support/bundles.js';
import {
  logitsOf,
  parityCases,
  parityRecipe,
  parityTokens,
  readParityModel,
  relativeError,
  writeParityAdapter,
  writeParityModel,
} from '../support/hfParity.js';

const cases = parityCases();
const MAX_LOSS_DIFFERENCE = 0.01;

const folder = temporaryFolder();
const environment = testEnvironment(folder.path);
afterAll(async () => {
  await environment.dispose();
  folder.remove();
});

describe('against transformers', () => {
  it.each(cases.map((test) => [test.name, test] as const))('%s', async (name, test) => {
    const path = join(folder.path, name);
    await writeParityModel(path, test);
    if (test.adapter !== null) await writeParityAdapter(join(path, 'adapter'), test);
    const { plan, theta: weights } = await readParityModel(path, test);
    const { recipe } = plan;
    const tokens = parityTokens(recipe.vocab, test.context * test.windows + 1, test.seed);
    const model = { path, format: 'hf', plan, weights, codec: byteTokenizer } as const;
    const { loss } = await evaluateText(environment, model, { tokens, root: new Uint8Array(32), kind: 'tokens' });
    expect(Math.abs(loss - test.loss)).toBeLessThan(MAX_LOSS_DIFFERENCE);

    const window = tokens.subarray((test.windows - 1) * test.context);
    const logits = logitsOf(plan, environment.backend.kernels, weights, window).subarray(-recipe.vocab);
    // One position may be worse than all together.
    expect(relativeError(logits, test.logits)).toBeLessThan(2 * test.most);
  });

  it('and a tensor in another’s place would show', async () => {
    const test = cases[0]!;
    const path = join(folder.path, 'swapped');
    await writeParityModel(path, { ...test, seed: test.seed + 1 });
    const recipe = parityRecipe(test);
    const plan = modelPlan(recipe);
    const weights = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
    await readCheckpointWeights(path, recipe, weights);
    const tokens = parityTokens(recipe.vocab, test.context * test.windows + 1, test.seed);
    const window = tokens.subarray((test.windows - 1) * test.context);
    const logits = logitsOf(plan, environment.backend.kernels, weights, window).subarray(-recipe.vocab);
    expect(relativeError(logits, test.logits)).toBeGreaterThan(0.5);
  });
});
