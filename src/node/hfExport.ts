/**
 * A state folder as a model of Hugging Face: safetensors, `config.json` and `tokenizer.json` in a folder that
 * `transformers` opens. Weights go from file to file in pieces.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PogoError } from '../errors.js';
import { writeFileAtomic } from '../files/durable.js';
import { realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import { hfConfig, sameShape } from '../model/hf.js';
import { hfTokenizerJson } from '../model/hfVocabulary.js';
import { createLayout } from '../model/layout.js';
import { readHfConfig } from '../model/node/hfFolder.js';
import { writeHfModel } from '../model/node/hfWrite.js';
import { keptTokenizerFile, openTokenizerFile, requireTokenizer } from '../model/node/tokenizerFile.js';
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
 * @throws PogoError MISMATCH for a recipe that no architecture expresses, or another model's files in the folder;
 *   CORRUPT if the vector has not its root; DATA without the recipe's tokenizer; IO
 */
export async function exportHf(recipe: Recipe, options: HfExportOptions): Promise<string[]> {
  const folder = dirname(options.checkpoint);
  const config = await configFile(folder, recipe);
  const tokenizer = await tokenizerFile(folder, recipe, options.dataFolder);
  const vector = join(options.state, `${options.weights}.bin`);
  await requireVector(vector, recipe, options);
  const handle = realFiles.open(vector, 'read');
  let written: string[];
  try {
    written = await writeHfModel(
      options.checkpoint,
      recipe,
      {
        read(element, out) {
          const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
          if (handle.read(bytes, 4 * element) === bytes.length) return;
          throw new PogoError('IO', `${vector} was cut while it was read; try again`, { path: vector });
        },
      },
      options.shardBytes,
      undefined,
      options.force,
    );
  } finally {
    handle.close();
  }
  for (const file of [config, tokenizer]) {
    if (file === undefined) continue;
    writeFileAtomic(realFiles, file.path, file.bytes);
    written.push(file.path);
  }
  return written;
}

interface SmallFile {
  readonly path: string;
  readonly bytes: Uint8Array;
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

function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

async function configFile(folder: string, recipe: Recipe): Promise<SmallFile | undefined> {
  const there = await readHfConfig(folder);
  const path = join(folder, 'config.json');
  if (there === undefined) return { path, bytes: jsonBytes(hfConfig(recipe)) };
  const fits =
    recipe.family === 'gemma3' ? recipe.context <= there.shape.context : recipe.context === there.shape.context;
  if (sameShape(recipe, there.shape) && fits && there.tied) return undefined;
  throw new PogoError(
    'MISMATCH',
    `expected no config.json of another model beside ${folder}, found one; choose another folder`,
    { path },
  );
}

async function tokenizerFile(folder: string, recipe: Recipe, dataFolder: string): Promise<SmallFile | undefined> {
  const path = join(folder, 'tokenizer.json');
  if (existsSync(path)) {
    const there = await openTokenizerFile(path);
    if (there !== undefined) requireTokenizer(recipe, there.tokenizer, path);
    return undefined;
  }
  if (recipe.tokenizer === 'json') return { path, bytes: await keptTokenizerFile(recipe, dataFolder) };
  return { path, bytes: jsonBytes(await hfTokenizerJson(recipe.tokenizer)) };
}
