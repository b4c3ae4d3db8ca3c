/**
 * Text from a model: tokens drawn one by one from exact logits, so the same seed writes the same text on every machine.
 */
import type { Kernels } from '../backend/ops.js';
import { PogoError } from '../errors.js';
import { exp2, f32 } from '../reference/scalars.js';
import { recipeRope } from './rope.js';
import { mix } from './seeds.js';
import { BoundTape } from './tape.js';
import { evaluationTape } from './tapes.js';
import type { ModelPlan, SharedWeights } from './unit.js';

export interface GenerateOptions {
  /** Tokens the text goes on from; at least one. */
  readonly prompt: Uint32Array;
  readonly count: number;
  /** uint32 */
  readonly seed: number;
  /** Draws among this many of the most probable tokens. */
  readonly topK?: number;
}

/** log2(e) / temperature at temperature 0.8. */
const SHARPNESS = f32(1.8033688);
const DEFAULT_TOP_K = 40;

/**
 * @returns the new tokens
 * @throws PogoError USAGE for an empty prompt or a token outside the vocabulary
 */
export function generate(
  plan: ModelPlan,
  kernels: Kernels,
  weights: SharedWeights,
  options: GenerateOptions,
): Uint32Array {
  return Uint32Array.from(generateTokens(plan, kernels, weights, options));
}

/** As {@link generate}, one token at a time: between two of them the caller may do other things, or stop. */
export function* generateTokens(
  plan: ModelPlan,
  kernels: Kernels,
  weights: SharedWeights,
  options: GenerateOptions,
): Generator<number> {
  const { recipe, model } = plan;
  if (options.prompt.length === 0) throw new PogoError('USAGE', 'expected a prompt of at least one token, found none');
  const outside = options.prompt.find((token) => token >= recipe.vocab);
  if (outside !== undefined) {
    throw new PogoError('USAGE', `prompt token ${outside}: expected a token below ${recipe.vocab}`);
  }
  const bound = new BoundTape(evaluationTape(recipe, model, plan.weights, 1, true).tape, kernels, {
    theta: weights.frozen ?? weights.theta,
    weightCodes: weights.codes,
    weightScales: weights.scales,
    rope: recipeRope(recipe),
  });
  const input = bound.array('tokens') as Uint32Array;
  const logits = bound.array('logits') as Float32Array;
  const rows = model.byName('wte').rows;
  const text = Array.from(options.prompt);
  let random = mix(options.seed >>> 0);
  for (let i = 0; i < options.count; i += 1) {
    // Positions are counted from the window's start; what stands behind the last token is never looked at.
    const window = text.slice(-recipe.context);
    input.fill(0);
    input.set(window);
    bound.run();
    const row = logits.subarray((window.length - 1) * rows, (window.length - 1) * rows + recipe.vocab);
    random = mix((random + 0x9e3779b9) >>> 0);
    const token = draw(row, options.topK ?? DEFAULT_TOP_K, random);
    text.push(token);
    yield token;
  }
}

/** A token among the `topK` most probable, by a uniform word. Ties go to the lower token. */
function draw(logits: Float32Array, topK: number, word: number): number {
  const order = Array.from(logits.keys())
    .sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b)
    .slice(0, Math.max(1, topK));
  const best = logits[order[0] as number] as number;
  const weights = order.map((token) => exp2(f32(f32((logits[token] as number) - best) * SHARPNESS)));
  // Integer thresholds: the sum of floats would depend on its order.
  const parts = weights.map((w) => Math.floor(w * 0x1000000));
  let left = word % parts.reduce((sum, p) => sum + p, 0);
  for (let i = 0; i < parts.length; i += 1) {
    left -= parts[i] as number;
    if (left < 0) return order[i] as number;
  }
  return order[0] as number;
}
