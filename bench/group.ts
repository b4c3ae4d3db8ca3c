/** What a group of bench lines gets and gives. */

import type { Backend, Kernels } from '../src/backend/types.js';
import type { Recipe } from '../src/model/recipe.js';
import type { BenchLine } from './harness.js';

export interface BenchContext {
  /** The backend that is measured. */
  readonly backend: Backend;
  /** The oracle: results are compared with it before anything is timed. */
  readonly reference: Kernels;
  /** The recipe of the lines that train (`step`, `unit-replay`, `log-replay`, …). */
  readonly recipe: Recipe;
  /** Lanes that `step` uses, and the most that `pipeline/scaling` uses. */
  readonly lanes: number;
  /** Shorter budgets: for tests and smoke runs. */
  readonly quick: boolean;
  /** Whether other programs are measured too (PyTorch takes minutes). */
  readonly peers: boolean;
  /** Which modes of PyTorch, comma-separated; undefined: all that fit the instruction set. */
  readonly peerModes?: string;
  /** Longest start and warm-up of a peer, and longest round of it, seconds. */
  readonly seconds: number;
  /** Folder of the repository's `bench/` sources: peers and the int8 peak are files there. */
  readonly benchFolder: string;
  readonly signal: AbortSignal;
}

/** A line that could not be measured, and why: shown, never silently left out. */
export interface SkippedLine {
  readonly type: 'bench-skipped';
  readonly time: string;
  readonly name: string;
  readonly reason: string;
}

export type GroupOutput = BenchLine | SkippedLine;

export interface BenchGroup {
  /** Line names; `gemm/` stands for all lines that start so. */
  readonly names: readonly string[];
  lines(context: BenchContext, wanted: (name: string) => boolean): AsyncGenerator<GroupOutput>;
}

export function skipped(name: string, reason: string): SkippedLine {
  return { type: 'bench-skipped', time: new Date().toISOString(), name, reason };
}
