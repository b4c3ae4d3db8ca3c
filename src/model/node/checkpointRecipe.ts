/** Which model a checkpoint holds: from its own metadata, or from the files that Hugging Face keeps beside it. Node only. */

import { PogoError } from '../../errors.js';
import type { ModelShape } from '../hf.js';
import { loadRecipe, type Recipe, validateRecipe } from '../recipe.js';
import { requireRopeShape } from '../recipeRules.js';
import { ropeRootOf } from '../rope.js';
import type { Tokenizer } from '../tokenizer.js';
import { readCheckpointInfo } from './checkpoint.js';
import { readHfConfig, readHfTokenizer } from './hfFolder.js';
import { openRecipe } from './recipeFile.js';

/**
 * The recipe to read a checkpoint with.
 *
 * A given recipe wins. Else a `pogo` file carries its own; any other checkpoint is a model of Hugging Face, described by
 * `config.json` beside it, with the tokenizer of `tokenizer.json` (bytes if there is none and the vocabulary is 256).
 * Of a recipe made from `config.json` only shape and tokenizer mean something: it is for losses and samples, not for
 * training. `pogo import` makes one to train with.
 *
 * @param path a safetensors file, an index of several, or a folder with one
 * @param nameOrFile of a recipe, if the user named one
 * @throws PogoError MISSING without config.json or tokenizer.json, MISMATCH for another architecture, or a tokenizer that
 * does not fit; RECIPE for sizes that are not supported, MALFORMED, IO
 */
export async function recipeOfCheckpoint(path: string, nameOrFile?: string): Promise<Recipe> {
  if (nameOrFile !== undefined) return openRecipe(nameOrFile);
  const info = await readCheckpointInfo(path);
  if (info.recipe !== undefined) return info.recipe;
  const description = await readHfConfig(info.folder);
  if (description === undefined) {
    throw new PogoError(
      'MISSING',
      `expected config.json beside ${info.path}, found none; copy it from the model's page, or name the shape with --recipe`,
      { path: info.path },
    );
  }
  const { tokenizer } = await readHfTokenizer(info.folder, description.shape.vocab);
  return recipeOfShape(withDefaultContext(description.shape), tokenizer);
}

/** Positions of a recipe that is made for a model with RoPE: such a model has no table of positions, only a limit. */
const ROPE_CONTEXT = 1024;

/** The shape over the context that is taken where the user names none. */
export function withDefaultContext(shape: ModelShape): ModelShape {
  if (shape.gemma === undefined) return shape;
  const whole = Math.floor(Math.min(shape.context, ROPE_CONTEXT) / 64) * 64;
  return { ...shape, context: Math.max(64, whole) };
}

/**
 * A recipe around a shape: the optimizer and schedule of a built-in one, the novel as data where the built-in tokenizers
 * give its roots.
 *
 * @throws PogoError RECIPE for sizes that are not supported
 */
export function recipeOfShape({ gemma, ...shape }: ModelShape, tokenizer: Tokenizer): Recipe {
  const base = loadRecipe(tokenizer.name === 'bytes' ? 'moby' : 'gpt2-124m');
  const held = shape.context + 1;
  const data = {
    ...base.data,
    tokenizerRoot: tokenizer.root,
    tokens: Math.max(base.data.tokens, 2 * held),
    heldOutTokens: Math.max(base.data.heldOutTokens, held),
  };
  return validateRecipe({
    ...base,
    ...shape,
    ...(gemma === undefined
      ? {}
      : { gemma: { ...gemma, ropeRoot: ropeRootOf(requireRopeShape({ ...gemma, context: shape.context })) } }),
    name: 'hugging-face',
    tokenizer: tokenizer.name,
    sequencesPerUnit: 1,
    data,
  });
}
