/** What a measurement was made on: processor, its features, runtime. Printed with every line. */

import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, platform, totalmem } from 'node:os';

/** Features that decide which kernels can run; the names of Linux's /proc/cpuinfo. */
const RELEVANT = [
  'avx2',
  'fma',
  'avx512f',
  'avx512bw',
  'avx512vl',
  'avx512_vnni',
  'avx512_bf16',
  'avx_vnni',
  'amx_tile',
  'amx_int8',
  'amx_bf16',
  'asimd',
  'asimddp',
  'i8mm',
];

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly features: readonly string[];
  readonly system: string;
  readonly node: string;
}

let known: Machine | undefined;

/** @returns the machine of this process; features are empty where the system has no /proc/cpuinfo */
export function machine(): Machine {
  known ??= {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    features: cpuFeatures(),
    system: `${platform()}-${arch()}`,
    node: process.version,
  };
  return known;
}

function cpuFeatures(): string[] {
  let text: string;
  try {
    text = readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    return []; // not Linux: the lines then say only the processor's name
  }
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(text);
  const flags = new Set(line?.[1].split(/\s+/) ?? []);
  return RELEVANT.filter((name) => flags.has(name));
}
