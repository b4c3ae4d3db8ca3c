/**
 * The start of a chain whose recipe names θ by root: everybody finds it among the published blobs, and believes the root.
 */

import { PogoError } from '../errors.js';
import type { BlobStore } from '../files/blobStore.js';
import { equalBytes, toHex } from '../hex.js';
import { namedModel } from '../model/deriveRecipe.js';
import { rootState, type StateVectors, seedState, vectorBytes } from '../model/state.js';
import type { ModelPlan } from '../model/unit.js';

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

/** Publishes the θ that a recipe names as its start, or that its adapters stand on. @throws PogoError MISMATCH for another vector */
export function publishStart(plan: ModelPlan, theta: Float32Array, blobs: BlobStore): void {
  const root = blobs.put(vectorBytes(theta));
  const named = namedModel(plan.recipe);
  if (named !== undefined && equalBytes(named, root)) return;
  throw new PogoError('MISMATCH', `expected the start θ of recipe ${plan.recipe.name}, found θ ${toHex(root)}`);
}
