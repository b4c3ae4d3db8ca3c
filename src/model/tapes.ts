/** The tapes of a recipe: each family has its own. */
import type { AdapterLayouts } from './adapterBackward.js';
import { gptAdapterTape } from './adapterTape.js';
import { gemmaAdapterTape } from './gemmaAdapterTape.js';
import { gemmaEvaluationTape, gemmaTrainingTape } from './gemmaTape.js';
import { type GptTape, gptEvaluationTape, gptTrainingTape } from './gptTape.js';
import type { Layout } from './layout.js';
import type { Recipe, RecipeAdapter } from './recipe.js';
import type { WeightsLayout } from './weights.js';

export { type GptTape, unitTokens } from './gptTape.js';

/** The tape that turns a unit's tokens into its 4-bit gradient and loss. */
export function trainingTape(recipe: Recipe, layout: Layout, weights: WeightsLayout, microBatches = 1): GptTape {
  const make = recipe.family === 'gemma3' ? gemmaTrainingTape : gptTrainingTape;
  return make(recipe, layout, weights, microBatches);
}

/** The tape that turns a unit's tokens into the 4-bit gradient of the adapters of a recipe, and its loss. */
export function adapterTape(
  recipe: Recipe,
  adapter: RecipeAdapter,
  layouts: AdapterLayouts,
  microBatches = 1,
): GptTape {
  const make = recipe.family === 'gemma3' ? gemmaAdapterTape : gptAdapterTape;
  return make(recipe, adapter, layouts, microBatches);
}

/** The forward pass alone: losses of `sequences` sequences (and with `logits` the logits of all their tokens). */
export function evaluationTape(
  recipe: Recipe,
  layout: Layout,
  weights: WeightsLayout,
  sequences: number,
  logits = false,
): GptTape {
  const make = recipe.family === 'gemma3' ? gemmaEvaluationTape : gptEvaluationTape;
  return make(recipe, layout, weights, sequences, logits);
}
