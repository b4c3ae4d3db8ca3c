/** What it costs an accused to answer a challenge: the work behind one published trace, from the recipe alone. */
import type { Recipe } from '../../model/recipe.js';
import { recipeRoot } from '../../model/recipe.js';
import { START_SCALARS } from '../../model/state.js';
import { outputBytes, type Program } from '../trace/program.js';
import { commitProgram, modelProgram } from '../trace/stateProgram.js';
import { unitProgram } from '../trace/unitProgram.js';
import { hasProgram } from './subject.js';
import { SUBJECT_KIND } from './types.js';

/** Bytes of outputs that a core computes and hashes in a second, all rules together: measured for moby's unit on Zen 5. */
const BYTES_PER_SECOND = 25e6;
/** Beside the list: statement, recipe, headers, the step with its branch; `test/unit/dispute/traceCost.test.ts`. */
const AROUND_LIST_BYTES = 4096;

export interface TraceCost {
  readonly operations: number;
  /** Outputs that are computed and hashed. */
  readonly hashedBytes: number;
  /** Largest transaction that publishes the list of roots. */
  readonly publishedBytes: number;
  /** On one core, about. */
  readonly seconds: number;
}

function costOf({ operations }: Program): TraceCost {
  const hashedBytes = operations.reduce((sum, operation) => sum + outputBytes(operation), 0);
  return {
    operations: operations.length,
    hashedBytes,
    publishedBytes: 32 * operations.length + AROUND_LIST_BYTES,
    seconds: hashedBytes / BYTES_PER_SECOND,
  };
}

/**
 * Cost of a trace of each kind of subject of a claim; the dearest is a unit’s. A held-out loss: `heldOutBonds`.
 *
 * @returns undefined for a recipe whose units are too large to be disputed
 */
export function traceCost(recipe: Recipe): Readonly<Record<'unit' | 'state' | 'model', TraceCost>> | undefined {
  if (!hasProgram(recipe, { kind: SUBJECT_KIND.unit })) return undefined;
  const task = { recipeRoot: recipeRoot(recipe), draw1: new Uint8Array(32), step: 0, unit: 0 };
  return {
    unit: costOf(unitProgram(recipe, task)),
    state: costOf(commitProgram(recipe, START_SCALARS, () => 0)),
    model: costOf(modelProgram(recipe)),
  };
}

/**
 * Units of training that a unit's trace is worth: TypeScript beside native kernels. Measured for moby on Zen 5: 8.7 s
 * beside 23 ms on one core.
 */
export const TRACE_WORK = 380;
