/**
 * Compares the gradient of one unit, in fp32 before it is rounded to 4 bits, with PyTorch's autograd on the same weights and tokens.
 *
 *   npm run build && node bench/experiments/gradients.mjs [--recipe gemma-tiny] [--theta FILE] [--python .venv/bin/python]
 *
 * `--theta`: raw fp32 weights in our layout (`theta.bin` of a state folder); by default the recipe's initial weights. Prints for
 * every sort of tensor the slope of our gradient on PyTorch's and the relative error.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openBackend } from '../../dist/backend/open.js';
import { initialVector } from '../../dist/model/initialize.js';
import { readMobyDick } from '../../dist/model/node/dataset.js';
import { loadRecipe, recipeToJson } from '../../dist/model/recipe.js';
import { allocateWeights, modelPlan, quantizeWeights, UnitRunner } from '../../dist/model/unit.js';
import { gradientPlaces } from '../../dist/model/unitPlaces.js';

const { values } = parseArgs({
  options: {
    recipe: { type: 'string', default: 'gemma-tiny' },
    theta: { type: 'string' },
    python: { type: 'string', default: '.venv/bin/python' },
  },
});
const recipe = loadRecipe(values.recipe);
const plan = modelPlan(recipe);
const theta = initialVector(recipe, plan.layout);
if (values.theta !== undefined) {
  const raw = readFileSync(values.theta);
  new Uint8Array(theta.buffer).set(raw.subarray(0, theta.byteLength));
}
const { kernels } = openBackend();
const shared = allocateWeights(plan, theta, kernels.packing);
quantizeWeights(plan, kernels, shared);
const runner = new UnitRunner(plan, kernels, shared);
// Sequences of the novel, far apart.
const text = await readMobyDick();
const stride = Math.floor(text.length / (recipe.sequencesPerUnit + 1));
const tokens = Uint32Array.from({ length: recipe.sequencesPerUnit * (recipe.context + 1) }, (_, i) => {
  const sequence = Math.floor(i / (recipe.context + 1));
  return text[sequence * stride + (i % (recipe.context + 1))] % recipe.vocab;
});
const places = gradientPlaces(plan.layout).flatMap(({ rows, ...place }) =>
  Array.from({ length: rows }, (_, row) => ({ ...place, row })),
);
const lossBits = runner.compute({ draw1: new Uint8Array(32), step: 0, unit: 0, tokens }, places);
const folder = mkdtempSync(join(tmpdir(), 'pogo-gradients-'));
try {
  writeFileSync(join(folder, 'theta.bin'), new Uint8Array(theta.buffer));
  writeFileSync(join(folder, 'tokens.bin'), tokens);
  // Leaves of all tensors, one after the other, without padding.
  writeFileSync(join(folder, 'gradient.bin'), runner.observed);
  const loss = new Float32Array(new Uint32Array([lossBits]).buffer)[0];
  writeFileSync(
    join(folder, 'recipe.json'),
    JSON.stringify({ ...recipeToJson(recipe), loss, learningRate: undefined }),
  );
  const script = fileURLToPath(new URL('../peers/gradients.py', import.meta.url));
  process.exitCode = spawnSync(values.python, [script, folder], { stdio: 'inherit' }).status ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}
