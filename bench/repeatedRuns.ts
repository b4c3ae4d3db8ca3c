/**
 * Runs of a recipe again and again, and what of them counts: **the least of each time**.
 *
 * The formulas of the cost analysis add up passes of which each is timed undisturbed. Whatever disturbs a run of a process
 * (others on the machine or on its host, memory that is touched for the first time) makes it longer, never shorter, and a run
 * of two seconds may lie in such a moment as a whole: the median duty of moby was 0.60 s in one series of three runs and 0.73 s
 * in another (Zen 5, two cores of a shared host). So short runs are repeated, until their least was met twice.
 */
import { CLAIMS, type ClaimRun, type ClaimRunOptions, claimRun } from './claimRuns.js';
import { BUSY_SHARE } from './others.js';

/** How often a recipe is run. */
export interface Repetition {
  /** Runs that count, at least, and milliseconds that they are to fill. */
  readonly leastRuns: number;
  readonly leastMs: number;
  /** After these no run begins that would not end within them; the first one always runs. */
  readonly mostMs: number;
}

/** The least and the second least of each time may lie so far apart; further, and the least may be met by chance. */
export const ALIKE = 1.05;

/**
 * Runs that count: without the first, which brings files into memory, and without those beside which others computed, where
 * there are any such.
 */
export function countedRuns(runs: readonly ClaimRun[]): readonly ClaimRun[] {
  const warm = runs.length > 1 ? runs.slice(1) : runs;
  const alone = warm.filter(({ others = 0 }) => others <= BUSY_SHARE);
  return alone.length > 0 ? alone : warm;
}

/** Milliseconds by which a duty grows with a step that units are drawn of: each draw has its own number of them. */
const drawnStepMs = ({ unitMs, hashMs, drawnSteps }: ClaimRun): number => (unitMs + hashMs) / drawnSteps[1];

/** The duty of a run as it would be for units of so many steps. */
const dutyOf = (run: ClaimRun, drawnSteps: number): number =>
  run.dutyMs + (drawnSteps - run.drawnSteps[1]) * drawnStepMs(run);

/** The whole process likewise, so many steps in each claim. */
const verifyOf = (run: ClaimRun, drawnSteps: number): number =>
  run.verifyMs + (CLAIMS * drawnSteps - run.drawnSteps[0] - run.drawnSteps[1]) * drawnStepMs(run);

/** Times of a run that are looked at, each as of a draw of as many steps. */
function times(run: ClaimRun, drawnSteps: number): Readonly<Record<string, number>> {
  return {
    'a step': run.stepMs,
    'pogo mine': run.mineMs,
    'a duty': dutyOf(run, drawnSteps),
    'pogo verify': verifyOf(run, drawnSteps),
  };
}

/** Names of times whose least was met once only: the second least is more than {@link ALIKE} of it, or there is none. */
export function metOnce(runs: readonly ClaimRun[]): string[] {
  const counted = countedRuns(runs);
  const drawn = (counted[0] as ClaimRun).drawnSteps[1];
  const all = counted.map((run) => times(run, drawn));
  return Object.keys(all[0] as object).filter((name) => {
    const [least, second] = all.map((one) => one[name] as number).sort((a, b) => a - b) as [number, number?];
    return second === undefined || second > ALIKE * least;
  });
}

/** What the runs say: the least of each time. */
export interface LeastTimes {
  readonly stepMs: number;
  readonly mineMs: number;
  /** The process without its steps. */
  readonly mineAroundMs: number;
  /** The run of the shortest duty, draws of unlike length made alike: its draw and the parts of its duty belong together. */
  readonly duty: ClaimRun;
  /** The process, as of two draws like that of `duty`, and the process without two duties. */
  readonly verifyMs: number;
  readonly verifyAroundMs: number;
}

export function leastTimes(runs: readonly ClaimRun[]): LeastTimes {
  const counted = countedRuns(runs);
  const least = (time: (run: ClaimRun) => number): number => Math.min(...counted.map(time));
  const [{ steps, drawnSteps }] = counted as [ClaimRun];
  const shortest = (a: ClaimRun, b: ClaimRun): ClaimRun =>
    dutyOf(b, drawnSteps[1]) < dutyOf(a, drawnSteps[1]) ? b : a;
  const duty = counted.reduce(shortest);
  const [stepMs, mineMs] = [least((run) => run.stepMs), least((run) => run.mineMs)];
  const verifyMs = least((run) => verifyOf(run, duty.drawnSteps[1]));
  return {
    stepMs,
    mineMs,
    mineAroundMs: Math.max(0, mineMs - CLAIMS * steps * stepMs),
    duty,
    verifyMs,
    verifyAroundMs: Math.max(0, verifyMs - CLAIMS * duty.dutyMs),
  };
}

/**
 * Runs a recipe as often as `repetition` says, and on until the least of each time was met twice.
 *
 * @param folder a new one for each run
 * @param once one run; {@link claimRun} but for tests
 */
export async function repeatedRuns(
  options: Omit<ClaimRunOptions, 'folder'>,
  folder: (run: number) => string,
  { leastRuns, leastMs, mostMs }: Repetition,
  once: (options: ClaimRunOptions) => Promise<ClaimRun> = claimRun,
): Promise<ClaimRun[]> {
  const runs: ClaimRun[] = [];
  const start = performance.now();
  for (;;) {
    runs.push(await once({ ...options, folder: folder(runs.length) }));
    const passed = performance.now() - start;
    const enough = runs.length > leastRuns && passed >= leastMs && metOnce(runs).length === 0;
    if (enough || passed * (1 + 1 / runs.length) > mostMs) return runs;
  }
}
