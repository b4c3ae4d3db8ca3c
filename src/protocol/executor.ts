/**
 * What a checker needs a backend for: recomputing one gradient unit, or one step's commit pass.
 *
 * The protocol never chooses a backend; whoever calls a check hands one in. All backends give the same bits, so a
 * verdict does not depend on the choice, and one that failed its self-test is never handed in.
 */
import type { Recipe } from '../model/recipe.js';
import type { UnitPlace } from '../model/unitPlaces.js';
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
  /** Places inside the computation whose values are wanted; none if absent. */
  readonly places?: readonly UnitPlace[];
}

export interface ComputedUnit {
  /** The unit's file: codes plane ‖ scales plane. */
  readonly unit: Uint8Array;
  /** fp32 bits of the unit's mean loss. */
  readonly lossBits: number;
  /** Values at the places that were asked for, one after the other; empty for a null unit. */
  readonly observed?: Uint8Array;
}

export interface PackModelRequest {
  readonly recipe: Recipe;
  /** The vector that is evaluated (EMA, or θ without one), little-endian fp32. */
  readonly vector: Uint8Array;
}

export interface ModelLossRequest {
  readonly recipe: Recipe;
  /** A packed 4-bit model. */
  readonly model: Uint8Array;
  /** u32 [n, context + 1] */
  readonly tokens: Uint32Array;
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
  /** @returns the packed 4-bit model of a state */
  packModel(request: PackModelRequest): Promise<Uint8Array>;
  /** @returns fp32 bits of a packed model's mean loss, nats per token */
  modelLoss(request: ModelLossRequest): Promise<number>;
}
