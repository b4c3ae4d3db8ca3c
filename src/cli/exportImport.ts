/**
 * `pogo export` and `pogo import`: a state folder to safetensors and back, in our own format, as a model of Hugging Face,
 * or as adapters of its `peft`.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { realFiles } from '../files/fileLayer.js';
import { requireFreeFile, requireFreeFolder, writeTarget } from '../files/target.js';
import { toHex } from '../hex.js';
import { createLayout } from '../model/layout.js';
import {
  type CheckpointFormat,
  readCheckpoint,
  readCheckpointInfo,
  writeCheckpoint,
} from '../model/node/checkpoint.js';
import { peftFolder } from '../model/node/peftFile.js';
import { openRecipe } from '../model/node/recipeFile.js';
import { SINGLE_FILE } from '../model/node/tensorFiles.js';
import { type Recipe, recipeRoot, recipeToJson } from '../model/recipe.js';
import { START_SCALARS } from '../model/state.js';
import { readStateFolder, readStateHeader, STATE_FOLDER, writeStateFolder } from '../node/files/stateFolder.js';
import { exportHf } from '../node/hfExport.js';
import { importHf } from '../node/hfImport.js';
import { pogoHome } from '../node/home.js';
import { mergedState } from '../node/mergeAdapters.js';
import { exportPeft, importPeft } from '../node/peftState.js';
import { findRecipe, keepRecipe } from '../node/recipeStore.js';
import { headerOf } from '../protocol/stateHeader.js';
import { type StateHeader, stateRoot } from '../protocol/types.js';
import { printEvent } from './events.js';
import { addForceOption, integerOption } from './options.js';

interface Options {
  readonly state: string;
  readonly checkpoint: string;
  readonly recipe?: string;
  readonly format?: CheckpointFormat | 'peft';
  readonly weights?: 'ema' | 'theta';
  /** Of adapters: the model under them; on export what `adapter_config.json` calls it. */
  readonly base?: string;
  readonly baseRecipe?: string;
  readonly maxShardBytes?: number;
  readonly recipeOut?: string;
  readonly context?: number;
  readonly name?: string;
  readonly force?: true;
  readonly json?: true;
}

/** Where token files and the tokenizers of recipes are kept. */
function dataFolder(): string {
  return join(pogoHome(), 'data');
}

async function exportState(options: Options): Promise<void> {
  const header = readStateHeader(options.state);
  const recipe = findRecipe(pogoHome(), header.recipeRoot, options.recipe);
  const format = options.format ?? 'pogo';
  const weights = options.weights ?? (recipe.ema ? 'ema' : 'theta');
  if (weights === 'ema' && !recipe.ema) {
    throw new PogoError('USAGE', `--weights: expected theta (recipe ${recipe.name} has no EMA), found ema`);
  }
  if (options.base !== undefined && format !== 'peft') {
    throw new PogoError('USAGE', `--base: expected --format peft, found ${format}`);
  }
  if (format === 'peft') {
    const { state, checkpoint: folder, base, force = false } = options;
    const places = { state, folder, weights, force, ...(base === undefined ? {} : { base }) };
    printExported(options, recipe, header, format, await exportPeft(recipe, places));
    return;
  }
  const isFolder = statSync(options.checkpoint, { throwIfNoEntry: false })?.isDirectory() === true;
  const checkpoint =
    isFolder || options.checkpoint.endsWith('/') ? join(options.checkpoint, SINGLE_FILE) : options.checkpoint;
  requireFreeFile(checkpoint, options.force);
  const merged = recipe.adapter === undefined ? undefined : mergedState(options.state, recipe, weights, pogoHome());
  const whole = merged ?? { folder: options.state, recipe };
  let written: readonly string[];
  try {
    written = await writeWhole(whole.folder, whole.recipe, checkpoint, merged === undefined ? weights : 'theta', {
      ...options,
      format,
    });
  } finally {
    merged?.remove();
  }
  printExported(options, recipe, header, format, written);
}

function printExported(
  { json }: Options,
  recipe: Recipe,
  header: StateHeader,
  format: string,
  files: readonly string[],
): void {
  const root = toHex(stateRoot(header));
  if (json === true) {
    printEvent({ type: 'result', command: 'export', files, format, stateRoot: root, step: header.step });
    return;
  }
  process.stdout.write(`${files.join(' and ')}: recipe ${recipe.name}, step ${header.step}, state root ${root}\n`);
}

