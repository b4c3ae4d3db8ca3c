/** Recipes with options, for tests of their encodings and rules. */
import { loadRecipe, type Recipe, validateRecipe } from '../../src/model/recipe.js';
import { ropeRootOf } from '../../src/model/rope.js';

const tiny = loadRecipe('tiny');

const rope = { headSize: 32, ropeLocalBase: 10_000, ropeGlobalBase: 1_000_000, ropeGlobalScale: 8 } as const;

/** The family gemma3 at its smallest. */
export const SMALL_GEMMA: Recipe = validateRecipe({
  ...tiny,
  name: 'small-gemma',
  family: 'gemma3',
  layers: 3,
  heads: 4,
  gemma: {
    ...rope,
    keyValueHeads: 2,
    queryScalar: 24,
    slidingWindow: 64,
    globalEvery: 3,
    ropeRoot: ropeRootOf({ ...rope, context: tiny.context }),
    embeddingScaleBits: 0x41000000,
  },
});

/** `tiny` with adapters over a frozen base. */
export const SMALL_LORA: Recipe = validateRecipe({
  ...tiny,
  name: 'small-lora',
  adapter: {
    kind: 'lora',
    rank: 8,
    alphaBits: 0x41800000,
    targets: ['qkv', 'proj'],
    base: new Uint8Array(32).fill(7),
  },
});

/** Fields that make a small recipe one of the family gemma3: local and global layers, grouped heads. */
export function gemmaChanges(changes: Partial<Recipe> = {}): Partial<Recipe> {
  const context = changes.context ?? 64;
  const headSize = changes.gemma?.headSize ?? 32;
  const gemma = {
    ...rope,
    keyValueHeads: 2,
    queryScalar: 24,
    slidingWindow: 64,
    globalEvery: 2,
    embeddingScaleBits: 0x41000000,
    ...changes.gemma,
  };
  return {
    family: 'gemma3',
    heads: 4,
    layers: 2,
    ...changes,
    gemma: { ...gemma, ropeRoot: ropeRootOf({ ...gemma, headSize, context }) },
  };
}

/** Adapters over a model of the family gemma3. */
export const GEMMA_LORA: Recipe = validateRecipe({ ...SMALL_GEMMA, name: 'gemma-lora', adapter: SMALL_LORA.adapter });

/** A recipe whose units have too many operations for a dispute. */
export const TOO_LARGE: Recipe = validateRecipe({ ...tiny, name: 'too-large', layers: 1024, context: 8192 });
