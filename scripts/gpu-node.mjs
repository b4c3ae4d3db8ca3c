// The Node part of scripts/gpu-test.sh: on the GPU of this machine, through the addon.
//   node scripts/gpu-node.mjs [--recipes tiny,moby] [--steps 4] [--timing gpt2-124m] [--sequences 32] [--units 2]
//                             [--python FILE] [--out FOLDER] [--addon FILE]
//     known answers of every operation; state roots of the recipes on CUDA lanes, beside CPU lanes, and on the CPU alone;
//     step time of a recipe, kernel by kernel and by CUDA graphs, and PyTorch's (bf16, compiled) for the same model and batch
//     where Python has PyTorch
//     --timing ''   no times      --python FILE   an interpreter with PyTorch (default python3)
//     --out FOLDER  JSON lines go to FOLDER/DATE-DEVICE.jsonl, too (bench/results/gpu keeps them)
//     --addon FILE  another addon than the built one, such as that over the device model
// Each result is one line of JSON on standard output. Exit code 0 all equal, 1 something differs, 77 no usable GPU.
import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { cli, progress, ROOT } from './lib/project.mjs';

const NO_DEVICE_EXIT = 77;
const WARM_UP_STEPS = 2;
const TIMED_STEPS = 10;
const DRAW = new Uint8Array(32).fill(7);

const module = (path) => import(`../dist/${path}.js`);
const { openBackend } = await module('backend/open');
const { openCudaBackend } = await module('backend/cuda');
const { loadCudaAddon } = await module('backend/cudaAddon');
const { merkleKernels } = await module('backend/merkleAddon');
const { selfTest } = await module('backend/selfTest');
const { toHex } = await module('hex');
const { loadRecipe } = await module('model/recipes');
const { validateRecipe } = await module('model/recipeRules');
const { mix } = await module('model/seeds');
const { seedState } = await module('model/state');
const { modelPlan } = await module('model/unit');
const { LanePool } = await module('pipeline/lanePool');
const { Trainer } = await module('pipeline/trainer');
const { trainSteps } = await module('pipeline/trainSteps');

/** Tokens from a counter: bits and times do not depend on a data package. */
function syntheticTokens(count, vocab) {
  return Uint32Array.from({ length: count }, (_, i) => (mix(i >> 2) >>> (8 * (i & 3))) % vocab);
}

async function withTrainer(recipe, lanes, work) {
  const pool = new LanePool(lanes);
  try {
    const plan = modelPlan(recipe);
    const trainer = new Trainer(plan, pool, merkleKernels(), seedState(plan));
    await trainer.prepare();
    return await work(trainer, syntheticTokens(recipe.data.tokens, recipe.vocab));
  } finally {
    await pool.dispose();
  }
}

function rootAfter(recipe, lanes, steps) {
  return withTrainer(recipe, lanes, async (trainer, tokens) => {
    await trainSteps({ trainer, draw1: DRAW, tokens, untilStep: steps, record: () => undefined });
    return toHex(await trainer.stateRoot());
  });
}

/** Milliseconds of whole steps, tokens to state root; bytes over the bus, operations and launches of graphs a step. */
function timeSteps(recipe, lanes, counters) {
  return withTrainer(recipe, lanes, async (trainer, tokens) => {
    const train = (untilStep) => trainSteps({ trainer, draw1: DRAW, tokens, untilStep, record: () => undefined });
    await train(WARM_UP_STEPS);
    const before = counters();
    const samples = [];
    for (let step = WARM_UP_STEPS; step < WARM_UP_STEPS + TIMED_STEPS; step += 1) {
      const start = performance.now();
      await train(step + 1);
      samples.push(performance.now() - start);
    }
    const after = counters();
    const bytes = after.toDevice - before.toDevice + after.fromDevice - before.fromDevice;
    return {
      samples: samples.sort((a, b) => a - b),
      bytesAStep: bytes / TIMED_STEPS,
      operationsAStep: (after.operations - before.operations) / TIMED_STEPS,
      graphsAStep: (after.graphs - before.graphs) / TIMED_STEPS,
    };
  });
}

/** PyTorch's step in its own process; undefined where it cannot run. */
async function timeTorch(python, { sequencesPerUnit, unitsPerStep, context, name }) {
  const args = [join(ROOT, 'bench', 'peers', 'torch_step.py'), '--recipe', name, '--mode', 'bf16', '--compile'];
  args.push('--device', 'cuda', '--context', String(context));
  args.push('--sequences', String(sequencesPerUnit), '--units', String(unitsPerStep));
  const child = spawn(python, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.on('error', () => undefined);
  let ready;
  let round;
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text);
    if (line.type === 'ready') {
      ready = line;
      child.stdin.end(`${JSON.stringify({ calls: TIMED_STEPS, seconds: 120 })}\n`);
    } else if (line.type === 'round') {
      round = line;
    }
  }
  return ready && round ? { name: ready.name, samples: round.samplesMs.sort((a, b) => a - b) } : undefined;
}

