/**
 * Writes a model as Hugging Face stores it: one safetensors file, or several with an index where it is larger than a
 * shard may be. Tensors are written in strips, so no buffer grows with the model. Node only.
 */

import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { removeAbandoned } from '../../files/durable.js';
import { realFiles } from '../../files/fileLayer.js';
import { requireFreeFile } from '../../files/target.js';
import { type HfPart, hfModel } from '../hf.js';
import { createLayout } from '../layout.js';
import type { Recipe } from '../recipe.js';
import { serializeSafetensorsHeader } from '../safetensors.js';
import { fileOf, type NewFile, writeAll, writeGroup } from './wholeFile.js';

/** Where elements of the shipped vector come from. */
export interface VectorSource {
  /** Fills `out` with the elements from `element` on. */
  read(element: number, out: Float32Array): void;
}

/** What `transformers` cuts at by default, in fp32. */
export const DEFAULT_SHARD_BYTES = 5e9;

/** Elements that are held at once: 64 MiB of fp32. */
const TILE_ELEMENTS = 1 << 24;

interface WrittenPart extends HfPart {
  readonly bytes: number;
  /** Written as zeros. */
  readonly absent: boolean;
}

export interface HfWriteOptions {
  /** Most bytes of tensors in one file; a larger tensor has a file of its own. */
  readonly shardBytes?: number;
  /** Elements that are held at once. */
  readonly tileElements?: number;
  /** An earlier export of this name may be replaced, whatever its number of files. */
  readonly force?: boolean;
  /** What goes with the tensors, in their folder: `config.json` and the like. */
  readonly beside?: readonly NewFile[];
}

/**
 * Writes the tensors of a model, in full or not at all. With `force` an earlier export of the same name goes, its index and
 * its shards too (`placeGroup` says what a kill leaves); no other file is touched.
 *
 * @param path of the file; several are named after it (`model-00001-of-00002.safetensors`, `model.safetensors.index.json`)
 * @returns paths of what was written: tensors, the index, what goes with them
 * @throws PogoError MISMATCH for a recipe that no architecture expresses, IO where the file system refuses, or for a name
 *   that is taken
 */
export async function writeHfModel(
  path: string,
  recipe: Recipe,
  source: VectorSource,
  { shardBytes = DEFAULT_SHARD_BYTES, tileElements = TILE_ELEMENTS, force = false, beside = [] }: HfWriteOptions = {},
): Promise<string[]> {
  const shards = cut(partsOf(recipe), shardBytes);
  const single = shards.length === 1;
  const index = indexFile(path);
  const files = shards.map((parts, i) => ({
    file: single ? path : join(dirname(path), shardName(basename(path), i, shards.length)),
    parts,
    write: (handle: FileHandle) => writeShard(handle, parts, source, tileElements),
  }));
  const tensors: NewFile[] = single ? files : [...files, fileOf(index, indexText(files))];
  const all = [...tensors, ...beside];
  requireFreeModel(path, force);
  for (const { file } of all) requireFreeFile(file, force);
  const earlier = realFiles.status(dirname(path))?.kind === 'directory' && force ? earlierShards(path) : [];
  await writeGroup([...tensors.slice(0, -1), ...beside], tensors[tensors.length - 1], {
    oldDoors: [single ? index : path],
    oldParts: earlier.filter((file) => files.every((other) => other.file !== file)),
  });
  return all.map(({ file }) => file);
}

/** Whichever of the two names is taken, an earlier export stands there. @throws PogoError IO where it may not be replaced */
export function requireFreeModel(path: string, force: boolean): void {
  for (const file of [path, indexFile(path)]) requireFreeFile(file, force);
}

/** The index of the files that are named after a path. */
function indexFile(path: string): string {
  return `${path}.index.json`;
}

/** All tensors, with the names that `transformers` gives them. */
function partsOf(recipe: Recipe): WrittenPart[] {
  const model = hfModel(recipe, createLayout(recipe));
  const prefix = model.prefixes[0].names;
  const named = (absent: boolean) => (part: HfPart) => {
    const bytes = 4 * part.shape.reduce((size, axis) => size * axis, 1);
    return { ...part, name: prefix + part.name, bytes, absent };
  };
  return [...model.parts.map(named(false)), ...model.absent.map(named(true))];
}

