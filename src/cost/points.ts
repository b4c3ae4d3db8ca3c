/**
 * Measured points: what a machine needs for the parts of a step, from lines of `pogo bench`, as two numbers for each
 * operation of the tape: seconds = operations ÷ rate + bytes ÷ bandwidth.
 *
 * The pair is fitted to the passes of all recipes that were measured (relative least squares, neither below zero). What
 * whole processes take beside is taken from the measured sizes, see processPoints.ts.
 * `scripts/check-cost.mjs` shows what that is worth: each recipe predicted from the others.
 */

import { commitBytes, hashBytes, unitFileLength, weightBytes } from './passBytes.js';
import { type ProcessPoints, processOf } from './processPoints.js';
import { detail, type Located, type PointLine, recipeOf, secondsOfStep, shareOfStep, unitsOf } from './resultLines.js';

/** Seconds of a pass = operations · perOperation + bytes · perByte. */
export interface PassRate {
  readonly perOperation: number;
  readonly perByte: number;
}

/** A measured number with its place: `FILE:LINE`. */
export interface Point {
  readonly value: number;
  readonly source: string;
}

export interface MeasuredPoints {
  /** Path of the file in the repository. */
  readonly file: string;
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly isa: string;
  /** By operation of a unit's tape; `*` stands for operations that no recipe of the file has. */
  readonly passes: Readonly<Record<string, PassRate>>;
  /**
   * The same for the loss of a sequence, whose buffers are a fraction of a unit's and lie in nearer caches; what is missing
   * here, or all where none was profiled, is taken as in a unit.
   */
  readonly lossPasses: Readonly<Record<string, PassRate>>;
  /** Bytes a second of one core: commit pass (read + write), BLAKE3 (read), integer weights and their packing. */
  readonly commit: Point;
  readonly hash: Point;
  readonly weights: Point;
  /** A unit while the other lanes compute, too, over one alone. */
  readonly together: Point;
  /**
   * Seconds of a step in which lanes wait (for the slowest, for the main thread) over the root of its other seconds. What
   * disturbs a unit adds up like independent errors: over steps of 25 ms to 1.3 s the quotient stays within 20 % of its mean
   * on Zen 5, where shares of a step and constants do not.
   */
  readonly waits: Point;
  /** Seconds from handing a task to a lane to its answer, of a task that does nothing. */
  readonly trip: Point;
  /** What processes add; absent where no run of `pogo mine` and `pogo verify` was timed. */
  readonly process?: ProcessPoints;
}

interface Sample {
  readonly seconds: number;
  readonly operations: number;
  readonly bytes: number;
}

/** Least squares of (prediction ÷ measured − 1) over two rates that are not below zero. */
export function fitRate(samples: readonly Sample[]): PassRate {
  let [ll, lr, rr, lv, rv] = [0, 0, 0, 0, 0];
  for (const { seconds, operations, bytes } of samples) {
    const [l, r] = [operations / seconds, bytes / seconds];
    ll += l * l;
    lr += l * r;
    rr += r * r;
    lv += l;
    rv += r;
  }
  const onlyBytes = { perOperation: 0, perByte: rr === 0 ? 0 : Math.max(0, rv / rr) };
  if (ll === 0) return onlyBytes;
  const onlyOperations = { perOperation: Math.max(0, lv / ll), perByte: 0 };
  const determinant = ll * rr - lr * lr;
  // One size only, or both sides in proportion: one of them says all there is to say.
  if (determinant <= 1e-9 * ll * rr) return onlyOperations;
  const both = { perOperation: (lv * rr - rv * lr) / determinant, perByte: (rv * ll - lv * lr) / determinant };
  if (both.perOperation >= 0 && both.perByte >= 0) return both;
  const residual = (rate: PassRate): number =>
    samples.reduce((sum, one) => sum + (passSeconds(rate, one) / one.seconds - 1) ** 2, 0);
  return residual(onlyOperations) < residual(onlyBytes) ? onlyOperations : onlyBytes;
}

export function passSeconds(rate: PassRate, { operations, bytes }: Omit<Sample, 'seconds'>): number {
  return operations * rate.perOperation + bytes * rate.perByte;
}

/** The profile lines name the operation; where a pass runs several, the first stands for it. */
const operationOf = (located: Located): string => String(located.line.details?.['operation']).split(',')[0] as string;

