/**
 * Recipes: everything that fixes a training run . This file holds the type and is the door to the rest:
 * the rules in `recipeRules.ts`, the SSZ identity in `recipeSsz.ts`, the JSON view in `recipeJson.ts`, the built-in
 * recipes in `recipes.ts`.
 *
 * Numbers are fp32 bit patterns (uint32), never decimals: two machines that parse a decimal differently would train
 * different models under one root.
 */

export { recipeFromJson, recipeToJson } from './recipeJson.js';
export { RECIPE_LIMITS, validateRecipe } from './recipeRules.js';
export { decodeRecipe, encodeRecipe, RecipeSsz, recipeRoot } from './recipeSsz.js';
export { loadRecipe, RECIPE_NAMES } from './recipes.js';

export interface RecipeOptimizer {
  readonly beta1Bits: number;
  readonly beta2Bits: number;
  readonly epsilonBits: number;
  /** Applied to tensors with `decay` in the layout. */
  readonly weightDecayBits: number;
}

export interface RecipeData {
  readonly name: string;
  /** BLAKE3 of the UTF-8 text. */
  readonly textRoot: Uint8Array;
  /** BLAKE3 of the token file (u16 LE; u32 LE if the vocabulary exceeds 65,536). */
  readonly tokensRoot: Uint8Array;
  readonly tokenizerRoot: Uint8Array;
  readonly tokens: number;
  /** The last tokens of the file: never trained on, losses are measured there. */
  readonly heldOutTokens: number;
}

/**
 * The state before step 0. `seed`: initial weights from the counter hash. `root`: θ is the vector with this BLAKE3 root
 * (an imported checkpoint, a finalized model); in both cases m and v are +0, the EMA is θ, β^t is 1.
 */
export type RecipeStart =
  | { readonly kind: 'seed'; readonly seed: Uint8Array }
  | { readonly kind: 'root'; readonly root: Uint8Array };

export interface Recipe {
  /** `[a-z0-9-]{1,32}` */
  readonly name: string;
  readonly numerics: 1;
  readonly family: 'gpt';
  /** Real entries; the table has `paddedVocab` = next multiple of 64 rows. */
  readonly vocab: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly hidden: number;
  readonly context: number;
  readonly norm: 'rms' | 'layer';
  /** Biases of the linear layers. LayerNorm always has gain and bias, RMSNorm a gain only. */
  readonly bias: boolean;
  readonly normEpsilonBits: number;
  readonly tokenizer: 'bytes' | 'gpt2';
  readonly sequencesPerUnit: number;
  /** M */
  readonly unitsPerStep: number;
  /** K of the first claim; later ones follow the ledger's rule inside the bounds. */
  readonly stepsPerClaim: number;
  readonly minStepsPerClaim: number;
  readonly maxStepsPerClaim: number;
  readonly optimizer: RecipeOptimizer;
  /** fp32 bits per step, entry 0 for the step from state 0 to state 1; after its end the last value. */
  readonly learningRateBits: Uint32Array;
  readonly ema: boolean;
  /** Decay b of one EMA update, made every 8 steps. */
  readonly emaDecayBits: number;
  readonly data: RecipeData;
  readonly start: RecipeStart;
  readonly sampling: 'uniform';
  /** Detect `fractionPpm` of bad units with probability `targetPpm` (parts per million), by the committee together. */
  readonly detection: { readonly fractionPpm: number; readonly targetPpm: number };
}

/** Rows of the token table: the vocabulary padded to a multiple of 64. */
export function paddedVocab(recipe: Pick<Recipe, 'vocab'>): number {
  return Math.ceil(recipe.vocab / 64) * 64;
}

/** Tokens of one gradient unit. */
export function tokensPerUnit(recipe: Pick<Recipe, 'sequencesPerUnit' | 'context'>): number {
  return recipe.sequencesPerUnit * recipe.context;
}

/** Tokens of one step: those of its M units. */
export function tokensPerStep(recipe: Pick<Recipe, 'sequencesPerUnit' | 'context' | 'unitsPerStep'>): number {
  return tokensPerUnit(recipe) * recipe.unitsPerStep;
}

/** Bytes of one token in the token file. */
export function bytesPerToken(recipe: Pick<Recipe, 'vocab'>): 2 | 4 {
  return recipe.vocab > 65_536 ? 4 : 2;
}
