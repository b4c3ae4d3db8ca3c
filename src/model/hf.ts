/**
 * GPT-2 as Hugging Face stores it: tensor names, transposed weights, `config.json`, `tokenizer.json`.
 *
 * Their linear layers are `Conv1D` with weights [in, out]; ours are [out, in]. Query, key and value are fused in the
 * same order (`c_attn`). The head is tied to `wte`. Their key bias drops out of every softmax exactly (it adds the same
 * number to all scores of a row), so it is imported as 0.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../errors.js';
import { bitsToDecimal, decimalToBits } from './fp32.js';
import type { TensorSpec } from './layout.js';
import { paddedVocab, type Recipe } from './recipe.js';
import { GPT2_PATTERN, serializeTokenizer } from './tokenizer.js';

/** How one of our tensors lies in a Hugging Face file. */
export interface HfTensor {
  /** Without the prefix `transformer.`, which a file has on all names or on none. */
  readonly name: string;
  /** Shape in the file. */
  readonly shape: readonly number[];
  /** The file holds [cols, rows]. */
  readonly transposed: boolean;
}

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

/** The Hugging Face tensor of one of ours. `wte` has the real vocabulary there, without our padding rows. */
export function hfTensor(tensor: TensorSpec, recipe: Pick<Recipe, 'vocab'>): HfTensor {
  const layer = /^h(\d+)\.(.*)$/.exec(tensor.name);
  const name = layer === null ? MODEL_NAMES[tensor.name] : `h.${layer[1]}.${LAYER_NAMES[layer[2]]}`;
  if (tensor.kind === 'vector') return { name, shape: [tensor.size], transposed: false };
  if (tensor.name === 'wte') return { name, shape: [recipe.vocab, tensor.cols], transposed: false };
  if (tensor.kind === 'embedding') return { name, shape: [tensor.rows, tensor.cols], transposed: false };
  return { name, shape: [tensor.cols, tensor.rows], transposed: true };
}

/** Tensors of older Hugging Face files that hold no weights: causal masks. */
export function isHfMask(name: string): boolean {
  return /^h\.\d+\.attn\.(?:masked_)?bias$/.test(name);
}

/** @throws PogoError MISMATCH for a recipe that GPT-2's architecture cannot express */
export function requireHfShape(recipe: Pick<Recipe, 'norm' | 'name'>): void {
  if (recipe.norm === 'layer') return;
  throw new PogoError(
    'MISMATCH',
    `expected a recipe with norm "layer" for the format hf (GPT-2 has LayerNorm), found norm "rms" in recipe ${recipe.name}; ` +
      'use --format pogo',
    { recipe: recipe.name },
  );
}

/** `config.json` of a recipe's model, for `transformers`. */
export function hfConfig(recipe: Recipe): Record<string, unknown> {
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

/** The fields of a recipe that a model's file fixes. */
export type ModelShape = Pick<
  Recipe,
  'vocab' | 'layers' | 'width' | 'heads' | 'hidden' | 'context' | 'norm' | 'bias' | 'normEpsilonBits'
>;

/**
 * The shape of a GPT-2 model from its `config.json`. Sizes are checked when they become a recipe.
 *
 * @param config parsed JSON
 * @throws PogoError MISMATCH for another architecture, or an option that changes the arithmetic
 */
export function shapeFromHfConfig(config: unknown): ModelShape {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) mismatch('an object', config, '(whole)');
  const fields = config as Readonly<Record<string, unknown>>;
  const require = (key: string, fallback: unknown, ...allowed: unknown[]): void => {
    const found = fields[key] ?? fallback;
    if (!allowed.includes(found)) mismatch(allowed.map((value) => JSON.stringify(value)).join(' or '), found, key);
  };
  const count = (key: string): number => {
    const found = fields[key];
    if (typeof found !== 'number' || !Number.isSafeInteger(found) || found < 1)
      mismatch('a positive integer', found, key);
    return found;
  };
  require('model_type', undefined, 'gpt2');
  require('activation_function', 'gelu_new', 'gelu_new', 'gelu_pytorch_tanh');
  require('scale_attn_weights', true, true);
  require('scale_attn_by_inverse_layer_idx', false, false);
  require('add_cross_attention', false, false);
  require('tie_word_embeddings', true, true);
  const epsilon = fields['layer_norm_epsilon'] ?? 1e-5;
  if (typeof epsilon !== 'number' || !Number.isFinite(epsilon)) mismatch('a number', epsilon, 'layer_norm_epsilon');
  const width = count('n_embd');
  return {
    vocab: count('vocab_size'),
    layers: count('n_layer'),
    width,
    heads: count('n_head'),
    hidden: fields['n_inner'] === undefined || fields['n_inner'] === null ? 4 * width : count('n_inner'),
    context: count('n_positions'),
    norm: 'layer',
    bias: true,
    normEpsilonBits: decimalToBits(String(epsilon)),
  };
}

