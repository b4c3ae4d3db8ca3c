/**
 * The start of a chain whose recipe names θ by root: everybody finds it among the published blobs, and believes the root.
 */

import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { rootState, START_SCALARS, type StateVectors, seedState, vectorBytes } from '../model/state.js';
import type { ModelPlan } from '../model/unit.js';
import { STATE_VERSION, type StateHeader, ZERO_ROOT } from '../protocol/types.js';
import type { BlobStore } from './files/blobStore.js';
import { hashBytes } from './files/digest.js';

/**
 * The start state that a recipe names.
 *
 * @param blobs where θ lies if the recipe starts from a root
 * @throws PogoError MISSING naming θ's root when it is not there
 */
export function startVectors(plan: ModelPlan, blobs: BlobStore): StateVectors {
  const { start } = plan.recipe;
  if (start.kind === 'seed') return seedState(plan);
  const theta = new Float32Array(new SharedArrayBuffer(4 * plan.layout.length));
  blobs.getInto(start.root, vectorBytes(theta));
  return rootState(plan, theta);
}

/** Publishes the θ that a recipe names as its start. @throws PogoError MISMATCH for another vector */
export function publishStart(plan: ModelPlan, theta: Float32Array, blobs: BlobStore): void {
  const root = blobs.put(vectorBytes(theta));
  const { start } = plan.recipe;
  if (start.kind === 'root' && equalBytes(start.root, root)) return;
  throw new PogoError('MISMATCH', `expected the start θ of recipe ${plan.recipe.name}, found θ ${toHex(root)}`);
}

/** Header of the start state: of a recipe that starts from a root, it follows from the recipe without θ's bytes. */
export function startHeader(plan: ModelPlan, headerOfSeed: () => StateHeader): StateHeader {
  const { start, ema } = plan.recipe;
  if (start.kind === 'seed') return headerOfSeed();
  const zeros = hashBytes(new Uint8Array(4 * plan.layout.length));
  return {
    version: STATE_VERSION,
    recipeRoot: plan.root,
    ...START_SCALARS,
    thetaRoot: start.root,
    mRoot: zeros,
    vRoot: zeros,
    emaRoot: ema ? start.root : ZERO_ROOT,
  };
}
