/**
 * A model of Hugging Face as a start state on disk, and the recipe that starts there.
 *
 * The weights go from the files to `theta.bin` in pieces, so a model larger than memory is imported as well as a small
 * one. A state folder is there in full or not at all.
 */
import { copyFileSync, constants as copyFlags } from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { makeDirectoryFor, unfinishedPath } from '../files/durable.js';
import { type FileLayer, realFiles, removeTree } from '../files/fileLayer.js';
import { placeFolder, requireFreeFolder } from '../files/target.js';
import { equalBytes, toHex } from '../hex.js';
import { PPM } from '../model/documents.js';
import { createLayout } from '../model/layout.js';
import { readCheckpointInfo, readHfWeights, withFiles } from '../model/node/checkpoint.js';
import { recipeOfShape, withDefaultContext } from '../model/node/checkpointRecipe.js';
import { mobyDickFolder } from '../model/node/dataset.js';
import { readHfConfig, readHfTokenizer } from '../model/node/hfFolder.js';
import { keepTokenizer, openTokenizerFile, requireTokenizer, type TokenizerFile } from '../model/node/tokenizerFile.js';
import { type Recipe, recipeRoot, validateRecipe } from '../model/recipe.js';
import { START_SCALARS } from '../model/state.js';
import { type StateHeader, StateHeaderType, ZERO_ROOT } from '../protocol/types.js';
import { buildData } from './data/build.js';
import { recipeOnData } from './data/manifest.js';
import { STATE_FOLDER } from './files/stateFolder.js';
import { hashFile } from './hashFile.js';

export interface HfImport {
  readonly header: StateHeader;
  /** The recipe that the state belongs to. */
  readonly recipe: Recipe;
}

export interface HfImportOptions {
  /** A safetensors file, an index of several, or a folder with one. */
  readonly checkpoint: string;
  /** Where the state goes; nothing may be there. */
  readonly state: string;
  /** An earlier state may be replaced. */
  readonly force?: boolean;
  /** Is told the recipe before the state takes its place; what it throws leaves no state. */
  readonly beforePlaced?: (recipe: Recipe) => void;
  /** The state's recipe; made from `config.json` and `tokenizer.json` when left out. */
  readonly recipe?: Recipe;
  /** Name of a made recipe. */
  readonly name?: string;
  /** Positions of a made recipe, fewer than the model has: costs grow with them. */
  readonly context?: number;
  /** For token files and tokenizers. */
  readonly dataFolder: string;
}

/**
 * @throws PogoError MISSING, MISMATCH, SHAPE, MALFORMED, RECIPE as what is wrong with the model's files; MISMATCH if the
 *   given recipe starts from another θ; IO
 */
export async function importHf(options: HfImportOptions): Promise<HfImport> {
  const layer = realFiles;
  const { state } = options;
  requireFreeFolder(state, STATE_FOLDER, options.force);
  const made = options.recipe === undefined ? await describe(options) : undefined;
  if (options.recipe !== undefined) await requireOwnTokenizer(options.checkpoint, options.recipe);
  const shape = options.recipe ?? made?.recipe;
  if (shape === undefined) throw new PogoError('INTERNAL', 'a recipe is given or made');
  const undo = makeDirectoryFor(layer, path.dirname(path.resolve(state)));
  const unfinished = unfinishedPath(state);
  try {
    layer.makeDirectory(unfinished);
    const thetaRoot = await writeTheta(layer, options.checkpoint, shape, path.join(unfinished, 'theta.bin'));
    const recipe = made === undefined ? requireStart(shape, thetaRoot) : await startingAt(made, thetaRoot, options);
    const header = await writeOthers(layer, unfinished, recipe, thetaRoot);
    layer.syncDirectory(unfinished);
    options.beforePlaced?.(recipe);
    placeFolder(unfinished, state);
    return { header, recipe };
  } catch (error) {
    try {
      removeTree(layer, unfinished);
    } catch {
      // The first error is the one to report.
    }
    undo();
    throw PogoError.from(error);
  }
}

/** A twentieth of the novel is held out where it becomes the data of an import. */
const NOVEL_HELD_OUT_PPM = 50_000;

interface Made {
  readonly recipe: Recipe;
  readonly tokenizer: TokenizerFile;
}

