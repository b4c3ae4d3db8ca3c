/**
 * Small models whose weights anybody can make from integers, in Hugging Face's names: what `scripts/hf-parity.py` fills
 * `transformers` with, and the same numbers for our side.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Kernels } from '../../src/backend/ops.js';
import { describeHfConfig, hfModel } from '../../src/model/hf.js';
import { createLayout } from '../../src/model/layout.js';
import { readCheckpointWeights } from '../../src/model/node/checkpoint.js';
import { recipeOfShape } from '../../src/model/node/checkpointRecipe.js';
import { readPeft } from '../../src/model/node/peftFile.js';
import { peftModules, peftNames } from '../../src/model/peft.js';
import type { Recipe } from '../../src/model/recipe.js';
import { recipeRope } from '../../src/model/rope.js';
import { mix } from '../../src/model/seeds.js';
import { BoundTape } from '../../src/model/tape.js';
import { evaluationTape } from '../../src/model/tapes.js';
import { byteTokenizer } from '../../src/model/tokenizer.js';
import { allocateWeights, type ModelPlan, modelPlan, quantizeWeights, withFrozen } from '../../src/model/unit.js';
import { type FileTensor, writeSharded, writeTensors } from './hfTensors.js';

/** A case of `test/vectors/hfParity.json`. */
export interface ParityCase {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly seed: number;
  /** Matrices are 2^this times as large as usual at the start of training. */
  readonly spread: number;
  /** Mean of Gemma's gains behind attention and MLP, less 1: a half of the layers' share in the residual at −0.5. */
  readonly postGain: number;
  /** Largest relative error of the logits. */
  readonly most: number;
  /** Tokens of a window: the context that is evaluated. */
  readonly context: number;
  readonly windows: number;
  readonly prefix: string;
  readonly dtype: 'F32' | 'BF16';
  /** Files of the model; 1: no index. */
  readonly shards: number;
  /** Whether the file has a head that equals the table. */
  readonly head: boolean;
  /** Adapters of `peft` on the model. */
  readonly adapter: { readonly r: number; readonly alpha: number; readonly targets: readonly string[] } | null;
  /** Mean loss of all windows in `transformers`, fp32. */
  readonly loss: number;
  /** Its logits of the last position of the last window. */
  readonly logits: readonly number[];
}

/** The cases with the values of `transformers`. */
export function parityCases(): readonly ParityCase[] {
  const file = new URL('../vectors/hfParity.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { readonly cases: readonly ParityCase[] }).cases;
}

const GOLDEN = 0x9e3779b9;

function hashName(name: string, seed: number): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}

/** Largest magnitude of a tensor's values is 2^−this. Matrices: a standard deviation of 0.036 × 2^spread. */
function magnitude(name: string, spread: number): number {
  if (/lora_[AB]\.weight$/.test(name)) return 3;
  if (/(?:wte|embed_tokens)\.weight$/.test(name)) return 2;
  if (/wpe\.weight$/.test(name)) return 3;
  if (/bias$/.test(name)) return 5;
  if (/norm\.weight$|layernorm\.weight$|ln_[12f]\.weight$/.test(name)) return 3;
  return 4 - spread;
}

/**
 * Values of a tensor, exact in fp32 (of 16 bits), for BF16 exact there (of 8 bits). Gains of LayerNorm lie around 1.
 *
 * @param name without prefix
 */
export function parityValues(
  name: string,
  size: number,
  { seed, dtype, spread, postGain }: Pick<ParityCase, 'seed' | 'dtype' | 'spread' | 'postGain'>,
): number[] {
  const base = hashName(name, seed);
  const scale = 2 ** -(15 + magnitude(name, spread));
  const around = /ln_[12f]\.weight$/.test(name) ? 1 : /post_\w+_layernorm\.weight$/.test(name) ? postGain : 0;
  return Array.from({ length: size }, (_, i) => {
    const word = (mix((base + Math.imul(i, GOLDEN)) >>> 0) >>> 16) - 32_768;
    const kept = dtype === 'F32' ? word : word & ~0xff;
    return around + (around !== 0 && dtype === 'BF16' ? (kept & ~0x7ff) * scale : kept * scale);
  });
}

export function parityTokens(vocab: number, count: number, seed: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => mix((seed + Math.imul(i + 1, GOLDEN)) >>> 0) % vocab);
}

export function parityRecipe({ config, context }: Pick<ParityCase, 'config' | 'context'>): Recipe {
  return recipeOfShape({ ...describeHfConfig(config).shape, context }, byteTokenizer);
}

