/** Adapters of `peft` on disk: `adapter_model.safetensors` and `adapter_config.json` in a folder. Node only. */

import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { PogoError } from '../../errors.js';
import { requireFreeFile } from '../../files/target.js';
import {
  describePeftConfig,
  joinPeft,
  PEFT_PREFIX,
  type PeftAdapters,
  type PeftDescription,
  type PeftMatrices,
  type PeftModule,
  peftConfig,
  peftModules,
  peftNames,
  splitPeft,
} from '../peft.js';
import type { Recipe, RecipeAdapter } from '../recipe.js';
import { serializeSafetensorsHeader } from '../safetensors.js';
import { readConfigFile } from './configFile.js';
import { TensorFiles } from './tensorFiles.js';
import { fileOf, writeAll, writeGroup } from './wholeFile.js';

const CONFIG_FILE = 'adapter_config.json';
const TENSOR_FILE = 'adapter_model.safetensors';
/** What `peft` writes where it is told to: a pickle, which can run code. */
const PICKLE_FILE = 'adapter_model.bin';
/** Metadata of ours: BLAKE3 of the θ under the adapters. */
const BASE_KEY = 'pogo.base';

/** The folder of adapters that a path means; undefined for anything else. */
export function peftFolder(path: string): string | undefined {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const folder = isFolder ? path : basename(path) === TENSOR_FILE ? dirname(path) : undefined;
  return folder !== undefined && existsSync(join(folder, CONFIG_FILE)) ? folder : undefined;
}

/** Adapters of a folder, and which model they were trained on where ours wrote them. */
export interface PeftFolder extends PeftAdapters {
  /** Hexadecimal BLAKE3 of the θ under them. */
  readonly base: string | undefined;
}

/**
 * Reads the adapters of a folder for the model of a recipe. Every name and shape is checked before a number is read.
 *
 * @param recipe of the model under them; only its shape is read
 * @throws PogoError MISMATCH for another kind of adapter, an option that changes the arithmetic, or a target module that
 *   the model has not; SHAPE for a missing or extra tensor, another rank, or shapes of another model; MISSING without
 *   tensors, MALFORMED, IO
 */
export async function readPeft(folder: string, recipe: Recipe): Promise<PeftFolder> {
  const config = join(folder, CONFIG_FILE);
  const described = describePeftConfig(await readConfigFile(config, 'save the adapters again'), config);
  const path = join(folder, TENSOR_FILE);
  if (!existsSync(path)) {
    const pickle = existsSync(join(folder, PICKLE_FILE));
    throw new PogoError(
      'MISSING',
      `expected ${TENSOR_FILE} in ${folder}, found ${pickle ? `${PICKLE_FILE}, which can run code and is not read; save it again with safe_serialization=True` : 'none; name the folder that peft saved'}`,
      { path },
    );
  }
  const files = await TensorFiles.open(path);
  try {
    const found = findModules(files, recipe, described);
    const read: { readonly module: PeftModule; readonly matrices: PeftMatrices }[] = [];
    for (const { module, a, b } of found) {
      const matrices = {
        a: await readMatrix(files, a, [described.rank, module.inputs]),
        b: await readMatrix(files, b, [module.rows, described.rank]),
      };
      read.push({ module, matrices });
    }
    files.expectNoOthers();
    return { ...joinPeft(recipe, described, read), base: files.metadata.get(BASE_KEY) };
  } catch (cause) {
    throw PogoError.from(cause);
  } finally {
    await files.close();
  }
}

interface FoundModule {
  readonly module: PeftModule;
  /** Names of the two tensors. */
  readonly a: string;
  readonly b: string;
}

/** The modules that have adapters in a file, all names and shapes checked. */
function findModules(files: TensorFiles, recipe: Recipe, described: PeftDescription): FoundModule[] {
  const { path } = files;
  const { modules, prefixes } = peftModules(recipe);
  const byName = new Map(modules.map((module) => [module.name, module]));
  const inFile = new Set<string>();
  for (const name of files.names()) {
    const match = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(name);
    if (match === null) {
      throw new PogoError(
        'SHAPE',
        `${path}: expected tensors ${PEFT_PREFIX}<module>.lora_A.weight and lora_B.weight only, found ${JSON.stringify(name.slice(0, 120))}; train adapters of linear layers alone`,
        { path, tensor: name.slice(0, 120) },
      );
    }
    inFile.add(match[1] as string);
  }
  const [first] = inFile;
  if (first === undefined)
    throw new PogoError('SHAPE', `${path}: expected adapters, found no tensor; save the adapters again`, { path });
  const prefix = prefixes.find((before) => byName.has(first.slice(before.length)) && first.startsWith(before));
  const present = new Set<PeftModule>();
  for (const name of inFile) {
    const module = prefix !== undefined && name.startsWith(prefix) ? byName.get(name.slice(prefix.length)) : undefined;
    if (module === undefined) throw unknownModule(path, name, modules, recipe);
    present.add(module);
  }
  const kinds = new Set([...present].map(({ name, layer }) => kindOf(name, layer)));
  requireTargets(path, described, [...present], modules, recipe);
  // An adapter of our layer is in every layer of the model.
  const wanted = modules.filter(({ name, layer }) => kinds.has(kindOf(name, layer)));
  return wanted.map((module) => {
    const [a, b] = ['A', 'B'].map((matrix) => `${PEFT_PREFIX}${prefix}${module.name}.lora_${matrix}.weight`);
    const names = { a: a as string, b: b as string };
    requireShape(files, names.a, [described.rank, module.inputs], 0, described.rank);
    requireShape(files, names.b, [module.rows, described.rank], 1, described.rank);
    return { module, ...names };
  });
}

