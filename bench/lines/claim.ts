/**
 * `claim/mine`, `claim/verify`: whole runs of `pogo mine` and `pogo verify` over one claim, as users start them: processes,
 * files that are synced, start and end included. Beside `step` and `unit-replay` they say what a process adds; the cost
 * analysis reads them (src/cost/points.ts).
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PogoError } from '../../src/errors.js';
import { createLayout, unitFileBytes } from '../../src/model/layout.js';
import { prepareData } from '../../src/model/node/dataset.js';
import type { Recipe } from '../../src/model/recipe.js';
import { recipeToJson } from '../../src/model/recipeJson.js';
import { pogoHome } from '../../src/node/environment.js';
import { stepTokens } from '../benchRecipe.js';
import type { BenchContext, BenchGroup } from '../group.js';
import { type BenchLine, lineOf, median } from '../harness.js';

/** Runs of both, as long as they fit these seconds; one at least. The first is no sample where there are more. */
const MOST_RUNS = 4;
const MOST_SECONDS = 12;

type Event = Readonly<Record<string, unknown>> & { readonly type: string };

interface Timed {
  readonly events: readonly Event[];
  /** From the start of the process to its end. */
  readonly wholeMs: number;
}

interface Mined {
  /** Milliseconds of each step after the first, which pays for memory that is touched the first time. */
  readonly stepsMs: readonly number[];
  /** Whole process without its steps. */
  readonly aroundMs: number;
  readonly wholeMs: number;
  readonly steps: number;
}

interface Verified {
  /** From the draw of the units to the verdict, held-out losses included. */
  readonly dutyMs: number;
  readonly aroundMs: number;
  readonly wholeMs: number;
  readonly readMs: number;
  readonly replayMs: number;
  readonly heldOutMs: number;
  readonly samples: number;
}

/** Runs `pogo` and reads its events. @throws PogoError INTERNAL where it fails */
async function pogo(context: BenchContext, args: readonly string[]): Promise<Timed> {
  const main = join(context.benchFolder, '..', 'dist', 'cli', 'main.js');
  const { backend, lanes, signal } = context;
  const env = {
    ...process.env,
    POGO_BACKEND: backend.name,
    POGO_ISA: backend.name === 'reference' ? 'auto' : backend.isa,
    POGO_LANES: String(lanes),
  };
  const start = performance.now();
  const child = spawn(process.execPath, [main, ...args, '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    signal,
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  ended.catch(() => undefined);
  const events: Event[] = [];
  for await (const text of createInterface({ input: child.stdout })) events.push(JSON.parse(text) as Event);
  const code = await ended;
  const wholeMs = performance.now() - start;
  if (code !== 0)
    throw new PogoError('INTERNAL', `bench: expected pogo ${args.join(' ')} to end with 0, found ${code}`);
  return { events, wholeMs };
}

function mined({ events, wholeMs }: Timed): Mined {
  const all = events.filter(({ type }) => type === 'step').map(({ ms }) => Number(ms));
  const steps = all.slice(1);
  const typical = median(steps);
  return { stepsMs: steps, aroundMs: Math.max(0, wholeMs - all.length * typical), wholeMs, steps: all.length };
}

function verified({ events, wholeMs }: Timed): Verified {
  const of = (type: string): Event => {
    const event = events.find((one) => one.type === type);
    if (event === undefined) throw new PogoError('INTERNAL', `bench: expected an event ${type} of pogo verify`);
    return event;
  };
  const claim = of('verify');
  const dutyMs = Date.parse(String(claim['time'])) - Date.parse(String(of('draw')['time']));
  const ms = (name: string): number => 1e3 * Number(claim[name]);
  return {
    dutyMs,
    aroundMs: Math.max(0, wholeMs - dutyMs),
    wholeMs,
    readMs: ms('readSeconds'),
    replayMs: ms('replaySeconds'),
    heldOutMs: ms('heldOutSeconds'),
    samples: Number(claim['samples']),
  };
}

/** What both lines say of the recipe: a reader needs no layout for it. */
function sizes(recipe: Recipe): Record<string, number | string> {
  const layout = createLayout(recipe);
  const unitBytes = unitFileBytes(layout).total;
  const stateBytes = 4 * layout.length * (recipe.ema ? 4 : 3);
  const { unitsPerStep } = recipe;
  return { recipe: recipe.name, unitsPerStep, unitBytes, logBytesPerStep: unitsPerStep * unitBytes, stateBytes };
}

async function* claimLines(context: BenchContext): AsyncGenerator<BenchLine> {
  const { recipe, backend, quick, lanes } = context;
  // Tokens are made once a machine, at the first run of a recipe.
  await prepareData(recipe, join(pogoHome(), 'data'));
  const folder = mkdtempSync(join(tmpdir(), 'pogo-bench-claim-'));
  try {
    const file = join(folder, 'recipe.json');
    writeFileSync(file, JSON.stringify(recipeToJson(recipe)));
    const mines: Mined[] = [];
    const checks: Verified[] = [];
    const start = performance.now();
    for (let run = 0; run < (quick ? 1 : MOST_RUNS); run++) {
      if (run > 0 && ((performance.now() - start) * (run + 1)) / run > 1e3 * MOST_SECONDS) break;
      const bundle = join(folder, `bundle-${run}`);
      mines.push(mined(await pogo(context, ['mine', '--recipe', file, '--claims', '1', '--dir', bundle])));
      checks.push(verified(await pogo(context, ['verify', bundle])));
      rmSync(bundle, { recursive: true });
      rmSync(`${bundle}.work`, { recursive: true });
    }
    const of = <T>(runs: readonly T[], pick: (run: T) => number): number =>
      median((runs.length > 1 ? runs.slice(1) : runs).map(pick));
    const details = { ...sizes(recipe), lanes, runs: mines.length };
    const machine = { backend: backend.name, isa: backend.isa };
    const steps = (mines[0] as Mined).steps;
    yield lineOf(
      {
        ...machine,
        name: 'claim/mine',
        unit: { name: 'tokens/s', perCall: stepTokens(recipe) },
        details: {
          ...details,
          steps,
          stepMs: of(mines, ({ stepsMs }) => median(stepsMs)),
          aroundMs: of(mines, ({ aroundMs }) => aroundMs),
          wholeMs: of(mines, ({ wholeMs }) => wholeMs),
        },
      },
      mines.flatMap(({ stepsMs }) => stepsMs),
    );
    yield lineOf(
      {
        ...machine,
        name: 'claim/verify',
        unit: { name: 's', perCall: 1 },
        details: {
          ...details,
          steps,
          samples: (checks[0] as Verified).samples,
          dutyMs: of(checks, ({ dutyMs }) => dutyMs),
          readMs: of(checks, ({ readMs }) => readMs),
          replayMs: of(checks, ({ replayMs }) => replayMs),
          heldOutMs: of(checks, ({ heldOutMs }) => heldOutMs),
          aroundMs: of(checks, ({ aroundMs }) => aroundMs),
          wholeMs: of(checks, ({ wholeMs }) => wholeMs),
        },
      },
      checks.map(({ dutyMs }) => dutyMs),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Both are of one run, so either name gives both. */
export const claim: BenchGroup = {
  names: ['claim/'],
  async *lines(context) {
    yield* claimLines(context);
  },
};
