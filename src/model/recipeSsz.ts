/**
 * The SSZ form of a recipe: its bytes in bundles and evidence, and its identity, the hash_tree_root.
 */

import {
  BooleanType,
  ByteListType,
  ByteVectorType,
  ContainerType,
  ListBasicType,
  UintNumberType,
  type ValueOf,
} from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import type { Recipe } from './recipe.js';
import { validateRecipe } from './recipeRules.js';

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

const FAMILIES = ['gpt'] as const;
const NORMS = ['rms', 'layer'] as const;
const TOKENIZERS = ['bytes', 'gpt2'] as const;
const STARTS = ['seed', 'root'] as const;
const SAMPLINGS = ['uniform'] as const;

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

/** @returns the value that {@link RecipeSsz} encodes */
export function recipeToSsz(recipe: Recipe): RecipeSszValue {
  const { start } = recipe;
  return {
    ...recipe,
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

/** SSZ bytes of a recipe. @throws PogoError RECIPE if it breaks a rule */
export function encodeRecipe(recipe: Recipe): Uint8Array {
  return RecipeSsz.serialize(recipeToSsz(validateRecipe(recipe)));
}

/**
 * Identity of a recipe: the hash_tree_root of its SSZ form, which every claim carries.
 *
 * @returns 32 bytes
 * @throws PogoError RECIPE if it breaks a rule
 */
export function recipeRoot(recipe: Recipe): Uint8Array {
  return RecipeSsz.hashTreeRoot(recipeToSsz(validateRecipe(recipe)));
}

/** @throws PogoError MALFORMED for an unknown word, RECIPE for values that break a rule */
export function recipeFromSsz(value: RecipeSszValue): Recipe {
  const kind = word(STARTS, value.start.kind, 'start.kind');
  return validateRecipe({
    ...value,
    name: utf8(value.name, 'name'),
    family: word(FAMILIES, value.family, 'family'),
    norm: word(NORMS, value.norm, 'norm'),
    tokenizer: word(TOKENIZERS, value.tokenizer, 'tokenizer'),
    learningRateBits: Uint32Array.from(value.learningRateBits),
    data: { ...value.data, name: utf8(value.data.name, 'data.name') },
    start: kind === 'seed' ? { kind, seed: value.start.value } : { kind, root: value.start.value },
    sampling: word(SAMPLINGS, value.sampling, 'sampling'),
  });
}

/**
 * Reads SSZ bytes strictly: only the bytes that {@link encodeRecipe} writes are accepted.
 *
 * @throws PogoError MALFORMED for bytes that are no canonical encoding, RECIPE for values that break a rule
 */
export function decodeRecipe(bytes: Uint8Array): Recipe {
  let value: RecipeSszValue;
  try {
    value = RecipeSsz.deserialize(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PogoError(
      'MALFORMED',
      `recipe: expected its SSZ bytes, found ${bytes.length} bytes: ${reason}`,
      {},
      cause,
    );
  }
  const recipe = recipeFromSsz(value);
  const again = RecipeSsz.serialize(recipeToSsz(recipe));
  if (again.length !== bytes.length || again.some((byte, i) => byte !== bytes[i])) {
    throw new PogoError('MALFORMED', 'recipe: expected the canonical SSZ encoding, found another encoding of it');
  }
  return recipe;
}

function utf8(bytes: Uint8Array, field: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new PogoError('MALFORMED', `recipe field ${field}: expected UTF-8, found other bytes`, { field }, cause);
  }
}
