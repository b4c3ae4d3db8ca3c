// Compares the formulas of the cost analysis with real runs: for each recipe a claim is mined and verified, and time, bytes
// and samples are held against what `pogo cost` says from points in which that recipe has no part.
//   node scripts/check-cost.mjs [--points FILE | --measure] [--recipes moby,gpt-5m,gpt-19m] [--json]
// --measure times the points on this machine first (about four minutes); else they are those of a committed file, which means
// something only on the machine that made it. Exit code 0 if every time is within 15 % and every count is equal. The machine
// must be idle.
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { newestResults, readLines } from './generate-cost.mjs';
import { jsonLines } from './lib/jsonLines.mjs';
import { cli, progress, ROOT } from './lib/project.mjs';

const BOUND = 0.15;
/** Their passes are the points: each recipe is predicted from the others. */
const MEASURED_RECIPES = ['moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m'];
const LINES = 'step,unit-replay,unit-profile/';

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

function folderBytes(folder) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath ?? entry.path, entry.name)).size;
  }
  return bytes;
}

/** One claim, mined and verified. */
async function realRun(recipe, folder) {
  const pogo = join(ROOT, 'dist', 'cli', 'main.js');
  const bundle = join(folder, recipe);
  const mined = await jsonLines(process.execPath, [
    pogo,
    'mine',
    '--recipe',
    recipe,
    '--claims',
    '1',
    '--dir',
    bundle,
    '--json',
  ]);
  const verified = await jsonLines(process.execPath, [pogo, 'verify', bundle, '--json']);
  const steps = mined.filter(({ type }) => type === 'step').map(({ ms }) => ms);
  const claim = verified.find(({ type }) => type === 'verify');
  // The first step pays for compiling and for memory that is touched the first time: the others stand for it.
  const typical = [...steps].sort((a, b) => a - b)[Math.floor(steps.length / 2)];
  return {
    steps: steps.length,
    trainSeconds: (typical * steps.length) / 1e3,
    verifySeconds: claim.seconds,
    samples: claim.samples,
    unitFiles: readdirSync(join(bundle, 'blobs')).map((name) => statSync(join(bundle, 'blobs', name)).size),
    bytes: folderBytes(bundle),
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
    let failures = 0;
    for (const name of values.recipes.split(',')) {
      const recipe = loadRecipe(name);
      progress(`cost: mining and verifying a claim of ${name}`);
      const real = await realRun(name, folder);
      const work = workloadOf(recipe);
      const { fractionPpm, targetPpm } = recipe.detection;
      const inputs = { ...DEFAULT_INPUTS, fractionPpm, targetPpm, committee: 1 };
      const device = measuredDevice(readPoints(lines, 'points', name));
      const said = analyse(work, device, inputs);
      const units = work.stepsPerClaim * work.unitsPerStep;
      const checks = [
        ['training, s', said.claimSeconds.value, real.trainSeconds, BOUND],
        ['verification, s', said.verifySeconds.value, real.verifySeconds, BOUND],
        ['units drawn', said.samples, real.samples, 0],
        ['unit files', units, real.unitFiles.filter((bytes) => bytes === work.unitBytes).length, 0],
        ['model files', 1, real.unitFiles.filter((bytes) => bytes === work.modelBytes).length, 0],
      ];
      for (const [what, formula, found, bound] of checks) {
        const off = formula / found - 1;
        const holds = Math.abs(off) <= bound;
        if (!holds) failures += 1;
        if (values.json) {
          process.stdout.write(
            `${JSON.stringify({ type: 'cost-check', recipe: name, what, formula, found, off, holds })}\n`,
          );
        } else {
          const digits = (x) => String(Number(x.toPrecision(4))).padStart(9);
          const mark = holds ? 'holds' : 'FAILS';
          process.stdout.write(
            `${mark} ${name.padEnd(10)} ${what.padEnd(16)} formula ${digits(formula)}, run ${digits(found)}, ${(100 * off).toFixed(1)} %\n`,
          );
        }
      }
    }
    return failures > 0 ? 1 : 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
