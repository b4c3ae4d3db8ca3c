/**
 * A state folder as a model of Hugging Face: safetensors, `config.json`, `tokenizer.json` and `tokenizer_config.json` in a
 * folder that `transformers` opens. Weights go from file to file in pieces.
 */
import { dirname, join } from 'node:path';
import { PogoError } from '../errors.js';
import { realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import { hfConfig, sameShape } from '../model/hf.js';
import { hfTokenizerJson } from '../model/hfVocabulary.js';
import { createLayout } from '../model/layout.js';
import { readHfConfig } from '../model/node/hfFolder.js';
import { requireFreeModel, type VectorSource, writeHfModel } from '../model/node/hfWrite.js';
import { keptTokenizerFile, openTokenizerFile, requireTokenizer } from '../model/node/tokenizerFile.js';
import { fileOf, type NewFile } from '../model/node/wholeFile.js';
import type { Recipe } from '../model/recipe.js';
import { readStateHeader } from './files/stateFolder.js';
import { hashFile } from './hashFile.js';

export interface HfExportOptions {
  /** State folder of the recipe. */
  readonly state: string;
  /** The file to write; further files go into its folder. */
  readonly checkpoint: string;
  readonly weights: 'ema' | 'theta';
  /** Most bytes of tensors in one file. */
  readonly shardBytes?: number;
  /** Where tokenizers of recipes are kept. */
  readonly dataFolder: string;
  /** Files of an earlier export may be replaced. */
  readonly force?: boolean;
}

/**
 * @returns what was written; a config or tokenizer of the same model that is there already stays
 * @throws PogoError MISMATCH for a recipe that no architecture expresses, or another model's files in the folder that may
 *   not be replaced; CORRUPT if the vector has not its root; DATA without the recipe's tokenizer; IO
 */
export async function exportHf(recipe: Recipe, options: HfExportOptions): Promise<string[]> {
  requireFreeModel(options.checkpoint, options.force === true);
  const folder = dirname(options.checkpoint);
  const beside = [
    await configFile(folder, recipe, options),
    await tokenizerFile(folder, recipe, options),
    tokenizerClassFile(folder),
  ];
  const vector = join(options.state, `${options.weights}.bin`);
  await requireVector(vector, recipe, options);
  const handle = realFiles.open(vector, 'read');
  const source: VectorSource = {
    read(element, out) {
      const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
      if (handle.read(bytes, 4 * element) === bytes.length) return;
      throw new PogoError('IO', `${vector} was cut while it was read; try again`, { path: vector });
    },
  };
  const { shardBytes, force = false } = options;
  try {
    return await writeHfModel(options.checkpoint, recipe, source, {
      ...(shardBytes === undefined ? {} : { shardBytes }),
      force,
      beside: beside.filter((file) => file !== undefined),
    });
  } finally {
    handle.close();
  }
}

async function requireVector(file: string, recipe: Recipe, { state, weights }: HfExportOptions): Promise<void> {
  const header = readStateHeader(state);
  const expected = weights === 'ema' ? header.emaRoot : header.thetaRoot;
  const { root, bytes } = await hashFile(file);
  if (bytes === 4 * createLayout(recipe).length && equalBytes(root, expected)) return;
  throw new PogoError(
    'CORRUPT',
    `expected ${file} with root ${toHex(expected)}, found ${bytes} bytes with root ${toHex(root)}; restore it from a copy`,
    { path: file },
  );
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** The config to write; undefined where one of the same model stays. */
async function configFile(folder: string, recipe: Recipe, { force }: HfExportOptions): Promise<NewFile | undefined> {
  const path = join(folder, 'config.json');
  const file = fileOf(path, jsonText(hfConfig(recipe)));
  const there = await unlessForced(force, () => readHfConfig(folder));
  if (there === undefined) return file;
  const fits =
    recipe.family === 'gemma3' ? recipe.context <= there.shape.context : recipe.context === there.shape.context;
  if (sameShape(recipe, there.shape) && fits && there.tied) return undefined;
  if (force === true) return file;
  throw new PogoError(
    'MISMATCH',
    `expected no config.json of another model beside ${folder}, found one; choose another folder, or replace it with --force`,
    { path },
  );
}

/** The tokenizer to write; undefined where the recipe's is there. */
async function tokenizerFile(
  folder: string,
  recipe: Recipe,
  { force, dataFolder }: HfExportOptions,
): Promise<NewFile | undefined> {
  const path = join(folder, 'tokenizer.json');
  const fits = await unlessForced(force, async () => {
    const there = await openTokenizerFile(path);
    if (there !== undefined) requireTokenizer(recipe, there.tokenizer, path);
    return there !== undefined;
  });
  if (fits === true) return undefined;
  if (recipe.tokenizer === 'json') return fileOf(path, await keptTokenizerFile(recipe, dataFolder));
  return fileOf(path, jsonText(await hfTokenizerJson(recipe.tokenizer)));
}

/**
 * What makes `transformers` read `tokenizer.json` as it stands: without it, the class follows from the architecture, and
 * Gemma's wants tokens that another tokenizer has not. One that is there stays.
 */
function tokenizerClassFile(folder: string): NewFile | undefined {
  const path = join(folder, 'tokenizer_config.json');
  if (realFiles.status(path) !== undefined) return undefined;
  return fileOf(path, jsonText({ tokenizer_class: 'PreTrainedTokenizerFast' }));
}

/** What is there; undefined, too, where it is unusable and may be replaced. */
async function unlessForced<T>(force: boolean | undefined, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (force === true && error instanceof PogoError && error.code !== 'IO') return undefined;
    throw error;
  }
}
