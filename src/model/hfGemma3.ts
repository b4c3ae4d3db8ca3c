/**
 * Gemma 3 (text) as Hugging Face stores it: tensor names, `config.json` of the old form and of the new one, and the text
 * part of multimodal checkpoints, whose other tensors are left out.
 *
 * Query, key and value are three tensors there and one of ours, gates and the other half of the MLP two and one: rows
 * follow each other. Linear layers are [out, in] on both sides. Gains are stored less 1 on both sides.
 */

import { PogoError } from '../errors.js';
import { bitsToDecimal, bitsToFloat, decimalToBits } from './fp32.js';
import type { HfModel, HfPart } from './hf.js';
import type { ConfigReader, ModelShape } from './hfConfigReader.js';
import type { Layout } from './layout.js';
import { attentionSizes, type Recipe } from './recipe.js';

const LAYER_NAMES: Readonly<Record<string, string>> = {
  'norm1.gain': 'input_layernorm.weight',
  'qNorm.gain': 'self_attn.q_norm.weight',
  'kNorm.gain': 'self_attn.k_norm.weight',
  'o.weight': 'self_attn.o_proj.weight',
  'postNorm1.gain': 'post_attention_layernorm.weight',
  'norm2.gain': 'pre_feedforward_layernorm.weight',
  'proj.weight': 'mlp.down_proj.weight',
  'postNorm2.gain': 'post_feedforward_layernorm.weight',
};

/** Tensors of ours that are several of theirs, with the rows of each. */
function splits(recipe: Recipe): Readonly<Record<string, readonly (readonly [string, number])[]>> {
  const { heads, keyValueHeads, headSize } = attentionSizes(recipe);
  const shared = keyValueHeads * headSize;
  return {
    'qkv.weight': [
      ['self_attn.q_proj.weight', heads * headSize],
      ['self_attn.k_proj.weight', shared],
      ['self_attn.v_proj.weight', shared],
    ],
    'fc.weight': [
      ['mlp.gate_proj.weight', recipe.hidden],
      ['mlp.up_proj.weight', recipe.hidden],
    ],
  };
}

export function gemma3Model(recipe: Recipe, layout: Layout): HfModel {
  const several = splits(recipe);
  const parts = layout.tensors.flatMap((tensor): HfPart[] => {
    const { offset, cols, rows, size } = tensor;
    const whole = { transposed: false, offset };
    // Without our padding rows.
    if (tensor.name === 'wte') return [{ ...whole, name: 'embed_tokens.weight', shape: [recipe.vocab, cols] }];
    if (tensor.name === 'norm.gain') return [{ ...whole, name: 'norm.weight', shape: [size] }];
    const layer = /^h(\d+)\.(.*)$/.exec(tensor.name);
    const [prefix, own] = [`layers.${layer?.[1]}.`, layer?.[2] ?? ''];
    const cut = several[own];
    if (cut === undefined) {
      return [{ ...whole, name: prefix + LAYER_NAMES[own], shape: tensor.kind === 'vector' ? [size] : [rows, cols] }];
    }
    let row = 0;
    return cut.map(([name, count]) => {
      const part = { ...whole, name: prefix + name, shape: [count, cols], offset: offset + row * cols };
      row += count;
      return part;
    });
  });
  return {
    parts,
    absent: [],
    table: 'embed_tokens.weight',
    prefixes: [
      { names: 'model.', head: 'lm_head.weight' },
      { names: 'language_model.model.', head: 'language_model.lm_head.weight' },
      { names: 'model.language_model.', head: 'lm_head.weight' },
      { names: '', head: 'lm_head.weight' },
    ],
    ignored: (name) => name.endsWith('.rotary_emb.inv_freq'),
    // Images have no place in a text model.
    foreign: (name) => /^(?:model\.)?(?:vision_tower|multi_modal_projector)\./.test(name),
  };
}

/** √width in fp32, or rounded to bf16 as a model that computes in bf16 has it. */
function embeddingScale(width: number, isHalf: boolean): number {
  const bits = decimalToBits(String(Math.fround(Math.sqrt(width))));
  if (!isHalf) return bits;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000) >>> 0;
}

