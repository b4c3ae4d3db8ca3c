/**
 * Checkpoints in safetensors files, written and read tensor by tensor in pieces. Node only.
 *
 * Format `pogo` is a whole state: the tensors of θ under their names, those of m, v and the EMA under `m.`, `v.` and
 * `ema.`, the recipe and the scalars as metadata. Format `hf` is a model as Hugging Face stores it, in one file or
 * several with an index: the shipped weights (the EMA, or θ where the recipe has none).
 */

import { PogoError } from '../../errors.js';
import { toHex } from '../../hex.js';
import { hfModel, sameShape } from '../hf.js';
import { createLayout, type Layout, type TensorSpec } from '../layout.js';
import { loadRecipe, type Recipe, recipeRoot, recipeToJson } from '../recipe.js';
import { serializeSafetensorsHeader } from '../safetensors.js';
import type { StateScalars, StateVectors } from '../state.js';
import { readHfConfig } from './hfFolder.js';
import { type VectorSource, writeHfModel } from './hfWrite.js';
import { memorySink, TensorFiles, type TensorPart, type VectorSink } from './tensorFiles.js';
import { writeAll, writeAtomically } from './wholeFile.js';

export type CheckpointFormat = 'pogo' | 'hf';

const VECTORS = ['theta', 'm', 'v', 'ema'] as const;
type VectorName = (typeof VECTORS)[number];

/** Name of a tensor of a vector in a `pogo` file. */
function pogoName(vector: VectorName, tensor: TensorSpec): string {
  return vector === 'theta' ? tensor.name : `${vector}.${tensor.name}`;
}

function pogoParts(layout: Layout, vector: VectorName): TensorPart[] {
  return layout.tensors.map((tensor) => ({
    name: pogoName(vector, tensor),
    shape: tensor.kind === 'vector' ? [tensor.size] : [tensor.rows, tensor.cols],
    transposed: false,
    offset: tensor.offset,
  }));
}

/**
 * Writes a checkpoint, in full or not at all; an earlier one of that name is replaced.
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
  if (format === 'hf') {
    const values = expectLength(weights, vectors[weights], layout);
    const source: VectorSource = {
      read: (element, out) => out.set(values.subarray(element, element + out.length)),
    };
    await writeHfModel(path, recipe, source, { force: true });
    return;
  }
  const names = VECTORS.filter((name) => name !== 'ema' || recipe.ema);
  for (const name of names) expectLength(name, vectors[name], layout);
  const parts = names.flatMap((name) => pogoParts(layout, name).map((part) => ({ ...part, vector: vectors[name] })));
  const entries = parts.map(({ name, shape }) => ({ name, dtype: 'F32' as const, shape }));
  const { bytes, header } = serializeSafetensorsHeader(entries, pogoMetadata(recipe, scalars));
  await writeAtomically(path, async (file) => {
    await writeAll(file, bytes, 0);
    for (const [i, { vector, offset, shape }] of parts.entries()) {
      const values = vector.subarray(offset, offset + shape.reduce((size, axis) => size * axis, 1));
      await writeAll(
        file,
        new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
        header.tensors[i].offset,
      );
    }
  });
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

/** What a checkpoint says about itself; nothing of it is believed before the tensors were read against a recipe. */
export interface CheckpointInfo {
  readonly format: CheckpointFormat;
  /** The file that was opened: the only one, or the index of several. */
  readonly path: string;
  /** Folder of the files. */
  readonly folder: string;
  /** Of a `pogo` file; empty for several files. */
  readonly metadata: ReadonlyMap<string, string>;
  /** The recipe that a `pogo` file carries. */
  readonly recipe: Recipe | undefined;
  /** The scalars that a `pogo` file carries. */
  readonly scalars: StateScalars | undefined;
}

/**
 * @param path a safetensors file, an index of several, or a folder with one
 * @throws PogoError MALFORMED for a file that is no safetensors file, MISSING for a file of an index, IO
 */
export async function readCheckpointInfo(path: string): Promise<CheckpointInfo> {
  return await withFiles(path, async (files) => readInfo(files));
}

/** Opens the files of a checkpoint for the time of a call. */
export async function withFiles<T>(path: string, use: (files: TensorFiles) => Promise<T>): Promise<T> {
  const files = await TensorFiles.open(path);
  try {
    return await use(files);
  } catch (cause) {
    throw PogoError.from(cause);
  } finally {
    await files.close();
  }
}

