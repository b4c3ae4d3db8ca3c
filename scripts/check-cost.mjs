// Compares the formulas of the cost analysis with real runs: for each recipe a claim is mined and verified, and time, bytes
// and samples are held against what `pogo cost` says from points in which that recipe has no part.
//   node scripts/check-cost.mjs [--points FILE | --measure] [--recipes moby,gpt-5m,gpt-19m] [--json] [--write]
// --measure times the points on this machine first (about five minutes); else they are those of a committed file, which means
// something only on the machine that made it. --write keeps the result in bench/results/cost/check.jsonl, from where
// scripts/generate-cost.mjs takes it into docs/cost.md. Exit code 0 if every time is within 15 % and every count is equal. The
// machine must be idle.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { CHECKED, newestResults, readLines } from './generate-cost.mjs';
import { jsonLines } from './lib/jsonLines.mjs';
import { cli, progress, ROOT } from './lib/project.mjs';

const BOUND = 0.15;
/** Their passes are the points: each recipe is predicted from the others. */
const MEASURED_RECIPES = ['moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m'];
const LINES = 'step,unit-replay,unit-profile/,claim/';
/** Runs of each recipe; their median counts, without the first, which brings files into memory. */
const RUNS = 4;

const built = (...path) => import(pathToFileURL(join(ROOT, 'dist', ...path)).href);

async function measurePoints(folder) {
  const file = join(folder, 'points.jsonl');
  const lines = [];
  for (const recipe of MEASURED_RECIPES) {
    progress(`cost: timing ${recipe}`);
    const args = [join(ROOT, 'scripts', 'bench.mjs'), '--json', '--no-peers', '--only', LINES, '--recipe', recipe];
    lines.push(...(await jsonLines(process.execPath, args)));
  }
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return file;
}

const median = (values) => {
  const sorted = [...values].sort((x, y) => x - y);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

async function timed(args) {
  const start = performance.now();
  const lines = await jsonLines(process.execPath, [join(ROOT, 'dist', 'cli', 'main.js'), ...args, '--json']);
  return { lines, seconds: (performance.now() - start) / 1e3 };
}

/** One claim, mined and verified. */
async function realRun(recipe, folder) {
  const bundle = join(folder, recipe);
  const mine = await timed(['mine', '--recipe', recipe, '--claims', '1', '--dir', bundle]);
  const verify = await timed(['verify', bundle]);
  const steps = mine.lines.filter(({ type }) => type === 'step').map(({ ms }) => ms);
  const event = (type) => verify.lines.find((line) => line.type === type);
  const blobs = join(bundle, 'blobs');
  const run = {
    steps: steps.length,
    // The first step pays for compiling and for memory that is touched the first time: the others stand for it.
    stepSeconds: median(steps.slice(1)) / 1e3,
    mineSeconds: mine.seconds,
    // From the draw of the units to the verdict, held-out losses included.
    dutySeconds: (Date.parse(event('verify').time) - Date.parse(event('draw').time)) / 1e3,
    verifySeconds: verify.seconds,
    samples: event('verify').samples,
    unitFiles: readdirSync(blobs).map((name) => statSync(join(blobs, name)).size),
  };
  rmSync(bundle, { recursive: true });
  rmSync(`${bundle}.work`, { recursive: true });
  return run;
}

/** Several runs: medians of their times, counts of the last. */
async function realRuns(recipe, folder) {
  const runs = [];
  for (let i = 0; i < RUNS; i++) runs.push(await realRun(recipe, folder));
  const times = Object.keys(runs[0]).filter((name) => name.endsWith('Seconds'));
  return {
    ...runs.at(-1),
    ...Object.fromEntries(times.map((name) => [name, median(runs.slice(1).map((run) => run[name]))])),
  };
}

await cli(async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      points: { type: 'string' },
      measure: { type: 'boolean', default: false },
      recipes: { type: 'string', default: 'moby,gpt-5m,gpt-19m' },
      json: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), 'pogo-cost-'));
  try {
    const file = values.measure ? await measurePoints(folder) : join(ROOT, values.points ?? newestResults());
    const lines = readLines(file);
    const [{ readPoints }, { measuredDevice }, { workloadOf }, { analyse, DEFAULT_INPUTS }, { loadRecipe }] =
      await Promise.all([
        built('cost', 'points.js'),
        built('cost', 'device.js'),
        built('cost', 'workload.js'),
        built('cost', 'analysis.js'),
        built('model', 'recipe.js'),
      ]);
    const rows = [];
    for (const name of values.recipes.split(',')) {
      const recipe = loadRecipe(name);
      progress(`cost: mining and verifying a claim of ${name}, ${RUNS} times`);
      const real = await realRuns(name, folder);
      const work = workloadOf(recipe);
      const { fractionPpm, targetPpm } = recipe.detection;
      const inputs = { ...DEFAULT_INPUTS, fractionPpm, targetPpm, committee: 1 };
      const device = measuredDevice(readPoints(lines, 'points', name));
      const said = analyse(work, device, inputs);
      const stateBytes = 4 * work.vectors * work.length;
      const whole = (command, seconds) => seconds + device.around(command, stateBytes).value;
      const units = work.stepsPerClaim * work.unitsPerStep;
      const checks = [
        ['a step, s', said.stepSeconds.value, real.stepSeconds, BOUND],
        ['whole `pogo mine`, s', whole('mine', said.claimSeconds.value), real.mineSeconds, BOUND],
        ['a verifier’s duty, s', said.verifySeconds.value, real.dutySeconds, BOUND],
        ['whole `pogo verify`, s', whole('verify', said.verifySeconds.value), real.verifySeconds, BOUND],
        ['units drawn', said.samples, real.samples, 0],
        ['unit files', units, real.unitFiles.filter((bytes) => bytes === work.unitBytes).length, 0],
        ['model files', 1, real.unitFiles.filter((bytes) => bytes === work.modelBytes).length, 0],
      ];
      for (const [what, formula, found, bound] of checks) {
        const off = formula / found - 1;
        const row = { type: 'cost-check', recipe: name, what, formula, found, off, holds: Math.abs(off) <= bound };
        rows.push(row);
        if (values.json) process.stdout.write(`${JSON.stringify(row)}\n`);
        else printRow(row);
      }
    }
    if (values.write) {
      const { cpu, cores, isa } = lines.find((line) => line.name === 'step');
      const points = values.measure ? 'timed in the same run' : file.slice(ROOT.length + 1);
      const head = { type: 'cost-check-run', date: new Date().toISOString().slice(0, 10), cpu, cores, isa, points };
      mkdirSync(dirname(join(ROOT, CHECKED)), { recursive: true });
      writeFileSync(join(ROOT, CHECKED), [head, ...rows].map((line) => `${JSON.stringify(line)}\n`).join(''));
      progress(`cost: ${CHECKED} written; node scripts/generate-cost.mjs takes it into docs/cost.md`);
    }
    return rows.every(({ holds }) => holds) ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function printRow({ recipe, what, formula, found, off, holds }) {
  const digits = (x) => String(Number(x.toPrecision(4))).padStart(9);
  const mark = holds ? 'holds' : 'FAILS';
  process.stdout.write(
    `${mark} ${recipe.padEnd(10)} ${what.padEnd(22)} formula ${digits(formula)}, run ${digits(found)}, ${(100 * off).toFixed(1)} %\n`,
  );
}