async function describe({ checkpoint, context }: HfImportOptions): Promise<Made> {
  const info = await readCheckpointInfo(checkpoint);
  const description = await readHfConfig(info.folder);
  if (description === undefined) {
    throw new PogoError(
      'MISSING',
      `expected config.json beside ${info.path}, found none; copy it from the model's page, or name the shape with --recipe`,
      { path: info.path },
    );
  }
  const tokenizer = await readHfTokenizer(info.folder, description.shape.vocab);
  const { shape } = description;
  if (context !== undefined && context > shape.context) {
    throw new PogoError('RANGE', `--context: expected at most ${shape.context} (the model's), found ${context}`);
  }
  const recipe = recipeOfShape(
    context === undefined ? withDefaultContext(shape) : { ...shape, context },
    tokenizer.tokenizer,
  );
  return { recipe, tokenizer };
}

/** A tokenizer beside the model must be the recipe's: the model's numbers would mean other texts. */
async function requireOwnTokenizer(checkpoint: string, recipe: Recipe): Promise<void> {
  const { folder } = await readCheckpointInfo(checkpoint);
  const file = path.join(folder, 'tokenizer.json');
  const found = await openTokenizerFile(file);
  if (found !== undefined) requireTokenizer(recipe, found.tokenizer, file);
}

/** The made recipe with its start and data that exist: the novel, until the user builds others. */
async function startingAt(made: Made, thetaRoot: Uint8Array, options: HfImportOptions): Promise<Recipe> {
  const { tokenizer } = made.tokenizer;
  await keepTokenizer(options.dataFolder, made.tokenizer);
  const name = options.name ?? 'imported';
  const recipe = { ...made.recipe, name, start: { kind: 'root', root: thetaRoot } } as const;
  if (tokenizer.name !== 'json') return validateRecipe(recipe);
  const built = await buildData({
    datasets: [{ source: mobyDickFolder(), weightPpm: PPM, field: 'text', documents: 'section' }],
    tokenizer,
    recipe,
    heldOutPpm: NOVEL_HELD_OUT_PPM,
    directory: options.dataFolder,
    name,
  });
  return recipeOnData(recipe, tokenizer, built, name);
}

function requireStart(recipe: Recipe, thetaRoot: Uint8Array): Recipe {
  const { start } = recipe;
  const open = start.kind === 'root' && start.root.every((byte) => byte === 0);
  if (start.kind === 'seed' || open || equalBytes(start.root, thetaRoot)) return recipe;
  throw new PogoError(
    'MISMATCH',
    `expected θ ${toHex(start.root)} (recipe ${recipe.name} starts there), found θ ${toHex(thetaRoot)}; leave --recipe out, and a ` +
      'recipe that starts there is written',
  );
}

/** Elements between two writes stay +0: the padding behind tensors and behind the vocabulary. */
async function writeTheta(layer: FileLayer, checkpoint: string, recipe: Recipe, file: string): Promise<Uint8Array> {
  const layout = createLayout(recipe);
  const handle = layer.open(file, 'exclusive');
  try {
    handle.truncate(4 * layout.length);
    await withFiles(checkpoint, (files) =>
      readHfWeights(files, layout, recipe, {
        write: (element, values) =>
          handle.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), 4 * element),
      }),
    );
    handle.sync();
  } finally {
    handle.close();
  }
  return (await hashFile(file)).root;
}

/** m and v are +0, the EMA is θ. */
async function writeOthers(
  layer: FileLayer,
  folder: string,
  recipe: Recipe,
  thetaRoot: Uint8Array,
): Promise<StateHeader> {
  const bytes = 4 * createLayout(recipe).length;
  for (const name of ['m.bin', 'v.bin']) {
    const handle = layer.open(path.join(folder, name), 'exclusive');
    try {
      handle.truncate(bytes);
      handle.sync();
    } finally {
      handle.close();
    }
  }
  const { root: zeros } = await hashFile(path.join(folder, 'm.bin'));
  if (recipe.ema) {
    try {
      // Where the file system shares blocks, the copy costs nothing.
      copyFileSync(path.join(folder, 'theta.bin'), path.join(folder, 'ema.bin'), copyFlags.COPYFILE_FICLONE);
    } catch (error) {
      throw PogoError.from(error);
    }
    const handle = layer.open(path.join(folder, 'ema.bin'), 'update');
    try {
      handle.sync();
    } finally {
      handle.close();
    }
  }
  const header: StateHeader = {
    version: 1,
    recipeRoot: recipeRoot(recipe),
    ...START_SCALARS,
    thetaRoot,
    mRoot: zeros,
    vRoot: zeros,
    emaRoot: recipe.ema ? thetaRoot : ZERO_ROOT,
  };
  const handle = layer.open(path.join(folder, 'header.ssz'), 'exclusive');
  try {
    handle.write(StateHeaderType.serialize(header), 0);
    handle.sync();
  } finally {
    handle.close();
  }
  return header;
}
