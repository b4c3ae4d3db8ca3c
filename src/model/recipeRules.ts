/**
 * The rules of a recipe: types, ranges and legal sizes of every field, checked for values from anywhere (files, peers,
 * library callers). An error names the field, what was expected, what was found, and the nearest legal size.
 */

import { type ErrorDetails, PogoError } from '../errors.js';
import { bitsAreFinite, bitsToFloat } from './fp32.js';
import type { AdapterTarget, Recipe } from './recipeTypes.js';
import type { RopeShape } from './rope.js';

/** Upper ends of the ranges: far above any model of today, low enough that counts stay safe integers. */
export const RECIPE_LIMITS = {
  vocab: 1 << 24,
  layers: 1024,
  width: 1 << 17,
  hidden: 1 << 19,
  context: 1 << 20,
  heads: 1 << 12,
  headSizes: [32, 64, 128, 256],
  sequencesPerUnit: 1 << 16,
  tokensPerUnit: 1 << 24,
  unitsPerStep: 1024,
  sequencesPerStep: 1 << 20,
  stepsPerClaim: 4096,
  learningRates: 1 << 20,
  tokens: 2 ** 48,
  queryScalar: 1 << 20,
  ropeBase: 2 ** 32 - 1,
  ropeScale: 1 << 16,
  adapterRank: 256,
} as const;

/** Matrices that an adapter may change, in the order of a layer. */
export const ADAPTER_TARGETS: readonly AdapterTarget[] = ['qkv', 'o', 'fc', 'proj'];

/** Least vocabulary under each tokenizer; what a `tokenizer.json` holds shows when the file is opened. */
const TOKENIZER_ENTRIES = { bytes: 256, gpt2: 50_257, json: 1 } as const;

type Fields = Readonly<Record<string, unknown>>;

function fail(field: string, expected: string, found: unknown, advice = ''): never {
  const shown = show(found);
  const details: ErrorDetails = { field, expected, found: shown };
  throw new PogoError(
    'RECIPE',
    `recipe field ${field}: expected ${expected}, found ${shown}${advice === '' ? '' : `; ${advice}`}`,
    details,
  );
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Uint32Array) return `${value.length} entries`;
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}

function object(value: unknown, field: string, keys: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(field, 'an object', value);
  for (const key of Object.keys(value)) {
    if (!keys.includes(key)) {
      fail(field === 'recipe' ? key : `${field}.${key}`, `one of the fields ${keys.join(', ')}`, key, 'remove it');
    }
  }
  return value as Fields;
}

function integer(fields: Fields, key: string, min: number, max: number, path = key): number {
  const value = fields[key];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    const near =
      typeof value === 'number' && Number.isFinite(value) ? Math.min(max, Math.max(min, Math.round(value))) : min;
    fail(path, `an integer from ${min} to ${max}`, value, `the nearest legal value is ${near}`);
  }
  return value;
}

/** An integer that must also be a multiple of 64 (docs/numerics.md §1.11: tiles and sums are made of 64s). */
function multipleOf64(fields: Fields, key: string, max: number, path = key): number {
  const value = fields[key];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 64 || value > max || value % 64 !== 0) {
    const near = typeof value === 'number' && Number.isFinite(value) ? nearest64(value, max) : '64';
    fail(path, `a multiple of 64 from 64 to ${max}`, value, `the nearest legal size is ${near}`);
  }
  return value;
}

function nearest64(value: number, max: number): string {
  const below = Math.min(max, Math.max(64, Math.floor(value / 64) * 64));
  const above = Math.min(max, Math.max(64, Math.ceil(value / 64) * 64));
  return below === above ? `${below}` : `${below} or ${above}`;
}

function oneOf<T extends string | number>(fields: Fields, key: string, words: readonly T[], path = key): T {
  const value = fields[key];
  const found = words.find((word) => word === value);
  if (found === undefined) fail(path, words.map((word) => JSON.stringify(word)).join(' or '), value);
  return found;
}

function boolean(fields: Fields, key: string): boolean {
  const value = fields[key];
  if (typeof value !== 'boolean') fail(key, 'true or false', value);
  return value;
}

function name(fields: Fields, key: string, path: string): string {
  const value = fields[key];
  if (typeof value !== 'string' || !/^[a-z0-9-]{1,32}$/.test(value)) {
    fail(path, '1 to 32 of the characters a-z, 0-9 and -', value);
  }
  return value;
}

function bytes32(fields: Fields, key: string, path: string): Uint8Array {
  const value = fields[key];
  if (!(value instanceof Uint8Array) || value.length !== 32) fail(path, '32 bytes (64 hex digits in JSON)', value);
  return Uint8Array.from(value); // the caller's bytes may change later, a recipe may not
}

