/**
 * The bench harness: times one function with tinybench and makes a line of output from it (bench/README.md).
 *
 * A line's `ratio` is the share of the ceiling that was reached, `peerRatio` how many times as fast as the peer: in both
 * 1 is equal and more is better, whatever the unit. A function is timed only after its result was compared with the
 * reference, and the line carries the BLAKE3 of the result.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { Bench } from 'tinybench';
import { sharedArray } from '../src/backend/sharedArrays.js';
import { PogoError } from '../src/errors.js';
import type { Ceiling, FootprintCopy } from './ceilings.js';
import { machine } from './machine.js';

export interface BenchLine {
  readonly type: 'bench';
  /** when the line was complete, ISO 8601 */
  readonly time: string;
  readonly name: string;
  /** median over the samples, in `unit` */
  readonly value: number;
  readonly unit: string;
  readonly ceiling: number | null;
  readonly ceilingName: string | null;
  readonly ratio: number | null;
  readonly peer: string | null;
  readonly peerValue: number | null;
  readonly peerRatio: number | null;
  /** how far the samples lie apart */
  readonly spread: Spread;
  /** every peer that was measured in turn with this line; `peer` is the one that the target names */
  readonly peers: readonly PeerResult[];
  /** bytes that a call must move (read + written); 0 where memory is not the limit */
  readonly bytes: number;
  /** arithmetic operations of a call; 0 where they are not the limit */
  readonly operations: number;
  /** milliseconds of every timed call */
  readonly samples: readonly number[];
  /** high-water mark of the process while the line was measured, bytes; null where it was not asked for */
  readonly peakBytes: number | null;
  readonly backend: string;
  readonly isa: string;
  readonly cpu: string;
  readonly cores: number;
  readonly features: readonly string[];
  /** BLAKE3 of the result that was timed, 64 hex digits; null where a call has no bytes as its result */
  readonly result: string | null;
  /** what else the line says: parameters, peak memory, reasons for what is missing */
  readonly details: Readonly<Record<string, string | number | boolean>>;
}

/** Lowest and highest value, and the median of the distances to the median, all in the line's unit. */
export interface Spread {
  readonly min: number;
  readonly max: number;
  readonly mad: number;
}

/** Another implementation, timed in turn with ours on the same work. */
export interface PeerResult {
  readonly name: string;
  /** what is compared: the best of a kind counts (`fp32`, `bf16`, `one-shot`) */
  readonly kind: string;
  /** median over all its samples, in the line's unit */
  readonly value: number;
  readonly spread: Spread;
  /** ours over the peer's, both medians over the rounds that these two ran in turn; above 1 we are faster */
  readonly ratio: number;
  readonly threads: number;
  /** medians of the rounds, milliseconds of a call */
  readonly roundsMs: readonly number[];
  readonly oursRoundsMs: readonly number[];
  /** milliseconds of its calls before the first round */
  readonly warmUpMs: readonly number[];
  /** high-water mark of its process in the rounds, bytes; null where the system does not say */
  readonly peakBytes: number | null;
}

/** How `value` is made from the time of one call. */
export type Unit =
  | { readonly name: 'GB/s' | 'GB/s (input)'; readonly perCall: number }
  | { readonly name: 'GOP/s'; readonly perCall: number }
  | { readonly name: 'tokens/s'; readonly perCall: number }
  | { readonly name: 'ns' | 'us' | 'ms' | 's'; readonly perCall: number };

