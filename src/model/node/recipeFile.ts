/** Recipes from the command line: a built-in name, or a file. Node only. */

import { readFileSync, statSync } from 'node:fs';
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { decodeRecipe, loadRecipe, RECIPE_NAMES, type Recipe, recipeRoot } from '../recipe.js';

/** A recipe with the longest learning-rate table takes 4 MiB in SSZ and about 25 MB in JSON. */
const MAX_RECIPE_BYTES = 1 << 25;

/**
 * @param nameOrFile a built-in name, or the path of a file: the JSON view, or SSZ if it ends with `.ssz`
 * @throws PogoError RECIPE for an unknown name or a broken recipe, MALFORMED for broken SSZ, IO for an unreadable file
 */
export function openRecipe(nameOrFile: string): Recipe {
  if (RECIPE_NAMES.includes(nameOrFile)) return loadRecipe(nameOrFile);
  const status = statSync(nameOrFile, { throwIfNoEntry: false });
  if (status === undefined) return loadRecipe(nameOrFile); // its error lists the names
  if (!status.isFile() || status.size > MAX_RECIPE_BYTES) {
    throw new PogoError(
      'RECIPE',
      `expected a recipe file of at most ${MAX_RECIPE_BYTES} bytes at ${nameOrFile}, found ${status.isFile() ? `${status.size} bytes` : 'no file'}`,
      { path: nameOrFile },
    );
  }
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(nameOrFile);
  } catch (cause) {
    throw PogoError.from(cause);
  }
  if (nameOrFile.endsWith('.ssz')) return decodeRecipe(Uint8Array.from(bytes));
  const text = new TextDecoder('utf-8').decode(bytes).trim();
  if (!text.startsWith('{')) {
    throw new PogoError(
      'RECIPE',
      `expected a recipe in JSON in ${nameOrFile}, found other text; see: pogo recipe moby --file`,
      {
        path: nameOrFile,
      },
    );
  }
  return loadRecipe(text);
}

/**
 * The recipe that a root names: the given one, else a built-in one.
 *
 * @param nameOrFile what the user named, if anything
 * @throws PogoError MISMATCH if the named recipe has another root, RECIPE if no built-in one has it
 */
export function recipeOfRoot(root: Uint8Array, nameOrFile?: string): Recipe {
  if (nameOrFile !== undefined) {
    const recipe = openRecipe(nameOrFile);
    const found = recipeRoot(recipe);
    if (equalBytes(found, root)) return recipe;
    throw new PogoError(
      'MISMATCH',
      `expected the recipe with root ${toHex(root)}, found ${nameOrFile} with root ${toHex(found)}`,
      {
        expected: toHex(root),
        found: toHex(found),
      },
    );
  }
  for (const name of RECIPE_NAMES) {
    const recipe = loadRecipe(name);
    if (equalBytes(recipeRoot(recipe), root)) return recipe;
  }
  throw new PogoError(
    'RECIPE',
    `expected a built-in recipe with root ${toHex(root)}, found none; name it with --recipe FILE`,
    {
      root: toHex(root),
    },
  );
}
