/**
 * Recipes: everything that fixes a training run. The door to all of it: the type and the sizes that follow from it in
 * `recipeTypes.ts`, the rules in `recipeRules.ts`, the SSZ identity in `recipeSsz.ts`, the JSON view in `recipeJson.ts`,
 * the built-in recipes in `recipes.ts`. These parts import one another, never this door.
 */
export { recipeFromJson, recipeToJson } from './recipeJson.js';
export { ADAPTER_TARGETS, validateRecipe } from './recipeRules.js';
export { decodeRecipe, encodeRecipe, recipeRoot } from './recipeSsz.js';
export { loadRecipe, RECIPE_NAMES } from './recipes.js';
export {
  type AdapterTarget,
  attentionSizes,
  bytesPerToken,
  type GemmaOptions,
  isOpenStart,
  OPEN_START,
  paddedVocab,
  type Recipe,
  type RecipeAdapter,
  type RecipeData,
  tokensPerStep,
  tokensPerUnit,
} from './recipeTypes.js';
