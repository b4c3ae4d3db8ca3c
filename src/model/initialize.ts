/**
 * Initial weights from integer-only code.
 *
 * A weight is the sum of twelve uniform 16-bit integers, centred: an integer of standard deviation 2^16 (exactly
 * √(2^32 − 1)) and nearly normal shape, multiplied once by an fp32 constant. The integers come from the counter hash
 * of the numerics' dither, keyed by BLAKE3 over the recipe's seed, the tensor and the block, so any range of the
 * vector can be made alone, in any order.
 *
 * Cost: 12 hash mixes a weight, about 25 ns in JavaScript, 3 to 5 s for 124 M weights on one core.
 */

import { PogoError } from '../errors.js';
import { bitsToFloat, rationalToBits } from './fp32.js';
import { integerSquareRoot } from './integers.js';
import { type Layout, paddedSize, type TensorSpec } from './layout.js';
import type { Recipe } from './recipe.js';
import { initialSeed, mix } from './seeds.js';

/** Elements of a block, which has its own seed words. */
const BLOCK = 1 << 20;
/** Twelve times the mean of a uniform 16-bit integer. */
const CENTRE = (12 * 65_535) / 2;
/** Bits of the square root's fraction: far beyond fp32, so that one rounding remains. */
const ROOT_BITS = 128n;

type Start = Pick<Recipe, 'start' | 'layers' | 'vocab' | 'gemma'>;

/**
 * Fills θ of step 0 of a recipe that starts from a seed.
 *
 * @param theta fp32 [layout.length]; padding and rows of the padded vocabulary become +0
 * @throws PogoError RECIPE if the recipe starts from a root (its state must be imported)
 */
export function writeInitialState(layout: Layout, recipe: Start, theta: Float32Array): void {
  if (theta.length !== layout.length) {
    throw new PogoError('SHAPE', `theta: expected ${layout.length} elements, found ${theta.length}`);
  }
  fillInitialRange(layout, recipe, 0, theta);
}

/** @returns θ of step 0 as a new vector on shared memory, fp32 [layout.length] */
export function initialVector(recipe: Start, layout: Layout): Float32Array<SharedArrayBuffer> {
  const theta = new Float32Array(new SharedArrayBuffer(4 * layout.length));
  writeInitialState(layout, recipe, theta);
  return theta;
}

/**
 * Fills a range of θ of step 0, for vectors in segments and for workers that share the filling.
 *
 * @param first element of the vector that goes to `out[0]`
 * @param out fp32, any length inside the vector
 */
export function fillInitialRange(layout: Layout, recipe: Start, first: number, out: Float32Array): void {
  const { start } = recipe;
  if (start.kind !== 'seed') {
    throw new PogoError(
      'RECIPE',
      'expected a recipe that starts from a seed, found one that starts from a state root',
      {
        field: 'start.kind',
      },
    );
  }
  const end = first + out.length;
  if (first < 0 || end > layout.length) {
    throw new PogoError('RANGE', `expected a range inside ${layout.length} elements, found ${first} to ${end}`);
  }
  for (const tensor of layout.tensors) {
    const from = Math.max(first, tensor.offset);
    const to = Math.min(end, tensor.offset + paddedSize(tensor));
    if (from >= to) continue;
    const target = out.subarray(from - first, to - first);
    fillTensor(tensor, recipe, start.seed, from - tensor.offset, target);
  }
}

function fillTensor(tensor: TensorSpec, recipe: Start, seed: Uint8Array, first: number, out: Float32Array): void {
  // Rows of the vocabulary's padding are +0 and stay so: their logits are masked, so no gradient ever reaches them.
  const real = tensor.name === 'wte' ? recipe.vocab * tensor.cols : tensor.size;
  const count = Math.max(0, Math.min(out.length, real - first));
  out.fill(0, count);
  if (tensor.name.endsWith('.lora.b')) {
    out.fill(0, 0, count); // so that training starts from the frozen model
    return;
  }
  if (tensor.kind === 'vector') {
    // The family gemma3 multiplies with 1 + gain.
    out.fill(tensor.name.endsWith('.gain') && recipe.gemma === undefined ? 1 : 0, 0, count);
    return;
  }
  const scale = bitsToFloat(initialScaleBits(tensor, recipe.layers));
  for (let at = 0; at < count; ) {
    const index = first + at;
    const block = Math.floor(index / BLOCK);
    const inside = index - block * BLOCK;
    const length = Math.min(count - at, BLOCK - inside);
    const words = initialSeed(seed, tensor.id, block);
    fillBlock(out.subarray(at, at + length), inside, words[0], words[1], scale);
    at += length;
  }
}

function fillBlock(out: Float32Array, inside: number, s0: number, s1: number, scale: number): void {
  for (let i = 0; i < out.length; i++) {
    let counter = (inside + i) * 6; // < 2^23
    let sum = 0;
    for (let k = 0; k < 6; k++) {
      const word = mix((mix(counter ^ s0) + s1) | 0);
      sum += (word & 0xffff) + (word >>> 16);
      counter++;
    }
    out[i] = Math.fround((sum - CENTRE) * scale); // the integer is below 2^24: one rounding
  }
}

/**
 * fp32 bits of standard deviation ÷ 2^16: 0.02; 0.01 for positions; 0.02 ÷ √(2 · layers) for the two projections that
 * write to the residual stream, so that its variance does not grow with depth (GPT-2).
 */
export function initialScaleBits(tensor: Pick<TensorSpec, 'name'>, layers: number): number {
  if (tensor.name === 'wpe') return rationalToBits(1n, 100n << 16n);
  if (!/\.(?:o|proj)\.weight$/.test(tensor.name)) return rationalToBits(2n, 100n << 16n);
  // (0.02 ÷ 2^16)² ÷ (2·layers) = 1 ÷ (2500 · 2^32 · 2 · layers); its root with 128 fractional bits, then the last bit
  // set as a sticky bit: the root is irrational or exact far above it, so fp32 rounds as the real number would.
  const square = (1n << (4n * ROOT_BITS)) / ((2500n << 32n) * 2n * BigInt(layers));
  return rationalToBits(integerSquareRoot(square) | 1n, 1n << (2n * ROOT_BITS));
}
