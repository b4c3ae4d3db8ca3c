/**
 * Low-rank adapters: sizes and names. Beside a frozen weight W [N,K] of every layer lie A [r,K] and Bᵀ [r,N]; the layer
 * computes x·Wᵀ + s·(x·Aᵀ)·Bᵀᵀ with s = alpha ÷ r (docs/numerics.md §4). Both have long rows, so that blocks of 64 and
 * leaves fit whatever the rank is.
 */
import { PogoError } from '../errors.js';
import { bitsToFloat } from './fp32.js';
import { type AdapterTarget, attentionSizes, type Recipe, type RecipeAdapter } from './recipe.js';

/** Rows that products run over: the quantizer's groups have these sizes. */
const PADDED_RANKS = [64, 128, 256] as const;

/** The rank with its padding; rows beyond the rank are +0 in products and no parameters. */
export function paddedRank({ rank }: Pick<RecipeAdapter, 'rank'>): number {
  const padded = PADDED_RANKS.find((size) => size >= rank);
  if (padded === undefined) throw new PogoError('RECIPE', `adapter.rank: expected at most 256, found ${rank}`);
  return padded;
}

/** s = alpha ÷ rank, one rounding. */
export function adapterScale({ alphaBits, rank }: RecipeAdapter): number {
  return Math.fround(bitsToFloat(alphaBits) / rank);
}

/** Output and input size of a target's weight. */
export function targetShape(
  recipe: Pick<Recipe, 'width' | 'hidden' | 'heads' | 'gemma'>,
  target: AdapterTarget,
): { readonly outputs: number; readonly inputs: number } {
  const { width, hidden, gemma } = recipe;
  const { heads, keyValueHeads, headSize } = attentionSizes(recipe);
  switch (target) {
    case 'qkv':
      return { outputs: (heads + 2 * keyValueHeads) * headSize, inputs: width };
    case 'o':
      return { outputs: width, inputs: heads * headSize };
    case 'fc':
      // Gates, and the other half.
      return { outputs: gemma === undefined ? hidden : 2 * hidden, inputs: width };
    case 'proj':
      return { outputs: width, inputs: hidden };
  }
}

/** Names of a target's two matrices, from the name of its linear layer (`h0.qkv`). */
export function adapterNames(linear: string): { readonly a: string; readonly b: string } {
  return { a: `${linear}.lora.a`, b: `${linear}.lora.b` };
}

/** The recipe of the frozen model: the same without the adapter. */
export function baseRecipe(recipe: Recipe): Recipe {
  const { adapter: _adapter, ...base } = recipe;
  return base;
}
