/**
 * The ceilings that results are held against, measured in the same run on the same machine: how fast memory can be
 * copied, and how many int8 operations a core can do on registers alone. Both by small C programs that are compiled on
 * the spot (`native/`); without a compiler copies are JavaScript's, and there is no int8 peak.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './harness.js';

export interface Ceiling {
  readonly name: string;
  /** bytes/s or operations/s */
  readonly value: number;
}

const COPY_SIZES_MIB = [8, 32, 128];
const MIB = 2 ** 20;

let folder = join('bench', 'native');

/** Where the C programs are: the folder `native` of the repository's bench folder. */
export function useBenchFolder(benchFolder: string): void {
  folder = join(benchFolder, 'native');
}

/** Bytes a second by thread count and size in MiB; of all threads together. */
type Copies = ReadonlyMap<number, ReadonlyMap<number, number>>;

let native: Copies | string | undefined;
const copies = new Map<number, Ceiling>();

/**
 * Copy bandwidth: bytes read plus bytes written a second, the best of three sizes, each the median of eleven copies; of
 * one thread the better of C's and JavaScript's.
 *
 * @param threads 1 (default), or all that the machine has: each copies between buffers of its own
 */
export function copyBandwidth(threads = 1): Ceiling {
  const known = copies.get(threads);
  if (known !== undefined) return known;
  const rates = [...(copiesOf(threads) ?? [])];
  // Without a compiler all threads together are not measured: one thread's bandwidth times their number is no ceiling.
  if (threads === 1 || rates.length === 0) rates.push(...javascriptCopies());
  const [at, value] = rates.reduce((best, rate) => (rate[1] > best[1] ? rate : best));
  const who = threads === 1 ? '' : ` of ${threads} threads`;
  const ceiling = { name: `copy${who}, read + write, best of ${COPY_SIZES_MIB.join('/')} MiB (${at})`, value };
  copies.set(threads, ceiling);
  return ceiling;
}

/** A copy that touches as much memory as a pass does. */
export interface FootprintCopy {
  /** distinct bytes that the pass touches */
  readonly bytes: number;
  /** bytes read plus written a second by a copy between two buffers of half of them each, one thread */
  readonly rate: number;
}

const footprints = new Map<number, number>();

/**
 * Copy bandwidth over a pass' own footprint, so that both find as much of their bytes in the caches: the best of three sizes
 * may be a copy inside a cache that the pass does not fit.
 *
 * @param footprint distinct bytes that the pass touches; rounded up to MiB
 */
export function copyOfFootprint(footprint: number): FootprintCopy {
  const bytes = Math.max(1, Math.ceil(footprint / 2 / MIB)) * MIB;
  let rate = footprints.get(bytes);
  if (rate === undefined) {
    const text = runNative('copypeak', ['-pthread'], ['1', String(bytes)]);
    rate = Math.max(javascriptCopy(bytes), typeof text === 'string' ? 0 : Number(text.rows[0]?.[2]));
    footprints.set(bytes, rate);
  }
  return { bytes: footprint, rate };
}

/** Rates by size for the details of a line; undefined where the C program cannot be built. */
export function copiesOf(threads: number): ReadonlyMap<number, number> | undefined {
  native ??= measureCopies();
  return typeof native === 'string' ? undefined : native.get(threads);
}

function javascriptCopies(): [number, number][] {
  return COPY_SIZES_MIB.map((mib) => [mib, javascriptCopy(mib * MIB)]);
}

function javascriptCopy(bytes: number): number {
  const from = new Uint8Array(new SharedArrayBuffer(bytes)).fill(1);
  const to = new Uint8Array(new SharedArrayBuffer(bytes)).fill(2);
  const seconds: number[] = [];
  for (let i = 0; i < 11; i++) {
    const start = performance.now();
    to.set(from);
    seconds.push((performance.now() - start) / 1e3);
  }
  return (2 * bytes) / median(seconds);
}

function measureCopies(): Copies | string {
  const text = runNative('copypeak', ['-pthread'], [String(availableParallelism())]);
  if (typeof text === 'string') return text;
  const found = new Map<number, Map<number, number>>();
  for (const [threads, bytes, rate] of text.rows.map((row) => row.map(Number))) {
    const bySize = found.get(threads) ?? new Map<number, number>();
    found.set(threads, bySize.set(bytes >> 20, rate));
  }
  return found;
}

let peaks: ReadonlyMap<string, number> | string | undefined;

/**
 * The int8 peak of one core for an instruction set, from `native/int8peak.c`.
 *
 * @param isa avx2, avx512, …
 * @returns the ceiling, or the reason why there is none
 */
export function int8Peak(isa: string): Ceiling | string {
  peaks ??= measurePeaks();
  if (typeof peaks === 'string') return peaks;
  const value = peaks.get(isa);
  return value === undefined
    ? `no int8 peak is measured for ${isa}`
    : { name: `int8 peak of a core (${isa} registers)`, value };
}

function measurePeaks(): ReadonlyMap<string, number> | string {
  const text = runNative('int8peak', [], ['0.3']);
  return typeof text === 'string' ? text : new Map(text.rows.map(([isa, rate]) => [isa, Number(rate)]));
}

/** Compiles a program of `native/` and runs it, or one that a bundle has as a program. @returns words of its lines, or why there are none */
function runNative(name: string, flags: readonly string[], args: readonly string[]): Words | string {
  const built = join(folder, name);
  if (existsSync(built)) return wordsOf(execFileSync(built, args, { encoding: 'utf8' }));
  const source = join(folder, `${name}.c`);
  if (!existsSync(source)) return `no ${source} at hand`;
  const scratch = mkdtempSync(join(tmpdir(), 'pogo-bench-'));
  try {
    const program = join(scratch, name);
    const compiler = process.env.CC ?? 'cc';
    try {
      execFileSync(compiler, ['-O2', ...flags, source, '-o', program], { stdio: ['ignore', 'ignore', 'pipe'] });
    } catch {
      return `no C compiler (${compiler}) that builds ${name}.c`;
    }
    return wordsOf(execFileSync(program, args, { encoding: 'utf8' }));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The output of a program of `native/`. */
interface Words {
  readonly rows: readonly (readonly string[])[];
}

function wordsOf(text: string): Words {
  const lines = text.split('\n').filter((line) => line !== '');
  return { rows: lines.map((line) => line.split(' ')) };
}