/**
 * Reads the points of the instruction set whose lines come first in a file of results.
 *
 * @param lines all lines of the file, in order
 * @param file its path, for the sources
 * @param except a recipe whose lines are not used: to predict it from the others
 * @throws RangeError where the file lacks the lines that are needed
 */
export function readPoints(lines: readonly PointLine[], file: string, except?: string): MeasuredPoints {
  const located = lines.map((line, i) => ({ line, source: `${file}:${i + 1}` }));
  const first = located.find(({ line }) => line.name === 'step');
  if (first === undefined) throw new RangeError(`${file}: expected lines of pogo bench, found no step`);
  const { isa } = first.line;
  const mine = located.filter((one) => one.line.isa === isa && (except === undefined || recipeOf(one) !== except));
  const profile = (prefix: string): Map<string, Sample[]> =>
    samplesByOperation(mine.filter(({ line }) => line.name?.startsWith(prefix)));
  const rates = (some: ReadonlyMap<string, readonly Sample[]>): Record<string, PassRate> =>
    Object.fromEntries([...some].map(([name, one]) => [name, fitRate(one)] as const));
  const steps = mine.filter(({ line }) => line.name === 'step');
  const last = largestStep(steps, file);
  const samples = profile('unit-profile/');
  const products = [...samples].flatMap(([name, some]) => (/^linear|^weight/.test(name) ? some : []));
  const stepSeconds = secondsOfStep(last);
  const lanes = detail(last, 'lanes');
  const rate = (kind: string, bytes: number): Point => {
    const seconds = shareOfStep(last, kind) * lanes * stepSeconds;
    return { value: bytes / seconds, source: last.source };
  };
  const length = unitFileLength(detail(last, 'unitBytes'));
  const units = unitsOf(last);
  return {
    file,
    date: String(first.line.time).slice(0, 10),
    cpu: String(first.line.cpu),
    cores: Number(first.line.cores),
    isa: String(isa),
    passes: { ...rates(samples), '*': fitRate(products) },
    lossPasses: rates(profile('loss-profile/')),
    commit: rate('commit', commitBytes(length, units)),
    hash: rate('hash', hashBytes(length)),
    weights: rate('weights', weightBytes(length)),
    together: togetherOf(mine, steps, file),
    waits: { value: mean(steps.map(waitOf)), source: `${file}, idlePercent of the lines step` },
    trip: {
      value: mean(steps.map((step) => detail(step, 'emptyTaskUs'))) / 1e6,
      source: `${file}, emptyTaskUs of the lines step`,
    },
    ...processOf(mine, steps, file),
  };
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** A unit in the lanes of a step, over the same unit alone: mean of the recipes. */
function togetherOf(lines: readonly Located[], steps: readonly Located[], file: string): Point {
  const ratios = steps.flatMap((step) => {
    const alone = lines.find((one) => one.line.name === 'unit-replay' && recipeOf(one) === recipeOf(step));
    if (alone === undefined) return [];
    const inLanes = (shareOfStep(step, 'unit') * detail(step, 'lanes') * secondsOfStep(step)) / unitsOf(step);
    return [(1e3 * inLanes) / Number(alone.line.value)];
  });
  return {
    value: ratios.length === 0 ? 1 : mean(ratios),
    source: `${file}, units in the lanes of step over unit-replay`,
  };
}

function waitOf(step: Located): number {
  const seconds = secondsOfStep(step);
  const idle = shareOfStep(step, 'idle') * seconds;
  return idle / Math.sqrt(seconds - idle);
}

/** The step of the largest model: its state is the least likely to lie in a cache. */
function largestStep(steps: readonly Located[], file: string): Located {
  const sorted = [...steps].sort((a, b) => detail(b, 'unitBytes') - detail(a, 'unitBytes'));
  const [largest] = sorted;
  if (largest === undefined) throw new RangeError(`${file}: expected a step of another recipe, found none`);
  return largest;
}

function samplesByOperation(profile: readonly Located[]): Map<string, Sample[]> {
  const samples = new Map<string, Sample[]>();
  for (const one of profile) {
    const { value = 0, operations = 0, bytes = 0 } = one.line;
    const name = operationOf(one);
    const some = samples.get(name) ?? [];
    some.push({ seconds: value / 1e3, operations, bytes });
    samples.set(name, some);
  }
  return samples;
}
