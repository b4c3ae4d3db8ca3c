/** Progress counters in shared memory: written by lanes with Atomics, read by whoever shows progress, at any time. */

const UNITS = 0;
const TOKENS = 1;
const TASKS = 2;
const BUSY_MS = 3;

export interface Progress {
  readonly units: number;
  readonly tokens: number;
  readonly tasks: number;
  /** Milliseconds of all lanes together. */
  readonly busyMs: number;
}

export function allocateProgress(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(16));
}

export function countTask(progress: Int32Array, ms: number): void {
  Atomics.add(progress, TASKS, 1);
  Atomics.add(progress, BUSY_MS, Math.round(ms));
}

export function countUnit(progress: Int32Array, tokens: number): void {
  Atomics.add(progress, UNITS, 1);
  Atomics.add(progress, TOKENS, tokens);
}

export function readProgress(progress: Int32Array): Progress {
  return {
    units: Atomics.load(progress, UNITS),
    tokens: Atomics.load(progress, TOKENS),
    tasks: Atomics.load(progress, TASKS),
    busyMs: Atomics.load(progress, BUSY_MS),
  };
}
