/** What a recipe asks for, counted from its layout and its tape: bytes and operations, no times. */

import { countParameters, createLayout, packedModelLayout, unitFileBytes } from '../model/layout.js';
import { passCost } from '../model/passes.js';
import { type Recipe, tokensPerStep } from '../model/recipe.js';
import { laneBytes } from '../model/tape.js';
import { trainingTape } from '../model/tapes.js';
import { weightsLayout } from '../model/weights.js';

export interface Work {
  readonly operations: number;
  readonly bytes: number;
}

export interface Workload {
  readonly recipe: Recipe;
  readonly parameters: number;
  /** Elements of a state vector, padding included. */
  readonly length: number;
  /** State vectors: θ, m, v, and the EMA where the recipe has one. */
  readonly vectors: 3 | 4;
  readonly unitBytes: number;
  readonly modelBytes: number;
  readonly unitsPerStep: number;
  readonly stepsPerClaim: number;
  readonly tokensPerUnit: number;
  readonly tokensPerStep: number;
  /** Work of one unit by operation of the tape. */
  readonly unit: ReadonlyMap<string, Work>;
  /** Multiplications and additions of the integer products of a unit. */
  readonly unitOperations: number;
  /** What the field counts as the model's own: 6 a parameter and token (embedding tables that are only looked up left out), 12 · layers · width · context / 2 for the causal attention. */
  readonly modelFlopPerToken: number;
  /** Bytes of a lane: activations, error codes, gradient scratch. */
  readonly laneBytes: number;
  /** Codes and scales of the integer weights, both orientations. */
  readonly weightBytes: number;
}

/** @param change units a step and steps a claim other than the recipe's */
export function workloadOf(
  recipe: Recipe,
  change: { readonly unitsPerStep?: number; readonly stepsPerClaim?: number } = {},
): Workload {
  const layout = createLayout(recipe);
  const weights = weightsLayout(layout);
  const { tape } = trainingTape(recipe, layout, weights);
  const unit = new Map<string, Work>();
  for (const entry of tape.entries) {
    const { operations, bytes } = passCost(tape, entry);
    const known = unit.get(entry.kind) ?? { operations: 0, bytes: 0 };
    unit.set(entry.kind, { operations: known.operations + operations, bytes: known.bytes + bytes });
  }
  const unitsPerStep = change.unitsPerStep ?? recipe.unitsPerStep;
  const tokensPerUnit = recipe.sequencesPerUnit * recipe.context;
  const products = weights.places.reduce((sum, { tensor }) => sum + tensor.size, 0);
  return {
    recipe,
    parameters: countParameters(layout, recipe),
    length: layout.length,
    vectors: recipe.ema ? 4 : 3,
    unitBytes: unitFileBytes(layout).total,
    modelBytes: packedModelLayout(layout).bytes,
    unitsPerStep,
    stepsPerClaim: change.stepsPerClaim ?? recipe.stepsPerClaim,
    tokensPerUnit,
    tokensPerStep: (tokensPerStep(recipe) / recipe.unitsPerStep) * unitsPerStep,
    unit,
    unitOperations: [...unit.values()].reduce((sum, { operations }) => sum + operations, 0),
    modelFlopPerToken: 6 * products + 6 * recipe.layers * recipe.width * recipe.context,
    laneBytes: laneBytes(tape),
    weightBytes: weights.codesLength + 4 * weights.scalesLength,
  };
}
