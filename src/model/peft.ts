/**
 * Adapters as `peft` of Hugging Face stores them: tensors `base_model.model.<module>.lora_A.weight` [r, inputs] and
 * `lora_B.weight` [outputs, r], and `adapter_config.json`. The layer computes x·Wᵀ + (alpha ÷ r)·(x·Aᵀ)·Bᵀ on both sides.
 *
 * Where several layers of theirs are one of ours (q, k and v; gates and the other half of an MLP) their adapters stand
 * side by side in ours: rows of A below each other, B in blocks, and alpha as many times as large as the rank. Adapters
 * whose A is the same need no second one; so ours, written as theirs, come back as they were.
 */
import { PogoError } from '../errors.js';
import { adapterNames, baseRecipe, targetShape } from './adapter.js';
import { bitsToFloat, decimalToBits } from './fp32.js';
import { hfModel } from './hf.js';
import { ConfigReader } from './hfConfigReader.js';
import { createLayout, createModelLayout, type Layout } from './layout.js';
import type { AdapterTarget, Recipe, RecipeAdapter } from './recipe.js';
import { ADAPTER_TARGETS, RECIPE_LIMITS } from './recipeRules.js';

/** A linear layer of theirs: rows [first, first + rows) of one of ours. */
export interface PeftModule {
  /** Without what stands before all names: `h.0.attn.c_attn`, `layers.0.self_attn.q_proj`. */
  readonly name: string;
  readonly layer: number;
  readonly target: AdapterTarget;
  readonly first: number;
  readonly rows: number;
  readonly inputs: number;
}

/** The two matrices of a module: A f32 [r, inputs], B f32 [rows, r]. */
export interface PeftMatrices {
  readonly a: Float32Array;
  readonly b: Float32Array;
}

/** Before all names of `peft`, then what the model itself has before them. */
export const PEFT_PREFIX = 'base_model.model.';

/**
 * The linear layers of a recipe's model that an adapter may change, by layer and target.
 *
 * @throws PogoError MISMATCH for a model that no architecture of Hugging Face expresses
 */
export function peftModules(recipe: Recipe): { readonly modules: readonly PeftModule[]; readonly prefixes: string[] } {
  if (recipe.family === 'gpt' && recipe.norm !== 'layer') {
    throw new PogoError(
      'MISMATCH',
      `expected a model with norm "layer" for the format peft (GPT-2 has LayerNorm), found norm "rms" in recipe ${recipe.name}; ` +
        'use --format pogo, which merges the adapters into the model',
      { recipe: recipe.name },
    );
  }
  const layout = createModelLayout(recipe);
  const { parts, prefixes } = hfModel(baseRecipe(recipe), layout);
  const modules: PeftModule[] = [];
  for (let layer = 0; layer < recipe.layers; layer += 1) {
    for (const target of ADAPTER_TARGETS) {
      const { inputs } = targetShape(recipe, target);
      const weight = layout.byName(`h${layer}.${target}.weight`);
      for (const { name, shape, transposed, offset } of parts) {
        if (offset < weight.offset || offset >= weight.offset + weight.size) continue;
        const rows = shape[transposed ? 1 : 0] as number;
        const first = (offset - weight.offset) / inputs;
        modules.push({ name: name.replace(/\.weight$/, ''), layer, target, first, rows, inputs });
      }
    }
  }
  return { modules, prefixes: prefixes.map(({ names }) => names) };
}

/** A module's name as a target: its last part, or its last two where two modules of a layer share the last. */
export function peftTarget({ name }: PeftModule): string {
  const parts = name.split('.');
  return parts.slice(parts.at(-1) === 'c_proj' ? -2 : -1).join('.');
}

/** `adapter_config.json` of a recipe's adapters. @param base name or path of the model under them, for `peft` to find */
export function peftConfig(recipe: Recipe, adapter: RecipeAdapter, base: string | null): Record<string, unknown> {
  const targets = peftModules(recipe).modules.filter(({ target }) => adapter.targets.includes(target));
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base,
    r: adapter.rank,
    lora_alpha: bitsToFloat(adapter.alphaBits),
    target_modules: [...new Set(targets.map(peftTarget))],
    fan_in_fan_out: recipe.family === 'gpt', // the weights of GPT-2's Conv1D are [in, out]
    lora_dropout: 0,
    bias: 'none',
    use_rslora: false,
    use_dora: false,
    init_lora_weights: true,
    inference_mode: true,
  };
}

/** What an `adapter_config.json` says that the tensors do not. */
export interface PeftDescription {
  readonly rank: number;
  readonly alpha: number;
  /** Names of modules, of which each names all that end in it; undefined where a pattern stands for them. */
  readonly targets: readonly string[] | undefined;
}

/**
 * @param config parsed JSON
 * @param file its name, for messages
 * @throws PogoError MISMATCH for another kind of adapter, or an option that changes the arithmetic
 */
