/** The state that a chain of claims starts from: a recipe's seed, a state folder, a run, or a checkpoint file. */
import { existsSync } from 'node:fs';
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { equalBytes, toHex } from '../hex.js';
import { readCheckpoint, readCheckpointInfo } from '../model/node/checkpoint.js';
import { isOpenStart } from '../model/recipe.js';
import { rootState, START_SCALARS, type StateScalars, type StateVectors, seedState } from '../model/state.js';
import type { ModelPlan } from '../model/unit.js';
import { readStateFolder, readStateHeader } from './files/stateFolder.js';
import { isStateFolder, namedStart, openStartSource, type StartSourceOptions, stateFolderOf } from './startSource.js';

export interface StartState {
  /** f32 on shared memory; `ema` empty where the recipe has none. */
  readonly vectors: StateVectors;
  readonly scalars: StateScalars;
  /** Whether anybody can compute it from the recipe alone. */
  readonly derivable: boolean;
}

/**
 * A state of this very recipe is gone on with. Of any other model a recipe that names its start takes the vector that it
 * names; a recipe with a seed takes the θ of a checkpoint file.
 *
 * @param from a state folder (`header.ssz`, `theta.bin`, …), a run with one, or a safetensors file; the recipe's seed
 *   when left out
 * @throws PogoError USAGE when the recipe needs a start and none is given, or leaves its start open; MISMATCH when the
 *   folder belongs to another recipe, or no vector is the θ that the recipe starts from; SHAPE, MALFORMED, CORRUPT,
 *   MISSING, IO
 */
export async function openStartState(
  plan: ModelPlan,
  from: string | undefined,
  source: StartSourceOptions,
): Promise<StartState> {
  const { recipe } = plan;
  if (isOpenStart(recipe)) {
    throw new PogoError(
      'USAGE',
      `expected a recipe with a start, found ${recipe.name}, which leaves it open; name one: pogo recipe derive ` +
        `${recipe.name} --from STATE -o FILE, or --from`,
    );
  }
  if (from === undefined) {
    if (recipe.start.kind === 'seed') return { vectors: seedState(plan), scalars: START_SCALARS, derivable: true };
    throw new PogoError(
      'USAGE',
      `expected --from (recipe ${recipe.name} starts from θ ${toHex(recipe.start.root)}), found none`,
    );
  }
  const place = stateFolderOf(from);
  if (!existsSync(place)) {
    throw new PogoError('IO', `expected a state folder or a checkpoint at ${place}, found nothing`, { path: place });
  }
  // What adapters stand on is no state of theirs: they begin at their seed.
  if (recipe.adapter !== undefined && recipe.start.kind === 'seed' && !(await isOwnState(plan, place))) {
    return { vectors: seedState(plan), scalars: START_SCALARS, derivable: true };
  }
  if (recipe.start.kind === 'root' && !(await isOwnState(plan, place))) {
    const { theta } = await namedStart(recipe, await openStartSource(place, source));
    return { vectors: rootState(plan, theta), scalars: START_SCALARS, derivable: false };
  }
  const start = isStateFolder(place) ? fromFolder(plan, place) : await fromCheckpoint(plan, place);
  requireRecipeStart(plan, start);
  return start;
}

/** Whether a start is a state of the recipe itself, so that it is a continuation. */
async function isOwnState(plan: ModelPlan, from: string): Promise<boolean> {
  if (isStateFolder(from)) return equalBytes(readStateHeader(from).recipeRoot, plan.root);
  const { metadata } = await readCheckpointInfo(from);
  return metadata.get('recipeRoot') === toHex(plan.root);
}

function fromFolder(plan: ModelPlan, folder: string): StartState {
  const { header, vectors } = readStateFolder(folder, plan.layout);
  if (!equalBytes(header.recipeRoot, plan.root)) {
    throw new PogoError(
      'MISMATCH',
      `expected a state of recipe ${toHex(plan.root)}, found one of ${toHex(header.recipeRoot)} in ${folder}; ` +
        'to start another recipe from its weights: pogo export, then --from CHECKPOINT',
      { path: folder },
    );
  }
  const { step, tokens, beta1Power, beta2Power } = header;
  const ema = vectors.ema ?? new Float32Array(new SharedArrayBuffer(0));
  return { vectors: { ...vectors, ema }, scalars: { step, tokens, beta1Power, beta2Power }, derivable: false };
}

async function fromCheckpoint({ recipe }: ModelPlan, file: string): Promise<StartState> {
  const { vectors, scalars } = await readCheckpoint(file, recipe);
  return { vectors, scalars: scalars ?? START_SCALARS, derivable: false };
}

/** A recipe that names its θ starts from no other one; a state of a later step is a continuation. */
function requireRecipeStart({ recipe }: ModelPlan, { scalars, vectors }: StartState): void {
  if (recipe.start.kind !== 'root' || scalars.step !== 0) return;
  const { theta } = vectors;
  const root = hashBytes(new Uint8Array(theta.buffer, theta.byteOffset, theta.byteLength));
  if (equalBytes(root, recipe.start.root)) return;
  throw new PogoError(
    'MISMATCH',
    `expected θ ${toHex(recipe.start.root)} (recipe ${recipe.name} starts there), found θ ${toHex(root)}`,
  );
}
