/** Trainers over a built-in recipe, for tests: tokens made from a counter, so no data package is needed. */

import { merkleKernels } from '../../src/backend/merkleAddon.js';
import { openBackend } from '../../src/backend/open.js';
import { CPU_ISAS, type IsaName } from '../../src/backend/types.js';
import { loadRecipe, type Recipe, validateRecipe } from '../../src/model/recipe.js';
import { mix } from '../../src/model/seeds.js';
import { seedState } from '../../src/model/state.js';
import { LanePool, type LanePoolOptions } from '../../src/pipeline/lanePool.js';
import { Trainer } from '../../src/pipeline/trainer.js';
import { trainSteps } from '../../src/pipeline/trainSteps.js';
import type { StepCommitment } from '../../src/protocol/types.js';
import { runnablePlan } from './adapters.js';

export interface Setup extends LanePoolOptions {
  readonly shards?: number;
  readonly microBatches?: number;
}

export const DRAW = new Uint8Array(32).fill(7);

/** `tiny` with all that GPT-2 has: LayerNorm, biases, learned positions, GELU; and a vocabulary with masked rows. */
export const GPT2_TINY = validateRecipe({
  ...loadRecipe('tiny'),
  name: 'gpt2-tiny',
  norm: 'layer',
  bias: true,
  vocab: 300,
});

/** Bytes with the structure of text: few distinct values, repeated pairs. */
export function syntheticTokens(count: number): Uint16Array {
  const tokens = new Uint16Array(count);
  for (let i = 0; i < count; i += 1) {
    const word = mix(i >> 2);
    tokens[i] = 97 + (((word >>> (8 * (i & 3))) & 255) % 26);
  }
  return tokens;
}

export async function openTrainer(recipe: Recipe, setup: Setup): Promise<{ trainer: Trainer; close(): Promise<void> }> {
  const pool = new LanePool(setup);
  const plan = runnablePlan(recipe);
  const { lanes: _lanes, backend: _backend, isa: _isa, ...options } = setup;
  const trainer = new Trainer(plan, pool, merkleKernels(), seedState(plan), undefined, options);
  await trainer.prepare();
  return { trainer, close: () => pool.dispose() };
}

/** Trains steps and returns their commitments. */
export async function trainFor(recipe: Recipe, setup: Setup, steps: number): Promise<StepCommitment[]> {
  const { trainer, close } = await openTrainer(recipe, setup);
  try {
    const tokens = syntheticTokens(recipe.data.tokens);
    return await trainSteps({ trainer, draw1: DRAW, tokens, untilStep: steps, record: () => undefined });
  } finally {
    await close();
  }
}

/** Native instruction sets that this machine can run. */
export async function nativeIsas(): Promise<IsaName[]> {
  const found: IsaName[] = [];
  for (const isa of CPU_ISAS) {
    try {
      await openBackend({ backend: 'cpu', isa });
      found.push(isa);
    } catch {
      // Not on this machine, or not built: the test names what it ran on.
    }
  }
  return found;
}

export { loadRecipe };
