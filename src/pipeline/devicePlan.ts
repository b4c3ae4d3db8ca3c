/**
 * Device memory of a model, planned before a run: what all lanes of a device share, and what each has of its own.
 *
 * | shared | a lane's own |
 * |---|---|
 * | θ, m, v, EMA and their trees | the unit file and its tree |
 * | integer weights, both orientations | the buffers of one tape at a time, workspace, constants |
 * | two sets of M unit files, θ of a frozen model | |
 */

import { type CudaTable, cudaError, unavailable } from '../backend/cuda.js';
import type { CudaAddon, CudaRegion } from '../backend/cudaAddon.js';
import { treeBytes } from '../merkle/shape.js';
import { packedModelLayout, unitFileBytes } from '../model/layout.js';
import { recipeRope } from '../model/rope.js';
import { commitPieces, START_SCALARS } from '../model/state.js';
import { evaluationTape, type GptTape } from '../model/tapes.js';
import { type ModelPlan, unitTape } from '../model/unit.js';
import {
  byteLength,
  type DeviceEntry,
  DeviceLayout,
  type DeviceRef,
  deviceEntries,
  deviceSlice,
  deviceView,
  encodeEntries,
  placeBuffers,
} from './deviceTape.js';

/** Sequences of one run of the evaluation tape, at most: enough to fill a device, little beside a unit's memory. */
const EVALUATED_SEQUENCES = 8;
/** Names of the vectors in the order in which they are hashed. */
export const VECTOR_NAMES = ['theta', 'm', 'v', 'ema'] as const;
export type DeviceVector = (typeof VECTOR_NAMES)[number];

/** A tape with the places of its buffers. */
export interface PlacedTape {
  readonly gpt: GptTape;
  readonly buffers: readonly DeviceRef[];
  readonly entries: readonly DeviceEntry[];
}

/** One tensor of the packed model: where its two planes lie on the device. */
interface PackedPlaces {
  readonly codes: DeviceRef;
  readonly scales: DeviceRef;
}

/** Where everything lies. Pure: any thread makes the same from the same recipe and needs. */
export interface DevicePlan {
  readonly vectors: Readonly<Partial<Record<DeviceVector, DeviceRef>>>;
  readonly trees: Readonly<Partial<Record<DeviceVector, DeviceRef>>>;
  /** θ of the model that adapters stand on, which never changes; undefined where the whole model is trained. */
  readonly frozen: DeviceRef | undefined;
  /** [parity of the step][unit]: u8 unit files; empty where the model is only evaluated. */
  readonly units: readonly (readonly DeviceRef[])[];
  readonly weightCodes: DeviceRef;
  readonly weightScales: DeviceRef;
  /** Cosines and sines of positions, made from the recipe alone; of no length where a family has none. */
  readonly rope: DeviceRef;
  readonly sharedBytes: number;
  /** u8, of this lane: the unit that is computed. */
  readonly unit: DeviceRef;
  readonly unitTree: DeviceRef;
  /** Absent where the model is only evaluated. */
  readonly training: PlacedTape | undefined;
  readonly evaluation: PlacedTape;
  readonly evaluatedSequences: number;
  readonly packed: readonly PackedPlaces[];
  /** Bytes of a lane without workspace and constants, which follow. */
  readonly ownBytes: number;
}

/** Bytes behind a lane's own arrays. */
export interface DeviceNeeds {
  readonly workspace: number;
  readonly constants: number;
}

export interface DevicePlanOptions {
  readonly microBatches: number;
  /** False for a model that is only evaluated. */
  readonly training: boolean;
}

