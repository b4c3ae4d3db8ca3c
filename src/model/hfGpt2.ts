/**
 * GPT-2 as Hugging Face stores it: tensor names, transposed weights, `config.json`.
 *
 * Their linear layers are `Conv1D` with weights [in, out]; ours are [out, in]. Query, key and value are fused in the
 * same order (`c_attn`). The head is tied to `wte`. Their key bias drops out of every softmax exactly (it adds the same
 * number to all scores of a row), so it is imported as 0.
 */

import { PogoError } from '../errors.js';
import { bitsToDecimal } from './fp32.js';
import type { HfModel, HfPart } from './hf.js';
import type { ConfigReader, ModelShape } from './hfConfigReader.js';
import { createLayout, type Layout, type TensorSpec } from './layout.js';
import type { Recipe } from './recipe.js';

const LAYER_NAMES: Readonly<Record<string, string>> = {
  'norm1.gain': 'ln_1.weight',
  'norm1.bias': 'ln_1.bias',
  'qkv.weight': 'attn.c_attn.weight',
  'qkv.bias': 'attn.c_attn.bias',
  'o.weight': 'attn.c_proj.weight',
  'o.bias': 'attn.c_proj.bias',
  'norm2.gain': 'ln_2.weight',
  'norm2.bias': 'ln_2.bias',
  'fc.weight': 'mlp.c_fc.weight',
  'fc.bias': 'mlp.c_fc.bias',
  'proj.weight': 'mlp.c_proj.weight',
  'proj.bias': 'mlp.c_proj.bias',
};

const MODEL_NAMES: Readonly<Record<string, string>> = {
  wte: 'wte.weight',
  wpe: 'wpe.weight',
  'norm.gain': 'ln_f.weight',
  'norm.bias': 'ln_f.bias',
};

function partOf(tensor: TensorSpec, recipe: Pick<Recipe, 'vocab'>): HfPart {
  const { offset, rows, cols, size } = tensor;
  const layer = /^h(\d+)\.(.*)$/.exec(tensor.name);
  const name = layer === null ? MODEL_NAMES[tensor.name] : `h.${layer[1]}.${LAYER_NAMES[layer[2]]}`;
  const whole = { name, offset, transposed: false };
  if (tensor.kind === 'vector') {
    const key = [size / 3, (2 * size) / 3] as const;
    return { ...whole, shape: [size], ...(tensor.name.endsWith('.qkv.bias') ? { zero: key } : {}) };
  }
  if (tensor.name === 'wte') return { ...whole, shape: [recipe.vocab, cols] }; // without our padding rows
  if (tensor.kind === 'embedding') return { ...whole, shape: [rows, cols], moreRows: true };
  return { ...whole, shape: [cols, rows], transposed: true };
}

/**
 * Biases that the architecture has and the recipe has not: written as zeros, and required to be zero where a file has
 * them.
 */
function absentBiases(recipe: Recipe): HfPart[] {
  if (recipe.bias) return [];
  const { tensors } = createLayout({ ...recipe, bias: true });
  const biases = tensors.filter(({ name }) => /^h\d+\.(?:qkv|o|fc|proj)\.bias$/.test(name));
  return biases.map((tensor) => {
    const { zero: _none, ...part } = partOf(tensor, recipe);
    return { ...part, offset: 0 };
  });
}

/** @throws PogoError MISMATCH for a recipe that GPT-2's architecture cannot express */
export function gpt2Model(recipe: Recipe, layout: Layout): HfModel {
  if (recipe.norm !== 'layer') {
    throw new PogoError(
      'MISMATCH',
      `expected a recipe with norm "layer" for the format hf (GPT-2 has LayerNorm), found norm "rms" in recipe ` +
        `${recipe.name}; use --format pogo`,
      { recipe: recipe.name },
    );
  }
  return {
    parts: layout.tensors.map((tensor) => partOf(tensor, recipe)),
    absent: absentBiases(recipe),
    table: 'wte.weight',
    prefixes: [
      { names: 'transformer.', head: 'lm_head.weight' },
      { names: '', head: 'lm_head.weight' },
    ],
    // Causal masks, which older files hold.
    ignored: (name) => /^h\.\d+\.attn\.(?:masked_)?bias$/.test(name),
  };
}

/** `<|endoftext|>` of GPT-2's own table. */
const GPT2_END = 50_256;

/** `config.json` of a recipe's model, for `transformers`. */
export function gpt2Config(recipe: Recipe): Record<string, unknown> {
  return {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    activation_function: 'gelu_new',
    n_layer: recipe.layers,
    n_embd: recipe.width,
    n_head: recipe.heads,
    n_inner: recipe.hidden,
    n_positions: recipe.context,
    n_ctx: recipe.context,
    vocab_size: recipe.vocab,
    // Absent, they are GPT-2's own last token, which a smaller table does not have.
    ...(recipe.vocab > GPT2_END ? {} : { bos_token_id: null, eos_token_id: null }),
    layer_norm_epsilon: bitsToDecimal(recipe.normEpsilonBits),
    attn_pdrop: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    scale_attn_weights: true,
    scale_attn_by_inverse_layer_idx: false,
    reorder_and_upcast_attn: false,
    tie_word_embeddings: true,
    torch_dtype: 'float32',
  };
}

/** @throws PogoError MISMATCH for an option that changes the arithmetic, or a size that is no number */
export function gpt2Shape(config: ConfigReader): ModelShape {
  config.only('activation_function', 'gelu_new', 'gelu_new', 'gelu_pytorch_tanh');
  config.only('scale_attn_weights', true, true);
  config.only('scale_attn_by_inverse_layer_idx', false, false);
  config.only('add_cross_attention', false, false);
  const width = config.count('n_embd');
  return {
    family: 'gpt',
    vocab: config.count('vocab_size'),
    layers: config.count('n_layer'),
    width,
    heads: config.count('n_head'),
    hidden: config.has('n_inner') ? config.count('n_inner') : 4 * width,
    context: config.count('n_positions'),
    norm: 'layer',
    bias: true,
    normEpsilonBits: config.decimalBits('layer_norm_epsilon', 1e-5),
  };
}