export function describePeftConfig(config: unknown, file = 'adapter_config.json'): PeftDescription {
  const reader = new ConfigReader(config, '', file);
  reader.only('peft_type', undefined, 'LORA');
  reader.only('bias', 'none', 'none');
  for (const option of ['use_rslora', 'use_dora', 'lora_bias', 'use_qalora']) reader.only(option, false, false);
  for (const option of ['rank_pattern', 'alpha_pattern']) {
    const found = reader.get(option) ?? {};
    if (typeof found !== 'object' || Object.keys(found).length > 0) reader.mismatch('{}', found, option);
  }
  for (const option of [
    'modules_to_save',
    'layers_to_transform',
    'layer_replication',
    'trainable_token_indices',
    'target_parameters',
    'alora_invocation_tokens',
    'arrow_config',
    'kasa_config',
    'monteclora_config',
    'use_bdlora',
    'megatron_config',
  ]) {
    const found = reader.get(option);
    if (found !== undefined && !(Array.isArray(found) && found.length === 0)) reader.mismatch('null', found, option);
  }
  const rank = reader.count('r');
  if (rank > RECIPE_LIMITS.adapterRank) reader.mismatch(`at most ${RECIPE_LIMITS.adapterRank}`, rank, 'r');
  const alpha = reader.number('lora_alpha');
  if (!(alpha > 0)) reader.mismatch('a positive number', alpha, 'lora_alpha');
  const found = reader.get('target_modules');
  if (typeof found === 'string') return { rank, alpha, targets: undefined };
  const isList = Array.isArray(found) && found.length > 0 && found.every((name) => typeof name === 'string');
  if (!isList) reader.mismatch('names of modules', found, 'target_modules');
  return { rank, alpha, targets: found as string[] };
}

/** Whether a target of `adapter_config.json` names a module. */
export function peftNames(target: string, module: string): boolean {
  return module === target || module.endsWith(`.${target}`);
}

/** Adapters of theirs as ones of ours. */
export interface PeftAdapters {
  readonly adapter: Omit<RecipeAdapter, 'base'>;
  /** Fills θ of the adapters, f32 [layout.length] of +0. */
  fill(layout: Layout, theta: Float32Array): void;
}

/** Modules of a target in a layer whose adapters become one: side by side, or with one A for all. */
interface Group {
  readonly layer: number;
  readonly target: AdapterTarget;
  readonly members: readonly { readonly module: PeftModule; readonly matrices: PeftMatrices }[];
  /** All modules of our layer are there, and their A is the same. */
  readonly shared: boolean;
}

/**
 * Joins adapters of rank r on modules of theirs to adapters on layers of ours.
 *
 * @param read the modules with an adapter, the same ones in every layer, with their matrices
 * @throws PogoError RANGE where the ranks together exceed the largest
 */
export function joinPeft(
  recipe: Recipe,
  { rank, alpha }: PeftDescription,
  read: readonly { readonly module: PeftModule; readonly matrices: PeftMatrices }[],
): PeftAdapters {
  const groups: Group[] = [];
  for (let layer = 0; layer < recipe.layers; layer += 1) {
    for (const target of ADAPTER_TARGETS) {
      const members = read.filter(({ module }) => module.layer === layer && module.target === target);
      if (members.length === 0) continue;
      const rows = members.reduce((sum, { module }) => sum + module.rows, 0);
      const [first, ...others] = members.map(({ matrices }) => matrices.a);
      const same = others.every((a) => a.every((value, i) => Object.is(value, first?.[i])));
      groups.push({ layer, target, members, shared: rows === targetShape(recipe, target).outputs && same });
    }
  }
  const times = Math.max(...groups.map(({ shared, members }) => (shared ? 1 : members.length)));
  const whole = rank * times;
  if (whole > RECIPE_LIMITS.adapterRank) {
    throw new PogoError(
      'RANGE',
      `expected adapters whose ranks together are at most ${RECIPE_LIMITS.adapterRank} in each of our layers, found ${times} of rank ${rank}; ` +
        'lower the rank',
      { rank, modules: times },
    );
  }
  const alphaBits = decimalToBits(String(alpha * times));
  const targets = ADAPTER_TARGETS.filter((target) => groups.some((group) => group.target === target));
  return {
    adapter: { kind: 'lora', rank: whole, alphaBits, targets },
    fill(layout, theta) {
      for (const group of groups) fillGroup(recipe, group, rank, layout, theta);
    },
  };
}

function fillGroup(recipe: Recipe, group: Group, rank: number, layout: Layout, theta: Float32Array): void {
  const { layer, target, members, shared } = group;
  const { outputs } = targetShape(recipe, target);
  const names = adapterNames(`h${layer}.${target}`);
  const [a, b] = [layout.byName(names.a).offset, layout.byName(names.b).offset];
  members.forEach(({ module, matrices }, i) => {
    const row = shared ? 0 : i * rank;
    theta.set(matrices.a, a + row * module.inputs);
    for (let r = 0; r < rank; r += 1) {
      for (let n = 0; n < module.rows; n += 1) {
        theta[b + (row + r) * outputs + module.first + n] = matrices.b[n * rank + r] as number;
      }
    }
  });
}

/** The matrices of a module, from θ of our adapters. */
export function splitPeft(
  recipe: Recipe,
  { rank }: RecipeAdapter,
  { layer, target, first, rows, inputs }: PeftModule,
  theta: Float32Array,
): PeftMatrices {
  const layout = createLayout(recipe);
  const { outputs } = targetShape(recipe, target);
  const names = adapterNames(`h${layer}.${target}`);
  const [a, b] = [layout.byName(names.a).offset, layout.byName(names.b).offset];
  const matrix = new Float32Array(rows * rank);
  for (let r = 0; r < rank; r += 1) {
    for (let n = 0; n < rows; n += 1) matrix[n * rank + r] = theta[b + r * outputs + first + n] as number;
  }
  return { a: theta.slice(a, a + rank * inputs), b: matrix };
}
