/**
 * `pogo export` and `pogo import`: a state folder to a safetensors file and back, in our own format or as GPT-2 of
 * Hugging Face.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { PogoError } from '../errors.js';
import { toHex } from '../hex.js';
import { hfConfig } from '../model/hf.js';
import { createLayout } from '../model/layout.js';
import {
  type CheckpointFormat,
  readCheckpoint,
  readCheckpointInfo,
  writeCheckpoint,
} from '../model/node/checkpoint.js';
import { openRecipe, recipeOfRoot } from '../model/node/recipeFile.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import { START_SCALARS } from '../model/state.js';
import { hashBytes } from '../node/files/digest.js';
import { writeFileAtomic } from '../node/files/durable.js';
import { realFiles } from '../node/files/fileLayer.js';
import { readStateFolder, readStateHeader, writeStateFolder } from '../node/files/stateFolder.js';
import { headerOf } from '../protocol/stateHeader.js';
import { type StateHeader, stateRoot } from '../protocol/types.js';
import { printEvent } from './events.js';

interface Options {
  readonly state: string;
  readonly checkpoint: string;
  readonly recipe?: string;
  readonly format?: CheckpointFormat;
  readonly weights?: 'ema' | 'theta';
  readonly json?: true;
}

async function exportState(options: Options): Promise<void> {
  const recipe = recipeOfRoot(readStateHeader(options.state).recipeRoot, options.recipe);
  const { header, vectors } = readStateFolder(options.state, createLayout(recipe));
  const format = options.format ?? 'pogo';
  const weights = options.weights ?? (recipe.ema ? 'ema' : 'theta');
  if (weights === 'ema' && vectors.ema === undefined) {
    throw new PogoError('USAGE', `--weights: expected theta (recipe ${recipe.name} has no EMA), found ema`);
  }
  const ema = vectors.ema ?? new Float32Array(0);
  await writeCheckpoint(options.checkpoint, recipe, header, { ...vectors, ema }, format, weights);
  const written = [options.checkpoint];
  if (format === 'hf') written.push(...writeConfig(options.checkpoint, recipe));
  const root = toHex(stateRoot(header));
  if (options.json === true)
    printEvent({ type: 'result', command: 'export', files: written, format, stateRoot: root, step: header.step });
  else
    process.stdout.write(`${written.join(' and ')}: recipe ${recipe.name}, step ${header.step}, state root ${root}\n`);
}

/** `transformers` reads a model with its config beside it; one that is there already is the user's. */
function writeConfig(checkpoint: string, recipe: Recipe): string[] {
  const path = join(dirname(checkpoint), 'config.json');
  if (existsSync(path)) return [];
  writeFileAtomic(realFiles, path, new TextEncoder().encode(`${JSON.stringify(hfConfig(recipe), null, 2)}\n`));
  return [path];
}

async function importState(options: Options): Promise<void> {
  const info = await readCheckpointInfo(options.checkpoint);
  if (options.format !== undefined && options.format !== info.format) {
    throw new PogoError('USAGE', `--format: expected ${info.format} (the file's), found ${options.format}`);
  }
  const recipe = options.recipe === undefined ? info.recipe : openRecipe(options.recipe);
  if (recipe === undefined) {
    throw new PogoError('USAGE', `expected --recipe (${options.checkpoint} carries none), found no such option`);
  }
  const { vectors, scalars } = await readCheckpoint(options.checkpoint, recipe);
  const none = new Float32Array(0);
  const stored = recipe.ema ? vectors : { ...vectors, ema: none };
  const header: StateHeader = headerOf(recipeRoot(recipe), scalars ?? START_SCALARS, stored, hashBytes);
  const { ema, ...others } = vectors;
  writeStateFolder(options.state, header, recipe.ema ? vectors : others);
  const stateText = toHex(stateRoot(header));
  const thetaRoot = toHex(header.thetaRoot);
  if (options.json === true) {
    printEvent({
      type: 'result',
      command: 'import',
      state: options.state,
      format: info.format,
      stateRoot: stateText,
      thetaRoot,
      step: header.step,
    });
    return;
  }
  const kind = scalars === undefined ? 'weights as a start state' : `the whole state of step ${header.step}`;
  process.stdout.write(
    `${options.state}: recipe ${recipe.name}, ${kind}, θ root ${thetaRoot}, state root ${stateText}\n`,
  );
}

export function register(program: Command): void {
  const common = (command: Command): Command =>
    command
      .requiredOption('--state <folder>', 'state folder: header.ssz, theta.bin, m.bin, v.bin, ema.bin')
      .requiredOption('--checkpoint <file>', 'safetensors file')
      .option('--recipe <name|file>', 'recipe; not needed for a built-in one, or a file that carries it')
      .addOption(
        new Option('--format <format>', 'own names and whole state, or GPT-2 of Hugging Face').choices(['pogo', 'hf']),
      )
      .option('--json', 'events instead of text');
  common(program.command('export'))
    .description('write a state as fp32 safetensors')
    .addOption(new Option('--weights <vector>', 'what the format hf ships').choices(['ema', 'theta']))
    .action((options: Options) => exportState(options));
  common(program.command('import'))
    .description('read fp32, fp16 or bf16 safetensors into a new state folder')
    .action((options: Options) => importState(options));
}
