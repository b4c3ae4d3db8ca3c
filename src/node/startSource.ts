/**
 * A trained model as the start of another recipe: a state folder, a run with one, or a checkpoint in one file or several.
 *
 * A state has two vectors that can be the start's θ: the EMA, which was evaluated and shipped, and θ itself.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { equalBytes, toHex } from '../hex.js';
import { deriveRecipe, namedModel, requireSameModel } from '../model/deriveRecipe.js';
import { createLayout } from '../model/layout.js';
import { readCheckpoint, readCheckpointWeights, withFiles } from '../model/node/checkpoint.js';
import { recipeOfCheckpoint } from '../model/node/checkpointRecipe.js';
import { isOpenStart, type Recipe } from '../model/recipe.js';
import { vectorBytes } from '../model/state.js';
import { readStateFolder, readStateHeader } from './files/stateFolder.js';
import { findRecipe } from './recipeStore.js';
import { FINAL_STATE, hasRun } from './runFiles.js';

export type StartVector = 'ema' | 'theta';

export interface StartSource {
  /** Where it was read, for messages. */
  readonly path: string;
  /** The model's recipe; of a foreign file only shape and tokenizer mean something. */
  readonly recipe: Recipe;
  /** What it has, the shipped one first. A foreign file has `theta` only. */
  readonly vectors: readonly StartVector[];
  /** f32 [layout.length] on shared memory. */
  read(vector: StartVector): Promise<Float32Array>;
}

export interface StartSourceOptions {
  /** Data directory: derived recipes are looked up there. */
  readonly home: string;
  /** Recipe of the start's model, where nothing beside it says it. */
  readonly recipe?: string;
}

/**
 * @throws PogoError IO for a path with nothing; MISSING for a folder without a state, or a run that finished none;
 *   RECIPE for a state whose recipe nobody knows; MALFORMED, CORRUPT, SHAPE, MISMATCH
 */
export async function openStartSource(from: string, options: StartSourceOptions): Promise<StartSource> {
  if (!existsSync(from)) {
    throw new PogoError('IO', `expected a state folder or a checkpoint at ${from}, found nothing`, { path: from });
  }
  const place = stateFolderOf(from);
  return isStateFolder(place) ? sourceOfFolder(place, options) : sourceOfFile(place, options);
}

/** Whether a path is a state folder; a folder without a header is one of a model's files. */
export function isStateFolder(path: string): boolean {
  return existsSync(join(path, 'header.ssz'));
}

/** The state folder that a path means: that of a run's last finalized claim, or itself. */
export function stateFolderOf(from: string): string {
  return hasRun(from) ? join(from, FINAL_STATE) : from;
}

function sourceOfFolder(folder: string, { home, recipe: named }: StartSourceOptions): StartSource {
  const header = readStateHeader(folder);
  const recipe = findRecipe(home, header.recipeRoot, named);
  return {
    path: folder,
    recipe,
    vectors: recipe.ema ? ['ema', 'theta'] : ['theta'],
    async read(vector) {
      const { vectors } = readStateFolder(folder, createLayout(recipe));
      const found = vectors[vector];
      if (found === undefined) throw missing(folder, vector);
      return found;
    },
  };
}

async function sourceOfFile(file: string, { recipe: named }: StartSourceOptions): Promise<StartSource> {
  const vectors = await withFiles(file, async (files) =>
    files.has('ema.wte') ? (['ema', 'theta'] as const) : (['theta'] as const),
  );
  const recipe = await recipeOfCheckpoint(file, named);
  return {
    path: file,
    recipe,
    vectors,
    async read(vector) {
      if (!vectors.some((name) => name === vector)) throw missing(file, vector);
      if (vector === 'theta') return (await readCheckpoint(file, recipe)).vectors.theta;
      const weights = new Float32Array(new SharedArrayBuffer(4 * createLayout(recipe).length));
      await readCheckpointWeights(file, recipe, weights);
      return weights;
    },
  };
}

function missing(path: string, vector: StartVector): PogoError {
  return new PogoError('MISSING', `expected the vector ${vector} in ${path}, found none; take --weights theta`, {
    path,
  });
}

export interface DerivedStart {
  readonly recipe: Recipe;
  /** Which vector of the source became the start's θ. */
  readonly vector: StartVector;
  readonly theta: Float32Array;
}

export interface StartChoice {
  /** Which vector; by default the first that the source has. */
  readonly weights?: StartVector;
  /** Shape and tokenizer of the source take the place of the base's. */
  readonly takeShape?: boolean;
  /** Also a recipe with a start gets this one. */
  readonly derive?: boolean;
}

/**
 * A recipe whose start is this model: an open one is derived, one that names its start must name this.
 *
 * @throws PogoError MISMATCH for another shape, tokenizer or start; MISSING for a vector that is not there
 */
export async function startFrom(base: Recipe, source: StartSource, options: StartChoice = {}): Promise<DerivedStart> {
  if (isOpenStart(base) || options.derive === true) {
    const vector = options.weights ?? (source.vectors[0] as StartVector);
    const theta = await source.read(vector);
    const start = { recipe: source.recipe, thetaRoot: hashBytes(vectorBytes(theta)), source: source.path };
    return { recipe: deriveRecipe(base, start, options.takeShape), vector, theta };
  }
  return { recipe: base, ...(await namedStart(base, source)) };
}

/** The vector of a source that a recipe names as its start. @throws PogoError MISMATCH */
export async function namedStart(
  recipe: Recipe,
  source: StartSource,
): Promise<{ readonly vector: StartVector; readonly theta: Float32Array }> {
  requireSameModel(recipe, source.recipe, source.path);
  const wanted = namedModel(recipe) ?? new Uint8Array(0);
  const found: string[] = [];
  for (const vector of source.vectors) {
    const theta = await source.read(vector);
    const root = hashBytes(vectorBytes(theta));
    if (equalBytes(root, wanted)) return { vector, theta };
    found.push(`${vector} ${toHex(root)}`);
  }
  throw new PogoError(
    'MISMATCH',
    `expected θ ${toHex(wanted)} (recipe ${recipe.name} starts there), found ${found.join(', ')} in ${source.path}; ` +
      'take that start, or derive a recipe from this one: pogo recipe derive',
  );
}
