/**
 * The ceilings that results are held against, measured in the same run on the same machine: how fast memory can be
 * copied, and how many int8 operations a core can do on registers alone.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from './harness.js';

export interface Ceiling {
  readonly name: string;
  /** bytes/s or operations/s */
  readonly value: number;
}

const COPY_SIZES_MIB = [8, 32, 128];

let copy: Ceiling | undefined;

/**
 * Copy bandwidth of one thread: bytes read plus bytes written a second, the best of three sizes, each the median of
 * eleven copies between shared buffers.
 */
export function copyBandwidth(): Ceiling {
  if (copy !== undefined) return copy;
  let best = 0;
  let at = 0;
  for (const mib of COPY_SIZES_MIB) {
    const bytes = mib << 20;
    const from = new Uint8Array(new SharedArrayBuffer(bytes)).fill(1);
    const to = new Uint8Array(new SharedArrayBuffer(bytes)).fill(2);
    const seconds: number[] = [];
    for (let i = 0; i < 11; i++) {
      const start = performance.now();
      to.set(from);
      seconds.push((performance.now() - start) / 1e3);
    }
    const rate = (2 * bytes) / median(seconds);
    if (rate > best) [best, at] = [rate, mib];
  }
  copy = { name: `copy, read + write, best of ${COPY_SIZES_MIB.join('/')} MiB (${at})`, value: best };
  return copy;
}

let peaks: ReadonlyMap<string, number> | string | undefined;

/**
 * The int8 peak of one core for an instruction set, from `bench/native/int8peak.c` compiled on the spot.
 *
 * @param isa avx2, avx512, …
 * @param source path of int8peak.c
 * @returns the ceiling, or the reason why there is none
 */
export function int8Peak(isa: string, source: string): Ceiling | string {
  peaks ??= measurePeaks(source);
  if (typeof peaks === 'string') return peaks;
  const value = peaks.get(isa);
  return value === undefined
    ? `no int8 peak is measured for ${isa}`
    : { name: `int8 peak of a core (${isa} registers)`, value };
}

function measurePeaks(source: string): ReadonlyMap<string, number> | string {
  if (!existsSync(source)) return `no ${source} at hand`;
  const folder = mkdtempSync(join(tmpdir(), 'pogo-bench-'));
  try {
    const program = join(folder, 'int8peak');
    const compiler = process.env.CC ?? 'cc';
    try {
      execFileSync(compiler, ['-O2', source, '-o', program], { stdio: ['ignore', 'ignore', 'pipe'] });
    } catch {
      return `no C compiler (${compiler}) that builds int8peak.c`;
    }
    const text = execFileSync(program, ['0.3'], { encoding: 'utf8' });
    const rows = text
      .trim()
      .split('\n')
      .filter((line) => line !== '');
    return new Map(
      rows.map((line) => {
        const [isa, rate] = line.split(' ');
        return [isa, Number(rate)] as const;
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
