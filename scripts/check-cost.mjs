// Compares the formulas of the cost analysis with real runs: for each recipe two claims are mined and verified, and time, bytes
// and samples are held against what `pogo cost` says from points in which that recipe has no part.
//   node scripts/check-cost.mjs [--points FILE | --measure [--keep FILE]] [--recipes moby,gpt-5m,gpt-19m] [--json] [--write | --anyway]
// --measure times the points on this machine, too (twenty minutes in all; eight without); else they are those of a committed file,
// which means something only on the machine that made it. --keep writes them to a file. Points and runs are timed in passes,
// minutes apart, and what counts is the least of each time: what the formulas say is of a machine that does nothing else.
// --write keeps the result in bench/results/cost/check.jsonl, from where scripts/generate-cost.mjs takes it into docs/cost.md. A
// busy machine is refused, and what was timed while others computed, or whose least was met by one run only, is timed again;
// --anyway prints what was found all the same, of one pass, and keeps nothing.
// Exit code 0: every time is within 15 % and every count is equal; 1: one is not, and which; 5: the machine is busy.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildBench } from '../bench/build.mjs';
import { CHECKED, newestResults, readLines } from './generate-cost.mjs';
import { jsonLines } from './lib/jsonLines.mjs';
import { cli, EXIT_ENVIRONMENT, progress, ROOT, ScriptError } from './lib/project.mjs';

const BOUND = 0.15;
/** Passes over everything that is timed; further ones follow while the least of a time was met by one run only. */
const PASSES = 3;
const MOST_PASSES = 4;
/** Lines that are points beside whole processes; each recipe is predicted from the others, and the largest is not run here. */
const LINES = 'step,unit-replay,unit-profile/,loss-profile/';
const LINES_OF = ['moby', 'gpt-5m', 'gpt-19m', 'gpt2-124m'];
/** Of these whole processes are points, too: how long one starts and ends, however small and somewhat larger than those below. */
const START_RECIPES = ['tiny', 'gpt2-53m'];
/** And of the largest, whose run takes three minutes, once. */
const LARGEST = 'gpt2-124m';
/** Of each recipe in a pass: for this long at least and at most, a run at least beside the first (bench/repeatedRuns.ts). */
const REPETITION = { leastRuns: 1, leastMs: 20_000, mostMs: 60_000 };
/** As long as the machine is looked at before anything is timed, milliseconds. */
const LOOK_MS = 3000;

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

/** Lines of `pogo bench` of a recipe. */
async function linesOf(bench, recipe, only, anyway) {
  progress(`cost: timing ${recipe}`);
  const args = [join(ROOT, 'scripts', 'bench.mjs'), '--json', '--no-peers', '--only', only, '--recipe', recipe];
  const lines = await undisturbed(bench, recipe, anyway, () => jsonLines(process.execPath, args));
  // Others say what was skipped, and how the whole went.
  return lines.filter(({ type }) => type === 'bench');
}

/** Runs recipes, and times the points where they are asked for, in passes. @returns runs by recipe, and lines */
async function measured(bench, recipes, folder, { measure, anyway, files }) {
  const runs = new Map(recipes.map((name) => [name, []]));
  const lines = measure ? await linesOf(bench, LARGEST, 'claim/', anyway) : [];
  for (let pass = 1; pass <= (anyway ? 1 : MOST_PASSES); pass++) {
    progress(`cost: pass ${pass}`);
    if (measure) for (const name of LINES_OF) lines.push(...(await linesOf(bench, name, LINES, anyway)));
    for (const [name, some] of runs) {
      progress(`cost: mining and verifying two claims of ${name}, again and again`);
      const first = some.length;
      const place = (run) => join(folder, `${name}-${first + run}`);
      some.push(...(await bench.repeatedRuns({ root: ROOT, recipe: files.get(name) ?? name }, place, REPETITION)));
    }
    if (pass >= PASSES && unsteadyOf(bench, runs).length === 0) break;
  }
  for (const [name, some] of runs) {
    const counted = bench.countedRuns(some);
    const share = Math.max(...counted.map(({ others = 0 }) => others));
    if (share > bench.BUSY_SHARE) {
      refuseBusy(`others used ${percent(share)} of the processors beside every run of ${name}`, anyway);
    }
    progress(`cost: ${name}: ${some.length} runs, of which ${counted.length} count`);
  }
  return { runs, lines: bench.leastLines(lines) };
}

