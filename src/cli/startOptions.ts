/** Options of commands that start a recipe from a trained model: `--from`, `--weights`, `--from-recipe`. */
import { type Command, Option } from 'commander';
import { PogoError } from '../errors.js';
import { toHex } from '../hex.js';
import { namedModel } from '../model/deriveRecipe.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { isOpenStart, type Recipe, recipeRoot } from '../model/recipe.js';
import { FrozenModels } from '../node/frozenModels.js';
import { keepRecipe } from '../node/recipeStore.js';
import { openStartSource, type StartVector, startFrom } from '../node/startSource.js';

export interface StartOptions {
  readonly from?: string;
  readonly weights?: StartVector;
  readonly fromRecipe?: string;
}

export function addStartOptions(command: Command, what: string): Command {
  return command
    .option('--from <path>', what)
    .addOption(
      new Option('--weights <vector>', 'which of its vectors (default: the EMA where it has one)').choices([
        'ema',
        'theta',
      ]),
    )
    .option('--from-recipe <name|file>', 'recipe of that model, where nothing beside it says it');
}

/** A recipe, and the θ that it starts from where that was read. */
export interface OpenedRecipe {
  readonly recipe: Recipe;
  readonly start?: { readonly vector: StartVector; readonly theta: Float32Array };
}

/**
 * The recipe that `--recipe` and `--from` name together. An open one is derived and kept under its root, so that later
 * commands find it.
 *
 * @param readStart whether θ is wanted of a recipe that names its start, too; then `--from` must be a model that has it
 * @throws PogoError USAGE for an open recipe without `--from`, or `--weights` where the recipe names its start
 */
export async function openStartedRecipe(
  nameOrFile: string,
  options: StartOptions,
  home: string,
  readStart = false,
): Promise<OpenedRecipe> {
  const base = openRecipe(nameOrFile);
  const open = isOpenStart(base);
  const { from, fromRecipe, weights } = options;
  if (weights !== undefined && !open) {
    throw new PogoError('USAGE', `--weights: recipe ${base.name} does not leave its start open; leave the option out`);
  }
  const named = namedModel(base);
  if (named === undefined || !(open || readStart)) return { recipe: base };
  if (from === undefined) {
    const wanted = open ? 'a model of its shape' : `θ ${toHex(named)}`;
    throw new PogoError('USAGE', `expected --from (recipe ${base.name} starts from ${wanted}), found no such option`);
  }
  const source = await openStartSource(from, { home, ...(fromRecipe === undefined ? {} : { recipe: fromRecipe }) });
  const { recipe, ...start } = await startFrom(base, source, weights === undefined ? {} : { weights });
  if (open) keepRecipe(home, recipe);
  if (recipe.adapter !== undefined) new FrozenModels(home).keep(start.theta);
  return { recipe, start };
}

/** The start of a recipe, as a field of an event. */
export function startEvent(recipe: Recipe): { readonly startTheta?: string } {
  const named = namedModel(recipe);
  return named === undefined ? {} : { startTheta: toHex(named) };
}

/** Where training starts, and the recipe root that follows. */
export function startText(recipe: Recipe, vector: StartVector): string {
  const theta = toHex(namedModel(recipe) ?? new Uint8Array(0));
  return `${recipe.adapter === undefined ? 'start' : 'frozen model'}: the ${vector === 'ema' ? 'EMA' : 'θ'} of --from, ${theta}; recipe root ${toHex(recipeRoot(recipe))}`;
}