function mismatch(expected: string, found: unknown, key: string): never {
  const shown = JSON.stringify(found)?.slice(0, 80) ?? 'nothing';
  throw new PogoError(
    'MISMATCH',
    `config.json field ${key}: expected ${expected}, found ${shown}; this model is not supported`,
    {
      field: key,
    },
  );
}

/** Whether a file's shape is the recipe's, but for the rows that pad the vocabulary. */
export function sameShape(a: ModelShape, b: ModelShape): boolean {
  const keys = ['layers', 'width', 'heads', 'hidden', 'context', 'norm', 'bias', 'normEpsilonBits'] as const;
  return keys.every((key) => a[key] === b[key]) && paddedVocab(a) === paddedVocab(b);
}

/** The bytes that byte-level BPE files spell as themselves; the others are spelled from U+0100 on, in order. */
function printableBytes(): Map<string, number> {
  const spelled = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const itself = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    spelled.set(String.fromCodePoint(itself ? byte : next++), byte);
  }
  return spelled;
}

/**
 * Entries of a byte-level BPE `tokenizer.json`, in token order.
 *
 * @returns bytes of each token
 * @throws PogoError MALFORMED for a file without such a table
 */
export function hfTokenizerEntries(json: unknown): Uint8Array[] {
  const model = (json as { model?: { type?: unknown; vocab?: unknown } } | null)?.model;
  if (typeof model?.vocab !== 'object' || model.vocab === null || (model.type !== undefined && model.type !== 'BPE')) {
    throw new PogoError(
      'MALFORMED',
      "tokenizer.json: expected a BPE model with a vocab, found another; use GPT-2's tokenizer",
    );
  }
  const spelled = printableBytes();
  const entries: Uint8Array[] = [];
  for (const [token, id] of Object.entries(model.vocab)) {
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0 || id >= 1 << 24 || entries[id] !== undefined) {
      throw new PogoError(
        'MALFORMED',
        `tokenizer.json: expected a number of its own for ${JSON.stringify(token)}, found ${String(id)}`,
      );
    }
    const characters = [...token];
    const bytes = characters.map((character) => spelled.get(character));
    // Special tokens such as <|endoftext|> are plain ASCII and spell themselves, too.
    if (bytes.includes(undefined)) {
      throw new PogoError('MALFORMED', `tokenizer.json: expected byte-level tokens, found ${JSON.stringify(token)}`);
    }
    entries[id] = Uint8Array.from(bytes as number[]);
  }
  // Object.entries gave distinct numbers, so the table is complete exactly if none lies beyond their count.
  const count = Object.keys(model.vocab).length;
  if (entries.length !== count) {
    throw new PogoError(
      'MALFORMED',
      `tokenizer.json: expected ${count} tokens numbered from 0, found one numbered ${entries.length - 1}`,
    );
  }
  return entries;
}

/** Root of a byte-level BPE table under GPT-2's word pattern: equal to `gpt2Tokenizer().root` for GPT-2's own file. */
export function hfTokenizerRoot(entries: readonly Uint8Array[]): Uint8Array {
  return blake3(serializeTokenizer(GPT2_PATTERN, entries));
}
