/**
 * Measured points: what a machine needs for the parts of a step, from lines of `pogo bench`, as two numbers for each
 * operation of the tape: seconds = operations ÷ rate + bytes ÷ bandwidth.
 *
 * The pair is fitted to the passes of all recipes that were measured (relative least squares, neither below zero).
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
  /** Share of the lanes' time in a step that is no waiting. */
  readonly busy: Point;
  /** Loss alone as a share of a unit's time. */
  readonly forwardShare: Point;
}

interface Sample {
  readonly seconds: number;
  readonly operations: number;
  readonly bytes: number;
}

/** Least squares of (prediction ÷ measured − 1) over two rates that are not below zero. */
export function fitRate(samples: readonly Sample[]): PassRate {
  let [oo, ob, bb, o1, b1] = [0, 0, 0, 0, 0];
  for (const { seconds, operations, bytes } of samples) {
    const o = operations / seconds;
    const b = bytes / seconds;
    oo += o * o;
    ob += o * b;
    bb += b * b;
    o1 += o;
    b1 += b;
  }
  const onlyBytes = { perOperation: 0, perByte: bb === 0 ? 0 : b1 / bb };
  if (oo === 0) return onlyBytes;
  const onlyOperations = { perOperation: o1 / oo, perByte: 0 };
  const determinant = oo * bb - ob * ob;
  // Passes of one shape only, or bytes in proportion to operations: one rate says all there is to say.
  if (determinant <= 1e-9 * oo * bb) return onlyOperations;
  const both = { perOperation: (o1 * bb - b1 * ob) / determinant, perByte: (b1 * oo - o1 * ob) / determinant };
  if (both.perOperation >= 0 && both.perByte >= 0) return both;
  return residual(samples, onlyOperations) < residual(samples, onlyBytes) ? onlyOperations : onlyBytes;
}

function residual(samples: readonly Sample[], rate: PassRate): number {
  return samples.reduce((sum, s) => sum + (passSeconds(rate, s) / s.seconds - 1) ** 2, 0);
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
  const total = profile.filter((one) => recipeOf(one) === recipeOf(last)).reduce((s, o) => s + Number(o.line.value), 0);
  const forward = profile
    .filter((one) => recipeOf(one) === recipeOf(last) && /\.forward$/.test(String(one.line.name)))
    .reduce((sum, one) => sum + Number(one.line.value), 0);
  const stepSeconds = detail(last, 'tokensPerStep') / Number(last.line.value);
  const lanes = detail(last, 'lanes');
  const rate = (kind: string, bytes: number): Point => {
    const seconds = (detail(last, `${kind}Percent`) / 100) * lanes * stepSeconds;
    return { value: bytes / seconds, source: last.source };
  };
  const length = detail(last, 'unitBytes') / (0.5 + 2 / 64);
  const units = Number(last.line.details?.['units'] ?? 2);
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
    busy: { value: 1 - detail(last, 'idlePercent') / 100, source: last.source },
    forwardShare: { value: forward / total, source: `${file}, unit-profile/*.forward of ${String(recipeOf(last))}` },
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
