/**
 * What a checker needs a backend for: recomputing one gradient unit, or one step's commit pass.
 *
 * The protocol never chooses a backend; whoever calls a check hands one in. All backends give the same bits, so a
 * verdict does not depend on the choice, and one that failed its self-test is never handed in.
 */
import type { Recipe } from '../model/recipe.js';
import type { StateHeader } from './types.js';

export interface ComputeUnitRequest {
  readonly recipe: Recipe;
  readonly recipeRoot: Uint8Array;
  readonly draw1: Uint8Array;
  /** Number of the step in the run. */
  readonly step: number;
  /** 0 … M − 1 */
  readonly unit: number;
  /** θ at the start of the step: little-endian fp32, layout.length · 4 bytes. */
  readonly theta: Uint8Array;
  /** sequencesPerUnit × (context + 1) tokens, sequence by sequence. */
  readonly tokens: Uint32Array;
}

export interface ComputedUnit {
  /** The unit's file: codes plane ‖ scales plane. */
  readonly unit: Uint8Array;
  /** fp32 bits of the unit's mean loss. */
  readonly lossBits: number;
}

export interface CommitStepRequest {
  readonly recipe: Recipe;
  /** Header of the pre-state. */
  readonly header: StateHeader;
  /** The pre-state's vectors, little-endian fp32; `ema` is empty where the recipe has none. */
  readonly theta: Uint8Array;
  readonly m: Uint8Array;
  readonly v: Uint8Array;
  readonly ema: Uint8Array;
  /** The M unit files, in order. */
  readonly units: readonly Uint8Array[];
}

export interface UnitExecutor {
  computeUnit(request: ComputeUnitRequest): Promise<ComputedUnit>;
  /** @returns the post-state's header */
  commitStep(request: CommitStepRequest): Promise<{ readonly header: StateHeader }>;
}
