/**
 * Measured points: what a machine needs for the parts of a step, from lines of `pogo bench`, as two numbers for each
 * operation of the tape: seconds = operations ÷ rate + bytes ÷ bandwidth.
 *
 * The pair is fitted to the passes of all recipes that were measured (relative least squares, neither below zero). What
 * whole steps and whole processes take beside their passes is fitted likewise, see {@link Beside}.
 * `scripts/check-cost.mjs` shows what that is worth: each recipe predicted from the others.
 */

/** The parts of a bench line that are read here. */
export interface PointLine {
  readonly type: string;
  readonly name?: string;
  readonly time?: string;
  readonly value?: number;
  readonly unit?: string;
  readonly bytes?: number;
  readonly operations?: number;
  readonly isa?: string;
  readonly cpu?: string;
  readonly cores?: number;
  readonly details?: Readonly<Record<string, unknown>>;
}

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
  /** By operation of the tape; `*` stands for operations that no recipe of the file has. */
  readonly passes: Readonly<Record<string, PassRate>>;
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

/** Seconds that come beside something: fixed + perUnit · its size (bytes, or seconds). */
export interface Beside {
  readonly fixed: number;
  readonly perUnit: number;
  readonly source: string;
}

/** Of whole runs of `pogo mine` and `pogo verify`. */
export interface ProcessPoints {
  /** Longer than in memory: a step of a miner, by the bytes of its units, which are hashed, written and synced. */
  readonly log: Beside;
  /** A verifier's reading, hashing and looking through the units of a step, by their bytes. */
  readonly read: Beside;
  /** Rebuilding the 4-bit model and its diff at a claim's end, by the model's bytes. */
  readonly model: Beside;
  /** Start and end, by the bytes of the state: filling it, first steps, checkpoints, the bundle. */
  readonly mine: Beside;
  readonly verify: Beside;
}

interface Sample {
  readonly seconds: number;
  readonly operations: number;
  readonly bytes: number;
}

/** value ≈ x · left + y · right, to be met within a share of `scale`. */
interface Equation {
  readonly left: number;
  readonly right: number;
  readonly value: number;
  readonly scale: number;
}

/** Least squares of (x · left + y · right − value) ÷ scale over x and y that are not below zero. */
function fitPair(equations: readonly Equation[]): { readonly x: number; readonly y: number } {
  let [ll, lr, rr, lv, rv] = [0, 0, 0, 0, 0];
  for (const { left, right, value, scale } of equations) {
    const [l, r, v] = [left / scale, right / scale, value / scale];
    ll += l * l;
    lr += l * r;
    rr += r * r;
    lv += l * v;
    rv += r * v;
  }
  const onlyRight = { x: 0, y: rr === 0 ? 0 : Math.max(0, rv / rr) };
  if (ll === 0) return onlyRight;
  const onlyLeft = { x: Math.max(0, lv / ll), y: 0 };
  const determinant = ll * rr - lr * lr;
  // One size only, or both sides in proportion: one of them says all there is to say.
  if (determinant <= 1e-9 * ll * rr) return onlyLeft;
  const both = { x: (lv * rr - rv * lr) / determinant, y: (rv * ll - lv * lr) / determinant };
  if (both.x >= 0 && both.y >= 0) return both;
  const residual = ({ x, y }: { x: number; y: number }): number =>
    equations.reduce((sum, e) => sum + ((x * e.left + y * e.right - e.value) / e.scale) ** 2, 0);
  return residual(onlyLeft) < residual(onlyRight) ? onlyLeft : onlyRight;
}

/** Least squares of (prediction ÷ measured − 1) over two rates that are not below zero. */
export function fitRate(samples: readonly Sample[]): PassRate {
  const { x, y } = fitPair(
    samples.map(({ seconds, operations, bytes }) => ({
      left: operations,
      right: bytes,
      value: seconds,
      scale: seconds,
    })),
  );
  return { perOperation: x, perByte: y };
}

/** Seconds of something of `size`, to be met within a share of `scale`. */
interface Extra {
  readonly seconds: number;
  readonly size: number;
  readonly scale: number;
}

/** @param source where the seconds stand */
export function fitBeside(extras: readonly Extra[], source: string): Beside {
  const { x, y } = fitPair(extras.map(({ seconds, size, scale }) => ({ left: size, right: 1, value: seconds, scale })));
  return { fixed: y, perUnit: x, source };
}

export function besideSeconds({ fixed, perUnit }: Pick<Beside, 'fixed' | 'perUnit'>, size: number): number {
  return fixed + perUnit * size;
}

export function passSeconds(rate: PassRate, { operations, bytes }: Omit<Sample, 'seconds'>): number {
  return operations * rate.perOperation + bytes * rate.perByte;
}

interface Located {
  readonly line: PointLine;
  readonly source: string;
}