export interface Job {
  readonly name: string;
  readonly backend: string;
  readonly isa: string;
  /** `perCall`: bytes, operations, tokens, or calls inside one call of `run` */
  readonly unit: Unit;
  readonly bytes?: number;
  readonly operations?: number;
  /** value in the same base unit as `value` (bytes/s, operations/s, tokens/s, seconds) */
  readonly ceiling?: Ceiling | undefined;
  readonly peer?: Ceiling | undefined;
  /** of a pass over memory: a copy over as much memory, a second ceiling that stands in the details */
  readonly footprint?: FootprintCopy;
  readonly details?: Readonly<Record<string, string | number | boolean>>;
  /** One call. Synchronous kernels stay synchronous; a promise is awaited inside the timed window. */
  run(): unknown;
  /** Restores what a call changed (in-place kernels), outside the timed window. */
  before?(): void;
  /** The bytes a call produced. */
  result?(): Uint8Array;
  /** Throws when the result is not the reference's: called once after a first, untimed call. */
  check?(): void;
  /** Time budget of the samples, milliseconds (default 500). */
  readonly budgetMs?: number;
  readonly minSamples?: number;
  readonly peers?: readonly PeerResult[];
  readonly peakBytes?: number;
}

/** Samples kept in a line: enough for any statistic, small enough to print. */
const KEPT_SAMPLES = 64;

