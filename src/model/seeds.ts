/**
 * Seeds of the dither of a quantization, and of the initial weights: BLAKE3 derive_key over everything that names the
 * use, so that no two quantizations of a run share a stream (docs/numerics.md §5).
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { invariant } from '../errors.js';

/** recipe root, draw 1, step, unit, tensor, purpose → seed of a dither */
const DITHER = new TextEncoder().encode('pogo/dither/1');
/** seed of the recipe, tensor, block → initial weights */
const INITIAL = new TextEncoder().encode('pogo/initial-weights/1');

/**
 * @param recipeRoot 32 bytes
 * @param draw1 32 bytes: the draw from beacon 1 of the claim
 * @param step number of the step the unit belongs to, from 0
 * @param unit index of the unit in its step
 * @param tensorId `TensorSpec.id`, or the tape's id of an activation
 * @param purpose tells two quantizations of one tensor apart
 * @returns [sA0, sA1, sB0, sB1]: the two seed words of the row side and of the column side
 */
export function ditherSeed(
  recipeRoot: Uint8Array,
  draw1: Uint8Array,
  step: number,
  unit: number,
  tensorId: number,
  purpose: number,
): Uint32Array {
  invariant(recipeRoot.length === 32 && draw1.length === 32, 'ditherSeed: roots have 32 bytes');
  invariant(Number.isSafeInteger(step) && step >= 0, 'ditherSeed: step is a non-negative safe integer');
  const input = new Uint8Array(84);
  input.set(recipeRoot, 0);
  input.set(draw1, 32);
  const view = new DataView(input.buffer);
  view.setBigUint64(64, BigInt(step), true);
  view.setUint32(72, unit, true);
  view.setUint32(76, tensorId, true);
  view.setUint32(80, purpose, true);
  return fourWords(blake3(input, { context: DITHER, dkLen: 16 }));
}

/**
 * Seed words of one block of a tensor's initial weights.
 *
 * @param seed 32 bytes from the recipe
 * @param block number of the block of 2^20 elements, so that the counter inside a block stays a small integer
 * @returns four words; the first two key the counter hash
 */
export function initialSeed(seed: Uint8Array, tensorId: number, block: number): Uint32Array {
  invariant(seed.length === 32, 'initialSeed: the seed has 32 bytes');
  const input = new Uint8Array(44);
  input.set(seed, 0);
  const view = new DataView(input.buffer);
  view.setUint32(32, tensorId, true);
  view.setBigUint64(36, BigInt(block), true);
  return fourWords(blake3(input, { context: INITIAL, dkLen: 16 }));
}

function fourWords(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  return Uint32Array.from({ length: 4 }, (_, i) => view.getUint32(4 * i, true));
}

/** The 32-bit mixer of docs/numerics.md §1.10: a bijection of uint32. */
export function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