/** fp32 bits of a finite value with `low <= value <= high`; −0 is refused, since it would be a second name of 0. */
function float(fields: Fields, key: string, path: string, low: number, high: number, range: string): number {
  const value = fields[key];
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    fail(path, 'the bits of an fp32 as an unsigned integer', value);
  }
  const number = bitsToFloat(value);
  if (!bitsAreFinite(value) || Object.is(number, -0) || number < low || number > high) {
    fail(path, `an fp32 ${range}`, number);
  }
  return value;
}

const KEYS = [
  'name',
  'numerics',
  'family',
  'vocab',
  'layers',
  'width',
  'heads',
  'hidden',
  'context',
  'norm',
  'bias',
  'normEpsilonBits',
  'tokenizer',
  'sequencesPerUnit',
  'unitsPerStep',
  'stepsPerClaim',
  'minStepsPerClaim',
  'maxStepsPerClaim',
  'optimizer',
  'learningRateBits',
  'ema',
  'emaDecayBits',
  'data',
  'start',
  'sampling',
  'detection',
  'gemma',
  'adapter',
] as const;

/**
 * Checks a value against every rule and returns it as a recipe that shares no memory with the argument.
 *
 * @param value any value; the recipe's fields as in {@link Recipe}, no others
 * @throws PogoError RECIPE naming the field, the expected and the found value, and the nearest legal size
 */
export function validateRecipe(value: unknown): Recipe {
  const r = object(value, 'recipe', KEYS);
  const limits = RECIPE_LIMITS;
  const tokenizer = oneOf(r, 'tokenizer', ['bytes', 'gpt2', 'json']);
  const vocab = integer(r, 'vocab', TOKENIZER_ENTRIES[tokenizer], limits.vocab);
  const width = multipleOf64(r, 'width', limits.width);
  const family = oneOf(r, 'family', ['gpt', 'gemma3']);
  const gemma = family === 'gemma3' ? gemmaOptions(r['gemma'], r) : undefined;
  if (family === 'gpt' && r['gemma'] !== undefined) {
    fail('gemma', 'nothing in a recipe of the family gpt', r['gemma'], 'remove it, or set family to gemma3');
  }
  const heads = gemma === undefined ? headCount(r, width) : groupedHeadCount(r, gemma);
  const context = multipleOf64(r, 'context', limits.context);
  const sequencesPerUnit = integer(
    r,
    'sequencesPerUnit',
    1,
    Math.min(limits.sequencesPerUnit, Math.floor(limits.tokensPerUnit / context)),
  );
  const sampling = oneOf(r, 'sampling', ['uniform', 'epochs']);
  const minStepsPerClaim = integer(r, 'minStepsPerClaim', 1, limits.stepsPerClaim);
  const maxStepsPerClaim = integer(r, 'maxStepsPerClaim', minStepsPerClaim, limits.stepsPerClaim);
  return {
    name: name(r, 'name', 'name'),
    numerics: oneOf(r, 'numerics', [1]),
    family,
    vocab,
    layers: integer(r, 'layers', 1, limits.layers),
    width,
    heads,
    hidden: multipleOf64(r, 'hidden', limits.hidden),
    context,
    norm: oneOf(r, 'norm', gemma === undefined ? ['rms', 'layer'] : ['rms']),
    bias: gemma === undefined ? boolean(r, 'bias') : withoutBias(r),
    normEpsilonBits: float(r, 'normEpsilonBits', 'normEpsilonBits', 2 ** -40, 1, 'from 2^-40 to 1'),
    tokenizer,
    sequencesPerUnit,
    unitsPerStep: integer(
      r,
      'unitsPerStep',
      1,
      Math.min(limits.unitsPerStep, Math.floor(limits.sequencesPerStep / sequencesPerUnit)),
    ),
    stepsPerClaim: integer(r, 'stepsPerClaim', minStepsPerClaim, maxStepsPerClaim),
    minStepsPerClaim,
    maxStepsPerClaim,
    optimizer: optimizer(r['optimizer']),
    learningRateBits: learningRates(r['learningRateBits']),
    ema: boolean(r, 'ema'),
    emaDecayBits: float(r, 'emaDecayBits', 'emaDecayBits', 0, 1 - 2 ** -24, 'from 0 to below 1'),
    data: data(r['data'], context, sampling),
    start: start(r['start']),
    sampling,
    detection: detection(r['detection']),
    ...(gemma === undefined ? {} : { gemma }),
    ...(r['adapter'] === undefined ? {} : { adapter: adapter(r['adapter']) }),
  };
}

