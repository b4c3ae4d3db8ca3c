/**
 * Whole runs of `pogo mine` and `pogo verify`, as users start them: processes, files that are synced, start and end included.
 * One place for the lines `claim/mine` and `claim/verify` and for scripts/check-cost.mjs, so that points and what they are
 * held against are the same thing.
 *
 * A run has two claims. In the first one lanes bind their tapes, code is compiled and memory is touched for the first time;
 * the second is what a claim costs whoever goes from claim to claim. What the first takes beyond that is start and end.
 * How often a recipe is run and which of its runs count: repeatedRuns.ts.
 */
import { spawn } from 'node:child_process';
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PogoError } from '../src/errors.js';
import { median } from './harness.js';
import { watchOthers } from './others.js';

/** Claims of a run. */
export const CLAIMS = 2;

export interface ClaimRun {
  /** Steps of a claim. */
  readonly steps: number;
  /** Milliseconds of each step of the second claim, and their median. */
  readonly stepsMs: readonly number[];
  readonly stepMs: number;
  /** The process. */
  readonly mineMs: number;
  /** The second claim, from the verdict on the first to its own: a verifier's duty, held-out losses included. */
  readonly dutyMs: number;
  /** Its parts. */
  readonly readMs: number;
  readonly replayMs: number;
  readonly hashMs: number;
  readonly unitMs: number;
  readonly modelMs: number;
  readonly heldOutMs: number;
  /** Units that were drawn from a claim, and the steps that they are of, by claim. */
  readonly samples: number;
  readonly drawnSteps: readonly [number, number];
  /** The process. */
  readonly verifyMs: number;
  /** Bytes of each file of the bundle's blobs. */
  readonly blobBytes: readonly number[];
  /** Share of the processors that others used meanwhile; absent where the system does not say. */
  readonly others?: number;
}

export interface ClaimRunOptions {
  /** Folder of the package: its `dist` is run. */
  readonly root: string;
  /** Name of a recipe or its file. */
  readonly recipe: string;
  /** A folder for the bundle, which is removed at the end. */
  readonly folder: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

type Event = Readonly<Record<string, unknown>> & { readonly type: string };

interface Timed {
  readonly events: readonly Event[];
  /** From the start of the process to its end. */
  readonly ms: number;
}

/** Runs `pogo` and reads its events. @throws PogoError INTERNAL where it fails */
async function pogo({ root, env, signal }: ClaimRunOptions, args: readonly string[]): Promise<Timed> {
  const start = performance.now();
  const child = spawn(process.execPath, [join(root, 'dist', 'cli', 'main.js'), ...args, '--json'], {
    env: env ?? process.env,
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(signal === undefined ? {} : { signal }),
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  ended.catch(() => undefined);
  const events: Event[] = [];
  for await (const text of createInterface({ input: child.stdout })) events.push(JSON.parse(text) as Event);
  const code = await ended;
  const ms = performance.now() - start;
  if (code !== 0)
    throw new PogoError('INTERNAL', `bench: expected pogo ${args.join(' ')} to end with 0, found ${code}`);
  return { events, ms };
}

/** Mines two claims and verifies them, once. @throws PogoError INTERNAL where a command fails */
export async function claimRun(options: ClaimRunOptions): Promise<ClaimRun> {
  const { recipe, folder } = options;
  const ofOthers = watchOthers();
  const mine = await pogo(options, ['mine', '--recipe', recipe, '--claims', String(CLAIMS), '--dir', folder]);
  const verify = await pogo(options, ['verify', folder]);
  const others = ofOthers();
  const blobs = join(folder, 'blobs');
  const blobBytes = readdirSync(blobs).map((name) => statSync(join(blobs, name)).size);
  rmSync(folder, { recursive: true });
  rmSync(`${folder}.work`, { recursive: true });
  return { ...mined(mine), ...verified(verify), blobBytes, ...(others === undefined ? {} : { others }) };
}

function mined({ events, ms }: Timed): Pick<ClaimRun, 'steps' | 'stepsMs' | 'stepMs' | 'mineMs'> {
  const all = events.filter(({ type }) => type === 'step').map((event) => Number(event['ms']));
  const steps = all.length / CLAIMS;
  const stepsMs = all.slice(-steps);
  return { steps, stepsMs, stepMs: median(stepsMs), mineMs: ms };
}

function verified({ events, ms }: Timed): Omit<ClaimRun, 'blobBytes' | 'others' | keyof ReturnType<typeof mined>> {
  const claims = events.filter(({ type }) => type === 'verify');
  const [first, last] = [claims[0], claims.at(-1)];
  if (first === undefined || last === undefined || claims.length !== CLAIMS) {
    throw new PogoError('INTERNAL', `bench: expected ${CLAIMS} events verify, found ${claims.length}`);
  }
  const time = (event: Event): number => Date.parse(String(event['time']));
  const number = (event: Event, name: string): number => Number(event[name]);
  const part = (name: string): number => 1e3 * number(last, name);
  return {
    dutyMs: time(last) - time(first),
    readMs: part('readSeconds'),
    replayMs: part('replaySeconds'),
    hashMs: part('hashSeconds'),
    unitMs: part('unitSeconds'),
    modelMs: part('modelSeconds'),
    heldOutMs: part('heldOutSeconds'),
    samples: number(last, 'samples'),
    drawnSteps: [number(first, 'drawnSteps'), number(last, 'drawnSteps')],
    verifyMs: ms,
  };
}