/** Writes the model as `transformers` would: the folder's tensors and its `config.json`. */
export async function writeParityModel(folder: string, test: ParityCase): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const { shape } = describeHfConfig(test.config);
  // The file's positions are the model's, not those of a window.
  const recipe = parityRecipe({
    config: test.config,
    context: shape.gemma === undefined ? shape.context : test.context,
  });
  const tensors = hfModel(recipe, createLayout(recipe)).parts.map(({ name, shape: axes }): FileTensor => {
    const size = axes.reduce((product, axis) => product * axis, 1);
    const values = parityValues(name, size, test);
    return { name: test.prefix + name, shape: axes, values, dtype: test.dtype };
  });
  const table = tensors.find(({ name }) => /(?:wte|embed_tokens)\.weight$/.test(name));
  const all = test.head && table !== undefined ? [...tensors, { ...table, name: 'lm_head.weight' }] : tensors;
  if (test.shards > 1) await writeSharded(folder, all, test.shards);
  else await writeTensors(join(folder, 'model.safetensors'), all, { format: 'pt' });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(test.config));
}

/** Writes a case's adapters as `peft` would. */
export async function writeParityAdapter(folder: string, test: ParityCase): Promise<void> {
  const { adapter, config } = test;
  if (adapter === null) throw new TypeError(`${test.name} has no adapters`);
  mkdirSync(folder, { recursive: true });
  const { modules } = peftModules(parityRecipe(test));
  const wanted = modules.filter(({ name }) => adapter.targets.some((target) => peftNames(target, name)));
  const tensors = wanted.flatMap(({ name, rows, inputs }) =>
    [
      { own: `${name}.lora_A.weight`, shape: [adapter.r, inputs] },
      { own: `${name}.lora_B.weight`, shape: [rows, adapter.r] },
    ].map(({ own, shape }): FileTensor => {
      const values = parityValues(own, (shape[0] as number) * (shape[1] as number), test);
      return { name: `base_model.model.${test.prefix}${own}`, shape, values, dtype: 'F32' };
    }),
  );
  await writeTensors(join(folder, 'adapter_model.safetensors'), tensors, { format: 'pt' });
  const text = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    r: adapter.r,
    lora_alpha: adapter.alpha,
    target_modules: adapter.targets,
    fan_in_fan_out: config['model_type'] === 'gpt2',
    bias: 'none',
  };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(text));
}

/** A case's plan and θ, read from its files: with adapters the plan has the model under them, and θ is theirs. */
export async function readParityModel(
  folder: string,
  test: ParityCase,
): Promise<{ readonly plan: ModelPlan; readonly theta: Float32Array }> {
  const recipe = parityRecipe(test);
  const plan = modelPlan(recipe);
  const theta = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
  await readCheckpointWeights(folder, recipe, theta);
  if (test.adapter === null) return { plan, theta };
  const { adapter, fill } = await readPeft(join(folder, 'adapter'), recipe);
  const adapted = withFrozen(
    modelPlan({ ...recipe, adapter: { ...adapter, base: new Uint8Array(32).fill(1) } }),
    theta,
  );
  const own = new Float32Array(new SharedArrayBuffer(4 * adapted.layout.length));
  fill(adapted.layout, own);
  return { plan: adapted, theta: own };
}

/** Logits of every position of one window: f32 [context, vocab]. */
export function logitsOf(plan: ModelPlan, kernels: Kernels, theta: Float32Array, tokens: Uint32Array): Float32Array {
  const { recipe, model } = plan;
  const weights = allocateWeights(plan, theta);
  quantizeWeights(plan, kernels, weights);
  const bound = new BoundTape(evaluationTape(recipe, model, plan.weights, 1, true).tape, kernels, {
    theta: weights.frozen ?? weights.theta,
    weightCodes: weights.codes,
    weightScales: weights.scales,
    rope: recipeRope(recipe),
  });
  (bound.array('tokens') as Uint32Array).set(tokens.subarray(0, recipe.context));
  bound.run();
  const { rows } = model.byName('wte');
  const all = bound.array('logits') as Float32Array;
  const out = new Float32Array(recipe.context * recipe.vocab);
  for (let t = 0; t < recipe.context; t++) {
    out.set(all.subarray(t * rows, t * rows + recipe.vocab), t * recipe.vocab);
  }
  return out;
}

/** ‖ours − theirs‖ ÷ ‖theirs‖. */
export function relativeError(ours: ArrayLike<number>, theirs: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < theirs.length; i++) {
    difference += ((ours[i] ?? 0) - (theirs[i] ?? 0)) ** 2;
    norm += (theirs[i] ?? 0) ** 2;
  }
  return Math.sqrt(difference / norm);
}