/** `config.json` of a recipe's model, for `transformers`. */
export function gemma3Config(recipe: Recipe): Record<string, unknown> {
  const { gemma } = recipe;
  if (gemma === undefined) throw new PogoError('INTERNAL', 'a recipe of gemma3 has its options');
  const scale = gemma.embeddingScaleBits;
  const [exact, half] = [false, true].map((isHalf) => embeddingScale(recipe.width, isHalf));
  if (scale !== exact && scale !== half) {
    throw new PogoError(
      'MISMATCH',
      `expected an embedding scale of √${recipe.width} for the format hf, found ${bitsToFloat(scale)} in recipe ${recipe.name}; ` +
        'use --format pogo',
      { recipe: recipe.name },
    );
  }
  const factor = gemma.ropeGlobalScale;
  const global = factor === 1 ? { rope_type: 'default' } : { rope_type: 'linear', factor };
  const types = Array.from({ length: recipe.layers }, (_, i) =>
    (i + 1) % gemma.globalEvery === 0 ? 'full_attention' : 'sliding_attention',
  );
  return {
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    hidden_activation: 'gelu_pytorch_tanh',
    num_hidden_layers: recipe.layers,
    hidden_size: recipe.width,
    num_attention_heads: recipe.heads,
    num_key_value_heads: gemma.keyValueHeads,
    head_dim: gemma.headSize,
    intermediate_size: recipe.hidden,
    max_position_embeddings: recipe.context,
    vocab_size: recipe.vocab,
    rms_norm_eps: bitsToDecimal(recipe.normEpsilonBits),
    query_pre_attn_scalar: gemma.queryScalar,
    sliding_window: gemma.slidingWindow,
    sliding_window_pattern: gemma.globalEvery,
    layer_types: types,
    // Both forms: transformers 4 reads the first three, 5 the last.
    rope_theta: gemma.ropeGlobalBase,
    rope_local_base_freq: gemma.ropeLocalBase,
    rope_scaling: factor === 1 ? null : global,
    rope_parameters: {
      full_attention: { rope_theta: gemma.ropeGlobalBase, ...global },
      sliding_attention: { rope_theta: gemma.ropeLocalBase, rope_type: 'default' },
    },
    attention_bias: false,
    attention_dropout: 0,
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
    use_bidirectional_attention: false,
    tie_word_embeddings: true,
    dtype: scale === exact ? 'float32' : 'bfloat16',
  };
}

/** @throws PogoError MISMATCH for an option that changes the arithmetic, or a size that is no number */
export function gemma3Shape(config: ConfigReader, dtype: unknown): ModelShape {
  config.only('hidden_activation', 'gelu_pytorch_tanh', 'gelu_pytorch_tanh');
  config.only('attention_bias', false, false);
  config.only('attn_logit_softcapping', undefined, undefined);
  config.only('final_logit_softcapping', undefined, undefined);
  config.only('use_bidirectional_attention', false, false);
  const width = config.count('hidden_size', 2304);
  const layers = config.count('num_hidden_layers', 26);
  const rope = ropeOf(config);
  return {
    family: 'gemma3',
    vocab: config.count('vocab_size', 262_208),
    layers,
    width,
    heads: config.count('num_attention_heads', 8),
    hidden: config.count('intermediate_size', 9216),
    context: config.count('max_position_embeddings', 131_072),
    norm: 'rms',
    bias: false,
    normEpsilonBits: config.decimalBits('rms_norm_eps', 1e-6),
    gemma: {
      keyValueHeads: config.count('num_key_value_heads', 4),
      headSize: config.count('head_dim', 256),
      queryScalar: config.count('query_pre_attn_scalar', 256),
      slidingWindow: config.count('sliding_window', 4096),
      globalEvery: globalEvery(config, layers),
      ...rope,
      embeddingScaleBits: embeddingScale(
        width,
        (config.get('dtype') ?? config.get('torch_dtype') ?? dtype) === 'bfloat16',
      ),
    },
  };
}

/** The rule of the layer kinds: layer i (from 0) is global where the number divides i + 1. */
function globalEvery(config: ConfigReader, layers: number): number {
  const types = config.get('layer_types');
  const pattern = config.get('sliding_window_pattern') ?? config.get('_sliding_window_pattern');
  if (types === undefined) return pattern === undefined ? 6 : config.count('sliding_window_pattern', Number(pattern));
  if (!Array.isArray(types) || types.length !== layers) config.mismatch(`${layers} words`, types, 'layer_types');
  const isGlobal = types.map((type) => type === 'full_attention');
  const fits = (every: number): boolean => isGlobal.every((global, i) => global === ((i + 1) % every === 0));
  const known = types.every((type) => type === 'full_attention' || type === 'sliding_attention');
  const first = isGlobal.indexOf(true);
  // Without a global layer any number beyond the layers says the same; the pattern's is kept.
  const every = first >= 0 ? first + 1 : typeof pattern === 'number' && pattern > layers ? pattern : layers + 1;
  if (!known || !fits(every))
    config.mismatch('every n-th layer full_attention, the others sliding_attention', types, 'layer_types');
  return every;
}

interface RopeFields {
  readonly ropeLocalBase: number;
  readonly ropeGlobalBase: number;
  readonly ropeGlobalScale: number;
}

function ropeOf(config: ConfigReader): RopeFields {
  const parameters = config.get('rope_parameters');
  if (parameters === undefined) {
    const scaling = config.get('rope_scaling');
    return {
      ropeLocalBase: config.count('rope_local_base_freq', 10_000),
      ropeGlobalBase: config.count('rope_theta', 1_000_000),
      ropeGlobalScale: scaling === undefined ? 1 : scaleOf(config.inside('rope_scaling')),
    };
  }
  const both = config.inside('rope_parameters');
  const [local, global] = [both.inside('sliding_attention'), both.inside('full_attention')];
  local.only('rope_type', 'default', 'default');
  return {
    ropeLocalBase: local.count('rope_theta', 10_000),
    ropeGlobalBase: global.count('rope_theta', 1_000_000),
    ropeGlobalScale: scaleOf(global),
  };
}

function scaleOf(rope: ConfigReader): number {
  rope.only(rope.has('type') ? 'type' : 'rope_type', 'default', 'default', 'linear');
  return rope.count('factor', 1);
}
