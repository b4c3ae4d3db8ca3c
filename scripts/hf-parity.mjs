// Losses and logits of ours against those of `transformers`, on small models that it builds and saves, alone and with
// adapters that `peft` puts on them and saves.
//   npm run build && node scripts/hf-parity.mjs --python PYTHON [--write]
// PYTHON needs torch, transformers, peft and safetensors (several GB, so CI does not run this). --write puts the values into
// test/vectors/hfParity.json, which `npm test` compares with, and the table into docs/huggingface.md.
// Exit code 1 where a loss is off by more than 0.01 nats, or logits by more than a case allows.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openBackend } from '../dist/backend/open.js';
import { toHex } from '../dist/hex.js';
import { portableHash } from '../dist/merkle/portable.js';
import { describeHfConfig, hfConfig } from '../dist/model/hf.js';
import { readCheckpointWeights } from '../dist/model/node/checkpoint.js';
import { recipeOfShape } from '../dist/model/node/checkpointRecipe.js';
import { writeHfModel } from '../dist/model/node/hfWrite.js';
import { readPeft, writePeft } from '../dist/model/node/peftFile.js';
import { recipeRope } from '../dist/model/rope.js';
import { mix } from '../dist/model/seeds.js';
import { BoundTape } from '../dist/model/tape.js';
import { evaluationTape } from '../dist/model/tapes.js';
import { byteTokenizer } from '../dist/model/tokenizer.js';
import { allocateWeights, modelPlan, quantizeWeights, withFrozen } from '../dist/model/unit.js';
import { cli, ROOT, ScriptError } from './lib/project.mjs';

const MAX_LOSS_DIFFERENCE = 0.01;
const MAX_LOGITS_ERROR = 0.02;
const VECTORS = join(ROOT, 'test', 'vectors', 'hfParity.json');
const PAGE = join(ROOT, 'docs', 'huggingface.md');

const gpt2 = (fields) => ({
  model_type: 'gpt2',
  activation_function: 'gelu_new',
  resid_pdrop: 0,
  embd_pdrop: 0,
  attn_pdrop: 0,
  ...fields,
});
const gemma = (fields) => ({ model_type: 'gemma3_text', hidden_activation: 'gelu_pytorch_tanh', ...fields });

