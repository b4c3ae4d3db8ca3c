/** What a recipe asks for, counted from its layout and its tape: bytes and operations, no times. */

import { countParameters, packedModelLayout, unitFileBytes } from '../model/layout.js';
import { passCost } from '../model/passes.js';
import { type Recipe, tokensPerStep } from '../model/recipe.js';
import { laneBytes, type Tape } from '../model/tape.js';
import { evaluationTape } from '../model/tapes.js';
import { modelPlan, unitTape } from '../model/unit.js';
import { panels, type WeightPlace } from '../model/weights.js';

export interface Work {
  readonly operations: number;
  readonly bytes: number;
}

export interface Workload {
  readonly recipe: Recipe;
  readonly parameters: number;
  /** Elements of a state vector, padding included. */
  readonly length: number;
  /** Elements of the frozen θ that adapters stand on; 0 where the whole model is trained. */
  readonly frozenLength: number;
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
  /** Work of the loss of one sequence alone, by operation of its tape: what a held-out loss takes. */
  readonly sequenceLoss: ReadonlyMap<string, Work>;
  /** Multiplications and additions of the integer products of a unit. */
  readonly unitOperations: number;
  /**
   * What the field counts as the model's own: three products a weight, two of the attention forward and four backward. The
   * tape computes the scores once more in the backward pass.
   */
  readonly modelFlopPerToken: number;
  /** Bytes of a lane: activations, error codes, gradient scratch. */
  readonly laneBytes: number;
  /** Codes and scales of the integer weights, both orientations. */
  readonly weightBytes: number;
  /** Those of them that change with the state: not those of a frozen model. */
  readonly movingBytes: number;
}

/** Bytes of the units of a step. */
export function logBytes({ unitsPerStep, unitBytes }: Workload): number {
  return unitsPerStep * unitBytes;
}

/** Work of a tape by operation. */
function workOf(tape: Tape): ReadonlyMap<string, Work> {
  const work = new Map<string, Work>();
  for (const entry of tape.entries) {
    const { operations, bytes } = passCost(tape, entry);
    const known = work.get(entry.kind) ?? { operations: 0, bytes: 0 };
    work.set(entry.kind, { operations: known.operations + operations, bytes: known.bytes + bytes });
  }
  return work;
}

/** @param change units a step and steps a claim other than the recipe's */
export function workloadOf(
  recipe: Recipe,
  change: { readonly unitsPerStep?: number; readonly stepsPerClaim?: number } = {},
): Workload {
  const plan = modelPlan(recipe);
  const { layout, model, weights } = plan;
  const { tape } = unitTape(plan);
  const unit = workOf(tape);
  const unitsPerStep = change.unitsPerStep ?? recipe.unitsPerStep;
  const tokensPerUnit = recipe.sequencesPerUnit * recipe.context;
  const all = [...unit];
  const sum = (some: readonly (readonly [string, Work])[]): number =>
    some.reduce((total, [, { operations }]) => total + operations, 0);
  const unitOperations = sum(all);
  const attention = sum(all.filter(([kind]) => /attention/i.test(kind)));
  return {
    recipe,
    parameters: countParameters(layout, recipe),
    length: layout.length,
    frozenLength: recipe.adapter === undefined ? 0 : model.length,
    vectors: recipe.ema ? 4 : 3,
    unitBytes: unitFileBytes(layout).total,
    modelBytes: packedModelLayout(layout).bytes,
    unitsPerStep,
    stepsPerClaim: change.stepsPerClaim ?? recipe.stepsPerClaim,
    tokensPerUnit,
    tokensPerStep: (tokensPerStep(recipe) / recipe.unitsPerStep) * unitsPerStep,
    unit,
    sequenceLoss: workOf(evaluationTape(recipe, model, weights, 1).tape),
    unitOperations,
    modelFlopPerToken: (unitOperations - attention / 7) / tokensPerUnit,
    laneBytes: laneBytes(tape),
    weightBytes: weights.codesLength + 4 * weights.scalesLength,
    movingBytes: weights.moving.reduce((bytes, i) => {
      const { rows, cols, size } = (weights.places[i] as WeightPlace).tensor;
      return bytes + 2 * size + 4 * (panels(cols) * rows + panels(rows) * cols);
    }, 0),
  };
}