export function devicePlan(plan: ModelPlan, options: DevicePlanOptions): DevicePlan {
  const { layout, model, weights, recipe } = plan;
  const shared = new DeviceLayout(0);
  const kept: readonly DeviceVector[] = options.training
    ? VECTOR_NAMES.filter((name) => name !== 'ema' || recipe.ema)
    : ['theta'];
  const each = (make: () => DeviceRef): Partial<Record<DeviceVector, DeviceRef>> =>
    Object.fromEntries(kept.map((name) => [name, make()]));
  const vectors = each(() => shared.place('f32', layout.length));
  const trees = options.training ? each(() => shared.place('u8', treeBytes(4 * layout.length))) : {};
  const frozen = recipe.adapter === undefined ? undefined : shared.place('f32', model.length);
  const weightCodes = shared.place('i8', weights.codesLength);
  const weightScales = shared.place('f32', weights.scalesLength);
  const rope = shared.place('f32', recipeRope(recipe).length);
  const file = unitFileBytes(layout);
  const units = (options.training ? [0, 1] : []).map(() =>
    Array.from({ length: recipe.unitsPerStep }, () => shared.place('u8', file.total)),
  );

  const own = new DeviceLayout(1);
  const unit = own.place('u8', file.total);
  const unitTree = own.place('u8', treeBytes(file.total));
  const given = {
    theta: frozen ?? (vectors.theta as DeviceRef),
    weightCodes,
    weightScales,
    unitCodes: deviceSlice(unit, 0, file.codes),
    unitScales: deviceView(deviceSlice(unit, file.codes, file.scales), 'bf16'),
    rope,
  };
  // One tape runs at a time, so all use the same memory from here on.
  const scratch = own.bytes;
  let ownBytes = scratch;
  const place = (gpt: GptTape): PlacedTape => {
    const behind = new DeviceLayout(1, scratch);
    const buffers = placeBuffers(gpt.tape, given, behind);
    ownBytes = Math.max(ownBytes, behind.bytes);
    return { gpt, buffers, entries: deviceEntries(gpt.tape, buffers) };
  };
  const training = options.training ? place(unitTape(plan, options.microBatches)) : undefined;
  const evaluatedSequences = Math.min(EVALUATED_SEQUENCES, recipe.sequencesPerUnit);
  const evaluation = place(evaluationTape(recipe, model, weights, evaluatedSequences));
  const behind = new DeviceLayout(1, scratch);
  const packed = packedModelLayout(layout).tensors.map(({ codesBytes, scalesBytes }) => ({
    codes: behind.place('u8', codesBytes),
    scales: behind.place('bf16', scalesBytes / 2),
  }));
  ownBytes = Math.max(ownBytes, behind.bytes);
  return {
    vectors,
    trees,
    frozen,
    units,
    weightCodes,
    weightScales,
    rope,
    sharedBytes: shared.bytes,
    unit,
    unitTree,
    training,
    evaluation,
    evaluatedSequences,
    packed,
    ownBytes,
  };
}

/** BLAKE3 trees of several ranges at once. */
export function hashEntry(name: string, ranges: readonly { bytes: DeviceRef; tree: DeviceRef }[]): DeviceEntry {
  const args = { bytes: ranges.map(({ bytes }) => deviceView(bytes, 'u8')), trees: ranges.map(({ tree }) => tree) };
  return { kind: 'blake3Trees', name, args };
}

/**
 * Joins the gradient of a weight and its quantization where nothing else reads the gradient: then its fp32 form is never
 * written. The unit has the same bits, but fewer operations to look at.
 */
function fuseGradients(entries: readonly DeviceEntry[]): DeviceEntry[] {
  const fused: DeviceEntry[] = [];
  for (const entry of entries) {
    const before = fused.at(-1);
    const dw = before?.args['dw'] as DeviceRef | undefined;
    const x = entry.args['x'] as DeviceRef;
    const joins =
      entry.kind === 'quantize4' &&
      before?.kind === 'weightGradient' &&
      before.args['accumulate'] === false &&
      dw?.offset === x.offset &&
      dw.length === x.length;
    if (!joins) {
      fused.push(entry);
      continue;
    }
    const { dw: _dw, accumulate: _accumulate, ...operands } = before.args;
    const { codes, scales, seed } = entry.args as Record<'codes' | 'scales' | 'seed', DeviceRef>;
    fused[fused.length - 1] = { kind: 'weightGradient4', name: entry.name, args: { ...operands, codes, scales, seed } };
  }
  return fused;
}

