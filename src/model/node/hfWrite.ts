/**
 * Writes a model as Hugging Face stores it: one safetensors file, or several with an index where it is larger than a
 * shard may be. Tensors are written in strips, so no buffer grows with the model. Node only.
 */

import { existsSync } from 'node:fs';
import { type FileHandle, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PogoError } from '../../errors.js';
import { requireFreeFile } from '../../files/target.js';
import { type HfPart, hfModel } from '../hf.js';
import { createLayout } from '../layout.js';
import type { Recipe } from '../recipe.js';
import { serializeSafetensorsHeader } from '../safetensors.js';
import { writeAll, writeAtomically } from './wholeFile.js';

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

/**
 * Writes the tensors of a model, in full or not at all. Files of these names are replaced only where the caller asks for it.
 *
 * @param path of the file; several are named after it (`model-00001-of-00002.safetensors`, `model.safetensors.index.json`)
 * @param shardBytes most bytes of tensors in one file; a larger tensor has a file of its own
 * @param tileElements elements that are held at once
 * @param force earlier files of the same names may be replaced
 * @returns paths of what was written, the index last
 * @throws PogoError MISMATCH for a recipe that no architecture expresses, IO where the file system refuses, or where the
 *   file of an earlier export would be taken for this one
 */
export async function writeHfModel(
  path: string,
  recipe: Recipe,
  source: VectorSource,
  shardBytes = DEFAULT_SHARD_BYTES,
  tileElements = TILE_ELEMENTS,
  force = false,
): Promise<string[]> {
  const model = hfModel(recipe, createLayout(recipe));
  const prefix = model.prefixes[0].names;
  const named = (absent: boolean) => (part: HfPart) => {
    const bytes = 4 * part.shape.reduce((size, axis) => size * axis, 1);
    return { ...part, name: prefix + part.name, bytes, absent };
  };
  const parts = [...model.parts.map(named(false)), ...model.absent.map(named(true))];
  const shards = cut(parts, shardBytes);
  const index = `${path}.index.json`;
  const stale = shards.length === 1 ? index : path;
  if (existsSync(stale)) {
    throw new PogoError('IO', `expected no ${stale} beside the new files, found one of another export; remove it`, {
      path: stale,
    });
  }
  const files =
    shards.length === 1
      ? [path]
      : shards.map((_, i) => join(dirname(path), shardName(basename(path), i, shards.length))).concat(index);
  for (const file of files) requireFreeFile(file, force);
  if (shards.length === 1) {
    await writeShard(path, parts, source, tileElements);
    return [path];
  }
  const written: string[] = [];
  try {
    const weightMap: Record<string, string> = {};
    for (const [i, shard] of shards.entries()) {
      const file = files[i];
      await writeShard(file, shard, source, tileElements);
      written.push(file);
      for (const { name } of shard) weightMap[name] = basename(file);
    }
    const totalSize = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    const text = `${JSON.stringify({ metadata: { total_size: totalSize }, weight_map: weightMap }, null, 2)}\n`;
    await writeAtomically(index, (file) => writeAll(file, new TextEncoder().encode(text), 0));
  } catch (cause) {
    for (const file of written) await rm(file, { force: true });
    throw PogoError.from(cause);
  }
  return [...written, index];
}

function shardName(file: string, index: number, count: number): string {
  const pad = (n: number): string => String(n).padStart(5, '0');
  return `${file.replace(/\.safetensors$/, '')}-${pad(index + 1)}-of-${pad(count)}.safetensors`;
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
  path: string,
  parts: readonly WrittenPart[],
  source: VectorSource,
  tileElements: number,
): Promise<void> {
  const entries = parts.map(({ name, shape }) => ({ name, dtype: 'F32' as const, shape }));
  const { bytes, header } = serializeSafetensorsHeader(entries, { format: 'pt' }); // transformers asks for it
  await writeAtomically(path, async (file) => {
    await writeAll(file, bytes, 0);
    for (const [i, part] of parts.entries()) {
      const { offset } = header.tensors[i];
      const write = part.transposed ? writeTransposed : writePlain;
      await write(file, part, source, offset, tileElements);
    }
  });
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
