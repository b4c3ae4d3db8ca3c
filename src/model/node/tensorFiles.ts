/**
 * Tensors of a checkpoint on disk: one safetensors file, or several with an index, as Hugging Face cuts large models
 * (`model.safetensors.index.json`). Tensors are read in strips of bounded size, whatever the model's. Node only.
 */

import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PogoError } from '../../errors.js';
import {
  FLOAT_DTYPES,
  type FloatDtype,
  parseSafetensorsHeader,
  SAFETENSORS_DTYPES,
  type SafetensorsTensor,
  safetensorsHeaderLength,
  toFp32,
} from '../safetensors.js';
import { parseStrictJson } from '../strictJson.js';
import { readAll } from './wholeFile.js';

/** Names of a checkpoint in a folder. */
export const SINGLE_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/** An index of a model of a thousand layers takes some megabytes. */
const MAX_INDEX_BYTES = 1 << 26;

/** Shards stay open while tensors are read; Linux gives a process 1,024 files by default. */
const MAX_SHARDS = 800;

/** Elements that are converted at once: 4 MiB of fp32. */
const STRIP_ELEMENTS = 1 << 20;

/** Elements of a transposed tensor that are held at once: 64 MiB of fp32, so that its strips are not too thin to read. */
const TILE_ELEMENTS = 1 << 24;

/** Where the elements of a vector go. */
export interface VectorSink {
  /** @param values fp32; the sink may keep no reference to them */
  write(element: number, values: Float32Array): void;
}

/** A vector in memory as a sink. */
export function memorySink(vector: Float32Array): VectorSink {
  return { write: (element, values) => vector.set(values, element) };
}

/** How a tensor of a file maps to consecutive elements of a vector. */
export interface TensorPart {
  /** In the file. */
  readonly name: string;
  readonly shape: readonly number[];
  /** The file holds [cols, rows] where the vector has [rows, cols]. */
  readonly transposed: boolean;
  /** First element in the vector. */
  readonly offset: number;
  /** Elements of the vector's tensor, first and one past the last, that become +0 whatever the file says. */
  readonly zero?: readonly [number, number];
  /** The file may have more rows: the first ones are taken. */
  readonly moreRows?: true;
}

interface PlacedTensor extends SafetensorsTensor {
  readonly file: FileHandle;
  readonly path: string;
}

type FloatTensor = PlacedTensor & { readonly dtype: FloatDtype };

function malformed(path: string, expected: string, found: string, advice = DOWNLOAD): never {
  throw new PogoError('MALFORMED', `${path}: expected ${expected}, found ${found}; ${advice}`, { path });
}

const DOWNLOAD = 'the file is damaged: download it again';

const AGAIN = 'download the files again';

/** One of several files, as `transformers` names them: `model-00001-of-00002.safetensors`. */
const SHARD = /-\d+-of-\d+\.safetensors$/;

/** What stands at a path a user gave: the file to open first. */
async function startOf(path: string): Promise<string> {
  if (!(await stat(path)).isDirectory()) return path;
  for (const name of [SINGLE_FILE, INDEX_FILE]) {
    const file = join(path, name);
    try {
      if ((await stat(file)).isFile()) return file;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    }
  }
  const shard = (await readdir(path)).sort().find((name) => SHARD.test(name));
  throw new PogoError(
    'MISSING',
    `expected ${SINGLE_FILE} or ${INDEX_FILE} in ${path}, found ` +
      (shard === undefined
        ? 'neither; name the folder of the model, or its file'
        : `${shard} without an index; download ${INDEX_FILE} as well`),
    { path },
  );
}

/**
 * Tensor → shard of an index, whose names come from strangers: nothing but plain file names of the same folder.
 *
 * @throws PogoError MALFORMED
 */
