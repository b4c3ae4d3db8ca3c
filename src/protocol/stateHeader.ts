/** The header of a state whose vectors are in memory. */
import { START_SCALARS, type StateScalars, type StateVectors, vectorBytes } from '../model/state.js';
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

/**
 * Header of the start state of a recipe that starts from θ with a given root: it follows without θ's bytes.
 *
 * @param length elements of a vector of its layout
 * @param hash BLAKE3 of bytes
 */
export function rootStartHeader(
  recipeRoot: Uint8Array,
  theta: Uint8Array,
  ema: boolean,
  length: number,
  hash: (bytes: Uint8Array) => Uint8Array,
): StateHeader {
  const zeros = hash(new Uint8Array(4 * length));
  const roots = { thetaRoot: theta, mRoot: zeros, vRoot: zeros, emaRoot: ema ? theta : ZERO_ROOT };
  return { version: STATE_VERSION, recipeRoot, ...START_SCALARS, ...roots };
}
