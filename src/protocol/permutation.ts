/**
 * A keyed permutation of 0 … n − 1 that is computed place by place, so that nobody stores a shuffled list: a balanced
 * Feistel network over the next even power of two, walked on until the result lies below n. Integers only; the mixer is
 * that of the dither (docs/numerics.md §1.10).
 */
import { invariant } from '../errors.js';
import { mix } from '../model/seeds.js';
import type { RandomStream } from './randomStream.js';

/** Two halves of at most 24 bits: n up to 2^48, and every value a safe integer. */
const MAX_SIZE = 2 ** 48;
/** Rounds of the network. Four make it a pseudorandom permutation for a good round function; the mixer is no cipher. */
const ROUNDS = 8;

/** @returns the place of an index of [0, size) under the permutation whose keys are the stream's next words */
export function permutation(stream: RandomStream, size: number): (index: number) => number {
  invariant(Number.isSafeInteger(size) && size > 0 && size <= MAX_SIZE, `a permutation of 1 to 2^48, found ${size}`);
  let halfBits = 1;
  while (4 ** halfBits < size) halfBits += 1;
  const half = 2 ** halfBits;
  const keys = new Uint32Array(2 * ROUNDS);
  for (let i = 0; i < ROUNDS; i += 1) {
    const word = stream.next();
    keys[2 * i] = Number(word & 0xffffffffn);
    keys[2 * i + 1] = Number(word >> 32n);
  }
  const once = (value: number): number => {
    let left = Math.floor(value / half);
    let right = value % half;
    for (let i = 0; i < ROUNDS; i += 1) {
      const mixed = mix((mix(right ^ keys[2 * i]!) + keys[2 * i + 1]!) | 0) % half;
      [left, right] = [right, (left ^ mixed) >>> 0];
    }
    return left * half + right;
  };
  return (index) => {
    invariant(Number.isSafeInteger(index) && index >= 0 && index < size, `an index below ${size}, found ${index}`);
    // The network permutes [0, 4^halfBits): from an index below n its cycle comes back below n.
    let place = once(index);
    while (place >= size) place = once(place);
    return place;
  };
}