/** Shapes, names and files that differ from case to case. */
const CASES = [
  {
    name: 'gpt2-odd-vocabulary',
    config: gpt2({ vocab_size: 257, n_embd: 64, n_layer: 2, n_head: 2, n_positions: 64 }),
    prefix: 'transformer.',
  },
  {
    name: 'gpt2-narrow-mlp-sharded',
    config: gpt2({ vocab_size: 1009, n_embd: 192, n_layer: 3, n_head: 3, n_positions: 128, n_inner: 320 }),
    prefix: 'transformer.',
    context: 128,
    shards: 3,
  },
  {
    name: 'gpt2-no-prefix-bf16',
    config: gpt2({ vocab_size: 613, n_embd: 128, n_layer: 2, n_head: 2, n_positions: 64 }),
    dtype: 'BF16',
    prefix: '',
  },
  {
    name: 'gpt2-equal-head',
    config: gpt2({
      vocab_size: 331,
      n_embd: 64,
      n_layer: 1,
      n_head: 1,
      n_positions: 128,
      layer_norm_epsilon: 1e-6,
      tie_word_embeddings: false,
    }),
    head: true,
    prefix: 'transformer.',
  },
  {
    name: 'gemma3-local-and-global',
    config: gemma({
      vocab_size: 300,
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 3,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 32,
      max_position_embeddings: 256,
      sliding_window: 64,
      sliding_window_pattern: 3,
      query_pre_attn_scalar: 24,
    }),
    prefix: 'model.',
    context: 192,
    postGain: -0.5,
  },
  {
    name: 'gemma3-linear-rope-sharded',
    config: gemma({
      vocab_size: 1021,
      hidden_size: 128,
      intermediate_size: 192,
      num_hidden_layers: 7,
      num_attention_heads: 4,
      num_key_value_heads: 1,
      head_dim: 64,
      max_position_embeddings: 512,
      sliding_window: 64,
      query_pre_attn_scalar: 64,
      rope_parameters: {
        full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1000000 },
        sliding_attention: { rope_type: 'default', rope_theta: 10000 },
      },
    }),
    prefix: 'model.',
    context: 128,
    shards: 4,
    postGain: -0.5,
  },
  {
    name: 'gemma3-part-of-multimodal',
    config: {
      model_type: 'gemma3',
      text_config: gemma({
        vocab_size: 517,
        hidden_size: 64,
        intermediate_size: 192,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        head_dim: 64,
        max_position_embeddings: 128,
        sliding_window: 64,
        sliding_window_pattern: 2,
        query_pre_attn_scalar: 64,
      }),
    },
    prefix: 'language_model.model.',
    postGain: -0.5,
  },
  // Gains of 1 behind attention and MLP, as before any training: the layers outweigh the embedding from the first on.
  {
    name: 'gemma3-gains-of-one',
    config: gemma({
      vocab_size: 300,
      hidden_size: 128,
      intermediate_size: 256,
      num_hidden_layers: 6,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 32,
      max_position_embeddings: 128,
      sliding_window: 64,
      query_pre_attn_scalar: 32,
    }),
    prefix: 'model.',
    most: 0.035,
  },
  // Large weights: sharp attention, where the 8-bit codes show.
  {
    name: 'gpt2-large-weights',
    config: gpt2({ vocab_size: 257, n_embd: 128, n_layer: 3, n_head: 2, n_positions: 64 }),
    prefix: 'transformer.',
    spread: 2,
    most: 0.04,
  },
  {
    name: 'gemma3-large-weights',
    config: gemma({
      vocab_size: 300,
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 4,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 32,
      max_position_embeddings: 128,
      sliding_window: 64,
      sliding_window_pattern: 2,
      query_pre_attn_scalar: 32,
    }),
    prefix: 'model.',
    spread: 2,
    most: 0.04,
  },
  // Adapters: all of GPT-2's Conv1D layers; some of Gemma's, of which three and two are one of ours; all of them.
  {
    name: 'gpt2-lora-all',
    config: gpt2({ vocab_size: 257, n_embd: 64, n_layer: 2, n_head: 2, n_positions: 64 }),
    prefix: 'transformer.',
    adapter: { r: 8, alpha: 16, targets: ['c_attn', 'c_proj', 'c_fc'] },
  },
  {
    name: 'gpt2-lora-attention',
    config: gpt2({ vocab_size: 613, n_embd: 128, n_layer: 3, n_head: 2, n_positions: 128 }),
    prefix: 'transformer.',
    context: 128,
    adapter: { r: 3, alpha: 8, targets: ['attn.c_proj'] },
  },
  {
    name: 'gemma3-lora-queries-values',
    config: gemma({
      vocab_size: 300,
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 3,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 32,
      max_position_embeddings: 256,
      sliding_window: 64,
      sliding_window_pattern: 3,
      query_pre_attn_scalar: 24,
    }),
    prefix: 'model.',
    context: 128,
    postGain: -0.5,
    adapter: { r: 4, alpha: 8, targets: ['q_proj', 'v_proj'] },
  },
  {
    name: 'gemma3-lora-all',
    config: gemma({
      vocab_size: 517,
      hidden_size: 128,
      intermediate_size: 192,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      head_dim: 64,
      max_position_embeddings: 128,
      sliding_window: 64,
      sliding_window_pattern: 2,
      query_pre_attn_scalar: 64,
    }),
    prefix: 'model.',
    postGain: -0.5,
    adapter: {
      r: 8,
      alpha: 12,
      targets: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'],
    },
  },
].map((test, i) => ({
  seed: 1000 + i,
  spread: 0,
  postGain: 0,
  most: MAX_LOGITS_ERROR,
  context: 64,
  windows: 3,
  dtype: 'F32',
  shards: 1,
  head: false,
  adapter: null,
  ...test,
}));

const GOLDEN = 0x9e3779b9;
const tokensOf = (vocab, count, seed) =>
  Uint32Array.from({ length: count }, (_, i) => mix((seed + Math.imul(i + 1, GOLDEN)) >>> 0) % vocab);

/** A model of `transformers` as a plan and its θ; with adapters the plan has the model, and θ is theirs. */
async function imported(test, folder) {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const recipe = recipeOfShape({ ...describeHfConfig(config).shape, context: test.context }, byteTokenizer);
  const model = new Float32Array(new SharedArrayBuffer(4 * modelPlan(recipe).layout.length));
  await readCheckpointWeights(folder, recipe, model);
  if (test.adapter === null) return { plan: modelPlan(recipe), theta: model };
  const { adapter, fill } = await readPeft(join(folder, 'adapter'), recipe);
  const base = portableHash(new Uint8Array(model.buffer).slice());
  const plan = withFrozen(modelPlan({ ...recipe, adapter: { ...adapter, base } }), model);
  const theta = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
  fill(plan.layout, theta);
  return { plan, theta };
}