export function parseTensorIndex(text: string, path: string): ReadonlyMap<string, string> {
  let index: unknown;
  try {
    index = parseStrictJson(text);
  } catch (cause) {
    malformed(path, 'JSON', cause instanceof Error ? cause.message.slice(0, 200) : 'other text');
  }
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) malformed(path, 'a weight_map', 'none');
  const places = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || !/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}\.safetensors$/.test(shard)) {
      const shown = JSON.stringify(shard)?.slice(0, 80) ?? 'nothing';
      malformed(path, `the name of a safetensors file for ${JSON.stringify(name.slice(0, 80))}`, shown);
    }
    places.set(name, shard);
  }
  const shards = new Set(places.values()).size;
  if (shards < 1 || shards > MAX_SHARDS) malformed(path, `1 to ${MAX_SHARDS} files`, `${shards}`, 'merge some of them');
  return places;
}

/** The tensors of a checkpoint, and which of them nobody has read yet. Its files are open until {@link close}. */
export class TensorFiles {
  /** The file that was opened first: the only one, or the index. */
  readonly path: string;
  readonly #handles: FileHandle[] = [];
  readonly #all = new Map<string, PlacedTensor>();
  readonly #left = new Map<string, PlacedTensor>();
  #metadata: ReadonlyMap<string, string> = new Map();
  #advice = 'name the recipe of the checkpoint with --recipe';

  private constructor(path: string) {
    this.path = path;
  }

  /** Says what to do where the tensors are others than expected: what that is follows from what describes the model. */
  advise(advice: string): void {
    this.#advice = advice;
  }

  /**
   * @param path a safetensors file, an index, or a folder with `model.safetensors` or an index
   * @throws PogoError MISSING for a shard that is not there, MALFORMED for broken headers or an index that its shards do
   *   not bear out, IO
   */
  static async open(path: string): Promise<TensorFiles> {
    let files: TensorFiles | undefined;
    try {
      const start = await startOf(path);
      files = new TensorFiles(start);
      if (start.endsWith('.json')) await files.#openIndex();
      else files.#metadata = await files.#openFile(start);
      return files;
    } catch (cause) {
      await files?.close();
      throw PogoError.from(cause);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#handles.map((file) => file.close()));
  }

  /** Folder of the files, where `config.json` and `tokenizer.json` are looked for. */
  get folder(): string {
    return dirname(this.path);
  }

  /** Metadata of a single file; empty for several. */
  get metadata(): ReadonlyMap<string, string> {
    return this.#metadata;
  }

  /** Names of all tensors. */
  names(): IterableIterator<string> {
    return this.#all.keys();
  }

  /** Shape of a tensor; undefined where there is none of that name. */
  shapeOf(name: string): readonly number[] | undefined {
    return this.#all.get(name)?.shape;
  }

  /** Bytes of all tensors. */
  get bytes(): number {
    let sum = 0;
    for (const tensor of this.#all.values()) sum += tensor.bytes;
    return sum;
  }

  async #openFile(path: string): Promise<ReadonlyMap<string, string>> {
    const file = await open(path, 'r');
    this.#handles.push(file);
    const { size } = await file.stat();
    const head = new Uint8Array(8);
    await readAll(file, head, 0); // a shorter file fails in the next line
    const json = new Uint8Array(safetensorsHeaderLength(head, size, path));
    if (!(await readAll(file, json, 8))) throw new PogoError('IO', `${path} was cut while it was read; try again`);
    const { tensors, metadata } = parseSafetensorsHeader(json, size, path);
    for (const tensor of tensors) {
      const other = this.#all.get(tensor.name);
      if (other !== undefined) {
        const name = tensor.name.slice(0, 80);
        malformed(path, `tensor ${name} in one file`, `it in ${other.path} as well`, 'download both again');
      }
      const placed = { ...tensor, file, path };
      this.#all.set(tensor.name, placed);
      this.#left.set(tensor.name, placed);
    }
    return metadata;
  }

  async #openIndex(): Promise<void> {
    const { size } = await stat(this.path);
    if (size > MAX_INDEX_BYTES) malformed(this.path, `at most ${MAX_INDEX_BYTES} bytes`, `${size}`);
    const bytes = new Uint8Array(size);
    const handle = await open(this.path, 'r');
    try {
      await readAll(handle, bytes, 0);
    } finally {
      await handle.close();
    }
    const places = parseTensorIndex(new TextDecoder().decode(bytes), this.path);
    for (const shard of [...new Set(places.values())].sort()) {
      const path = join(this.folder, shard);
      try {
        await this.#openFile(path);
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
        const message = `${this.path}: expected its file ${shard} beside it, found none; download that file again`;
        throw new PogoError('MISSING', message, { path }, cause);
      }
    }
    for (const [name, shard] of places) {
      const tensor = this.#all.get(name);
      if (tensor === undefined || basename(tensor.path) !== shard) {
        const found = tensor === undefined ? 'no such tensor' : `it in ${basename(tensor.path)}`;
        malformed(this.path, `tensor ${name.slice(0, 80)} in ${shard}`, found, AGAIN);
      }
    }
    for (const { name, path } of this.#all.values()) {
      if (!places.has(name))
        malformed(this.path, 'the tensors of its index only', `${name.slice(0, 80)} in ${path}`, AGAIN);
    }
  }