function withoutBias(r: Fields): boolean {
  if (r['bias'] !== false) fail('bias', 'false in the family gemma3', r['bias'], 'its layers have no biases');
  return false;
}

const GEMMA_KEYS = [
  'keyValueHeads',
  'headSize',
  'queryScalar',
  'slidingWindow',
  'globalEvery',
  'ropeLocalBase',
  'ropeGlobalBase',
  'ropeGlobalScale',
  'ropeRoot',
  'embeddingScaleBits',
] as const;

/** The fields that RoPE tables follow from; each at its place in a recipe. */
function ropeFields(g: Fields): Omit<RopeShape, 'context'> {
  const limits = RECIPE_LIMITS;
  return {
    headSize: oneOf(g, 'headSize', limits.headSizes, 'gemma.headSize'),
    ropeLocalBase: integer(g, 'ropeLocalBase', 2, limits.ropeBase, 'gemma.ropeLocalBase'),
    ropeGlobalBase: integer(g, 'ropeGlobalBase', 2, limits.ropeBase, 'gemma.ropeGlobalBase'),
    ropeGlobalScale: integer(g, 'ropeGlobalScale', 1, limits.ropeScale, 'gemma.ropeGlobalScale'),
  };
}

/** Checks what RoPE tables are made from, before any is made. @throws PogoError RECIPE */
export function requireRopeShape(shape: RopeShape): RopeShape {
  const fields = shape as unknown as Fields;
  return { ...ropeFields(fields), context: multipleOf64(fields, 'context', RECIPE_LIMITS.context) };
}

function gemmaOptions(value: unknown, r: Fields): NonNullable<Recipe['gemma']> {
  const g = object(value, 'gemma', GEMMA_KEYS);
  const heads = integer(r, 'heads', 1, RECIPE_LIMITS.heads);
  const keyValueHeads = integer(g, 'keyValueHeads', 1, heads, 'gemma.keyValueHeads');
  if (heads % keyValueHeads !== 0) {
    const legal = Array.from({ length: heads }, (_, i) => i + 1).filter((n) => heads % n === 0);
    const near = legal.reduce((a, b) => (Math.abs(b - keyValueHeads) < Math.abs(a - keyValueHeads) ? b : a));
    fail('gemma.keyValueHeads', `a divisor of heads (${heads})`, keyValueHeads, `the nearest legal number is ${near}`);
  }
  return {
    keyValueHeads,
    ...ropeFields(g),
    queryScalar: integer(g, 'queryScalar', 1, RECIPE_LIMITS.queryScalar, 'gemma.queryScalar'),
    slidingWindow: multipleOf64(g, 'slidingWindow', RECIPE_LIMITS.context, 'gemma.slidingWindow'),
    globalEvery: integer(g, 'globalEvery', 1, RECIPE_LIMITS.layers, 'gemma.globalEvery'),
    ropeRoot: bytes32(g, 'ropeRoot', 'gemma.ropeRoot'),
    embeddingScaleBits: float(
      g,
      'embeddingScaleBits',
      'gemma.embeddingScaleBits',
      2 ** -10,
      2 ** 10,
      'from 2^-10 to 2^10 (1: off)',
    ),
  };
}

/** Query heads of the family gemma3: rows of all heads together are cut into blocks of 64. */
function groupedHeadCount(r: Fields, { headSize, keyValueHeads }: NonNullable<Recipe['gemma']>): number {
  const heads = integer(r, 'heads', 1, RECIPE_LIMITS.heads);
  for (const [field, count] of [
    ['heads', heads],
    ['gemma.keyValueHeads', keyValueHeads],
  ] as const) {
    if ((count * headSize) % 64 !== 0) {
      fail(field, `${field} · headSize to be a multiple of 64`, count, `the nearest legal number is ${count + 1}`);
    }
  }
  return heads;
}

function adapter(value: unknown): NonNullable<Recipe['adapter']> {
  const a = object(value, 'adapter', ['kind', 'rank', 'alphaBits', 'targets', 'base']);
  const targets = a['targets'];
  const order = ADAPTER_TARGETS.filter((word) => Array.isArray(targets) && targets.includes(word));
  if (!Array.isArray(targets) || targets.length === 0 || order.some((word, i) => targets[i] !== word)) {
    fail('adapter.targets', `some of ${ADAPTER_TARGETS.join(', ')}, in this order`, targets);
  }
  if (targets.length !== order.length) {
    fail('adapter.targets', `each of ${ADAPTER_TARGETS.join(', ')} at most once, and nothing else`, targets.join(', '));
  }
  return {
    kind: oneOf(a, 'kind', ['lora'], 'adapter.kind'),
    rank: integer(a, 'rank', 1, RECIPE_LIMITS.adapterRank, 'adapter.rank'),
    alphaBits: float(a, 'alphaBits', 'adapter.alphaBits', 2 ** -20, 2 ** 20, 'from 2^-20 to 2^20'),
    targets: order,
    base: bytes32(a, 'base', 'adapter.base'),
  };
}