/** Our mean loss, from logits in double precision, and our logits of every window. */
async function ours(test, folder, kernels) {
  const { plan, theta } = await imported(test, folder);
  const { recipe } = plan;
  const weights = allocateWeights(plan, theta);
  quantizeWeights(plan, kernels, weights);
  const given = {
    theta: weights.frozen ?? weights.theta,
    weightCodes: weights.codes,
    weightScales: weights.scales,
    rope: recipeRope(recipe),
  };
  const bound = new BoundTape(evaluationTape(recipe, plan.model, plan.weights, 1, true).tape, kernels, given);
  const { context, vocab } = recipe;
  const { rows } = plan.model.byName('wte');
  const text = tokensOf(vocab, context * test.windows + 1, test.seed);
  const logits = new Float32Array(test.windows * context * vocab);
  let loss = 0;
  for (let window = 0; window < test.windows; window++) {
    bound.array('tokens').set(text.subarray(window * context, (window + 1) * context));
    bound.run();
    for (let t = 0; t < context; t++) {
      const row = bound.array('logits').subarray(t * rows, t * rows + vocab);
      logits.set(row, (window * context + t) * vocab);
      const most = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      const sum = row.reduce((total, x) => total + Math.exp(x - most), 0);
      loss += most + Math.log(sum) - row[text[window * context + t + 1]];
    }
  }
  // And out again, in one file or several, for `transformers` to open.
  const out = join(folder, 'exported');
  mkdirSync(out);
  if (recipe.adapter !== undefined) {
    await writePeft(recipe, recipe.adapter, theta, { folder: out, baseRoot: toHex(recipe.adapter.base) });
    return { loss: loss / (test.windows * context), logits, vocab };
  }
  const source = { read: (element, values) => values.set(theta.subarray(element, element + values.length)) };
  const shards = test.shards > 1 ? { shardBytes: 100_000 } : {};
  await writeHfModel(join(out, 'model.safetensors'), recipe, source, shards);
  writeFileSync(join(out, 'config.json'), JSON.stringify(hfConfig(recipe)));
  return { loss: loss / (test.windows * context), logits, vocab };
}

/** Relative error of all logits together, and of the worst position. */
function errors(found, expected, vocab) {
  let [difference, norm, worst] = [0, 0, 0];
  for (let from = 0; from < expected.length; from += vocab) {
    let [d, n] = [0, 0];
    for (let i = from; i < from + vocab; i++) {
      d += (found[i] - expected[i]) ** 2;
      n += expected[i] ** 2;
    }
    difference += d;
    norm += n;
    worst = Math.max(worst, Math.sqrt(d / n));
  }
  return { whole: Math.sqrt(difference / norm), worst };
}

const percent = (share) => `${(100 * share).toFixed(2)} %`;

function python(program, args) {
  const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
  return spawnSync(program, [join(ROOT, 'scripts', 'hf-parity.py'), ...args], options);
}

async function main() {
  const { values } = parseArgs({ options: { python: { type: 'string' }, write: { type: 'boolean', default: false } } });
  if (values.python === undefined) throw new ScriptError('expected --python, a Python with torch and transformers');
  const folder = mkdtempSync(join(tmpdir(), 'pogo-parity-'));
  try {
    const list = join(folder, 'cases.json');
    writeFileSync(list, JSON.stringify(CASES));
    const made = python(values.python, [list, folder]);
    if (made.status !== 0) throw new ScriptError(`${values.python} ended with ${made.status}`);
    const results = JSON.parse(readFileSync(join(folder, 'results.json'), 'utf8'));
    const peers = JSON.parse(readFileSync(join(folder, 'peers.json'), 'utf8'));
    const { kernels, name, isa } = openBackend();
    const rows = [];
    let failed = false;
    for (const test of CASES) {
      const place = join(folder, test.name);
      const bytes = readFileSync(join(place, 'logits.f32'));
      const theirs = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      const { loss, logits, vocab } = await ours(test, place, kernels);
      const { whole, worst } = errors(logits, theirs, vocab);
      const difference = loss - results[test.name].loss;
      failed ||= Math.abs(difference) > MAX_LOSS_DIFFERENCE || whole > test.most;
      rows.push(
        `| \`${test.name}\` | ${results[test.name].loss.toFixed(4)} | ${loss.toFixed(4)} | ${difference >= 0 ? '+' : '−'}${Math.abs(difference).toFixed(4)} | ${percent(whole)} | ${(100 * test.most).toFixed(1)} % | ${percent(worst)} | ${percent(peers[test.name].codes)} | ${percent(peers[test.name].bf16)} |`,
      );
    }
    const opened = python(values.python, [list, folder, 'exported']);
    if (opened.status !== 0) throw new ScriptError('transformers does not read what was exported as the same model');
    const head =
      '| case | loss of `transformers` | ours | difference | logits | at most | worst position | codes alone | bf16 |\n| --- | --: | --: | --: | --: | --: | --: | --: | --: |';
    const table = `${head}\n${rows.join('\n')}\n\n${made.stdout.trim()}, fp32; ours on ${name}/${isa}. The same bits on every backend.\n${opened.stdout.trim()}`;
    process.stdout.write(`${table}\n`);
    if (values.write) {
      const vectors = CASES.map((test) => ({ ...test, ...results[test.name] }));
      const lines = vectors.map((test) => JSON.stringify(test)).join(',\n');
      writeFileSync(VECTORS, `{"made by":"scripts/hf-parity.mjs","cases":[\n${lines}\n]}\n`);
      const page = readFileSync(PAGE, 'utf8');
      const marked = /(<!-- parity:table -->\n)[\s\S]*?(<!-- \/parity:table -->)/;
      if (!marked.test(page)) throw new ScriptError(`${PAGE} has no place for the table`);
      writeFileSync(PAGE, page.replace(marked, `$1${table}\n$2`));
    }
    return failed ? 1 : 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await cli(main);