/**
 * A unit: the training tape, then the tree of its file.
 *
 * @param watched every operation of the tape is there, in its place: for units whose values are looked at on the way
 */
export function unitEntries(places: DevicePlan, watched = false): DeviceEntry[] {
  const training = places.training?.entries ?? [];
  const entries = watched ? training : fuseGradients(training);
  return [...entries, hashEntry('unit root', [{ bytes: places.unit, tree: places.unitTree }])];
}

/** The unit of zeros that stands for one with an Inf or NaN, and its tree. */
export function nullUnitEntries(places: DevicePlan): DeviceEntry[] {
  const zero = { kind: 'fillZero', name: 'null unit', args: { x: deviceView(places.unit, 'f32') } };
  return [zero, hashEntry('unit root', [{ bytes: places.unit, tree: places.unitTree }])];
}

/**
 * Integer weights from θ.
 *
 * @param frozen those of the model that adapters stand on, which are made once; false: those that move with the state
 */
export function weightEntries({ weights }: ModelPlan, places: DevicePlan, frozen = false): DeviceEntry[] {
  const theta = (frozen ? places.frozen : places.vectors.theta) as DeviceRef;
  const wanted = weights.places.filter((place) => place.frozen === frozen);
  return wanted.map(({ tensor, elements, codes, scales, transposed, transposedScales }) => {
    const { rows: N, cols: K, size, offset, name } = tensor;
    const args = {
      // Without the rows that pad a rank: quantizeWeight takes what is not there as +0.
      theta: deviceSlice(theta, offset, elements),
      w: deviceSlice(places.weightCodes, codes, size),
      wScales: deviceSlice(places.weightScales, scales, transposedScales - scales),
      wt: deviceSlice(places.weightCodes, transposed, size),
      wtScales: deviceSlice(places.weightScales, transposedScales, Math.ceil(N / 1024) * K),
      N,
      K,
    };
    return { kind: 'quantizeWeight', name, args };
  });
}

/** Σ units of a step → AdamW → EMA → integer weights. */
export function commitEntries(
  plan: ModelPlan,
  places: DevicePlan,
  before: Parameters<typeof commitPieces>[1],
): DeviceEntry[] {
  const { layout, recipe } = plan;
  const file = unitFileBytes(layout);
  const units = places.units[before.step % 2] as readonly DeviceRef[];
  const scales = units.map((unit) => deviceView(deviceSlice(unit, file.codes, file.scales), 'bf16'));
  const vector = (name: DeviceVector): DeviceRef => places.vectors[name] as DeviceRef;
  const commits = commitPieces(plan, before, 0, layout.length / 256).map(({ start, end, scalars }) => {
    const range = (ref: DeviceRef): DeviceRef => deviceSlice(ref, start, end - start);
    const args = {
      ...scalars,
      theta: range(vector('theta')),
      m: range(vector('m')),
      v: range(vector('v')),
      ema: recipe.ema ? range(vector('ema')) : deviceSlice(vector('theta'), 0, 0),
      codes: units.map((unit) => deviceSlice(unit, start / 2, (end - start) / 2)),
      scales: scales.map((plane) => deviceSlice(plane, start / 64, (end - start) / 64)),
    };
    return { kind: 'commitLeaves', name: 'commit', args };
  });
  return [...commits, ...weightEntries(plan, places)];
}

/** The trees of some vectors. */
export function rootEntries(places: DevicePlan, names: readonly DeviceVector[]): DeviceEntry[] {
  const ranges = names.map((name) => ({
    bytes: places.vectors[name] as DeviceRef,
    tree: places.trees[name] as DeviceRef,
  }));
  return [hashEntry('state roots', ranges)];
}

