/**
 * The JSON view of a recipe: what `pogo recipe` prints and what a recipe file holds.
 *
 * Same fields as the recipe, with decimals where it has fp32 bits and 64 hex digits where it has roots. A printed
 * decimal is the shortest that rounds back to the same bits, so view → recipe → view loses nothing. A file may give
 * the learning rate as `{ "peak": 0.003, "warmup": 40, "horizon": 400, "floor": 0.1 }` instead of its entries.
 */

import { PogoError } from '../errors.js';
import { fromHex, toHex } from '../hex.js';
import { bitsToDecimal, decimalToBits } from './fp32.js';
import { requireRopeShape, validateRecipe } from './recipeRules.js';
import type { GemmaOptions, Recipe, RecipeAdapter } from './recipeTypes.js';
import { type RopeShape, ropeRootOf } from './rope.js';
import { type Fraction, learningRateTable } from './schedule.js';

/** @returns plain data for `JSON.stringify` */
export function recipeToJson(recipe: Recipe): Record<string, unknown> {
  const { normEpsilonBits, learningRateBits, emaDecayBits, optimizer, data, start, gemma, adapter, ...plain } = recipe;
  return {
    ...plain,
    normEpsilon: bitsToDecimal(normEpsilonBits),
    optimizer: {
      beta1: bitsToDecimal(optimizer.beta1Bits),
      beta2: bitsToDecimal(optimizer.beta2Bits),
      epsilon: bitsToDecimal(optimizer.epsilonBits),
      weightDecay: bitsToDecimal(optimizer.weightDecayBits),
    },
    learningRate: Array.from(learningRateBits, bitsToDecimal),
    emaDecay: bitsToDecimal(emaDecayBits),
    data: {
      ...data,
      textRoot: toHex(data.textRoot),
      tokensRoot: toHex(data.tokensRoot),
      tokenizerRoot: toHex(data.tokenizerRoot),
    },
    start:
      start.kind === 'seed' ? { kind: 'seed', seed: toHex(start.seed) } : { kind: 'root', root: toHex(start.root) },
    ...(gemma === undefined ? {} : { gemma: gemmaToJson(gemma) }),
    ...(adapter === undefined ? {} : { adapter: adapterToJson(adapter) }),
  };
}

function gemmaToJson({ embeddingScaleBits, ropeRoot, ...plain }: GemmaOptions): Record<string, unknown> {
  return { ...plain, ropeRoot: toHex(ropeRoot), embeddingScale: bitsToDecimal(embeddingScaleBits) };
}

function adapterToJson({ alphaBits, base, ...plain }: RecipeAdapter): Record<string, unknown> {
  return { ...plain, alpha: bitsToDecimal(alphaBits), base: toHex(base) };
}

/**
 * Reads the JSON view.
 *
 * @param value parsed JSON
 * @throws PogoError RECIPE naming the field
 */
export function recipeFromJson(value: unknown): Recipe {
  const { normEpsilon, learningRate, emaDecay, optimizer, data, start, gemma, adapter, ...plain } = object(
    value,
    'recipe',
  );
  const o = object(optimizer, 'optimizer');
  const { beta1, beta2, epsilon, weightDecay, ...otherOptimizer } = o;
  const { textRoot, tokensRoot, tokenizerRoot, ...plainData } = object(data, 'data');
  const { seed, root, ...plainStart } = object(start, 'start');
  return validateRecipe({
    ...plain,
    normEpsilonBits: decimal(normEpsilon, 'normEpsilon'),
    optimizer: {
      ...otherOptimizer,
      beta1Bits: decimal(beta1, 'optimizer.beta1'),
      beta2Bits: decimal(beta2, 'optimizer.beta2'),
      epsilonBits: decimal(epsilon, 'optimizer.epsilon'),
      weightDecayBits: decimal(weightDecay, 'optimizer.weightDecay'),
    },
    learningRateBits: rates(learningRate),
    emaDecayBits: decimal(emaDecay, 'emaDecay'),
    data: {
      ...plainData,
      textRoot: hash(textRoot, 'data.textRoot'),
      tokensRoot: hash(tokensRoot, 'data.tokensRoot'),
      tokenizerRoot: hash(tokenizerRoot, 'data.tokenizerRoot'),
    },
    start: {
      ...plainStart,
      ...(seed === undefined ? {} : { seed: hash(seed, 'start.seed') }),
      ...(root === undefined ? {} : { root: hash(root, 'start.root') }),
    },
    ...(gemma === undefined ? {} : { gemma: gemmaFromJson(gemma, plain['context']) }),
    ...(adapter === undefined ? {} : { adapter: adapterFromJson(adapter) }),
  });
}