const median = (sorted) => sorted[sorted.length >> 1];

await cli(async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      recipes: { type: 'string', default: 'tiny,moby' },
      steps: { type: 'string', default: '4' },
      timing: { type: 'string', default: 'gpt2-124m' },
      sequences: { type: 'string', default: '32' },
      units: { type: 'string', default: '2' },
      python: { type: 'string', default: 'python3' },
      out: { type: 'string' },
      addon: { type: 'string' },
    },
  });
  const addonFile = values.addon && resolve(values.addon);
  const loaded = loadCudaAddon(addonFile);
  if (loaded.addon === undefined) {
    progress(`gpu-node: not run, ${loaded.reason}; ${loaded.fix}`);
    return NO_DEVICE_EXIT;
  }
  const { addon } = loaded;
  const { devices, driver, runtime } = addon.deviceInfo();
  const [device] = devices;
  const about = { device: device.name, computeCapability: `${device.major}.${device.minor}`, driver, runtime };
  const date = new Date().toISOString().slice(0, 10);
  const file = values.out && join(values.out, `${date}-${device.name.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.jsonl`);
  if (values.out) mkdirSync(values.out, { recursive: true });
  let failed = 0;
  const say = (line) => {
    const text = JSON.stringify({ type: 'gpu', date, ...about, ...line });
    process.stdout.write(`${text}\n`);
    if (file) appendFileSync(file, `${text}\n`);
    if (line.ok === false) failed += 1;
  };

  const backend = openCudaBackend({ addonFile });
  for (const { operation, cases, ok, message } of selfTest(backend.kernels)) {
    say({ test: 'vectors', operation, cases, ok, ...(ok ? {} : { message }) });
  }

  const host = openBackend({ backend: 'cpu' });
  const cpu = { backend: host.name, isa: host.isa, lanes: 2 };
  const cuda = (lanes) => ({ backend: 'cuda', isa: backend.isa, lanes, device: 0, addonFile });
  const steps = Number(values.steps);
  for (const name of values.recipes.split(',').filter((text) => text !== '')) {
    const recipe = loadRecipe(name);
    const expected = await rootAfter(recipe, cpu, steps);
    for (const [lanes, setup] of [
      ['cuda', cuda(1)],
      ['cuda x2', cuda(2)],
      ['cuda + cpu', { ...cuda(1), also: [cpu] }],
    ]) {
      const root = await rootAfter(recipe, setup, steps);
      say({ test: 'state root', recipe: name, steps, lanes, ok: root === expected, root, expected });
    }
  }

  if (values.timing !== '') {
    const sizes = { sequencesPerUnit: Number(values.sequences), unitsPerStep: Number(values.units) };
    const recipe = validateRecipe({ ...loadRecipe(values.timing), ...sizes });
    const { context, sequencesPerUnit, unitsPerStep } = recipe;
    const ways = {};
    for (const graphs of ['off', 'on']) {
      process.env.POGO_CUDA_GRAPHS = graphs;
      ways[graphs] = await timeSteps(recipe, cuda(2), () => addon.counters());
      const { samples, operationsAStep, graphsAStep } = ways[graphs];
      const tokens = context * sequencesPerUnit * unitsPerStep;
      say({ test: 'graphs', recipe: values.timing, graphs, tokens, ms: median(samples), operationsAStep, graphsAStep });
    }
    delete process.env.POGO_CUDA_GRAPHS;
    const best = median(ways.on.samples) < median(ways.off.samples) ? 'on' : 'off';
    const ours = ways[best];
    const torch = await timeTorch(values.python, recipe).catch(() => undefined);
    if (torch === undefined) progress('gpu-node: no time of PyTorch: it is not installed, or has no CUDA');
    say({
      test: 'step',
      recipe: values.timing,
      tokens: context * sequencesPerUnit * unitsPerStep,
      graphs: best,
      ms: median(ours.samples),
      samples: ours.samples,
      bytesAStep: ours.bytesAStep,
      peer: torch?.name ?? null,
      peerMs: torch ? median(torch.samples) : null,
      ratio: torch ? median(ours.samples) / median(torch.samples) : null,
    });
  }
  progress(`gpu-node: ${failed === 0 ? 'all equal' : `${failed} differ`} on ${device.name}`);
  return failed === 0 ? 0 : 1;
});
