/**
 * Checkpoints in safetensors files, written and read tensor by tensor in pieces. Node only.
 *
 * Format `pogo` is a whole state: the tensors of θ under their names, those of m, v and the EMA under `m.`, `v.` and
 * `ema.`, the recipe and the scalars as metadata. Format `hf` is a model of Hugging Face's GPT-2: the shipped weights
 * (the EMA, or θ where the recipe has none).
 */

import { type FileHandle, open } from 'node:fs/promises';
import { PogoError } from '../../errors.js';
import { toHex } from '../../hex.js';
import { hfTensor, isHfMask, requireHfShape } from '../hf.js';
import { createLayout, type Layout, type TensorSpec } from '../layout.js';
import { loadRecipe, type Recipe, recipeRoot, recipeToJson } from '../recipe.js';
import {
  FLOAT_DTYPES,
  type FloatDtype,
  parseSafetensorsHeader,
  SAFETENSORS_DTYPES,
  type SafetensorsHeader,
  type SafetensorsTensor,
  safetensorsHeaderLength,
  serializeSafetensorsHeader,
  type TensorToWrite,
  toFp32,
} from '../safetensors.js';
import type { StateScalars, StateVectors } from '../state.js';
import { readAll, writeAll, writeAtomically } from './wholeFile.js';

export type CheckpointFormat = 'pogo' | 'hf';

/** Elements that are converted at once: 4 MiB of fp32. */
const STRIP_ELEMENTS = 1 << 20;

const VECTORS = ['theta', 'm', 'v', 'ema'] as const;
type VectorName = (typeof VECTORS)[number];

/** Name of a tensor of a vector in a `pogo` file. */
function pogoName(vector: VectorName, tensor: TensorSpec): string {
  return vector === 'theta' ? tensor.name : `${vector}.${tensor.name}`;
}

/** How one tensor of a file maps to elements of a vector. */
interface Mapping {
  readonly name: string;
  readonly shape: readonly number[];
  readonly transposed: boolean;
  readonly tensor: TensorSpec;
  readonly vector: Float32Array;
}

function pogoMappings(layout: Layout, vector: VectorName, values: Float32Array): Mapping[] {
  return layout.tensors.map((tensor) => ({
    name: pogoName(vector, tensor),
    shape: tensor.kind === 'vector' ? [tensor.size] : [tensor.rows, tensor.cols],
    transposed: false,
    tensor,
    vector: values,
  }));
}

/**
 * Tensors of a GPT-2 file. Without linear biases in the recipe the file's biases are `absent`: written as zeros,
 * and required to be zero when read.
 */
function hfMappings(layout: Layout, recipe: Recipe, prefix: string, values: Float32Array): Mapping[] {
  return layout.tensors.map((tensor) => {
    const { name, shape, transposed } = hfTensor(tensor, recipe);
    return { name: prefix + name, shape, transposed, tensor, vector: values };
  });
}

function absentBiases(recipe: Recipe): Mapping[] {
  if (recipe.bias) return [];
  const { tensors } = createLayout({ ...recipe, bias: true });
  const biases = tensors.filter(({ name }) => /^h\d+\.(?:qkv|o|fc|proj)\.bias$/.test(name));
  return biases.map((tensor) => {
    const { name, shape } = hfTensor(tensor, recipe);
    const own = { ...tensor, offset: 0 };
    return { name, shape, transposed: false, tensor: own, vector: new Float32Array(tensor.size) };
  });
}

/**
 * Writes a checkpoint, in full or not at all.
 *
 * @param vectors of the state; fp32 [layout.length], `ema` empty where the recipe has none
 * @param weights which vector the format `hf` ships: the EMA by default where there is one
 * @throws PogoError MISMATCH for a recipe that `hf` cannot express, IO where the file system refuses
 */
export async function writeCheckpoint(
  path: string,
  recipe: Recipe,
  scalars: StateScalars,
  vectors: StateVectors,
  format: CheckpointFormat,
  weights: 'ema' | 'theta' = recipe.ema ? 'ema' : 'theta',
): Promise<void> {
  const layout = createLayout(recipe);
  let mappings: Mapping[];
  let metadata: Record<string, string>;
  if (format === 'pogo') {
    const names = VECTORS.filter((name) => name !== 'ema' || recipe.ema);
    mappings = names.flatMap((name) => pogoMappings(layout, name, expectLength(name, vectors[name], layout)));
    metadata = pogoMetadata(recipe, scalars);
  } else {
    requireHfShape(recipe);
    const values = expectLength(weights, vectors[weights], layout);
    mappings = [...hfMappings(layout, recipe, 'transformer.', values), ...absentBiases(recipe).map(withPrefix)];
    metadata = { format: 'pt' }; // transformers refuses a file without it
  }
  const entries: TensorToWrite[] = mappings.map(({ name, shape }) => ({ name, dtype: 'F32', shape }));
  const { bytes, header } = serializeSafetensorsHeader(entries, metadata);
  await writeAtomically(path, async (file) => {
    await writeAll(file, bytes, 0);
    for (const [i, mapping] of mappings.entries()) await writeTensor(file, mapping, header.tensors[i].offset);
  });
}

