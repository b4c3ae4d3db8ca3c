/**
 * The SSZ form of a recipe: its bytes in bundles and evidence, and its identity, the hash_tree_root.
 *
 * There are two containers. A recipe without options (`gemma`, `adapter`) has the first, which begins with the numerics
 * version; one with options has the second, which begins with the letters `RCX2`. So every recipe has one encoding, and
 * the first bytes say which.
 */

import {
  BooleanType,
  ByteListType,
  ByteVectorType,
  ContainerType,
  ListBasicType,
  ListCompositeType,
  UintNumberType,
  type ValueOf,
} from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { ADAPTER_TARGETS, validateRecipe } from './recipeRules.js';
import type { Recipe } from './recipeTypes.js';

const u8 = new UintNumberType(1);
const u32 = new UintNumberType(4);
const u64 = new UintNumberType(8); // the rules keep values below 2^53
const root = new ByteVectorType(32);

/** SSZ schema of a recipe. Words are stored as small numbers, index + 1 in the lists below; 0 is never legal. */
export const RecipeSsz = new ContainerType(
  {
    numerics: u32,
    name: new ByteListType(32),
    family: u8,
    vocab: u32,
    layers: u32,
    width: u32,
    heads: u32,
    hidden: u32,
    context: u32,
    norm: u8,
    bias: new BooleanType(),
    normEpsilonBits: u32,
    tokenizer: u8,
    sequencesPerUnit: u32,
    unitsPerStep: u32,
    stepsPerClaim: u32,
    minStepsPerClaim: u32,
    maxStepsPerClaim: u32,
    optimizer: new ContainerType({ beta1Bits: u32, beta2Bits: u32, epsilonBits: u32, weightDecayBits: u32 }),
    learningRateBits: new ListBasicType(u32, 1 << 20),
    ema: new BooleanType(),
    emaDecayBits: u32,
    data: new ContainerType({
      name: new ByteListType(32),
      textRoot: root,
      tokensRoot: root,
      tokenizerRoot: root,
      tokens: u64,
      heldOutTokens: u64,
    }),
    start: new ContainerType({ kind: u8, value: root }),
    sampling: u8,
    detection: new ContainerType({ fractionPpm: u32, targetPpm: u32 }),
  },
  { typeName: 'Recipe' },
);

/** First bytes of the second container: `RCX2`. The first one begins with 1 and three zeros. */
const EXTENDED = new TextEncoder().encode('RCX2');

const GemmaSsz = new ContainerType({
  keyValueHeads: u32,
  headSize: u32,
  queryScalar: u32,
  slidingWindow: u32,
  globalEvery: u32,
  ropeLocalBase: u32,
  ropeGlobalBase: u32,
  ropeGlobalScale: u32,
  ropeRoot: root,
  embeddingScaleBits: u32,
});

const AdapterSsz = new ContainerType({
  kind: u8,
  rank: u32,
  alphaBits: u32,
  targets: new ListBasicType(u8, 16),
  base: root,
});

/** SSZ schema of a recipe with options: the fields of {@link RecipeSsz}, and each option as a list of at most one. */
export const ExtendedRecipeSsz = new ContainerType(
  {
    version: new ByteVectorType(4),
    ...RecipeSsz.fields,
    gemma: new ListCompositeType(GemmaSsz, 1),
    adapter: new ListCompositeType(AdapterSsz, 1),
  },
  { typeName: 'ExtendedRecipe' },
);

const FAMILIES = ['gpt', 'gemma3'] as const;
const NORMS = ['rms', 'layer'] as const;
const TOKENIZERS = ['bytes', 'gpt2', 'json'] as const;
const STARTS = ['seed', 'root'] as const;
const SAMPLINGS = ['uniform', 'epochs'] as const;
const ADAPTERS = ['lora'] as const;

function code<T extends string>(words: readonly T[], word: T): number {
  return words.indexOf(word) + 1;
}

function word<T extends string>(words: readonly T[], value: number, field: string): T {
  const found = words[value - 1];
  if (found === undefined) {
    throw new PogoError('MALFORMED', `recipe field ${field}: expected a code 1…${words.length}, found ${value}`, {
      field,
      found: value,
    });
  }
  return found;
}

/** A recipe in the types of its SSZ schema. */
export type RecipeSszValue = ValueOf<typeof RecipeSsz>;
export type ExtendedRecipeSszValue = ValueOf<typeof ExtendedRecipeSsz>;

/** Whether a recipe has the second container. */
export function isExtended(recipe: Pick<Recipe, 'gemma' | 'adapter'>): boolean {
  return recipe.gemma !== undefined || recipe.adapter !== undefined;
}

/** Whether bytes begin as those of the second container (of a recipe or of its header). */
export function beginsExtended(bytes: Uint8Array): boolean {
  return EXTENDED.every((byte, i) => bytes[i] === byte);
}

/** @returns the value that {@link RecipeSsz} encodes: the recipe without its options */
export function recipeToSsz(recipe: Recipe): RecipeSszValue {
  const { start, gemma: _gemma, adapter: _adapter, ...fields } = recipe;
  return {
    ...fields,
    name: new TextEncoder().encode(recipe.name),
    family: code(FAMILIES, recipe.family),
    norm: code(NORMS, recipe.norm),
    tokenizer: code(TOKENIZERS, recipe.tokenizer),
    learningRateBits: Array.from(recipe.learningRateBits),
    data: { ...recipe.data, name: new TextEncoder().encode(recipe.data.name) },
    start: { kind: code(STARTS, start.kind), value: start.kind === 'seed' ? start.seed : start.root },
    sampling: code(SAMPLINGS, recipe.sampling),
  };
}