/** @returns the files */
async function writeWhole(
  state: string,
  recipe: Recipe,
  checkpoint: string,
  weights: 'ema' | 'theta',
  { format, maxShardBytes: shardBytes, force }: Options & { readonly format: CheckpointFormat },
): Promise<readonly string[]> {
  if (format === 'hf') {
    const places = { state, checkpoint, weights, force: force === true, dataFolder: dataFolder() };
    return await exportHf(recipe, { ...places, ...(shardBytes === undefined ? {} : { shardBytes }) });
  }
  const { header, vectors } = readStateFolder(state, createLayout(recipe));
  const ema = vectors.ema ?? new Float32Array(0);
  await writeCheckpoint(checkpoint, recipe, header, { ...vectors, ema }, format, weights);
  return [checkpoint];
}

async function importState(options: Options): Promise<void> {
  requireFreeFolder(options.state, STATE_FOLDER, options.force);
  const folder = peftFolder(options.checkpoint);
  if (folder !== undefined) {
    await importAdapters(options, folder);
    return;
  }
  if (options.base !== undefined) {
    throw new PogoError('USAGE', `--base: expected adapters of peft in ${options.checkpoint}, found none`);
  }
  const info = await readCheckpointInfo(options.checkpoint);
  if (options.format !== undefined && options.format !== info.format) {
    throw new PogoError('USAGE', `--format: expected ${info.format} (the file's), found ${options.format}`);
  }
  const given = options.recipe === undefined ? undefined : openRecipe(options.recipe);
  const { header, recipe, whole, recipeFile } =
    info.format === 'hf' ? await importWeights(options, given) : await importOwn(options, given ?? info.recipe);
  if (info.format === 'hf' && given === undefined) keepRecipe(pogoHome(), recipe);
  printImported(options, { header, recipe, whole, recipeFile }, info.format);
}

/** Adapters of `peft`: a start state of adapters, and the recipe that goes on with them. */
async function importAdapters(options: Options, folder: string): Promise<void> {
  const { state, name, base, baseRecipe, weights } = options;
  if (options.format !== undefined && options.format !== 'peft') {
    throw new PogoError('USAGE', `--format: expected peft (adapter_config.json is there), found ${options.format}`);
  }
  if (options.recipe === undefined) {
    throw new PogoError(
      'USAGE',
      'expected --recipe (data, schedule and the shape of the model under the adapters), found no such option',
    );
  }
  const under = base === undefined ? undefined : { from: base, recipe: baseRecipe, weights };
  let recipeFile: string | undefined;
  const imported = await importPeft({
    folder,
    state,
    recipe: openRecipe(options.recipe),
    home: pogoHome(),
    force: options.force === true,
    beforePlaced: (recipe) => {
      recipeFile = writeRecipe(options, recipe, true);
    },
    ...(name === undefined ? {} : { name }),
    ...(under === undefined ? {} : { base: under }),
  });
  keepRecipe(pogoHome(), imported.recipe);
  printImported(options, { ...imported, whole: false, recipeFile }, 'peft');
}

function printImported(options: Options, { header, recipe, whole, recipeFile }: Imported, format: string): void {
  const stateText = toHex(stateRoot(header));
  const thetaRoot = toHex(header.thetaRoot);
  if (options.json === true) {
    printEvent({
      type: 'result',
      command: 'import',
      state: options.state,
      format,
      stateRoot: stateText,
      thetaRoot,
      step: header.step,
      recipeRoot: toHex(header.recipeRoot),
      ...(recipeFile === undefined ? {} : { recipe: recipeFile }),
    });
    return;
  }
  const kind = whole ? `the whole state of step ${header.step}` : 'weights as a start state';
  process.stdout.write(
    `${options.state}: recipe ${recipe.name}, ${kind}, θ root ${thetaRoot}, state root ${stateText}\n`,
  );
  if (recipeFile !== undefined) process.stdout.write(`${recipeFile}: the recipe that starts there, for --recipe\n`);
}