function withPrefix(mapping: Mapping): Mapping {
  return { ...mapping, name: `transformer.${mapping.name}` };
}

function expectLength(name: string, vector: Float32Array, layout: Layout): Float32Array {
  if (vector.length === layout.length) return vector;
  throw new PogoError('SHAPE', `expected ${layout.length} elements in ${name}, found ${vector.length}`, {
    vector: name,
  });
}

function pogoMetadata(recipe: Recipe, scalars: StateScalars): Record<string, string> {
  return {
    format: 'pogo/1',
    recipe: JSON.stringify(recipeToJson(recipe)),
    recipeRoot: toHex(recipeRoot(recipe)),
    step: String(scalars.step),
    tokens: String(scalars.tokens),
    beta1Power: String(scalars.beta1Power),
    beta2Power: String(scalars.beta2Power),
  };
}

async function writeTensor(file: FileHandle, mapping: Mapping, offset: number): Promise<void> {
  const { tensor, vector, transposed, shape } = mapping;
  const count = shape.reduce((size, axis) => size * axis, 1); // the file's wte may lack the padding rows
  if (!transposed) {
    const values = vector.subarray(tensor.offset, tensor.offset + count);
    await writeAll(file, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset);
    return;
  }
  // A strip of the file's rows is a strip of our columns.
  const [fileRows, fileCols] = shape;
  const step = Math.max(1, Math.floor(STRIP_ELEMENTS / fileCols));
  for (let first = 0; first < fileRows; first += step) {
    const rows = Math.min(step, fileRows - first);
    const strip = new Float32Array(rows * fileCols);
    for (let out = 0; out < fileCols; out++) {
      const from = tensor.offset + out * tensor.cols + first;
      for (let row = 0; row < rows; row++) strip[row * fileCols + out] = vector[from + row];
    }
    await writeAll(file, new Uint8Array(strip.buffer), offset + 4 * first * fileCols);
  }
}

/** What a file says about itself; nothing of it is believed before the tensors were read against a recipe. */
export interface CheckpointInfo {
  readonly header: SafetensorsHeader;
  readonly format: CheckpointFormat;
  /** The recipe that a `pogo` file carries. */
  readonly recipe: Recipe | undefined;
  /** The scalars that a `pogo` file carries. */
  readonly scalars: StateScalars | undefined;
}

/** @throws PogoError MALFORMED for a file that is no safetensors file, IO */
export async function readCheckpointInfo(path: string): Promise<CheckpointInfo> {
  return await withFile(path, readInfo);
}

async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    return await use(file);
  } catch (cause) {
    throw PogoError.from(cause);
  } finally {
    await file?.close();
  }
}

async function readInfo(file: FileHandle): Promise<CheckpointInfo> {
  const { size } = await file.stat();
  const head = new Uint8Array(8);
  await readAll(file, head, 0); // a shorter file fails in the next line
  const json = new Uint8Array(safetensorsHeaderLength(head, size));
  if (!(await readAll(file, json, 8))) throw new PogoError('IO', 'the file was cut while it was read; try again');
  const header = parseSafetensorsHeader(json, size);
  const { metadata } = header;
  if (metadata.get('format') !== 'pogo/1') return { header, format: 'hf', recipe: undefined, scalars: undefined };
  const text = metadata.get('recipe');
  const recipe = text === undefined ? undefined : loadRecipe(text.startsWith('{') ? text : '{');
  return { header, format: 'pogo', recipe, scalars: readScalars(metadata) };
}

function readScalars(metadata: ReadonlyMap<string, string>): StateScalars | undefined {
  const read = (key: string, most: number): number | undefined => {
    const text = metadata.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^(?:0|[1-9]\d{0,15})$/.test(text) && value <= most) return value;
    throw new PogoError(
      'MALFORMED',
      `checkpoint metadata ${key}: expected an integer up to ${most}, found ${text.slice(0, 80)}`,
    );
  };
  const step = read('step', Number.MAX_SAFE_INTEGER);
  const tokens = read('tokens', Number.MAX_SAFE_INTEGER);
  const beta1Power = read('beta1Power', 0x3f800000); // powers of β lie in [0, 1]
  const beta2Power = read('beta2Power', 0x3f800000);
  if (step === undefined || tokens === undefined || beta1Power === undefined || beta2Power === undefined)
    return undefined;
  return { step, tokens, beta1Power, beta2Power };
}

