/**
 * Recipes as the benches run them. `gpt2-124m` is measured in its CPU form: units of 2 sequences of 512 tokens, 2 units a
 * step. Its own batch of 524,288 tokens is one for GPUs; a step of it would take half an hour on two cores. `gpt2-53m` is two
 * layers of it and claims of four steps: how long a process starts and ends is measured there, at a state of 850 MB.
 */

import type { Recipe } from '../src/model/recipe.js';
import { validateRecipe } from '../src/model/recipeRules.js';
import { loadRecipe } from '../src/model/recipes.js';
import type { UnitRequest } from '../src/model/unit.js';
import { shared } from './harness.js';

/** The same sizes stand in bench/peers/gpt.py. */
const CPU_FORM = { context: 512, sequencesPerUnit: 2, unitsPerStep: 2 } as const;

const CLAIM_OF_FOUR = { stepsPerClaim: 4, minStepsPerClaim: 4, maxStepsPerClaim: 4 } as const;

/** @throws PogoError RECIPE for an unknown name */
export function benchRecipe(name: string): Recipe {
  if (name === 'gpt2-53m') return validateRecipe({ ...benchRecipe('gpt2-124m'), ...CLAIM_OF_FOUR, name, layers: 2 });
  const recipe = loadRecipe(name);
  return recipe.name === 'gpt2-124m' && name === recipe.name ? validateRecipe({ ...recipe, ...CPU_FORM }) : recipe;
}

/** Tokens of one step. */
export function stepTokens(recipe: Recipe): number {
  return recipe.unitsPerStep * recipe.sequencesPerUnit * recipe.context;
}

/** A unit over random tokens of the recipe's vocabulary: its time does not depend on the text. */
export function unitRequest(recipe: Recipe): UnitRequest {
  const tokens = shared.u32(recipe.sequencesPerUnit * (recipe.context + 1));
  let state = 12345;
  for (let i = 0; i < tokens.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    tokens[i] = (state >>> 8) % recipe.vocab;
  }
  return { draw1: new Uint8Array(32), step: 0, unit: 0, tokens };
}
