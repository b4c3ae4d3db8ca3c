/**
 * `claim/mine`, `claim/verify`: whole runs of `pogo mine` and `pogo verify` (bench/claimRuns.ts), the least times of several
 * (bench/repeatedRuns.ts). Beside `step` and `unit-replay` they say what a process adds; the cost analysis reads them
 * (src/cost/processPoints.ts).
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLayout, packedModelLayout, unitFileBytes } from '../../src/model/layout.js';
import { prepareData } from '../../src/model/node/dataset.js';
import type { Recipe } from '../../src/model/recipe.js';
import { recipeToJson } from '../../src/model/recipeJson.js';
import { pogoHome } from '../../src/node/home.js';
import { stepTokens } from '../benchRecipe.js';
import type { ClaimRun } from '../claimRuns.js';
import type { BenchContext, BenchGroup } from '../group.js';
import { type BenchLine, lineOf, round } from '../harness.js';
import { countedRuns, leastTimes, metOnce, type Repetition, repeatedRuns } from '../repeatedRuns.js';

/** Runs of gpt2-124m take three minutes each: there one must do, and its files are read for the first time. */
const REPETITION: Repetition = { leastRuns: 3, leastMs: 40_000, mostMs: 120_000 };
/** As many runs as there must be. */
const ONCE: Repetition = { leastRuns: 0, leastMs: 0, mostMs: 0 };

/** What both lines say of the recipe: a reader needs no layout for it. */
function sizes(recipe: Recipe): Record<string, number | string> {
  const layout = createLayout(recipe);
  const unitBytes = unitFileBytes(layout).total;
  const stateBytes = 4 * layout.length * (recipe.ema ? 4 : 3);
  const modelBytes = packedModelLayout(layout).bytes;
  const { unitsPerStep } = recipe;
  return {
    recipe: recipe.name,
    unitsPerStep,
    unitBytes,
    logBytesPerStep: unitsPerStep * unitBytes,
    stateBytes,
    modelBytes,
  };
}

async function runsOf({ recipe, backend, quick, lanes, signal, benchFolder }: BenchContext): Promise<ClaimRun[]> {
  // Tokens are made once a machine, at the first run of a recipe.
  await prepareData(recipe, join(pogoHome(), 'data'));
  const folder = mkdtempSync(join(tmpdir(), 'pogo-bench-claim-'));
  const isa = backend.name === 'reference' ? 'auto' : backend.isa;
  const env = { ...process.env, POGO_BACKEND: backend.name, POGO_ISA: isa, POGO_LANES: String(lanes) };
  try {
    const file = join(folder, 'recipe.json');
    writeFileSync(file, JSON.stringify(recipeToJson(recipe)));
    const options = { root: join(benchFolder, '..'), recipe: file, env, ...(signal === undefined ? {} : { signal }) };
    return await repeatedRuns(options, (run) => join(folder, `bundle-${run}`), quick ? ONCE : REPETITION);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Both lines, of runs that were made. */
export function claimLines(
  { recipe, backend, isa, lanes }: { recipe: Recipe; backend: string; isa: string; lanes: number },
  runs: readonly ClaimRun[],
): [BenchLine, BenchLine] {
  const counted = countedRuns(runs);
  const { duty, stepMs, mineMs, mineAroundMs, verifyMs, verifyAroundMs } = leastTimes(runs);
  const { steps, samples, drawnSteps } = duty;
  const others = runs.map((run) => run.others).filter((share) => share !== undefined);
  const details = {
    ...sizes(recipe),
    lanes,
    runs: runs.length,
    countedRuns: counted.length,
    // The times below are the least of the counted runs; these were met by one run only.
    metOnce: metOnce(runs).join(', '),
    steps,
    // Of the processors, by others: above some hundredths the line is not of an idle machine.
    ...(others.length === 0 ? {} : { othersShare: round(Math.max(...others), 3) }),
  };
  const machine = { backend, isa };
  const mine = lineOf(
    {
      ...machine,
      name: 'claim/mine',
      unit: { name: 'tokens/s', perCall: stepTokens(recipe) },
      details: { ...details, stepMs, mineMs, mineAroundMs },
    },
    counted.flatMap(({ stepsMs }) => stepsMs),
  );
  const verify = lineOf(
    {
      ...machine,
      name: 'claim/verify',
      unit: { name: 's', perCall: 1 },
      details: {
        ...details,
        samples,
        drawnSteps: drawnSteps[1],
        dutyMs: duty.dutyMs,
        readMs: duty.readMs,
        replayMs: duty.replayMs,
        hashMs: duty.hashMs,
        unitMs: duty.unitMs,
        modelMs: duty.modelMs,
        heldOutMs: duty.heldOutMs,
        verifyMs,
        verifyAroundMs,
      },
    },
    counted.map(({ dutyMs }) => dutyMs),
  );
  return [mine, verify];
}

/** Both are of one run, so either name gives both. */
export const claim: BenchGroup = {
  names: ['claim/'],
  async *lines(context) {
    const { recipe, backend, lanes } = context;
    yield* claimLines({ recipe, backend: backend.name, isa: backend.isa, lanes }, await runsOf(context));
  },
};
