// Compares the formulas of the cost analysis with real runs: for each recipe two claims are mined and verified, and time, bytes
// and samples are held against what `pogo cost` says from points in which that recipe has no part.
//   node scripts/check-cost.mjs [--points FILE | --measure] [--recipes moby,gpt-5m,gpt-19m] [--json] [--write | --anyway]
// --measure times the points on this machine first (about six minutes); else they are those of a committed file, which means
// something only on the machine that made it. --write keeps the result in bench/results/cost/check.jsonl, from where
// scripts/generate-cost.mjs takes it into docs/cost.md. A busy machine is refused, and what was timed while others computed, or
// came out unlike from run to run, is timed once more; --anyway prints what was found all the same and keeps nothing.
// Exit code 0: every time is within 15 % and every count is equal; 1: one is not, and which; 5: the machine is busy.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildBench } from '../bench/build.mjs';
import { CHECKED, newestResults, readLines } from './generate-cost.mjs';
import { jsonLines } from './lib/jsonLines.mjs';
import { cli, EXIT_ENVIRONMENT, progress, ROOT, ScriptError } from './lib/project.mjs';

const BOUND = 0.15;
/** Their passes are the points: each recipe is predicted from the others. */
const MEASURED_RECIPES = ['moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m'];
const LINES = 'step,unit-replay,unit-profile/,claim/';
/** Runs of each recipe; their median counts, without the first, which brings files into memory. */
const RUNS = 4;
/** Largest time of the runs over the least, above which their median says nothing. */
const MOST_SPREAD = 1.15;
/** Milliseconds for which the machine is looked at before anything is timed. */
const LOOK_MS = 3000;
/** What must come out alike from run to run; a duty by the step that units are drawn from, of which each draw has its own number. */
const STEADY = {
  'a step': ({ stepMs }) => stepMs,
  'pogo mine': ({ mineMs }) => mineMs,
  'a drawn step': ({ unitMs, hashMs, drawnSteps }) => (unitMs + hashMs) / drawnSteps[1],
};

const built = (...path) => import(pathToFileURL(join(ROOT, 'dist', ...path)).href);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** Refuses times of a machine that does other work, unless whoever asks wants them anyway. */
function refuseBusy(what, anyway) {
  const message = `${what}: times would say more about them; end what else runs here`;
  if (!anyway)
    throw new ScriptError(`error: ${message}, or take numbers that mean little with --anyway`, EXIT_ENVIRONMENT);
  progress(`cost: ${message}`);
}

/** Runs `work` once more where others computed meanwhile. */
async function undisturbed({ watchOthers, BUSY_SHARE }, what, anyway, work) {
  for (let attempt = 1; ; attempt++) {
    const ofOthers = watchOthers();
    const result = await work();
    const share = ofOthers();
    if (share === undefined || share <= BUSY_SHARE) return result;
    const found = `others used ${percent(share)} of the processors while ${what} was timed`;
    if (attempt === 2 || anyway) {
      refuseBusy(found, anyway);
      return result;
    }
    progress(`cost: ${found}; once more`);
  }
}

async function measurePoints(folder, bench, anyway) {
  const file = join(folder, 'points.jsonl');
  const lines = [];
  for (const recipe of MEASURED_RECIPES) {
    progress(`cost: timing ${recipe}`);
    const args = [join(ROOT, 'scripts', 'bench.mjs'), '--json', '--no-peers', '--only', LINES, '--recipe', recipe];
    lines.push(...(await undisturbed(bench, recipe, anyway, () => jsonLines(process.execPath, args))));
  }
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  return file;
}

/** Several runs of a recipe; once more where their times lie too far apart. @returns runs, and names of times that stay so */
async function steadyRuns(bench, recipe, folder, anyway) {
  const { claimRun, countedRuns } = bench;
  const spread = (values) => Math.max(...values) / Math.min(...values);
  for (let attempt = 1; ; attempt++) {
    progress(`cost: mining and verifying two claims of ${recipe}, ${RUNS} times`);
    const runs = await undisturbed(bench, recipe, anyway, async () => {
      const some = [];
      for (let i = 0; i < RUNS; i++) some.push(await claimRun({ root: ROOT, recipe, folder: join(folder, recipe) }));
      return some;
    });
    const unsteady = Object.keys(STEADY).filter((name) => spread(countedRuns(runs).map(STEADY[name])) > MOST_SPREAD);
    if (unsteady.length === 0 || attempt === 2 || anyway) return { runs, unsteady };
    progress(`cost: ${unsteady.join(', ')} of ${recipe} lie more than ${percent(MOST_SPREAD - 1)} apart; once more`);
  }
}

