/**
 * Tokenizers on disk: a `tokenizer.json` that a user names, and the copies that recipes are served from.
 *
 * A recipe with tokenizer `json` holds the file's BLAKE3. The file itself is kept beside the token files, under its
 * root, so that a recipe finds it again, and never takes another one for it. Node only.
 */

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hashBytes } from '../../backend/merkleAddon.js';
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { hfBuiltInTokenizer } from '../hfVocabulary.js';
import type { Recipe } from '../recipe.js';
import { openTokenizer, type Tokenizer } from '../tokenizer.js';
import { MAX_TOKENIZER_BYTES } from '../tokenizerJson.js';
import { writeAll, writeAtomically } from './wholeFile.js';

export interface TokenizerFile {
  readonly tokenizer: Tokenizer;
  /** Bytes of the file where the tokenizer is `json`; the others need none. */
  readonly file: Uint8Array | undefined;
}

async function readLimited(path: string): Promise<Uint8Array | undefined> {
  try {
    const { size } = await stat(path);
    if (size > MAX_TOKENIZER_BYTES) {
      throw new PogoError('MALFORMED', `${path}: expected at most ${MAX_TOKENIZER_BYTES} bytes, found ${size}`, {
        path,
      });
    }
    return Uint8Array.from(await readFile(path));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw PogoError.from(cause, path);
  }
}

/**
 * Opens a `tokenizer.json`. A file with GPT-2's table, or with a token for every byte and no merges, is the built-in
 * tokenizer of that name: recipes with one need no file.
 *
 * @returns undefined if there is no such file
 * @throws PogoError MALFORMED for a file that is no tokenizer, IO
 */
export async function openTokenizerFile(path: string): Promise<TokenizerFile | undefined> {
  const file = await readLimited(path);
  if (file === undefined) return undefined;
  const known = await hfBuiltInTokenizer(file);
  if (known !== undefined) return { tokenizer: await openTokenizer(known), file: undefined };
  const { guardedTokenizer } = await import('./guardedTokenizer.js');
  return { tokenizer: guardedTokenizer(file, path), file };
}

function keptPath(directory: string, root: Uint8Array): string {
  return join(directory, `${toHex(root).slice(0, 16)}.tokenizer.json`);
}

/** Keeps a tokenizer's file where {@link openRecipeTokenizer} looks for it. */
export async function keepTokenizer(directory: string, { tokenizer, file }: TokenizerFile): Promise<void> {
  if (file === undefined) return;
  const path = keptPath(directory, tokenizer.root);
  const there = await readLimited(path);
  if (there !== undefined && equalBytes(there, file)) return;
  await writeAtomically(path, (handle) => writeAll(handle, file, 0));
}

/** The kept file of a recipe with tokenizer `json`. @throws PogoError DATA if it is not there or has other bytes, IO */
export async function keptTokenizerFile(recipe: Recipe, directory: string): Promise<Uint8Array> {
  const root = recipe.data.tokenizerRoot;
  const path = keptPath(directory, root);
  const file = await readLimited(path);
  if (file !== undefined && equalBytes(hashBytes(file), root)) return file;
  const found = file === undefined ? 'none' : `one with root ${toHex(hashBytes(file))}`;
  throw new PogoError(
    'DATA',
    `expected the tokenizer of recipe ${recipe.name} (root ${toHex(root)}) at ${path}, found ${found}; copy the ` +
      'tokenizer.json of the model there',
    { path },
  );
}

/**
 * The tokenizer of a recipe.
 *
 * @param directory of token files, where the file of a `json` tokenizer is kept
 * @throws PogoError DATA if the file is not there or has other bytes, or needs a larger vocabulary; MALFORMED, IO
 */
export async function openRecipeTokenizer(recipe: Recipe, directory: string): Promise<Tokenizer> {
  if (recipe.tokenizer !== 'json') return openTokenizer(recipe.tokenizer);
  const { guardedTokenizer } = await import('./guardedTokenizer.js');
  const file = await keptTokenizerFile(recipe, directory);
  const tokenizer = guardedTokenizer(file, keptPath(directory, recipe.data.tokenizerRoot));
  requireVocabulary(recipe.vocab, `recipe ${recipe.name}`, tokenizer);
  return tokenizer;
}

/** @throws PogoError MISMATCH for a tokenizer with more tokens than the model has rows for */
export function requireVocabulary(vocab: number, owner: string, tokenizer: Tokenizer, source = ''): void {
  if (tokenizer.entries <= vocab) return;
  throw new PogoError(
    'MISMATCH',
    `expected a tokenizer of at most ${vocab} tokens (the vocabulary of ${owner}), found one of ` +
      `${tokenizer.entries}${source === '' ? '' : ` in ${source}`}; take the tokenizer that belongs to the model`,
    { vocab, entries: tokenizer.entries },
  );
}

/** @throws PogoError MISMATCH for another tokenizer than the recipe's: its tokens would mean other text */
export function requireTokenizer(recipe: Recipe, tokenizer: Tokenizer, source: string): void {
  if (equalBytes(tokenizer.root, recipe.data.tokenizerRoot)) return;
  throw new PogoError(
    'MISMATCH',
    `expected the tokenizer of recipe ${recipe.name} (${recipe.tokenizer}, root ${toHex(recipe.data.tokenizerRoot)}), found ` +
      `${tokenizer.name} with root ${toHex(tokenizer.root)} in ${source}; take the recipe's tokenizer, or another recipe`,
    { path: source },
  );
}