/** Times whose least was met by one run only, with their recipes. */
const unsteadyOf = ({ metOnce }, runs) =>
  // Of those that are only points a run or two must do.
  [...runs.entries()]
    .filter(([name]) => !START_RECIPES.includes(name))
    .flatMap(([name, some]) => metOnce(some).map((time) => `${name} ${time}`));

/** Files of recipes that are the bench's own, by name. */
function recipeFiles({ benchRecipe }, { recipeToJson }, names, folder) {
  const own = names.map((name) => [name, join(folder, `${name}.json`)]);
  for (const [name, file] of own) writeFileSync(file, JSON.stringify(recipeToJson(benchRecipe(name))));
  return new Map(own);
}

/** Lines `claim/…` of the runs: what a recipe's runs are held against, and points for the others. */
function processLines({ benchRecipe, claimLines }, { runs, lines }) {
  const { backend, isa, details } = lines.find(({ name }) => name === 'step');
  return [...runs].flatMap(([name, some]) =>
    claimLines({ recipe: benchRecipe(name), backend, isa, lanes: details.lanes }, some),
  );
}

/** What the formulas say and what was found, by name; parts of a duty are told and not judged. */
function comparison(bench, cost, lines, name, runs) {
  const { CLAIMS, countedRuns, leastTimes, metOnce } = bench;
  const recipe = cost.loadRecipe(name);
  const work = cost.workloadOf(recipe);
  const device = cost.measuredDevice(cost.readPoints(lines, 'points', name));
  const { fractionPpm, targetPpm } = recipe.detection;
  const inputs = { ...cost.DEFAULT_INPUTS, fractionPpm, targetPpm, committee: 1 };
  // By the steps that units were really drawn from: each draw has its own number, and a run is compared with its own.
  const said = (run, claim) => cost.analyse(work, device, inputs, run.drawnSteps[claim]);
  /** Formula and time of the runs, those first that took least of what the formula says of their draw. */
  const ordered = (formula, found) =>
    countedRuns(runs)
      .map((run) => [formula(run), found(run) / 1e3])
      .sort((a, b) => a[1] / a[0] - b[1] / b[0]);
  const last = said(runs.at(-1), 1);
  const { duty } = leastTimes(runs);
  const stateBytes = 4 * work.vectors * work.length;
  const around = (command) => device.around(command, stateBytes).value;
  const { samples, blobBytes } = runs.at(-1);
  const files = (bytes) => blobBytes.filter((one) => one === bytes).length;
  const units = CLAIMS * work.stepsPerClaim * work.unitsPerStep;
  const mine = CLAIMS * last.claimSeconds.value + around('mine');
  const times = [
    ['a step', 'a step, s', () => last.stepSeconds.value, (run) => run.stepMs],
    ['pogo mine', 'whole `pogo mine`, s', () => mine, (run) => run.mineMs],
    ['a duty', 'a verifier’s duty, s', (run) => said(run, 1).verifySeconds.value, (run) => run.dutyMs],
    [
      'pogo verify',
      'whole `pogo verify`, s',
      (run) => said(run, 0).verifySeconds.value + said(run, 1).verifySeconds.value + around('verify'),
      (run) => run.verifyMs,
    ],
  ];
  const counts = [
    ['units drawn', last.samples, samples],
    ['unit files', units, files(work.unitBytes)],
    ['model files', CLAIMS, files(work.modelBytes)],
  ];
  const row = (what, formula, found, bound) => {
    const off = formula / found - 1;
    return { type: 'cost-check', recipe: name, what, formula, found, off, holds: Math.abs(off) <= bound };
  };
  // A least that was met once may be chance: it decides only where the run that took next to least says the same.
  const once = metOnce(runs);
  const undecided = [];
  const timed = times.map(([time, what, formula, found]) => {
    const [least, second] = ordered(formula, found);
    const told = row(what, ...least, BOUND);
    if (once.includes(time) && (second === undefined || row(what, ...second, BOUND).holds !== told.holds)) {
      undecided.push(`${name} ${time}`);
    }
    return told;
  });
  const parts = {
    units: duty.unitMs,
    replay: duty.replayMs,
    read: duty.readMs,
    hash: duty.hashMs,
    model: duty.modelMs,
    heldOut: duty.heldOutMs,
  };
  // What no part is: batches, tokens, comparisons.
  parts.compare = Object.values(parts).reduce((rest, ms) => rest - ms, duty.dutyMs);
  return {
    undecided,
    rows: [...timed, ...counts.map((count) => row(...count, 0))],
    parts: Object.entries(parts).map(([part, ms]) => {
      const [formula, found] = [said(duty, 1).duty[part], ms / 1e3];
      const what = `of the duty: ${part}, s`;
      return { type: 'cost-check-part', recipe: name, what, formula, found, off: formula / found - 1 };
    }),
  };
}

