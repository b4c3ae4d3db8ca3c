/** The header of a state whose vectors are in memory. */
import { type StateScalars, type StateVectors, vectorBytes } from '../model/state.js';
import { STATE_VERSION, type StateHeader, ZERO_ROOT } from './types.js';

/**
 * @param vectors f32 [layout.length] each; an empty one has the zero root (the EMA of a recipe without one)
 * @param hash BLAKE3 of bytes
 */
export function headerOf(
  recipeRoot: Uint8Array,
  scalars: StateScalars,
  vectors: StateVectors,
  hash: (bytes: Uint8Array) => Uint8Array,
): StateHeader {
  const root = (vector: Float32Array): Uint8Array => (vector.length === 0 ? ZERO_ROOT : hash(vectorBytes(vector)));
  return {
    version: STATE_VERSION,
    recipeRoot,
    ...scalars,
    thetaRoot: root(vectors.theta),
    mRoot: root(vectors.m),
    vRoot: root(vectors.v),
    emaRoot: root(vectors.ema),
  };
}
