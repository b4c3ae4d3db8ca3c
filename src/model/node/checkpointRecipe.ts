/** Which model a checkpoint holds: from its own metadata, or from the files that Hugging Face keeps beside it. Node only. */

import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import { hfTokenizerEntries, hfTokenizerRoot, shapeFromHfConfig } from '../hf.js';
import { loadRecipe, type Recipe, validateRecipe } from '../recipe.js';
import { gpt2Tokenizer } from '../tokenizerGpt2.js';
import { readCheckpointInfo } from './checkpoint.js';
import { openRecipe } from './recipeFile.js';

/** A `tokenizer.json` of GPT-2 takes 2 MB. */
const MAX_JSON_BYTES = 1 << 26;

/**
 * The recipe to read a checkpoint with.
 *
 * A given recipe wins. Else a `pogo` file carries its own; any other file is taken for GPT-2 of Hugging Face, described
 * by `config.json` beside it, with the tokenizer of `tokenizer.json` (bytes if there is none and the vocabulary is 256).
 * Of a recipe made from `config.json` only shape and tokenizer mean something: it is for losses and samples, not for
 * training.
 *
 * @param nameOrFile of a recipe, if the user named one
 * @throws PogoError MISSING without config.json, MISMATCH for another architecture or tokenizer, RECIPE for sizes that
 * are not supported, MALFORMED, IO
 */
export async function recipeOfCheckpoint(path: string, nameOrFile?: string): Promise<Recipe> {
  if (nameOrFile !== undefined) return openRecipe(nameOrFile);
  const info = await readCheckpointInfo(path);
  if (info.recipe !== undefined) return info.recipe;
  const folder = dirname(path);
  const config = await readJson(join(folder, 'config.json'));
  if (config === undefined) {
    throw new PogoError(
      'MISSING',
      `expected config.json beside ${path}, found none; name the model's shape with --recipe`,
      { path },
    );
  }
  const shape = shapeFromHfConfig(config);
  const tokenizer = await tokenizerBeside(folder, shape.vocab);
  const base = loadRecipe(tokenizer === 'bytes' ? 'moby' : 'gpt2-124m');
  const held = shape.context + 1;
  const data = {
    ...base.data,
    tokens: Math.max(base.data.tokens, 2 * held),
    heldOutTokens: Math.max(base.data.heldOutTokens, held),
  };
  return validateRecipe({ ...base, ...shape, name: 'hugging-face', tokenizer, sequencesPerUnit: 1, data });
}

async function tokenizerBeside(folder: string, vocab: number): Promise<Recipe['tokenizer']> {
  const path = join(folder, 'tokenizer.json');
  const json = await readJson(path);
  if (json === undefined) {
    if (vocab === 256) return 'bytes';
    throw new PogoError(
      'MISSING',
      `expected ${path} for a vocabulary of ${vocab}, found none; copy it from the model's page`,
      { path },
    );
  }
  if (equalBytes(hfTokenizerRoot(hfTokenizerEntries(json)), gpt2Tokenizer().root)) return 'gpt2';
  throw new PogoError(
    'MISMATCH',
    `expected the tokenizer of GPT-2 in ${path}, found another; only that one and bytes are supported`,
    { path },
  );
}

async function readJson(path: string): Promise<unknown> {
  try {
    const { size } = await stat(path);
    if (size > MAX_JSON_BYTES) {
      throw new PogoError('MALFORMED', `expected at most ${MAX_JSON_BYTES} bytes in ${path}, found ${size}`, { path });
    }
    return JSON.parse(await readFile(path, 'utf8')) as unknown;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (cause instanceof SyntaxError)
      throw new PogoError('MALFORMED', `expected JSON in ${path}: ${cause.message}`, { path }, cause);
    throw PogoError.from(cause);
  }
}