function headCount(r: Fields, width: number): number {
  const heads = integer(r, 'heads', 1, RECIPE_LIMITS.heads);
  const sizes: readonly number[] = RECIPE_LIMITS.headSizes;
  if (!sizes.includes(width / heads)) {
    const legal = sizes.filter((size) => width % size === 0).map((size) => width / size);
    fail(
      'heads',
      `width / heads to be one of ${sizes.join(', ')}`,
      heads,
      `legal numbers for width ${width}: ${legal.join(', ')}`,
    );
  }
  return heads;
}

function optimizer(value: unknown): Recipe['optimizer'] {
  const o = object(value, 'optimizer', ['beta1Bits', 'beta2Bits', 'epsilonBits', 'weightDecayBits']);
  const beta1Bits = float(o, 'beta1Bits', 'optimizer.beta1Bits', 0, 1 - 2 ** -14, 'from 0 to 1 - 2^-14');
  // c2 = 1 − β2 >= 2^-14 keeps c2·g² above the flush of v for every gradient that survives its own flush (§1.5).
  const beta2Bits = float(o, 'beta2Bits', 'optimizer.beta2Bits', 2 ** -14, 1 - 2 ** -14, 'from 2^-14 to 1 - 2^-14');
  const beta1 = bitsToFloat(beta1Bits);
  if (beta1 * beta1 > bitsToFloat(beta2Bits)) {
    fail('optimizer.beta2Bits', `at least the square of beta1 (${beta1 * beta1})`, bitsToFloat(beta2Bits));
  }
  return {
    beta1Bits,
    beta2Bits,
    epsilonBits: float(o, 'epsilonBits', 'optimizer.epsilonBits', 2 ** -40, 1, 'from 2^-40 to 1'),
    weightDecayBits: float(o, 'weightDecayBits', 'optimizer.weightDecayBits', 0, 1, 'from 0 to 1'),
  };
}

function learningRates(value: unknown): Uint32Array {
  if (!(value instanceof Uint32Array)) fail('learningRateBits', 'a Uint32Array of fp32 bits', value);
  const most = RECIPE_LIMITS.learningRates;
  if (value.length < 1 || value.length > most) fail('learningRateBits', `1 to ${most} entries`, value);
  const table = Uint32Array.from(value);
  table.forEach((bits, step) => {
    float({ bits }, 'bits', `learningRateBits[${step}]`, 0, 1, 'from 0 to 1');
  });
  return table;
}

function data(value: unknown, context: number, sampling: Recipe['sampling']): Recipe['data'] {
  const keys = ['name', 'textRoot', 'tokensRoot', 'tokenizerRoot', 'tokens', 'heldOutTokens'];
  const d = object(value, 'data', keys);
  // One sequence takes context + 1 tokens (inputs, and targets shifted by one), in training and held out alike. A window
  // of an epoch may be shifted by up to context − 1.
  const training = sampling === 'epochs' ? 2 * context : context + 1;
  const tokens = integer(d, 'tokens', training + context + 1, RECIPE_LIMITS.tokens, 'data.tokens');
  return {
    name: name(d, 'name', 'data.name'),
    textRoot: bytes32(d, 'textRoot', 'data.textRoot'),
    tokensRoot: bytes32(d, 'tokensRoot', 'data.tokensRoot'),
    tokenizerRoot: bytes32(d, 'tokenizerRoot', 'data.tokenizerRoot'),
    tokens,
    heldOutTokens: integer(d, 'heldOutTokens', context + 1, tokens - training, 'data.heldOutTokens'),
  };
}

function start(value: unknown): Recipe['start'] {
  const s = object(value, 'start', ['kind', 'seed', 'root']);
  const kind = oneOf(s, 'kind', ['seed', 'root'], 'start.kind');
  object(value, 'start', ['kind', kind]); // the other kind's field would be lost in silence
  return kind === 'seed'
    ? { kind, seed: bytes32(s, 'seed', 'start.seed') }
    : { kind, root: bytes32(s, 'root', 'start.root') };
}

function detection(value: unknown): Recipe['detection'] {
  const d = object(value, 'detection', ['fractionPpm', 'targetPpm']);
  return {
    fractionPpm: integer(d, 'fractionPpm', 1, 1_000_000, 'detection.fractionPpm'),
    targetPpm: integer(d, 'targetPpm', 1, 999_999, 'detection.targetPpm'),
  };
}