/** A module's name without its layer. */
function kindOf(name: string, layer: number): string {
  return name.replace(`.${layer}.`, '.*.');
}

function unknownModule(path: string, name: string, modules: readonly PeftModule[], recipe: Recipe): PogoError {
  const known = [...new Set(modules.map((module) => kindOf(module.name, module.layer)))];
  return new PogoError(
    'MISMATCH',
    `${path}: expected adapters of ${known.join(', ')} (the linear layers of a model of recipe ${recipe.name}, with ${recipe.layers} layers), ` +
      `found one of ${JSON.stringify(name.slice(0, 120))}; train adapters on those modules alone, or name the model's own recipe`,
    { path, module: name.slice(0, 120) },
  );
}

/** The names in `adapter_config.json` and the adapters in the file must be of each other. */
function requireTargets(
  path: string,
  { targets }: PeftDescription,
  present: readonly PeftModule[],
  modules: readonly PeftModule[],
  recipe: Recipe,
): void {
  if (targets === undefined) return;
  for (const target of targets) {
    if (!modules.some(({ name }) => peftNames(target, name))) throw unknownModule(path, target, modules, recipe);
    if (present.some(({ name }) => peftNames(target, name))) continue;
    throw new PogoError(
      'SHAPE',
      `${path}: expected adapters of ${target} (a target module of ${CONFIG_FILE}), found none; take both files from one training`,
      { path, module: target },
    );
  }
  const extra = present.find(({ name }) => !targets.some((target) => peftNames(target, name)));
  if (extra === undefined) return;
  throw new PogoError(
    'SHAPE',
    `${path}: expected adapters of the target modules of ${CONFIG_FILE} only (${targets.join(', ')}), found one of ${extra.name}; take both files from one training`,
    { path, module: extra.name },
  );
}

/** @param axis that is the rank */
function requireShape(files: TensorFiles, name: string, shape: readonly number[], axis: number, rank: number): void {
  const found = files.shapeOf(name);
  const { path } = files;
  const wanted = `${path}: expected tensor ${name} [${shape.join(', ')}]`;
  if (found === undefined) {
    throw new PogoError('SHAPE', `${wanted}, found none; every layer has the same adapters, each with A and B`, {
      path,
      tensor: name,
    });
  }
  if (found.length === 2 && found[axis] === rank && found[1 - axis] === shape[1 - axis]) return;
  const advice =
    found.length === 2 && found[axis] !== rank
      ? `the rank is ${rank} in ${CONFIG_FILE}: take both files from one training`
      : 'the adapters are of a model of another shape: name its recipe';
  throw new PogoError('SHAPE', `${wanted}, found [${found.join(', ')}]; ${advice}`, { path, tensor: name });
}

async function readMatrix(files: TensorFiles, name: string, shape: readonly [number, number]): Promise<Float32Array> {
  const values = new Float32Array(shape[0] * shape[1]);
  const sink = { write: (element: number, part: Float32Array) => values.set(part, element) };
  await files.read([{ name, shape, transposed: false, offset: 0 }], sink);
  return values;
}

export interface PeftWriteOptions {
  readonly folder: string;
  /** Adapters that are there may be replaced. */
  readonly force?: boolean;
  /** Name or path of the model under them, for `peft` to find. */
  readonly base?: string;
  /** Hexadecimal BLAKE3 of its θ. */
  readonly baseRoot: string;
}

/**
 * Writes adapters, the tensors last: readers find them by the tensors' file, so it stands for both.
 *
 * @param theta f32 [layout.length] of the adapters
 * @returns paths of what was written
 * @throws PogoError MISMATCH for a model that no architecture expresses, IO
 */
export async function writePeft(
  recipe: Recipe,
  adapter: RecipeAdapter,
  theta: Float32Array,
  { folder, base, baseRoot, force }: PeftWriteOptions,
): Promise<string[]> {
  const { modules, prefixes } = peftModules(recipe);
  const prefix = PEFT_PREFIX + (prefixes[0] ?? '');
  const tensors = modules
    .filter(({ target }) => adapter.targets.includes(target))
    .flatMap((module) => {
      const { a, b } = splitPeft(recipe, adapter, module, theta);
      const tensor = (matrix: string, shape: readonly number[], values: Float32Array) => ({
        name: `${prefix}${module.name}.lora_${matrix}.weight`,
        dtype: 'F32' as const,
        shape,
        values,
      });
      return [tensor('A', [adapter.rank, module.inputs], a), tensor('B', [module.rows, adapter.rank], b)];
    });
  const config = `${JSON.stringify(peftConfig(recipe, adapter, base ?? null), null, 2)}\n`;
  const [configPath, path] = [join(folder, CONFIG_FILE), join(folder, TENSOR_FILE)];
  for (const file of [configPath, path]) requireFreeFile(file, force);
  const { bytes, header } = serializeSafetensorsHeader(tensors, { format: 'pt', [BASE_KEY]: baseRoot });
  await writeGroup([fileOf(configPath, config)], {
    file: path,
    write: async (handle) => {
      await writeAll(handle, bytes, 0);
      for (const [i, { values }] of tensors.entries()) {
        const place = header.tensors[i] as (typeof header.tensors)[number];
        await writeAll(handle, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), place.offset);
      }
    },
  });
  return [configPath, path];
}