await cli(async (args) => {
  const { values } = parseArgs({
    args,
    options: {
      points: { type: 'string' },
      keep: { type: 'string' },
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
  const files = ['benchRecipe.js', 'claimRuns.js', 'repeatedRuns.js', 'leastLines.js', 'lines/claim.js', 'others.js'];
  const parts = files.map((name) => import(pathToFileURL(join(compiled, name)).href));
  const bench = Object.assign({}, ...(await Promise.all(parts)));
  const modules = [
    'cost/points.js',
    'cost/device.js',
    'cost/workload.js',
    'cost/analysis.js',
    'model/recipe.js',
    'model/recipeJson.js',
  ];
  const cost = Object.assign({}, ...(await Promise.all(modules.map((name) => built(name)))));

  const look = bench.watchOthers();
  await sleep(LOOK_MS);
  const share = look();
  if (share > bench.BUSY_SHARE) refuseBusy(`others use ${percent(share)} of the processors`, anyway);

  const folder = mkdtempSync(join(tmpdir(), 'pogo-cost-'));
  try {
    const { measure } = values;
    const recipes = values.recipes.split(',');
    const also = measure ? START_RECIPES.filter((name) => !recipes.includes(name)) : [];
    const recipesAt = recipeFiles(bench, cost, also, folder);
    const found = await measured(bench, [...recipes, ...also], folder, { measure, anyway, files: recipesAt });
    const file = values.points ?? newestResults();
    const lines = measure ? [...found.lines, ...processLines(bench, found)] : readLines(resolve(ROOT, file));
    if (values.keep !== undefined)
      writeFileSync(values.keep, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const [rows, undecided] = [[], []];
    for (const name of recipes) {
      const compared = comparison(bench, cost, lines, name, found.runs.get(name));
      rows.push(...compared.rows);
      undecided.push(...compared.undecided);
      for (const row of [...compared.rows, ...compared.parts]) {
        process.stdout.write(values.json ? `${JSON.stringify(row)}\n` : rowText(row));
      }
    }
    const missed = rows.filter(({ holds }) => !holds);
    for (const { recipe, what, off } of missed) progress(`cost: off by ${percent(off)}: ${recipe}, ${what}`);
    if (undecided.length > 0) {
      progress(
        `cost: met by one run only, within ${percent(bench.ALIKE - 1)}, and the next run says otherwise: ${undecided.join(', ')}; nothing kept`,
      );
      return 1;
    }
    if (values.write) {
      const { cpu, cores, isa, time } = lines.find((line) => line.name === 'step');
      const given = values.points === undefined ? file : `of a file timed on ${time.slice(0, 10)}`;
      const points = measure ? 'timed in the same run' : given;
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