  has(name: string): boolean {
    return this.#left.has(name);
  }

  /** Leaves tensors unread. */
  skip(matches: (name: string) => boolean): void {
    for (const name of this.#left.keys()) if (matches(name)) this.#left.delete(name);
  }

  /** @throws PogoError SHAPE if a tensor was neither read nor skipped */
  expectNoOthers(): void {
    this.expectOnly(new Set());
  }

  /** @throws PogoError SHAPE if a tensor of another name is left */
  expectOnly(names: ReadonlySet<string>): void {
    for (const name of this.#left.keys()) {
      if (names.has(name)) continue;
      const shown = name.slice(0, 80);
      throw new PogoError(
        'SHAPE',
        `${this.path}: expected the model's tensors only, found ${JSON.stringify(shown)} as well; ${this.#adviceFor()}`,
        { path: this.path, tensor: shown },
      );
    }
  }

  /**
   * Finds tensors without reading them: names, shapes and dtypes of all parts are checked before the first byte.
   *
   * @throws PogoError SHAPE for a missing tensor, another shape or dtype
   */
  check(parts: readonly TensorPart[]): void {
    for (const part of parts) this.#find(part);
  }

  /**
   * @param tileElements elements of a transposed tensor that are held at once
   * @throws PogoError as {@link check}; MALFORMED for Inf or NaN, IO
   */
  async read(parts: readonly TensorPart[], sink: VectorSink, tileElements = TILE_ELEMENTS): Promise<void> {
    const places = parts.map((part) => this.#find(part));
    for (const [i, part] of parts.entries()) {
      await readPart(places[i], part, sink, tileElements);
      this.#left.delete(part.name);
    }
  }

  /**
   * Whether two tensors of the same shape hold the same numbers (−0 equals +0).
   *
   * @throws PogoError as {@link read}
   */
  async equal(a: TensorPart, b: TensorPart): Promise<boolean> {
    const [left, right] = [this.#findAny(a), this.#findAny(b)];
    const size = a.shape.reduce((product, axis) => product * axis, 1);
    for (let first = 0; first < size; first += STRIP_ELEMENTS) {
      const count = Math.min(STRIP_ELEMENTS, size - first);
      const [x, y] = [await readElements(left, first, count), await readElements(right, first, count)];
      if (x.some((value, i) => value !== y[i])) return false;
    }
    return true;
  }

  #find(part: TensorPart): FloatTensor {
    return expectPart(this.#left.get(part.name), part, this.path, this.#adviceFor());
  }

  #findAny(part: TensorPart): FloatTensor {
    return expectPart(this.#all.get(part.name), part, this.path, this.#adviceFor());
  }

  #adviceFor(): string {
    return SHARD.test(this.path) ? 'the file is one of several: name their folder, or their index' : this.#advice;
  }
}

function expectPart(place: PlacedTensor | undefined, part: TensorPart, path: string, advice: string): FloatTensor {
  const { name, shape, moreRows } = part;
  const expected = `${place?.path ?? path}: expected tensor ${name} [${shape.join(', ')}]`;
  const details = { path: place?.path ?? path, tensor: name };
  if (place === undefined) {
    throw new PogoError('SHAPE', `${expected}, found no tensor of that name; ${advice}`, details);
  }
  const fits = (axis: number, i: number): boolean =>
    axis === shape[i] || (moreRows === true && i === 0 && axis > shape[0]);
  if (place.shape.length !== shape.length || !place.shape.every(fits)) {
    const message = `${expected}, found [${place.shape.join(', ')}]; ${advice}`;
    throw new PogoError('SHAPE', message, details);
  }
  const dtype = FLOAT_DTYPES.find((word) => word === place.dtype);
  if (dtype === undefined) {
    const message = `${expected} of ${FLOAT_DTYPES.join(', ')}, found ${place.dtype}; save the model as float32 (in PyTorch: model.float())`;
    throw new PogoError('SHAPE', message, details);
  }
  return { ...place, dtype };
}

/** @returns fp32, all finite */
async function readElements(place: FloatTensor, first: number, count: number): Promise<Float32Array> {
  const size = SAFETENSORS_DTYPES[place.dtype];
  const raw = new Uint8Array(count * size);
  if (!(await readAll(place.file, raw, place.offset + first * size))) {
    throw new PogoError('IO', `${place.path} was cut while it was read; try again`, { path: place.path });
  }
  const values = new Float32Array(count);
  toFp32(place.dtype, raw, values);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    const message = `${place.path}: expected finite numbers in ${place.name}, found ${values[bad]} at ${first + bad}; take a checkpoint from before the numbers broke`;
    throw new PogoError('MALFORMED', message, { path: place.path, tensor: place.name });
  }
  return values;
}

async function readPart(place: FloatTensor, part: TensorPart, sink: VectorSink, tileElements: number): Promise<void> {
  if (part.transposed) {
    await readTransposed(place, part, sink, tileElements);
    return;
  }
  const size = part.shape.reduce((product, axis) => product * axis, 1);
  for (let first = 0; first < size; first += STRIP_ELEMENTS) {
    const values = await readElements(place, first, Math.min(STRIP_ELEMENTS, size - first));
    if (part.zero !== undefined) {
      const [from, to] = part.zero.map((edge) => Math.min(Math.max(edge - first, 0), values.length));
      values.fill(0, from, to);
    }
    sink.write(part.offset + first, values);
  }
}

/** [cols, rows] of the file become [rows, cols]: a tile is a strip of the vector's rows, so of the file's columns. */
async function readTransposed(
  place: FloatTensor,
  part: TensorPart,
  sink: VectorSink,
  tileElements: number,
): Promise<void> {
  const [cols, rows] = part.shape;
  const step = Math.min(rows, Math.max(1, Math.floor(tileElements / cols)));
  for (let first = 0; first < rows; first += step) {
    const taken = Math.min(step, rows - first);
    const tile = new Float32Array(taken * cols);
    // Whole rows of the file are read together; a part of each only where the tensor is larger than a tile.
    const together = taken === rows ? Math.max(1, Math.floor(STRIP_ELEMENTS / rows)) : 1;
    for (let col = 0; col < cols; col += together) {
      const count = Math.min(together, cols - col);
      const values = await readElements(place, col * rows + first, (count - 1) * rows + taken);
      for (let c = 0; c < count; c++) {
        for (let row = 0; row < taken; row++) tile[row * cols + col + c] = values[c * rows + row];
      }
    }
    sink.write(part.offset + first * cols, tile);
  }
}