interface Imported {
  readonly header: StateHeader;
  readonly recipe: Recipe;
  /** Whether moments and step came along. */
  readonly whole: boolean;
  /** Where the recipe was written, if it was. */
  readonly recipeFile: string | undefined;
}

async function importWeights(options: Options, recipe: Recipe | undefined): Promise<Imported> {
  const { checkpoint, state, context, name } = options;
  if (recipe !== undefined && (context !== undefined || name !== undefined)) {
    throw new PogoError('USAGE', 'expected --context and --name for a recipe that is made, found --recipe as well');
  }
  let recipeFile: string | undefined;
  const imported = await importHf({
    checkpoint,
    state,
    dataFolder: dataFolder(),
    force: options.force === true,
    beforePlaced: (made) => {
      recipeFile = writeRecipe(options, made, recipe === undefined);
    },
    ...(recipe === undefined ? {} : { recipe }),
    ...(context === undefined ? {} : { context }),
    ...(name === undefined ? {} : { name }),
  });
  return { ...imported, whole: false, recipeFile };
}

async function importOwn(options: Options, recipe: Recipe | undefined): Promise<Imported> {
  if (recipe === undefined) {
    throw new PogoError('USAGE', `expected --recipe (${options.checkpoint} carries none), found no such option`);
  }
  const { vectors, scalars } = await readCheckpoint(options.checkpoint, recipe);
  const none = new Float32Array(0);
  const stored = recipe.ema ? vectors : { ...vectors, ema: none };
  const header = headerOf(recipeRoot(recipe), scalars ?? START_SCALARS, stored, hashBytes);
  const { ema: _none, ...others } = vectors;
  const recipeFile = writeRecipe(options, recipe, false);
  writeStateFolder(options.state, header, recipe.ema ? vectors : others, realFiles, options.force);
  return { header, recipe, whole: scalars !== undefined, recipeFile };
}

/** The recipe as a file where it was asked for, or was made by the import. Before the state: without its recipe a state is half an import. */
function writeRecipe(options: Options, recipe: Recipe, made: boolean): string | undefined {
  if (options.recipeOut === undefined && !made) return undefined;
  const file = options.recipeOut ?? `${options.state.replace(/\/+$/, '')}.recipe.json`;
  const bytes = new TextEncoder().encode(`${JSON.stringify(recipeToJson(recipe), null, 2)}\n`);
  writeTarget(file, bytes, options.force);
  return file;
}

export function register(program: Command): void {
  const common = (command: Command): Command =>
    addForceOption(command)
      .requiredOption('--state <folder>', 'state folder: header.ssz, theta.bin, m.bin, v.bin, ema.bin')
      .requiredOption(
        '--checkpoint <file>',
        'safetensors file, an index of several, or a folder with model.safetensors',
      )
      .option('--recipe <name|file>', 'recipe; not needed for a built-in one, or a file that carries it')
      .addOption(
        new Option(
          '--format <format>',
          'own names and whole state, a model of Hugging Face, or adapters of its peft',
        ).choices(['pogo', 'hf', 'peft']),
      )
      .option('--json', 'events instead of text');
  common(program.command('export'))
    .addOption(new Option('--weights <vector>', 'what the formats hf and peft ship').choices(['ema', 'theta']))
    .option('--base <name>', 'what adapter_config.json calls the model under the adapters')
    .option(
      '--max-shard-bytes <n>',
      'largest file of the format hf; more make several with an index (default: 5e9)',
      integerOption('--max-shard-bytes', 1, Number.MAX_SAFE_INTEGER),
    )
    .action((options: Options) => exportState(options));
  common(program.command('import'))
    .option('--recipe-out <file>', 'the recipe that starts there (default for the format hf: beside the state)')
    .option('--name <name>', 'name of that recipe (default: imported)')
    .option('--base <path>', 'the model under adapters: a state folder, a run, or a checkpoint')
    .option('--base-recipe <name|file>', 'recipe of that model, where nothing beside it says it')
    .addOption(new Option('--weights <vector>', 'which vector of that model').choices(['ema', 'theta']))
    .option('--context <n>', 'fewer positions than the model has', integerOption('--context', 1, 1 << 20))
    .action((options: Options) => importState(options));
}
