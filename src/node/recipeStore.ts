/**
 * Recipes that were derived on this machine, by root: `<home>/recipes/<root>.ssz`. A state folder names its recipe by
 * root alone; without this store everybody who reads one would have to bring the recipe's file.
 */
import { join } from 'node:path';
import { PogoError } from '../errors.js';
import { writeFileAtomic } from '../files/durable.js';
import { readWholeFile, realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import { recipeOfRoot } from '../model/node/recipeFile.js';
import { decodeRecipe, encodeRecipe, type Recipe, recipeRoot } from '../model/recipe.js';

/** A recipe with the longest learning-rate table takes 4 MiB. */
const MAX_RECIPE_BYTES = 1 << 23;

function fileOf(home: string, root: Uint8Array): string {
  return join(home, 'recipes', `${toHex(root)}.ssz`);
}

/** Keeps a recipe. @returns its root */
export function keepRecipe(home: string, recipe: Recipe): Uint8Array {
  const root = recipeRoot(recipe);
  realFiles.makeDirectory(join(home, 'recipes'));
  writeFileAtomic(realFiles, fileOf(home, root), encodeRecipe(recipe));
  return root;
}

/**
 * The recipe that a root names: the given one, a built-in one, or one that was kept.
 *
 * @param nameOrFile what the user named, if anything
 * @throws PogoError MISMATCH if the named recipe has another root, RECIPE if none has it
 */
export function findRecipe(home: string, root: Uint8Array, nameOrFile?: string): Recipe {
  const kept = nameOrFile === undefined ? readKept(home, root) : undefined;
  return kept ?? recipeOfRoot(root, nameOrFile);
}

/** @returns undefined where there is none; a file that does not match its name counts as none */
function readKept(home: string, root: Uint8Array): Recipe | undefined {
  const file = fileOf(home, root);
  if (realFiles.status(file)?.kind !== 'file') return undefined;
  try {
    const recipe = decodeRecipe(Uint8Array.from(readWholeFile(realFiles, file, MAX_RECIPE_BYTES)));
    return equalBytes(recipeRoot(recipe), root) ? recipe : undefined;
  } catch (error) {
    if (error instanceof PogoError && (error.code === 'MALFORMED' || error.code === 'RECIPE')) return undefined;
    throw error;
  }
}