export interface CheckpointState {
  readonly vectors: StateVectors;
  /** The scalars of the state if the file holds a whole one; undefined if it holds weights only. */
  readonly scalars: StateScalars | undefined;
}

/**
 * Reads a checkpoint as a state of a recipe.
 *
 * A `pogo` file with all vectors gives back the state it was made from. Any other file gives a start state: θ from the
 * file, m and v +0, EMA = θ.
 *
 * @returns vectors on shared memory; `ema` empty where the recipe has none
 * @throws PogoError SHAPE for a missing tensor, another shape or dtype; MALFORMED for a broken file, Inf or NaN
 */
export async function readCheckpoint(path: string, recipe: Recipe): Promise<CheckpointState> {
  return await withFile(path, async (file) => {
    const info = await readInfo(file);
    const layout = createLayout(recipe);
    const allocate = (length: number): Float32Array => new Float32Array(new SharedArrayBuffer(4 * length));
    const reader = new TensorReader(file, info.header, path);
    // θ is read before the others are allocated, so that a wrong file fails early.
    const theta = allocate(layout.length);
    const whole = info.format === 'pogo' && isWhole(info, recipe);
    if (info.format === 'pogo') await reader.readAll(pogoMappings(layout, 'theta', theta));
    else await readHf(reader, layout, recipe, theta);
    const vectors = {
      theta,
      m: allocate(layout.length),
      v: allocate(layout.length),
      ema: allocate(recipe.ema ? layout.length : 0),
    };
    if (whole) {
      for (const name of VECTORS.slice(1)) {
        if (vectors[name].length > 0) await reader.readAll(pogoMappings(layout, name, vectors[name]));
      }
    } else {
      vectors.ema.set(theta.subarray(0, vectors.ema.length));
      if (info.format === 'pogo') reader.skip((name) => /^(?:m|v|ema)\./.test(name));
    }
    reader.expectNoOthers();
    for (const name of VECTORS) expectZeroRows(path, name, vectors[name], layout, recipe);
    return { vectors, scalars: whole ? info.scalars : undefined };
  });
}

/** Rows that pad the vocabulary are +0 in every state; other bits there would be a second name of the same model. */
function expectZeroRows(path: string, name: VectorName, vector: Float32Array, layout: Layout, recipe: Recipe): void {
  const wte = layout.byName('wte');
  const from = wte.offset + recipe.vocab * wte.cols;
  const rows = vector.subarray(from, Math.max(from, wte.offset + wte.size));
  if (rows.every((value) => Object.is(value, 0))) return;
  const tensor = pogoName(name, wte);
  throw new PogoError('MALFORMED', `${path}: expected zeros in ${tensor} from row ${recipe.vocab} on, found others`, {
    path,
    tensor,
  });
}

/** Whether the file holds a state of this very recipe: moments of another one would mean something else. */
function isWhole(info: CheckpointInfo, recipe: Recipe): boolean {
  if (info.scalars === undefined || info.header.metadata.get('recipeRoot') !== toHex(recipeRoot(recipe))) return false;
  const names = new Set(info.header.tensors.map(({ name }) => name));
  return names.has('m.wte') && names.has('v.wte') && names.has('ema.wte') === recipe.ema;
}

/**
 * Reads the weights that a checkpoint ships: the EMA of a `pogo` file where it has one, else θ; a GPT-2 file's weights.
 *
 * @param out fp32 [layout.length]; padding becomes +0
 * @throws PogoError as {@link readCheckpoint}
 */
export async function readCheckpointWeights(path: string, recipe: Recipe, out: Float32Array): Promise<void> {
  await withFile(path, async (file) => {
    const info = await readInfo(file);
    const layout = createLayout(recipe);
    expectLength('weights', out, layout);
    out.fill(0);
    const reader = new TensorReader(file, info.header, path);
    if (info.format === 'hf') {
      await readHf(reader, layout, recipe, out);
      reader.expectNoOthers();
      return;
    }
    const hasEma = info.header.tensors.some(({ name }) => name === 'ema.wte');
    await reader.readAll(pogoMappings(layout, hasEma ? 'ema' : 'theta', out));
  });
}