/** `ropeRoot` may be left out: it follows from the other fields. */
function gemmaFromJson(value: unknown, context: unknown): Record<string, unknown> {
  const { embeddingScale, ropeRoot, ...plain } = object(value, 'gemma');
  return {
    ...plain,
    ropeRoot:
      ropeRoot === undefined
        ? ropeRootOf(requireRopeShape({ ...plain, context } as RopeShape))
        : hash(ropeRoot, 'gemma.ropeRoot'),
    embeddingScaleBits: decimal(embeddingScale, 'gemma.embeddingScale'),
  };
}

function adapterFromJson(value: unknown): Record<string, unknown> {
  const { alpha, base, ...plain } = object(value, 'adapter');
  return { ...plain, alphaBits: decimal(alpha, 'adapter.alpha'), base: hash(base, 'adapter.base') };
}

function fail(field: string, expected: string, found: unknown): never {
  const shown = found === undefined ? 'nothing' : JSON.stringify(found).slice(0, 80);
  throw new PogoError('RECIPE', `recipe field ${field}: expected ${expected}, found ${shown}`, {
    field,
    expected,
    found: shown,
  });
}

function object(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(field, 'an object', value);
  return value as Record<string, unknown>;
}

/** A JSON number as the nearest fp32, through its shortest decimal, so that 0.95 means the decimal and not a double. */
function decimal(value: unknown, field: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) fail(field, 'a decimal number', value);
  return decimalToBits(String(value));
}

function hash(value: unknown, field: string): Uint8Array {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) fail(field, '64 lowercase hex digits', value);
  return fromHex(value, 32);
}

function rates(value: unknown): Uint32Array {
  if (Array.isArray(value)) {
    return Uint32Array.from(value, (rate, step) => decimal(rate, `learningRate[${step}]`));
  }
  const schedule = object(value, 'learningRate');
  const known = ['peak', 'warmup', 'horizon', 'floor'];
  for (const key of Object.keys(schedule)) {
    if (!known.includes(key)) fail(`learningRate.${key}`, `one of the fields ${known.join(', ')}`, key);
  }
  const warmup = count(schedule['warmup'], 'learningRate.warmup', 0);
  return learningRateTable({
    peak: fraction(schedule['peak'], 'learningRate.peak'),
    warmup,
    horizon: count(schedule['horizon'], 'learningRate.horizon', warmup + 2),
    floor: fraction(schedule['floor'], 'learningRate.floor'),
  });
}

function count(value: unknown, field: string, least: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > 1 << 20) {
    fail(field, `an integer from ${least} to ${1 << 20}`, value);
  }
  return value;
}

/** A decimal between 0 and 1 as an exact fraction. */
function fraction(value: unknown, field: string): Fraction {
  if (typeof value !== 'number' || !(value >= 0 && value <= 1)) fail(field, 'a decimal from 0 to 1', value);
  const match = /^(\d+)(?:\.(\d+))?(?:e(-\d+))?$/.exec(String(value));
  if (match === null) fail(field, 'a decimal from 0 to 1', value);
  const digits = match[2] ?? '';
  const places = digits.length - Number(match[3] ?? '0');
  return { numerator: BigInt(match[1] + digits), denominator: 10n ** BigInt(places) };
}