const recipeOf = ({ line }: Located): unknown => line.details?.['recipe'];
const detail = ({ line }: Located, name: string): number => Number(line.details?.[name] ?? Number.NaN);

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
  const profile = mine.filter(({ line }) => line.name?.startsWith('unit-profile/'));
  const steps = mine.filter(({ line }) => line.name === 'step');
  const last = largestStep(steps, file);
  const samples = samplesByOperation(profile);
  const passes = Object.fromEntries([...samples].map(([name, some]) => [name, fitRate(some)] as const));
  const products = [...samples].flatMap(([name, some]) => (/^linear|^weight/.test(name) ? some : []));
  const stepSeconds = secondsOfStep(last);
  const lanes = detail(last, 'lanes');
  const rate = (kind: string, bytes: number): Point => {
    const seconds = (detail(last, `${kind}Percent`) / 100) * lanes * stepSeconds;
    return { value: bytes / seconds, source: last.source };
  };
  const length = detail(last, 'unitBytes') / (0.5 + 2 / 64);
  const units = unitsOf(last);
  return {
    file,
    date: String(first.line.time).slice(0, 10),
    cpu: String(first.line.cpu),
    cores: Number(first.line.cores),
    isa: String(isa),
    passes: { ...passes, '*': fitRate(products) },
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

const secondsOfStep = (step: Located): number => detail(step, 'tokensPerStep') / Number(step.line.value);

/** A unit in the lanes of a step, over the same unit alone: mean of the recipes. */
function togetherOf(lines: readonly Located[], steps: readonly Located[], file: string): Point {
  const ratios = steps.flatMap((step) => {
    const alone = lines.find((one) => one.line.name === 'unit-replay' && recipeOf(one) === recipeOf(step));
    if (alone === undefined) return [];
    const inLanes = ((detail(step, 'unitPercent') / 100) * detail(step, 'lanes') * secondsOfStep(step)) / unitsOf(step);
    return [(1e3 * inLanes) / Number(alone.line.value)];
  });
  return {
    value: ratios.length === 0 ? 1 : mean(ratios),
    source: `${file}, units in the lanes of step over unit-replay`,
  };
}

/** Units of a step of the lines: two where they do not say it. */
const unitsOf = ({ line }: Located): number => Number(line.details?.['units'] ?? 2);

function waitOf(step: Located): number {
  const seconds = secondsOfStep(step);
  const idle = (detail(step, 'idlePercent') / 100) * seconds;
  return idle / Math.sqrt(seconds - idle);
}

/** Lines `claim/mine` and `claim/verify`: two recipes at least, since size and what is fixed are told apart by them. */
function processOf(
  lines: readonly Located[],
  steps: readonly Located[],
  file: string,
): { readonly process?: ProcessPoints } {
  const named = (name: string): Located[] => lines.filter(({ line }) => line.name === name);
  const mines = named('claim/mine').filter((one) => steps.some((step) => recipeOf(step) === recipeOf(one)));
  const verifies = named('claim/verify');
  if (mines.length < 2 || verifies.length < 2) return {};
  const added = (one: Located): number => {
    const step = steps.find((s) => recipeOf(s) === recipeOf(one)) as Located;
    return detail(one, 'stepMs') / 1e3 - secondsOfStep(step);
  };
  /** Relative to itself: what is to be met within a share of each. */
  const extra = (one: Located, milliseconds: number, size: string): Extra => {
    const seconds = milliseconds / 1e3;
    return { seconds, size: detail(one, size), scale: seconds };
  };
  return {
    process: {
      log: fitBeside(
        mines.map((one) => ({
          seconds: added(one),
          size: detail(one, 'logBytesPerStep'),
          scale: detail(one, 'stepMs') / 1e3,
        })),
        `${file}, stepMs of the lines claim/mine over the lines step`,
      ),
      read: fitBeside(
        verifies.map((one) => extra(one, detail(one, 'readMs') / detail(one, 'steps'), 'logBytesPerStep')),
        `${file}, readMs of the lines claim/verify`,
      ),
      model: fitBeside(
        verifies.map((one) => extra(one, detail(one, 'modelMs'), 'modelBytes')),
        `${file}, modelMs of the lines claim/verify`,
      ),
      mine: fitBeside(
        mines.map((one) => extra(one, detail(one, 'mineAroundMs'), 'stateBytes')),
        `${file}, mineAroundMs of the lines claim/mine`,
      ),
      verify: fitBeside(
        verifies.map((one) => extra(one, detail(one, 'verifyAroundMs'), 'stateBytes')),
        `${file}, verifyAroundMs of the lines claim/verify`,
      ),
    },
  };
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

/** Bytes of one commit pass over vectors of `length` elements: units read, θ, m, v read and written, an eighth of the EMA. */
export function commitBytes(length: number, units: number): number {
  return length * (units * (0.5 + 2 / 64) + 24 + 8 / 8);
}

/** Bytes that the hash of a state reads: θ, m, v, and the EMA at every eighth step. */
export function hashBytes(length: number): number {
  return length * (12 + 4 / 8);
}

/** Bytes of the integer weights' pass: θ read, both orientations written, read and packed. */
export function weightBytes(length: number): number {
  return length * (4 + 2 + 2 + 2);
}