function indexText(files: readonly { readonly file: string; readonly parts: readonly WrittenPart[] }[]): string {
  const weightMap: Record<string, string> = {};
  let totalSize = 0;
  for (const { file, parts } of files) {
    for (const { name, bytes } of parts) {
      weightMap[name] = basename(file);
      totalSize += bytes;
    }
  }
  return `${JSON.stringify({ metadata: { total_size: totalSize }, weight_map: weightMap }, null, 2)}\n`;
}

/** Plain files with the names of {@link shardName}, of any number; what killed writers left of such files is cleared. */
function earlierShards(path: string): string[] {
  const folder = dirname(path);
  removeAbandoned(realFiles, folder, stemOf(basename(path)));
  const start = `${stemOf(basename(path))}-`;
  return realFiles
    .list(folder)
    .filter((name) => name.startsWith(start) && /^\d{5}-of-\d{5}\.safetensors$/.test(name.slice(start.length)))
    .map((name) => join(folder, name))
    .filter((file) => realFiles.status(file)?.kind === 'file');
}

function stemOf(file: string): string {
  return file.replace(/\.safetensors$/, '');
}

function shardName(file: string, index: number, count: number): string {
  const pad = (n: number): string => String(n).padStart(5, '0');
  return `${stemOf(file)}-${pad(index + 1)}-of-${pad(count)}.safetensors`;
}

/** Consecutive parts, as many as fit into one file each. */
function cut(parts: readonly WrittenPart[], shardBytes: number): WrittenPart[][] {
  const shards: WrittenPart[][] = [[]];
  let bytes = 0;
  for (const part of parts) {
    if (bytes > 0 && bytes + part.bytes > shardBytes) {
      shards.push([]);
      bytes = 0;
    }
    shards[shards.length - 1].push(part);
    bytes += part.bytes;
  }
  return shards;
}

async function writeShard(
  handle: FileHandle,
  parts: readonly WrittenPart[],
  source: VectorSource,
  tileElements: number,
): Promise<void> {
  const entries = parts.map(({ name, shape }) => ({ name, dtype: 'F32' as const, shape }));
  const { bytes, header } = serializeSafetensorsHeader(entries, { format: 'pt' }); // transformers asks for it
  await writeAll(handle, bytes, 0);
  for (const [i, part] of parts.entries()) {
    const { offset } = header.tensors[i];
    const write = part.transposed ? writeTransposed : writePlain;
    await write(handle, part, source, offset, tileElements);
  }
}

async function writePlain(
  file: FileHandle,
  part: WrittenPart,
  source: VectorSource,
  offset: number,
  tileElements: number,
): Promise<void> {
  const size = part.bytes / 4;
  for (let first = 0; first < size; first += tileElements) {
    const values = new Float32Array(Math.min(tileElements, size - first));
    if (!part.absent) source.read(part.offset + first, values);
    await writeAll(file, new Uint8Array(values.buffer), offset + 4 * first);
  }
}

/** Our [rows, cols] as the file's [cols, rows]: a tile is a strip of the file's rows, so of our columns. */
async function writeTransposed(
  file: FileHandle,
  part: WrittenPart,
  source: VectorSource,
  offset: number,
  tileElements: number,
): Promise<void> {
  const [cols, rows] = part.shape;
  const step = Math.min(cols, Math.max(1, Math.floor(tileElements / rows)));
  for (let first = 0; first < cols; first += step) {
    const taken = Math.min(step, cols - first);
    const tile = new Float32Array(taken * rows);
    const values = new Float32Array(taken);
    for (let row = 0; row < rows; row++) {
      source.read(part.offset + row * cols + first, values);
      for (let col = 0; col < taken; col++) tile[col * rows + row] = values[col];
    }
    await writeAll(file, new Uint8Array(tile.buffer), offset + 4 * first * rows);
  }
}
