/** Recipes with adapters over a frozen model that tests can make: the start of the same recipe without them. */
import { blake3 } from '@noble/hashes/blake3.js';
import { baseRecipe } from '../../src/model/adapter.js';
import type { AdapterTarget, Recipe, RecipeAdapter } from '../../src/model/recipe.js';
import { seedState, vectorBytes } from '../../src/model/state.js';
import { type ModelPlan, modelPlan, withFrozen } from '../../src/model/unit.js';

/** θ of the frozen model: initial weights. */
export function frozenTheta(recipe: Recipe): Float32Array {
  return seedState(modelPlan(baseRecipe(recipe))).theta;
}

/** An adapter over the initial weights of a recipe. */
export function adapterOver(recipe: Recipe, targets: readonly AdapterTarget[], rank = 8, alphaBits = 0x41800000) {
  const base = blake3(vectorBytes(frozenTheta(recipe)).slice());
  return { kind: 'lora', rank, alphaBits, targets, base } as const satisfies RecipeAdapter;
}

/** A plan that can be run: with its frozen model, if it has adapters. */
export function runnablePlan(recipe: Recipe): ModelPlan {
  const plan = modelPlan(recipe);
  return recipe.adapter === undefined ? plan : withFrozen(plan, frozenTheta(recipe));
}