/** The packed model of the vector that is evaluated and shipped. */
export function packEntries({ layout, recipe }: ModelPlan, places: DevicePlan): DeviceEntry[] {
  const vector = places.vectors[recipe.ema ? 'ema' : 'theta'] as DeviceRef;
  return packedModelLayout(layout).tensors.map(({ tensor, scalesBytes }, i) => {
    const n = 32 * scalesBytes;
    const { codes, scales } = places.packed[i] as PackedPlaces;
    return {
      kind: 'packModel',
      name: tensor.name,
      args: { x: deviceSlice(vector, tensor.offset, n), codes, scales, n, bits: tensor.modelBits },
    };
  });
}

/**
 * What the tapes of a plan need beside their arrays.
 *
 * @throws PogoError ENVIRONMENT for an operation without a kernel
 */
export function deviceNeeds(
  addon: CudaAddon,
  table: CudaTable,
  device: number,
  plan: ModelPlan,
  places: DevicePlan,
): DeviceNeeds {
  const tapes = [places.evaluation.entries, weightEntries(plan, places)];
  if (places.frozen !== undefined) tapes.push(weightEntries(plan, places, true));
  if (places.training !== undefined) {
    const names = VECTOR_NAMES.filter((name) => places.vectors[name] !== undefined);
    tapes.push(
      unitEntries(places),
      unitEntries(places, true),
      nullUnitEntries(places),
      rootEntries(places, names),
      packEntries(plan, places),
    );
    tapes.push(commitEntries(plan, places, START_SCALARS));
  }
  const missing = new Set(
    tapes
      .flat()
      .filter(({ kind }) => !table.has(kind))
      .map(({ kind }) => kind),
  );
  if (missing.size > 0) throw unavailable([...missing]);
  const needs = tapes.map((entries) => {
    const words = encodeEntries(table, entries);
    try {
      return addon.tapeNeeds(device, words);
    } catch (error) {
      throw cudaError(error, 'plan');
    }
  });
  return {
    workspace: Math.max(...needs.map(({ workspace }) => workspace)),
    constants: Math.max(...needs.map(({ constants }) => constants)),
  };
}

/** Bytes of one lane, and where workspace and constants lie in it: every bound tape has constants of its own. */
export function laneRegions(
  places: DevicePlan,
  needs: DeviceNeeds,
): { bytes: number; workspace: CudaRegion; constants: CudaRegion[] } {
  const behind = new DeviceLayout(1, places.ownBytes);
  const region = (bytes: number): CudaRegion => ({ offset: behind.place('u8', bytes).offset, bytes });
  const workspace = region(needs.workspace);
  const constants = TAPES.map(() => region(needs.constants));
  return { bytes: behind.bytes, workspace, constants };
}

/** Tapes that a lane keeps bound at once. */
export const TAPES = [
  'unit',
  'watchedUnit',
  'nullUnit',
  'evaluation',
  'weights',
  'frozenWeights',
  'commit',
  'roots',
  'pack',
] as const;
export type TapeName = (typeof TAPES)[number];

/** Bytes of page-locked memory that a lane stages its transfers in. */
export function stagingBytes(plan: ModelPlan, places: DevicePlan): number {
  const tape = (places.training ?? places.evaluation).gpt;
  const inputs = tape.tape.buffers
    .map((spec, i) => (['tokens', 'targets', 'seeds', 'loss'].includes(spec.name) ? i : -1))
    .filter((i) => i >= 0)
    .reduce((sum, i) => sum + byteLength((places.training ?? places.evaluation).buffers[i] as DeviceRef) + 16, 0);
  const unit = places.training === undefined ? 0 : unitFileBytes(plan.layout).total;
  // Beside them roots, losses and the values at places that receipts ask for.
  return inputs + unit + STAGED_BESIDE;
}

const STAGED_BESIDE = 1024 * 1024;