async function readHf(reader: TensorReader, layout: Layout, recipe: Recipe, theta: Float32Array): Promise<void> {
  requireHfShape(recipe);
  const prefix = reader.has('transformer.wte.weight') ? 'transformer.' : '';
  await reader.readAll(hfMappings(layout, recipe, prefix, theta));
  for (const tensor of layout.tensors) {
    // The key third: constant along every softmax row, so it changes no probability.
    if (tensor.name.endsWith('.qkv.bias')) {
      const third = tensor.size / 3;
      theta.fill(0, tensor.offset + third, tensor.offset + 2 * third);
    }
  }
  for (const mapping of absentBiases(recipe)) {
    if (!reader.has(prefix + mapping.name)) continue;
    await reader.readAll([{ ...mapping, name: prefix + mapping.name }]);
    if (mapping.vector.some((value) => value !== 0)) {
      throw new PogoError(
        'SHAPE',
        `expected zeros in ${mapping.name} (recipe ${recipe.name} has no biases), found others`,
        {
          tensor: mapping.name,
        },
      );
    }
  }
  if (reader.has('lm_head.weight')) {
    const wte = layout.byName('wte');
    const head = new Float32Array(recipe.vocab * wte.cols);
    const shape = [recipe.vocab, wte.cols];
    await reader.readAll([
      { name: 'lm_head.weight', shape, transposed: false, tensor: { ...wte, offset: 0 }, vector: head },
    ]);
    if (head.some((value, i) => value !== theta[wte.offset + i])) {
      throw new PogoError('SHAPE', 'expected lm_head.weight to equal wte.weight (the head is tied), found another', {
        tensor: 'lm_head.weight',
      });
    }
  }
  reader.skip((name) => isHfMask(name.startsWith(prefix) ? name.slice(prefix.length) : name));
}

/** Reads tensors of one file and remembers which, so that none is left over. */
class TensorReader {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #left: Map<string, SafetensorsTensor>;

  constructor(file: FileHandle, header: SafetensorsHeader, path: string) {
    this.#file = file;
    this.#path = path;
    this.#left = new Map(header.tensors.map((tensor) => [tensor.name, tensor]));
  }

  has(name: string): boolean {
    return this.#left.has(name);
  }

  skip(matches: (name: string) => boolean): void {
    for (const name of this.#left.keys()) if (matches(name)) this.#left.delete(name);
  }

  expectNoOthers(): void {
    const other = this.#left.keys().next();
    if (other.done === true) return;
    const shown = JSON.stringify(other.value.slice(0, 80));
    throw new PogoError('SHAPE', `${this.#path}: expected the tensors of the recipe only, found ${shown} as well`, {
      path: this.#path,
    });
  }

  async readAll(mappings: readonly Mapping[]): Promise<void> {
    const places = mappings.map((mapping) => this.#find(mapping)); // all shapes before the first byte
    for (const [i, mapping] of mappings.entries()) await this.#read(places[i], mapping);
  }

  #find(mapping: Mapping): SafetensorsTensor & { readonly dtype: FloatDtype } {
    const { name, shape } = mapping;
    const details = { path: this.#path, tensor: name };
    const place = this.#left.get(name);
    const expected = `${this.#path}: expected tensor ${name} [${shape.join(', ')}]`;
    if (place === undefined) throw new PogoError('SHAPE', `${expected}, found no tensor of that name`, details);
    if (place.shape.length !== shape.length || place.shape.some((axis, i) => axis !== shape[i])) {
      const message = `${expected}, found [${place.shape.join(', ')}]; use the recipe of the checkpoint`;
      throw new PogoError('SHAPE', message, details);
    }
    const dtype = FLOAT_DTYPES.find((word) => word === place.dtype);
    if (dtype === undefined) {
      throw new PogoError('SHAPE', `${expected} of ${FLOAT_DTYPES.join(', ')}, found ${place.dtype}`, details);
    }
    this.#left.delete(name);
    return { ...place, dtype };
  }

  async #read(place: SafetensorsTensor & { readonly dtype: FloatDtype }, mapping: Mapping): Promise<void> {
    const { tensor, vector, transposed, shape } = mapping;
    const fileCols = shape.length === 1 ? 1 : shape[1];
    const fileRows = shape[0];
    const size = SAFETENSORS_DTYPES[place.dtype];
    const step = Math.max(1, Math.floor(STRIP_ELEMENTS / fileCols));
    for (let first = 0; first < fileRows; first += step) {
      const rows = Math.min(step, fileRows - first);
      const raw = new Uint8Array(rows * fileCols * size);
      if (!(await readAll(this.#file, raw, place.offset + first * fileCols * size))) {
        throw new PogoError('IO', `${this.#path} was cut while it was read; try again`);
      }
      const strip = new Float32Array(rows * fileCols);
      toFp32(place.dtype, raw, strip);
      const bad = strip.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) {
        const message = `${this.#path}: expected finite numbers in ${place.name}, found ${strip[bad]} at ${first * fileCols + bad}`;
        throw new PogoError('MALFORMED', message, { path: this.#path, tensor: place.name });
      }
      if (!transposed) {
        vector.set(strip, tensor.offset + first * fileCols);
        continue;
      }
      for (let out = 0; out < fileCols; out++) {
        const to = tensor.offset + out * tensor.cols + first;
        for (let row = 0; row < rows; row++) vector[to + row] = strip[row * fileCols + out];
      }
    }
  }
}
