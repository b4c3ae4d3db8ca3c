/**
 * `claim/mine`, `claim/verify`: whole runs of `pogo mine` and `pogo verify` (bench/claimRuns.ts). Beside `step` and
 * `unit-replay` they say what a process adds; the cost analysis reads them (src/cost/points.ts).
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLayout, packedModelLayout, unitFileBytes } from '../../src/model/layout.js';
import { prepareData } from '../../src/model/node/dataset.js';
import type { Recipe } from '../../src/model/recipe.js';
import { recipeToJson } from '../../src/model/recipeJson.js';
import { pogoHome } from '../../src/node/environment.js';
import { stepTokens } from '../benchRecipe.js';
import { type ClaimRun, claimRun, countedRuns, type TimeName, typical } from '../claimRuns.js';
import type { BenchContext, BenchGroup } from '../group.js';
import { type BenchLine, lineOf, round } from '../harness.js';

/** Runs of both, as long as they fit these seconds; one at least. The first is no sample where there are more. */
const MOST_RUNS = 4;
const MOST_SECONDS = 24;

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
    const runs: ClaimRun[] = [];
    const start = performance.now();
    for (let run = 0; run < (quick ? 1 : MOST_RUNS); run++) {
      if (run > 0 && ((performance.now() - start) * (run + 1)) / run > 1e3 * MOST_SECONDS) break;
      const bundle = join(folder, `bundle-${run}`);
      const root = join(benchFolder, '..');
      runs.push(
        await claimRun({ root, recipe: file, folder: bundle, env, ...(signal === undefined ? {} : { signal }) }),
      );
    }
    return runs;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function* claimLines(context: BenchContext): AsyncGenerator<BenchLine> {
  const { recipe, backend, lanes } = context;
  const runs = await runsOf(context);
  const counted = countedRuns(runs);
  const [{ steps, samples }] = runs as [ClaimRun];
  const others = runs.map((run) => run.others).filter((share) => share !== undefined);
  const details = {
    ...sizes(recipe),
    lanes,
    runs: runs.length,
    steps,
    // Of the processors, by others: above some hundredths the line is not of an idle machine.
    ...(others.length === 0 ? {} : { othersShare: round(Math.max(...others), 3) }),
  };
  const times = (...names: TimeName[]): Record<string, number> =>
    Object.fromEntries(names.map((name) => [name, typical(runs, name)]));
  const machine = { backend: backend.name, isa: backend.isa };
  yield lineOf(
    {
      ...machine,
      name: 'claim/mine',
      unit: { name: 'tokens/s', perCall: stepTokens(recipe) },
      details: { ...details, ...times('stepMs', 'mineMs', 'mineAroundMs') },
    },
    counted.flatMap(({ stepsMs }) => stepsMs),
  );
  const drawnSteps = counted.reduce((sum, run) => sum + run.drawnSteps[1], 0) / counted.length;
  yield lineOf(
    {
      ...machine,
      name: 'claim/verify',
      unit: { name: 's', perCall: 1 },
      details: {
        ...details,
        samples,
        drawnSteps,
        ...times(
          'dutyMs',
          'readMs',
          'replayMs',
          'hashMs',
          'unitMs',
          'modelMs',
          'heldOutMs',
          'verifyMs',
          'verifyAroundMs',
        ),
      },
    },
    counted.map(({ dutyMs }) => dutyMs),
  );
}

/** Both are of one run, so either name gives both. */
export const claim: BenchGroup = {
  names: ['claim/'],
  async *lines(context) {
    yield* claimLines(context);
  },
};