/** What the formulas say and what was found, by name; parts of a duty are told and not judged. */
function comparison(bench, cost, lines, name, runs) {
  const { CLAIMS, countedRuns, typical } = bench;
  const recipe = cost.loadRecipe(name);
  const work = cost.workloadOf(recipe);
  const device = cost.measuredDevice(cost.readPoints(lines, 'points', name));
  const { fractionPpm, targetPpm } = recipe.detection;
  const inputs = { ...cost.DEFAULT_INPUTS, fractionPpm, targetPpm, committee: 1 };
  // By the steps that units were really drawn from: each draw has its own number, and a run is compared with its own.
  const said = (run, claim) => cost.analyse(work, device, inputs, run.drawnSteps[claim]);
  const middle = (formula, found) => {
    const pairs = countedRuns(runs).map((run) => [formula(run), found(run) / 1e3]);
    return pairs.sort(([a, b], [c, d]) => a / b - c / d)[pairs.length >> 1];
  };
  const last = said(runs.at(-1), 1);
  const stateBytes = 4 * work.vectors * work.length;
  const seconds = (time) => typical(runs, time) / 1e3;
  const around = (command) => device.around(command, stateBytes).value;
  const { samples, blobBytes } = runs.at(-1);
  const files = (bytes) => blobBytes.filter((one) => one === bytes).length;
  const units = CLAIMS * work.stepsPerClaim * work.unitsPerStep;
  const checks = [
    ['a step, s', last.stepSeconds.value, seconds('stepMs'), BOUND],
    ['whole `pogo mine`, s', CLAIMS * last.claimSeconds.value + around('mine'), seconds('mineMs'), BOUND],
    [
      'a verifier’s duty, s',
      ...middle(
        (run) => said(run, 1).verifySeconds.value,
        ({ dutyMs }) => dutyMs,
      ),
      BOUND,
    ],
    [
      'whole `pogo verify`, s',
      ...middle(
        (run) => said(run, 0).verifySeconds.value + said(run, 1).verifySeconds.value + around('verify'),
        ({ verifyMs }) => verifyMs,
      ),
      BOUND,
    ],
    ['units drawn', last.samples, samples, 0],
    ['unit files', units, files(work.unitBytes), 0],
    ['model files', CLAIMS, files(work.modelBytes), 0],
  ];
  const times = {
    units: 'unitMs',
    replay: 'replayMs',
    read: 'readMs',
    hash: 'hashMs',
    model: 'modelMs',
    heldOut: 'heldOutMs',
  };
  return {
    rows: checks.map(([what, formula, found, bound]) => {
      const off = formula / found - 1;
      return { type: 'cost-check', recipe: name, what, formula, found, off, holds: Math.abs(off) <= bound };
    }),
    parts: Object.entries(times).map(([part, time]) => {
      const [formula, found] = middle(
        (run) => said(run, 1).duty[part],
        (run) => run[time],
      );
      return {
        type: 'cost-check-part',
        recipe: name,
        what: `of the duty: ${part}, s`,
        formula,
        found,
        off: formula / found - 1,
      };
    }),
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
      anyway: { type: 'boolean', default: false },
    },
  });
  const { anyway } = values;
  if (values.write && anyway) throw new ScriptError('error: expected --write or --anyway, found both', 2);
  const compiled = dirname(await buildBench());
  const parts = ['claimRuns.js', 'others.js'].map((name) => import(pathToFileURL(join(compiled, name)).href));
  const bench = Object.assign({}, ...(await Promise.all(parts)));
  const modules = ['cost/points.js', 'cost/device.js', 'cost/workload.js', 'cost/analysis.js', 'model/recipe.js'];
  const cost = Object.assign({}, ...(await Promise.all(modules.map((name) => built(name)))));

  const look = bench.watchOthers();
  await sleep(LOOK_MS);
  const share = look();
  if (share > bench.BUSY_SHARE) refuseBusy(`others use ${percent(share)} of the processors`, anyway);

  const folder = mkdtempSync(join(tmpdir(), 'pogo-cost-'));
  try {
    const file = values.measure
      ? await measurePoints(folder, bench, anyway)
      : join(ROOT, values.points ?? newestResults());
    const lines = readLines(file);
    const [rows, unsteady] = [[], []];
    for (const name of values.recipes.split(',')) {
      const found = await steadyRuns(bench, name, folder, anyway);
      unsteady.push(...found.unsteady.map((time) => `${name} ${time}`));
      const compared = comparison(bench, cost, lines, name, found.runs);
      rows.push(...compared.rows);
      for (const row of [...compared.rows, ...compared.parts]) {
        process.stdout.write(values.json ? `${JSON.stringify(row)}\n` : rowText(row));
      }
    }
    const missed = rows.filter(({ holds }) => !holds);
    for (const { recipe, what, off } of missed) progress(`cost: off by ${percent(off)}: ${recipe}, ${what}`);
    if (unsteady.length > 0) {
      progress(
        `cost: unlike from run to run, twice: ${unsteady.join(', ')}; nothing is said of them, and nothing kept`,
      );
      return 1;
    }
    if (values.write) {
      const { cpu, cores, isa } = lines.find((line) => line.name === 'step');
      const points = values.measure ? 'timed in the same run' : file.slice(ROOT.length + 1);
      const head = { type: 'cost-check-run', date: new Date().toISOString().slice(0, 10), cpu, cores, isa, points };
      mkdirSync(dirname(join(ROOT, CHECKED)), { recursive: true });
      writeFileSync(join(ROOT, CHECKED), [head, ...rows].map((line) => `${JSON.stringify(line)}\n`).join(''));
      progress(`cost: ${CHECKED} written; node scripts/publish-results.mjs takes it into docs/cost.md`);
    }
    return missed.length === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function rowText({ recipe, what, formula, found, off, holds }) {
  const digits = (x) => String(Number(x.toPrecision(4))).padStart(9);
  const mark = holds === undefined ? '     ' : holds ? 'holds' : 'FAILS';
  return `${mark} ${recipe.padEnd(10)} ${what.padEnd(24)} formula ${digits(formula)}, run ${digits(found)}, ${percent(off)}\n`;
}
