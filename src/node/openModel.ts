/**
 * A checkpoint as a model that text can be put through: its shape, the weights that it ships, its tokenizer.
 *
 * Our own files carry their recipe. A Hugging Face file has its `config.json` and `tokenizer.json` beside it; a
 * vocabulary of 256 without a tokenizer means bytes.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PogoError } from '../errors.js';
import { type ModelShape, sameShape, shapeFromHfConfig } from '../model/hf.js';
import { readCheckpointInfo, readCheckpointWeights } from '../model/node/checkpoint.js';
import { loadRecipe, type Recipe, validateRecipe } from '../model/recipe.js';
import { openTokenizer } from '../model/tokenizer.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import { openHfTokenizer, type TextCodec } from './hfTokenizer.js';

/** GPT-2's own `tokenizer.json` takes 2 MB. */
const MAX_JSON_BYTES = 1 << 27;

export interface OpenedModel {
  readonly path: string;
  readonly format: 'pogo' | 'hf';
  readonly plan: ModelPlan;
  /** The weights that the file ships: f32 [layout.length] on shared memory. */
  readonly weights: Float32Array;
  readonly codec: TextCodec;
}

/**
 * @param recipe what the caller says the model is; else the file, or the config beside it, says it
 * @throws PogoError USAGE where nothing says what the model is, MISMATCH for another shape or tokenizer than the
 *   recipe's, SHAPE, MALFORMED, RECIPE, IO
 */
export async function openModel(path: string, recipe?: Recipe): Promise<OpenedModel> {
  const info = await readCheckpointInfo(path);
  const shaped = info.format === 'hf' ? hfRecipe(path, recipe) : (recipe ?? info.recipe);
  if (shaped === undefined) {
    throw new PogoError('USAGE', `expected --recipe (${path} carries none), found no such option`, { path });
  }
  const plan = modelPlan(shaped);
  const weights = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
  await readCheckpointWeights(path, shaped, weights);
  const codec = await openCodec(path, info.format, shaped, recipe);
  return { path, format: info.format, plan, weights, codec };
}

function readJson(path: string): unknown {
  try {
    const { size } = statSync(path);
    if (size > MAX_JSON_BYTES) {
      throw new PogoError('MALFORMED', `${path}: expected at most ${MAX_JSON_BYTES} bytes, found ${size}`, { path });
    }
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof SyntaxError) {
      throw new PogoError('MALFORMED', `${path}: expected JSON, found: ${cause.message}`, { path }, cause);
    }
    throw PogoError.from(cause);
  }
}

/** A recipe around the shape of a Hugging Face model; only its shape is ever used. */
function hfRecipe(path: string, given: Recipe | undefined): Recipe {
  const config = join(dirname(path), 'config.json');
  if (!existsSync(config)) {
    if (given !== undefined) return given;
    throw new PogoError('USAGE', `expected config.json beside ${path}, or --recipe; found neither`, { path });
  }
  const shape = shapeFromHfConfig(readJson(config));
  if (given === undefined) return recipeOfShape(shape);
  if (sameShape(given, shape)) return given;
  throw new PogoError(
    'MISMATCH',
    `expected a model of recipe ${given.name}, found another shape in ${config}; leave --recipe out`,
    { path: config },
  );
}

function recipeOfShape(shape: ModelShape): Recipe {
  const base = loadRecipe('gpt2-124m');
  const { tokens, heldOutTokens } = { tokens: 4 * (shape.context + 1), heldOutTokens: shape.context + 1 };
  return validateRecipe({
    ...base,
    ...shape,
    name: 'imported',
    tokenizer: shape.vocab >= base.vocab ? 'gpt2' : 'bytes',
    sequencesPerUnit: 1,
    data: { ...base.data, tokens, heldOutTokens },
  });
}

async function openCodec(
  path: string,
  format: 'pogo' | 'hf',
  recipe: Recipe,
  given: Recipe | undefined,
): Promise<TextCodec> {
  if (format === 'pogo') return openTokenizer(recipe.tokenizer);
  const file = join(dirname(path), 'tokenizer.json');
  if (existsSync(file)) return openHfTokenizer(readJson(file));
  if (given !== undefined) return openTokenizer(given.tokenizer);
  if (recipe.vocab === 256) return openTokenizer('bytes');
  throw new PogoError(
    'USAGE',
    `expected tokenizer.json beside ${path} (vocabulary of ${recipe.vocab} tokens), or --recipe; found neither`,
    { path },
  );
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
  const plan = modelPlan({ ...recipe, context: rounded });
  const weights = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
  for (const tensor of plan.layout.tensors) {
    const { offset } = layout.byName(tensor.name);
    weights.set(model.weights.subarray(offset, offset + tensor.size), tensor.offset);
  }
  return { plan, weights };
}
