/**
 * A recipe without its table of learning rates: the same fields, with the table's hash_tree_root in its place. So a
 * header of a few hundred bytes has the recipe's own root, and one learning rate can be shown under it.
 */
import { Tree } from '@chainsafe/persistent-merkle-tree';
import { ByteVectorType, ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { sha256 } from '@noble/hashes/sha2.js';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import type { Recipe } from './recipe.js';
import { RecipeSsz, recipeFromSsz, recipeToSsz } from './recipeSsz.js';

const Root = new ByteVectorType(32);
const { learningRateBits: RateTable, ...otherFields } = RecipeSsz.fields;
const fieldNames = Object.keys(RecipeSsz.fields) as (keyof typeof RecipeSsz.fields)[];

type HeaderFields = typeof otherFields & { readonly learningRateBits: ByteVectorType };

/** SSZ schema of a header: its hash_tree_root is the recipe's. */
export const RecipeHeaderType = new ContainerType(
  // The order of the fields is that of the recipe: it decides the root.
  Object.fromEntries(
    fieldNames.map((name) => [name, name === 'learningRateBits' ? Root : otherFields[name]]),
  ) as unknown as HeaderFields,
  { typeName: 'RecipeHeader' },
);
export type RecipeHeader = ValueOf<typeof RecipeHeaderType>;

/** A recipe as far as a header says it: all but the learning rates. */
export type HeaderRecipe = Omit<Recipe, 'learningRateBits'>;

export function recipeHeader(recipe: Recipe): RecipeHeader {
  const { learningRateBits, ...value } = recipeToSsz(recipe);
  return { ...value, learningRateBits: RateTable.hashTreeRoot(learningRateBits) };
}

/** @throws PogoError MALFORMED, RECIPE when a field breaks a rule */
export function recipeOfHeader(header: RecipeHeader): HeaderRecipe {
  // A table that breaks no rule stands in for the one that is not here.
  const { learningRateBits: _table, ...recipe } = recipeFromSsz({ ...header, learningRateBits: [0] });
  return recipe;
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
export function openLearningRate(header: RecipeHeader, step: number, { chunk, branch }: LearningRateProof): number {
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
  if (length === 0 || !equalBytes(hashPair(node, last), header.learningRateBits)) {
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
