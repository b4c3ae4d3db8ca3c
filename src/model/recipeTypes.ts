/**
 * The type of a recipe, and the sizes that follow from its fields. What only some recipes have are the options `gemma` and
 * `adapter`.
 *
 * Numbers are fp32 bit patterns (uint32), never decimals: two machines that parse a decimal differently would train
 * different models under one root.
 */

export interface RecipeOptimizer {
  readonly beta1Bits: number;
  readonly beta2Bits: number;
  readonly epsilonBits: number;
  /** Applied to tensors with `decay` in the layout. */
  readonly weightDecayBits: number;
}

export interface RecipeData {
  readonly name: string;
  /** BLAKE3 of the UTF-8 text; of data built from documents, of their roots (`docs/data.md`). */
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
 * (an imported checkpoint, a finalized model; {@link OPEN_START} where it is not known yet); in both cases m and v are +0, the EMA is θ, β^t is 1.
 */
export type RecipeStart =
  | { readonly kind: 'seed'; readonly seed: Uint8Array }
  | { readonly kind: 'root'; readonly root: Uint8Array };

/**
 * What the `gemma3` family has beyond the fields of every recipe. The family itself fixes the rest: RMSNorm with
 * 1 + gain before and after attention and MLP, norms of q and k by head, GeGLU, no biases, a head tied to the token table.
 */
export interface GemmaOptions {
  /** Heads of keys and values; each serves heads ÷ keyValueHeads query heads. */
  readonly keyValueHeads: number;
  /** Independent of width ÷ heads. */
  readonly headSize: number;
  /** Scores are divided by its square root. */
  readonly queryScalar: number;
  /** Keys that a query of a local layer sees, its own included. */
  readonly slidingWindow: number;
  /** Layer i (from 0) is global where globalEvery divides i + 1; the others are local. 1: all are global. */
  readonly globalEvery: number;
  /** RoPE turns pair i of position p by p · base^(−2i ÷ headSize) radians, on global layers divided by the scale. */
  readonly ropeLocalBase: number;
  readonly ropeGlobalBase: number;
  readonly ropeGlobalScale: number;
  /** BLAKE3 of the RoPE tables that follow from the fields above (`rope.ts`). */
  readonly ropeRoot: Uint8Array;
  /** The token's row is multiplied by this fp32; 1: off. The published models have √width rounded to bf16. */
  readonly embeddingScaleBits: number;
}

/** A matrix of every layer that an adapter may change. */
export type AdapterTarget = 'qkv' | 'o' | 'fc' | 'proj';

/** Low-rank adapters (LoRA): the state holds the adapters alone, the base model is frozen. */
export interface RecipeAdapter {
  readonly kind: 'lora';
  /** Columns of A's transpose and of B. */
  readonly rank: number;
  /** The product B·A is multiplied by alpha ÷ rank. */
  readonly alphaBits: number;
  /** In the order of `ADAPTER_TARGETS`, each at most once. */
  readonly targets: readonly AdapterTarget[];
  /** BLAKE3 of the frozen θ, in the layout of the same recipe without adapter. */
  readonly base: Uint8Array;
}

export interface Recipe {
  /** `[a-z0-9-]{1,32}` */
  readonly name: string;
  readonly numerics: 1;
  readonly family: 'gpt' | 'gemma3';
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
  /** `json`: the `tokenizer.json` whose BLAKE3 is `data.tokenizerRoot`. */
  readonly tokenizer: 'bytes' | 'gpt2' | 'json';
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
  /** How draw 1 gives batches: independent offsets, or windows without replacement (`docs/protocol.md` §3). */
  readonly sampling: 'uniform' | 'epochs';
  /** Detect `fractionPpm` of bad units with probability `targetPpm` (parts per million), by the committee together. */
  readonly detection: { readonly fractionPpm: number; readonly targetPpm: number };
  /** There exactly where the family is `gemma3`. */
  readonly gemma?: GemmaOptions;
  /** Absent: all weights are trained. */
  readonly adapter?: RecipeAdapter;
}

/** Sizes of attention: query heads, key-value heads, and elements of a head. */
export function attentionSizes(recipe: Pick<Recipe, 'width' | 'heads' | 'gemma'>): {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
} {
  const { heads, width, gemma } = recipe;
  if (gemma === undefined) return { heads, keyValueHeads: heads, headSize: width / heads };
  return { heads, keyValueHeads: gemma.keyValueHeads, headSize: gemma.headSize };
}

/** The start root of a recipe that fits any start: its θ is named later (`deriveRecipe.ts`). No vector has this root. */
export const OPEN_START: Uint8Array = new Uint8Array(32);

/**
 * Whether a recipe still lacks the model that it goes on from, as its start or under its adapters: nothing can be trained
 * on it before it is derived from one.
 */
export function isOpenStart({ start, adapter }: Pick<Recipe, 'start' | 'adapter'>): boolean {
  const root = adapter?.base ?? (start.kind === 'root' ? start.root : undefined);
  return root?.every((byte) => byte === 0) === true;
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
