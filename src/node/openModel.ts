/**
 * A checkpoint as a model that text can be put through: its shape, the weights that it ships, its tokenizer.
 *
 * Our own files carry their recipe. A Hugging Face file has its `config.json` and `tokenizer.json` beside it; a
 * vocabulary of 256 without a tokenizer means bytes.
 */
import { join } from 'node:path';
import { PogoError } from '../errors.js';
import { readCheckpointInfo, readCheckpointWeights } from '../model/node/checkpoint.js';
import { recipeOfShape, withDefaultContext } from '../model/node/checkpointRecipe.js';
import { readHfConfig, readHfTokenizer } from '../model/node/hfFolder.js';
import {
  openRecipeTokenizer,
  openTokenizerFile,
  requireTokenizer,
  requireVocabulary,
} from '../model/node/tokenizerFile.js';
import type { Recipe } from '../model/recipe.js';
import { ropeRootOf } from '../model/rope.js';
import type { Tokenizer } from '../model/tokenizer.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import { pogoHome } from './home.js';

export interface OpenedModel {
  readonly path: string;
  readonly format: 'pogo' | 'hf';
  readonly plan: ModelPlan;
  /** The weights that the file ships: f32 [layout.length] on shared memory. */
  readonly weights: Float32Array;
  readonly codec: Tokenizer;
}

/**
 * @param path a safetensors file, an index of several, or a folder with one
 * @param given what the caller says the model is; else the file, or the config beside it, says it
 * @param dataFolder where the tokenizers of recipes are kept
 * @throws PogoError USAGE where nothing says what the model is, MISMATCH for another shape or tokenizer than the
 *   recipe's, SHAPE, MALFORMED, RECIPE, MISSING, IO
 */
export async function openModel(
  path: string,
  given?: Recipe,
  dataFolder = join(pogoHome(), 'data'),
): Promise<OpenedModel> {
  const info = await readCheckpointInfo(path);
  const { recipe, codec } =
    info.format === 'hf'
      ? await openHf(info.folder, path, dataFolder, given)
      : await openOwn(given ?? info.recipe, path, dataFolder);
  const plan = modelPlan(recipe);
  const weights = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
  await readCheckpointWeights(path, recipe, weights);
  return { path, format: info.format, plan, weights, codec };
}

interface Described {
  readonly recipe: Recipe;
  readonly codec: Tokenizer;
}

async function openOwn(recipe: Recipe | undefined, path: string, dataFolder: string): Promise<Described> {
  if (recipe === undefined) {
    throw new PogoError('USAGE', `expected --recipe (${path} carries none), found no such option`, { path });
  }
  return { recipe, codec: await openRecipeTokenizer(recipe, dataFolder) };
}

/** A recipe around the shape of a Hugging Face model; only its shape is ever used. */
async function openHf(folder: string, path: string, dataFolder: string, given: Recipe | undefined): Promise<Described> {
  if (given === undefined) {
    const description = await readHfConfig(folder);
    if (description === undefined) {
      throw new PogoError('USAGE', `expected config.json beside ${path}, or --recipe; found neither`, { path });
    }
    const { tokenizer } = await readHfTokenizer(folder, description.shape.vocab);
    return { recipe: recipeOfShape(withDefaultContext(description.shape), tokenizer), codec: tokenizer };
  }
  const file = join(folder, 'tokenizer.json');
  const found = await openTokenizerFile(file);
  if (found === undefined) return { recipe: given, codec: await openRecipeTokenizer(given, dataFolder) };
  requireVocabulary(given.vocab, `recipe ${given.name}`, found.tokenizer, file);
  requireTokenizer(given, found.tokenizer, file);
  return { recipe: given, codec: found.tokenizer };
}

/**
 * The same model over a shorter context: positions beyond it are cut off. No value depends on a later position, so
 * nothing that is computed changes, and short texts cost less.
 *
 * @param context at most the model's; rounded up to a multiple of 64
 */
export function shortenContext(
  model: Pick<OpenedModel, 'plan' | 'weights'>,
  context: number,
): Pick<OpenedModel, 'plan' | 'weights'> {
  const { recipe, layout } = model.plan;
  const rounded = Math.min(recipe.context, Math.ceil(context / 64) * 64);
  if (rounded === recipe.context) return model;
  const plan = modelPlan(withContext(recipe, rounded));
  const weights = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
  for (const tensor of plan.layout.tensors) {
    const { offset } = layout.byName(tensor.name);
    weights.set(model.weights.subarray(offset, offset + tensor.size), tensor.offset);
  }
  return { plan, weights };
}

/** The recipe over another context; where it has RoPE, its tables are as long. */
function withContext(recipe: Recipe, context: number): Recipe {
  const { gemma } = recipe;
  if (gemma === undefined) return { ...recipe, context };
  return { ...recipe, context, gemma: { ...gemma, ropeRoot: ropeRootOf({ ...gemma, context }) } };
}
