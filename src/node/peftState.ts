/** Adapters of `peft` as a start state on disk, with the recipe that starts there, and states of adapters as theirs. */
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { realFiles } from '../files/fileLayer.js';
import { requireFreeFolder } from '../files/target.js';
import { toHex } from '../hex.js';
import { baseRecipe } from '../model/adapter.js';
import { requireSameModel } from '../model/deriveRecipe.js';
import { createLayout } from '../model/layout.js';
import { readPeft, writePeft } from '../model/node/peftFile.js';
import { isOpenStart, type Recipe, recipeRoot, validateRecipe } from '../model/recipe.js';
import { rootState, START_SCALARS, vectorBytes } from '../model/state.js';
import { modelPlan } from '../model/unit.js';
import { headerOf } from '../protocol/stateHeader.js';
import type { StateHeader } from '../protocol/types.js';
import { readStateFolder, STATE_FOLDER, writeStateFolder } from './files/stateFolder.js';
import { FrozenModels } from './frozenModels.js';
import { namedStart, openStartSource, type StartVector } from './startSource.js';

export interface PeftImportOptions {
  /** Folder with `adapter_config.json`. */
  readonly folder: string;
  /** Where the state goes; nothing may be there. */
  readonly state: string;
  /** An earlier state may be replaced. */
  readonly force?: boolean;
  /** Is told the recipe before the state takes its place; what it throws leaves no state. */
  readonly beforePlaced?: (recipe: Recipe) => void;
  /** Gives data, optimizer, schedule, sizes and the model's shape; its own adapter gives way to the folder's. */
  readonly recipe: Recipe;
  /** The model under the adapters, where the recipe does not name it or nobody has it yet. */
  readonly base?: {
    readonly from: string;
    readonly recipe?: string | undefined;
    readonly weights?: StartVector | undefined;
  };
  /** Name of the recipe that is made. */
  readonly name?: string;
  readonly home: string;
}

/**
 * @returns the state's header, and the recipe that starts there: adapters as the folder has them over the model
 * @throws PogoError as {@link readPeft}; USAGE where nothing names the model; MISMATCH for another model; IO
 */
export async function importPeft(options: PeftImportOptions): Promise<{ header: StateHeader; recipe: Recipe }> {
  const { folder, state, home, name } = options;
  requireFreeFolder(state, STATE_FOLDER, options.force);
  const { adapter, fill, base: trainedOn } = await readPeft(folder, options.recipe);
  const base = await frozenModel(options);
  const found = toHex(base.root);
  if (trainedOn !== undefined && trainedOn !== found) {
    throw new PogoError(
      'MISMATCH',
      `expected the model with θ ${trainedOn} under the adapters of ${folder} (they were trained on it), found θ ${found}; ` +
        'name that model with --base',
      { path: folder },
    );
  }
  const shaped = {
    ...options.recipe,
    adapter: { ...adapter, base: base.root },
    ...(name === undefined ? {} : { name }),
  };
  const layout = createLayout(shaped);
  const theta = new Float32Array(new SharedArrayBuffer(4 * layout.length));
  fill(layout, theta);
  const recipe = validateRecipe({ ...shaped, start: { kind: 'root', root: hashBytes(vectorBytes(theta)) } });
  const { ema, ...vectors } = rootState(modelPlan(recipe), theta);
  const header = headerOf(recipeRoot(recipe), START_SCALARS, { ...vectors, ema }, hashBytes);
  options.beforePlaced?.(recipe);
  writeStateFolder(state, header, recipe.ema ? { ...vectors, ema } : vectors, realFiles, options.force);
  if (base.theta !== undefined) new FrozenModels(home).keep(base.theta);
  return { header, recipe };
}

/** The model under the adapters: what the recipe names, or what is given. */
async function frozenModel({
  recipe,
  base,
  home,
}: PeftImportOptions): Promise<{ root: Uint8Array; theta?: Float32Array }> {
  const named = isOpenStart(recipe)
    ? undefined
    : (recipe.adapter?.base ?? (recipe.start.kind === 'root' ? recipe.start.root : undefined));
  if (base === undefined) {
    if (named !== undefined) return { root: named };
    throw new PogoError(
      'USAGE',
      `expected --base (recipe ${recipe.name} names no model that the adapters stand on), found no such option`,
    );
  }
  const source = await openStartSource(base.from, {
    home,
    ...(base.recipe === undefined ? {} : { recipe: base.recipe }),
  });
  if (named !== undefined) {
    const start = { kind: 'root', root: named } as const;
    const { theta } = await namedStart({ ...baseRecipe(recipe), start }, source);
    return { root: named, theta };
  }
  requireSameModel(recipe, source.recipe, source.path);
  const theta = await source.read(base.weights ?? (source.vectors[0] as StartVector));
  return { root: hashBytes(vectorBytes(theta)), theta };
}

export interface PeftExportOptions {
  /** State folder of the recipe. */
  readonly state: string;
  readonly folder: string;
  readonly weights: StartVector;
  /** Adapters that are there may be replaced. */
  readonly force?: boolean;
  /** What `adapter_config.json` calls the model under the adapters. */
  readonly base?: string;
}

/**
 * @returns the files
 * @throws PogoError USAGE for a recipe without adapters; MISMATCH for a model that no architecture expresses; CORRUPT, IO
 */
export async function exportPeft(
  recipe: Recipe,
  { state, folder, weights, base, force = false }: PeftExportOptions,
): Promise<string[]> {
  const { adapter } = recipe;
  if (adapter === undefined) {
    throw new PogoError(
      'USAGE',
      `--format peft: expected a recipe with adapters, found ${recipe.name}; use --format hf`,
    );
  }
  const { vectors } = readStateFolder(state, createLayout(recipe));
  const baseRoot = toHex(adapter.base);
  const theta = (weights === 'ema' ? vectors.ema : undefined) ?? vectors.theta;
  return await writePeft(recipe, adapter, theta, { folder, force, baseRoot, ...(base === undefined ? {} : { base }) });
}