function readInfo(files: TensorFiles): CheckpointInfo {
  const { metadata, path, folder } = files;
  const place = { metadata, path, folder };
  if (metadata.get('format') !== 'pogo/1') return { ...place, format: 'hf', recipe: undefined, scalars: undefined };
  const text = metadata.get('recipe');
  const recipe = text === undefined ? undefined : loadRecipe(text.startsWith('{') ? text : '{');
  return { ...place, format: 'pogo', recipe, scalars: readScalars(metadata) };
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
  return await withFiles(path, async (files) => {
    const info = readInfo(files);
    const layout = createLayout(recipe);
    const allocate = (length: number): Float32Array => new Float32Array(new SharedArrayBuffer(4 * length));
    // θ is read before the others are allocated, so that a wrong file fails early.
    const theta = allocate(layout.length);
    const whole = info.format === 'pogo' && isWhole(info, files, recipe);
    if (info.format === 'pogo') await files.read(pogoParts(layout, 'theta'), memorySink(theta));
    else await readHfWeights(files, layout, recipe, memorySink(theta));
    const vectors = {
      theta,
      m: allocate(layout.length),
      v: allocate(layout.length),
      ema: allocate(recipe.ema ? layout.length : 0),
    };
    if (whole) {
      for (const name of VECTORS.slice(1)) {
        if (vectors[name].length > 0) await files.read(pogoParts(layout, name), memorySink(vectors[name]));
      }
    } else {
      vectors.ema.set(theta.subarray(0, vectors.ema.length));
      if (info.format === 'pogo') files.skip((name) => /^(?:m|v|ema)\./.test(name));
    }
    files.expectNoOthers();
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
  throw new PogoError(
    'MALFORMED',
    `${path}: expected zeros in ${tensor} from row ${recipe.vocab} on, found others; export the state again`,
    {
      path,
      tensor,
    },
  );
}

/** Whether the file holds a state of this very recipe: moments of another one would mean something else. */
function isWhole(info: CheckpointInfo, files: TensorFiles, recipe: Recipe): boolean {
  if (info.scalars === undefined || info.metadata.get('recipeRoot') !== toHex(recipeRoot(recipe))) return false;
  return files.has('m.wte') && files.has('v.wte') && files.has('ema.wte') === recipe.ema;
}

/**
 * Reads the weights that a checkpoint ships: the EMA of a `pogo` file where it has one, else θ; the weights of a model
 * of Hugging Face.
 *
 * @param out fp32 [layout.length]; padding becomes +0
 * @throws PogoError as {@link readCheckpoint}
 */
export async function readCheckpointWeights(path: string, recipe: Recipe, out: Float32Array): Promise<void> {
  await withFiles(path, async (files) => {
    const info = readInfo(files);
    const layout = createLayout(recipe);
    expectLength('weights', out, layout);
    out.fill(0);
    if (info.format === 'hf') {
      await readHfWeights(files, layout, recipe, memorySink(out));
      return;
    }
    await files.read(pogoParts(layout, files.has('ema.wte') ? 'ema' : 'theta'), memorySink(out));
  });
}

/**
 * Reads a model of Hugging Face into a vector that is +0 so far, in pieces of bounded size. Names, shapes and dtypes of
 * all tensors are checked before the first is read, and no tensor may be left over.
 *
 * @throws PogoError SHAPE for a missing or extra tensor, another shape or dtype, a head that is not the token table, or
 *   biases that the recipe has not; MALFORMED for Inf or NaN; IO
 */
export async function readHfWeights(
  files: TensorFiles,
  layout: Layout,
  recipe: Recipe,
  sink: VectorSink,
): Promise<void> {
  const model = hfModel(recipe, layout);
  const described = await readHfConfig(files.folder);
  if (described !== undefined && !sameShape(recipe, described.shape)) {
    throw new PogoError(
      'MISMATCH',
      `expected a model of recipe ${recipe.name}, found another shape in config.json of ${files.folder}; leave --recipe out, or name a recipe of that shape`,
      { path: files.folder },
    );
  }
  if (described !== undefined) {
    files.advise('config.json beside it describes another model: take both from one, or download the files again');
  }
  const prefix = model.prefixes.find(({ names }) => files.has(names + model.table)) ?? model.prefixes[0];
  const named = (part: TensorPart): TensorPart => ({ ...part, name: prefix.names + part.name });
  const parts = model.parts.map(named);
  const absent = model.absent.map(named).filter(({ name }) => files.has(name));
  const table = parts.find(({ name }) => name === prefix.names + model.table);
  const head = table !== undefined && files.has(prefix.head) ? { ...table, name: prefix.head } : undefined;
  files.check([...parts, ...absent, ...(head === undefined ? [] : [head])]);
  const expected = new Set([...parts, ...absent].map(({ name }) => name).concat(head?.name ?? []));
  const isMask = (name: string): boolean =>
    name.startsWith(prefix.names) && model.ignored(name.slice(prefix.names.length));
  files.skip((name) => !expected.has(name) && (isMask(name) || model.foreign?.(name) === true));
  files.expectOnly(expected);
  if (described?.tied === false && head === undefined) {
    throw new PogoError(
      'SHAPE',
      `${files.path}: expected tensor ${prefix.head} (config.json says that the head is not tied), found none; ` +
        'set tie_word_embeddings to true if the model was trained so',
      { path: files.path, tensor: prefix.head },
    );
  }
  if (head !== undefined && table !== undefined) {
    if (!(await files.equal(head, table))) {
      throw new PogoError(
        'SHAPE',
        `${files.path}: expected ${head.name} to equal ${table.name} (the head of these models is the table), found another; ` +
          'tie the head first, as transformers does with tie_word_embeddings, and train that model on',
        { path: files.path, tensor: head.name },
      );
    }
    files.skip((name) => name === head.name);
  }
  for (const part of absent) {
    await files.read([part], {
      write: (_, values) => {
        if (values.every((value) => value === 0)) return;
        throw new PogoError(
          'SHAPE',
          `${files.path}: expected zeros in ${part.name} (recipe ${recipe.name} has no biases), found others; use a recipe with biases`,
          { path: files.path, tensor: part.name },
        );
      },
    });
  }
  await files.read(parts, sink);
  files.expectNoOthers();
}