/** Median absolute deviation from the median. */
export function deviation(values: readonly number[]): number {
  const middle = median(values);
  return median(values.map((value) => Math.abs(value - middle)));
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Runs a job: one checked call, warm-up, samples. @throws PogoError INTERNAL when the timed function fails */
export async function measure(job: Job): Promise<BenchLine> {
  job.before?.();
  await job.run();
  job.check?.();
  const result = job.result?.();
  const bench = new Bench({
    time: job.budgetMs ?? 500,
    iterations: job.minSamples ?? 7,
    warmupTime: Math.min(100, job.budgetMs ?? 100),
    warmupIterations: 1,
    retainSamples: true,
    throws: true,
  });
  const before = job.before?.bind(job);
  bench.add(job.name, () => job.run(), before === undefined ? {} : { beforeEach: before });
  await bench.run();
  const outcome = bench.tasks[0].result;
  if (outcome.state !== 'completed' || !outcome.latency.samples) {
    throw new PogoError('INTERNAL', `bench ${job.name}: expected samples, the task ended as ${outcome.state}`);
  }
  return lineOf(job, [...outcome.latency.samples], result);
}

/** The line of samples that were taken elsewhere (a pipeline that times itself, another process). */
export function lineOf(job: Omit<Job, 'run'>, samplesMs: readonly number[], result?: Uint8Array): BenchLine {
  const { scale, isTime } = SCALES[job.unit.name];
  const base = baseValue(job.unit, median(samplesMs));
  // Against a ceiling or a peer a time counts inversely, so that more is always better.
  const against = (other: Ceiling | undefined): number | null => {
    if (other === undefined) return null;
    return round(isTime ? other.value / base : base / other.value, 4);
  };
  const { cpu, cores, features } = machine();
  return {
    type: 'bench',
    time: new Date().toISOString(),
    name: job.name,
    value: round(base * scale, 5),
    unit: job.unit.name,
    ceiling: job.ceiling === undefined ? null : round(job.ceiling.value * scale, 5),
    ceilingName: job.ceiling?.name ?? null,
    ratio: against(job.ceiling),
    peer: job.peer?.name ?? null,
    peerValue: job.peer === undefined ? null : round(job.peer.value * scale, 5),
    peerRatio: against(job.peer),
    spread: spreadOf(job.unit, samplesMs),
    peers: job.peers ?? [],
    bytes: job.bytes ?? 0,
    operations: job.operations ?? 0,
    samples: thin(samplesMs).map((ms) => round(ms, 6)),
    peakBytes: job.peakBytes ?? null,
    backend: job.backend,
    isa: job.isa,
    cpu,
    cores,
    features,
    result: result === undefined ? null : hex(blake3(result)),
    details: { ...job.details, ...footprintDetails(job, isTime ? (job.bytes ?? 0) / base : base) },
  };
}

/** @param rate bytes a second that the pass moved */
function footprintDetails({ footprint }: Omit<Job, 'run'>, rate: number): Record<string, number> {
  if (footprint === undefined) return {};
  return {
    footprintMiB: round(footprint.bytes / 2 ** 20, 4),
    footprintCopyGBs: round(footprint.rate / 1e9, 4),
    ofFootprintCopy: round(rate / footprint.rate, 4),
  };
}

/** The value of one call of `ms` milliseconds, in base units: bytes, operations or tokens a second, or seconds. */
function baseValue(unit: Unit, ms: number): number {
  const seconds = ms / 1e3;
  return SCALES[unit.name].isTime ? seconds / unit.perCall : unit.perCall / seconds;
}

/** The value of one call of `ms` milliseconds in `unit`. */
export function unitValue(unit: Unit, ms: number): number {
  return round(baseValue(unit, ms) * SCALES[unit.name].scale, 5);
}

/** Spread of the values that the samples stand for. */
export function spreadOf(unit: Unit, samplesMs: readonly number[]): Spread {
  const values = samplesMs.map((ms) => baseValue(unit, ms) * SCALES[unit.name].scale);
  return {
    // Not Math.min(...values): a quick call gives more samples than a call may have arguments.
    min: round(
      values.reduce((least, value) => Math.min(least, value)),
      5,
    ),
    max: round(
      values.reduce((most, value) => Math.max(most, value)),
      5,
    ),
    mad: round(deviation(values), 3),
  };
}

const SCALES: Readonly<Record<Unit['name'], { readonly scale: number; readonly isTime: boolean }>> = {
  'GB/s': { scale: 1e-9, isTime: false },
  'GB/s (input)': { scale: 1e-9, isTime: false },
  'GOP/s': { scale: 1e-9, isTime: false },
  'tokens/s': { scale: 1, isTime: false },
  ns: { scale: 1e9, isTime: true },
  us: { scale: 1e6, isTime: true },
  ms: { scale: 1e3, isTime: true },
  s: { scale: 1, isTime: true },
};

/** Every n-th sample, so that the first and the last stay. */
function thin(samples: readonly number[]): number[] {
  if (samples.length <= KEPT_SAMPLES) return [...samples];
  const last = samples.length - 1;
  return Array.from({ length: KEPT_SAMPLES }, (_, i) => samples[Math.round((i * last) / (KEPT_SAMPLES - 1))]);
}

/** To so many significant digits. */
export function round(value: number, digits: number): number {
  return Number(value.toPrecision(digits));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The bytes of any typed array, without a copy. */
export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** @throws PogoError SELF_TEST unless both arrays hold the same bytes: a wrong kernel is not timed */
export function requireSameBytes(what: string, actual: ArrayBufferView, expected: ArrayBufferView): void {
  const a = bytesOf(actual);
  const b = bytesOf(expected);
  const at = a.length === b.length ? a.findIndex((byte, i) => byte !== b[i]) : 0;
  if (a.length !== b.length || at >= 0) {
    throw new PogoError(
      'SELF_TEST',
      `${what}: expected the reference's ${b.length} bytes, found ${a.length} bytes that differ at byte ${at}; ` +
        'a wrong kernel is not timed; run `pogo doctor`',
      { what, byte: at },
    );
  }
}

/** Deterministic values for the operands: fp32 with a spread of magnitudes, the same on every machine. */
export function fillGaussian(out: Float32Array, seed: number, deviation: number): Float32Array {
  let state = (seed * 0x9e3779b9) >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < out.length; i++) out[i] = (next() + next() + next() + next() - 2) * 1.732 * deviation;
  return out;
}

/** A typed array over shared memory, as the pipeline uses. */
export const shared = {
  f32: (n: number): Float32Array => sharedArray(Float32Array, n),
  u32: (n: number): Uint32Array => sharedArray(Uint32Array, n),
  u16: (n: number): Uint16Array => sharedArray(Uint16Array, n),
  u8: (n: number): Uint8Array => sharedArray(Uint8Array, n),
  i8: (n: number): Int8Array => sharedArray(Int8Array, n),
};
