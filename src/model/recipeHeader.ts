/**
 * A recipe without its table of learning rates: the same fields, with the table's hash_tree_root in its place. So a
 * header of a few hundred bytes has the recipe's own root, and one learning rate can be shown under it.
 *
 * Like recipes, headers have two containers, told apart by their first bytes; both travel as bytes.
 */
import { Tree } from '@chainsafe/persistent-merkle-tree';
import { ByteListType, ByteVectorType, ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { sha256 } from '@noble/hashes/sha2.js';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import type { Recipe } from './recipe.js';
import {
  beginsExtended,
  deserialized,
  ExtendedRecipeSsz,
  extendedRecipeFromSsz,
  extendedRecipeToSsz,
  isExtended,
  RecipeSsz,
  recipeFromSsz,
  recipeToSsz,
  requireCanonical,
} from './recipeSsz.js';

const Root = new ByteVectorType(32);
const { learningRateBits: RateTable, ...otherFields } = RecipeSsz.fields;
const { learningRateBits: _rates, ...otherExtendedFields } = ExtendedRecipeSsz.fields;

/** The fields of a recipe in their order, which decides the root, with the table's root in its place. */
function headerFields(fields: object): object {
  return Object.fromEntries(
    Object.entries(fields).map(([name, type]) => [name, name === 'learningRateBits' ? Root : type]),
  );
}

type HeaderFields = typeof otherFields & { readonly learningRateBits: ByteVectorType };
type ExtendedHeaderFields = typeof otherExtendedFields & { readonly learningRateBits: ByteVectorType };

const HeaderSsz = new ContainerType(headerFields(RecipeSsz.fields) as HeaderFields, { typeName: 'RecipeHeader' });
const ExtendedHeaderSsz = new ContainerType(headerFields(ExtendedRecipeSsz.fields) as ExtendedHeaderFields, {
  typeName: 'ExtendedRecipeHeader',
});

/** The SSZ bytes of a header, as a field of other containers. */
export const RecipeHeaderType = new ByteListType(4096);
export type RecipeHeader = Uint8Array;

/** A recipe as far as a header says it: all but the learning rates. */
export type HeaderRecipe = Omit<Recipe, 'learningRateBits'>;

export interface OpenedRecipeHeader {
  readonly recipe: HeaderRecipe;
  /** The recipe's own hash_tree_root. */
  readonly root: Uint8Array;
  /** hash_tree_root of the learning rates. */
  readonly ratesRoot: Uint8Array;
}

/** @returns the bytes of a recipe's header */
export function recipeHeader(recipe: Recipe): RecipeHeader {
  const learningRateBits = RateTable.hashTreeRoot(Array.from(recipe.learningRateBits));
  return isExtended(recipe)
    ? ExtendedHeaderSsz.serialize({ ...extendedRecipeToSsz(recipe), learningRateBits })
    : HeaderSsz.serialize({ ...recipeToSsz(recipe), learningRateBits });
}

/**
 * Reads the bytes of a header strictly.
 *
 * @throws PogoError MALFORMED, RECIPE when a field breaks a rule
 */
export function openRecipeHeader(bytes: RecipeHeader): OpenedRecipeHeader {
  // A table that breaks no rule stands in for the one that is not here.
  const learningRateBits = [0];
  if (beginsExtended(bytes)) {
    const value = deserialized('recipe header', bytes, ExtendedHeaderSsz);
    requireCanonical('recipe header', bytes, ExtendedHeaderSsz.serialize(value));
    const recipe = extendedRecipeFromSsz({ ...value, learningRateBits });
    return opened(recipe, ExtendedHeaderSsz.hashTreeRoot(value), value.learningRateBits);
  }
  const value = deserialized('recipe header', bytes, HeaderSsz);
  requireCanonical('recipe header', bytes, HeaderSsz.serialize(value));
  return opened(recipeFromSsz({ ...value, learningRateBits }), HeaderSsz.hashTreeRoot(value), value.learningRateBits);
}

function opened({ learningRateBits: _table, ...recipe }: Recipe, root: Uint8Array, rates: Uint8Array) {
  return { recipe, root, ratesRoot: rates };
}

/** @throws PogoError MALFORMED, RECIPE when a field breaks a rule */
export function recipeOfHeader(header: RecipeHeader): HeaderRecipe {
  return openRecipeHeader(header).recipe;
}

/** Levels of the tree over the table's chunks of eight rates. */
const DEPTH = Math.log2(RateTable.limit / 8);
const RATES = 8;

/** The chunk of eight rates around a step's, and its branch: siblings from the bottom up, then the table's length. */
export const LearningRateProofType = new ContainerType(
  { chunk: Root, branch: new ListCompositeType(Root, DEPTH + 1) },
  { typeName: 'LearningRateProof', jsonCase: 'eth2' },
);
export type LearningRateProof = ValueOf<typeof LearningRateProofType>;

export function proveLearningRate(recipe: Recipe, step: number): LearningRateProof {
  const table = Array.from(recipe.learningRateBits);
  const chunkIndex = Math.floor(Math.min(step, table.length - 1) / RATES);
  const tree = new Tree(RateTable.value_toTree(table));
  const index = (2n << BigInt(DEPTH)) + BigInt(chunkIndex);
  return {
    chunk: Uint8Array.from(tree.getRoot(index)),
    branch: tree.getSingleProof(index).map((node) => Uint8Array.from(node)),
  };
}

/**
 * The learning rate of a step under a header; after the table's end its last value.
 *
 * @returns fp32 bits
 * @throws PogoError MALFORMED when the proof does not lead to the header's root
 */
export function openLearningRate(
  { ratesRoot }: Pick<OpenedRecipeHeader, 'ratesRoot'>,
  step: number,
  { chunk, branch }: LearningRateProof,
): number {
  if (branch.length !== DEPTH + 1) {
    throw new PogoError('MALFORMED', `learning rate: expected a branch of ${DEPTH + 1} roots, found ${branch.length}`);
  }
  const last = branch[DEPTH]!;
  const length = new DataView(last.buffer, last.byteOffset, 32).getUint32(0, true);
  const entry = Math.min(step, length - 1);
  let node = chunk;
  for (let level = 0; level < DEPTH; level += 1) {
    const right = Math.floor(entry / RATES / 2 ** level) % 2 === 1;
    node = right ? hashPair(branch[level]!, node) : hashPair(node, branch[level]!);
  }
  if (length === 0 || !equalBytes(hashPair(node, last), ratesRoot)) {
    throw new PogoError('MALFORMED', 'learning rate: expected a branch to the recipe’s table, found another');
  }
  return new DataView(chunk.buffer, chunk.byteOffset, 32).getUint32(4 * (entry % RATES), true);
}

function hashPair(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(64);
  both.set(left, 0);
  both.set(right, 32);
  return sha256(both);
}