/** @returns the value that {@link ExtendedRecipeSsz} encodes */
export function extendedRecipeToSsz(recipe: Recipe): ExtendedRecipeSszValue {
  const { gemma, adapter } = recipe;
  return {
    version: EXTENDED,
    ...recipeToSsz(recipe),
    gemma: gemma === undefined ? [] : [gemma],
    adapter:
      adapter === undefined
        ? []
        : [
            {
              ...adapter,
              kind: code(ADAPTERS, adapter.kind),
              targets: adapter.targets.map((target) => code(ADAPTER_TARGETS, target)),
            },
          ],
  };
}

function serialize(recipe: Recipe): Uint8Array {
  return isExtended(recipe)
    ? ExtendedRecipeSsz.serialize(extendedRecipeToSsz(recipe))
    : RecipeSsz.serialize(recipeToSsz(recipe));
}

/** SSZ bytes of a recipe. @throws PogoError RECIPE if it breaks a rule */
export function encodeRecipe(recipe: Recipe): Uint8Array {
  return serialize(validateRecipe(recipe));
}

/**
 * Identity of a recipe: the hash_tree_root of its SSZ form, which every claim carries.
 *
 * @returns 32 bytes
 * @throws PogoError RECIPE if it breaks a rule
 */
export function recipeRoot(recipe: Recipe): Uint8Array {
  const valid = validateRecipe(recipe);
  return isExtended(valid)
    ? ExtendedRecipeSsz.hashTreeRoot(extendedRecipeToSsz(valid))
    : RecipeSsz.hashTreeRoot(recipeToSsz(valid));
}

function fieldsFromSsz(value: RecipeSszValue): Record<string, unknown> {
  const kind = word(STARTS, value.start.kind, 'start.kind');
  return {
    ...value,
    name: utf8(value.name, 'name'),
    family: word(FAMILIES, value.family, 'family'),
    norm: word(NORMS, value.norm, 'norm'),
    tokenizer: word(TOKENIZERS, value.tokenizer, 'tokenizer'),
    learningRateBits: Uint32Array.from(value.learningRateBits),
    data: { ...value.data, name: utf8(value.data.name, 'data.name') },
    start: kind === 'seed' ? { kind, seed: value.start.value } : { kind, root: value.start.value },
    sampling: word(SAMPLINGS, value.sampling, 'sampling'),
  };
}

/** @throws PogoError MALFORMED for an unknown word, RECIPE for values that break a rule */
export function recipeFromSsz(value: RecipeSszValue): Recipe {
  return validateRecipe(fieldsFromSsz(value));
}

/** @throws PogoError MALFORMED for an unknown word or for no option at all, RECIPE for values that break a rule */
export function extendedRecipeFromSsz(value: ExtendedRecipeSszValue): Recipe {
  const { version, gemma: gemmas, adapter: adapters, ...fields } = value;
  const [gemma] = gemmas;
  const [adapter] = adapters;
  if (!beginsExtended(version) || (gemma === undefined && adapter === undefined)) {
    throw new PogoError('MALFORMED', 'recipe: expected RCX2 and at least one option, found another encoding of it');
  }
  return validateRecipe({
    ...fieldsFromSsz(fields),
    ...(gemma === undefined ? {} : { gemma }),
    ...(adapter === undefined
      ? {}
      : {
          adapter: {
            ...adapter,
            kind: word(ADAPTERS, adapter.kind, 'adapter.kind'),
            targets: adapter.targets.map((target, i) => word(ADAPTER_TARGETS, target, `adapter.targets[${i}]`)),
          },
        }),
  });
}

/**
 * Reads SSZ bytes strictly: only the bytes that {@link encodeRecipe} writes are accepted.
 *
 * @throws PogoError MALFORMED for bytes that are no canonical encoding, RECIPE for values that break a rule
 */
export function decodeRecipe(bytes: Uint8Array): Recipe {
  const recipe = beginsExtended(bytes)
    ? extendedRecipeFromSsz(deserialized('recipe', bytes, ExtendedRecipeSsz))
    : recipeFromSsz(deserialized('recipe', bytes, RecipeSsz));
  requireCanonical('recipe', bytes, serialize(recipe));
  return recipe;
}

/** @throws PogoError MALFORMED for bytes that a schema does not have */
export function deserialized<T>(name: string, bytes: Uint8Array, type: { deserialize(bytes: Uint8Array): T }): T {
  try {
    return type.deserialize(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PogoError(
      'MALFORMED',
      `${name}: expected its SSZ bytes, found ${bytes.length} bytes: ${reason}`,
      {},
      cause,
    );
  }
}

/** @throws PogoError MALFORMED where the bytes of a decoded value, written again, are others */
export function requireCanonical(name: string, bytes: Uint8Array, again: Uint8Array): void {
  if (again.length !== bytes.length || again.some((byte, i) => byte !== bytes[i])) {
    throw new PogoError('MALFORMED', `${name}: expected the canonical SSZ encoding, found another encoding of it`);
  }
}

function utf8(bytes: Uint8Array, field: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new PogoError('MALFORMED', `recipe field ${field}: expected UTF-8, found other bytes`, { field }, cause);
  }
}
