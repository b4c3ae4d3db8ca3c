/**
 * The state of a run in memory: four flat fp32 vectors and the scalars that the next step depends on.
 *
 * State(s + 1) is a pure function of state(s) and the gradient units of step s; everything here works in place and on
 * ranges of leaves, so that several workers can share one commit.
 */
import type { Kernels, LaneKernels } from '../backend/ops.js';
import { sharedArray } from '../backend/sharedArrays.js';
import { PogoError } from '../errors.js';
import { bitsToFloat, floatToBits } from './fp32.js';
import { writeInitialState } from './initialize.js';
import { type Layout, LEAF_ELEMENTS, packedModelLayout, paddedSize, unitFileBytes } from './layout.js';
import type { Recipe } from './recipe.js';
import type { ModelPlan } from './unit.js';

/** Steps between two updates of the EMA. */
export const EMA_INTERVAL = 8;

export interface StateVectors {
  /** f32 [layout.length] each, on shared memory; `ema` is empty where the recipe has none. */
  readonly theta: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  readonly ema: Float32Array;
}

/** The bytes of a vector: little-endian fp32, as it is hashed and stored. A view, not a copy. */
export function vectorBytes(vector: Float32Array): Uint8Array {
  return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
}

/** Scalars at the start of a step. Powers are fp32 bits of β^step as multiplied up. */
export interface StateScalars {
  readonly step: number;
  readonly tokens: number;
  readonly beta1Power: number;
  readonly beta2Power: number;
}

const ONE_BITS = 0x3f800000;
/** β^t below 2^-100 becomes +0 (`docs/numerics.md` §1.5). */
const POWER_FLOOR = 2 ** -100;

export const START_SCALARS: StateScalars = { step: 0, tokens: 0, beta1Power: ONE_BITS, beta2Power: ONE_BITS };

export function allocateState(layout: Layout, ema: boolean): StateVectors {
  const vector = (length: number): Float32Array => sharedArray(Float32Array, length);
  return {
    theta: vector(layout.length),
    m: vector(layout.length),
    v: vector(layout.length),
    ema: vector(ema ? layout.length : 0),
  };
}

/** The start state of a recipe that starts from a seed: initial weights, zero moments, EMA = θ. */
export function seedState(plan: ModelPlan): StateVectors {
  const state = allocateState(plan.layout, plan.recipe.ema);
  writeInitialState(plan.layout, plan.recipe, state.theta);
  state.ema.set(state.theta.subarray(0, state.ema.length));
  return state;
}

/** The start state of a recipe that starts from a root: θ as it is, zero moments, EMA = θ. */
export function rootState(plan: ModelPlan, theta: Float32Array): StateVectors {
  const state = allocateState(plan.layout, plan.recipe.ema);
  state.theta.set(theta);
  state.ema.set(theta.subarray(0, state.ema.length));
  return state;
}

function advancePower(betaBits: number, powerBits: number): number {
  const power = Math.fround(bitsToFloat(betaBits) * bitsToFloat(powerBits));
  return power < POWER_FLOOR ? 0 : floatToBits(power);
}

/** Scalars after one more step. */
export function advanceScalars(
  recipe: Pick<Recipe, 'optimizer' | 'unitsPerStep' | 'sequencesPerUnit' | 'context'>,
  s: StateScalars,
): StateScalars {
  return {
    step: s.step + 1,
    tokens: s.tokens + recipe.unitsPerStep * recipe.sequencesPerUnit * recipe.context,
    beta1Power: advancePower(recipe.optimizer.beta1Bits, s.beta1Power),
    beta2Power: advancePower(recipe.optimizer.beta2Bits, s.beta2Power),
  };
}

/** Whether the step that leads to a state of these scalars moves the EMA. */
export function movesEma(recipe: Recipe, after: StateScalars): boolean {
  return recipe.ema && after.step % EMA_INTERVAL === 0;
}

/** fp32 bits of the learning rate of the step from state `step` to `step + 1`; after the table's end its last value. */
export function learningRateBits(recipe: Recipe, step: number): number {
  const table = recipe.learningRateBits;
  return table[Math.min(step, table.length - 1)] as number;
}

export interface UnitPlanes {
  readonly codes: Uint8Array;
  readonly scales: Uint16Array;
}

/** The two planes of a unit file. @throws PogoError SHAPE for a file of another length */
export function unitPlanes(layout: Layout, file: Uint8Array): UnitPlanes {
  const bytes = unitFileBytes(layout);
  if (file.length !== bytes.total) {
    throw new PogoError('SHAPE', `expected a gradient unit of ${bytes.total} bytes, found ${file.length}`);
  }
  return {
    codes: file.subarray(0, bytes.codes),
    scales: new Uint16Array(file.buffer, file.byteOffset + bytes.codes, bytes.scales / 2),
  };
}

type CommitArguments = Parameters<Kernels['commitLeaves']>[0];
type CommitScalars = Omit<CommitArguments, 'theta' | 'm' | 'v' | 'ema' | 'codes' | 'scales'>;

/** A range of one tensor's elements and the numbers that its part of the commit pass takes. */
export interface CommitPiece {
  /** First element of the vectors, and the one behind the last: whole leaves. */
  readonly start: number;
  readonly end: number;
  readonly scalars: CommitScalars;
}

/** Parts of tensors in leaves [fromLeaf, toLeaf). Tensors follow each other without gaps, and so do they. */
function tensorParts(
  { recipe, layout }: Pick<ModelPlan, 'recipe' | 'layout'>,
  fromLeaf: number,
  toLeaf: number,
): { readonly start: number; readonly end: number; readonly weightDecay: number }[] {
  const weightDecay = bitsToFloat(recipe.optimizer.weightDecayBits);
  const from = fromLeaf * LEAF_ELEMENTS;
  const to = toLeaf * LEAF_ELEMENTS;
  return layout.tensors.flatMap((tensor) => {
    const start = Math.max(from, tensor.offset);
    const end = Math.min(to, tensor.offset + paddedSize(tensor));
    return start < end ? [{ start, end, weightDecay: tensor.decay ? weightDecay : 0 }] : [];
  });
}

/** What the commit pass of a step takes beside its arrays. */
function commitScalars(recipe: Recipe, before: StateScalars, n: number, weightDecay: number): CommitScalars {
  const after = advanceScalars(recipe, before);
  const { optimizer } = recipe;
  return {
    n,
    beta1: bitsToFloat(optimizer.beta1Bits),
    beta2: bitsToFloat(optimizer.beta2Bits),
    b1t: bitsToFloat(after.beta1Power),
    b2t: bitsToFloat(after.beta2Power),
    epsilon: bitsToFloat(optimizer.epsilonBits),
    weightDecay,
    learningRate: bitsToFloat(learningRateBits(recipe, before.step)),
    emaDecay: bitsToFloat(recipe.emaDecayBits),
    updateEma: movesEma(recipe, after),
  };
}

/** The commit pass over leaves [fromLeaf, toLeaf), cut at tensors: each has its own weight decay. */
export function commitPieces(
  plan: Pick<ModelPlan, 'recipe' | 'layout'>,
  before: StateScalars,
  fromLeaf: number,
  toLeaf: number,
): CommitPiece[] {
  return tensorParts(plan, fromLeaf, toLeaf).map(({ start, end, weightDecay }) => {
    return { start, end, scalars: commitScalars(plan.recipe, before, end - start, weightDecay) };
  });
}

/** Kernels of the commit pass. */
export type CommitKernels = Pick<LaneKernels, 'commitLeaves' | 'commitTensors'>;

/**
 * The commit pass over leaves [fromLeaf, toLeaf): Σ units → AdamW → EMA, in place.
 *
 * @param before scalars of the state that is advanced (the step's own)
 * @param units the M unit files in index order, each 2-byte aligned
 */
export function commitLeafRange(
  plan: ModelPlan,
  kernels: CommitKernels,
  state: StateVectors,
  before: StateScalars,
  units: readonly Uint8Array[],
  fromLeaf: number,
  toLeaf: number,
): void {
  const planes = units.map((file) => unitPlanes(plan.layout, file));
  commitWindow(plan, kernels, { first: 0, vectors: state, units: planes }, before, fromLeaf, toLeaf);
}

/** Leaves of a state, and of a step's units, in memory of their own. */
export interface CommitWindow {
  /** Element of the vectors that is element 0 of every array here; a multiple of 256. */
  readonly first: number;
  readonly vectors: StateVectors;
  /** In index order. */
  readonly units: readonly UnitPlanes[];
}

/** As {@link commitLeafRange}, for a state that is not all in memory: the leaves must lie inside the window. */
export function commitWindow(
  plan: ModelPlan,
  kernels: CommitKernels,
  { first, vectors, units }: CommitWindow,
  before: StateScalars,
  fromLeaf: number,
  toLeaf: number,
): void {
  const arrays = (start: number, end: number): Omit<CommitArguments, keyof CommitScalars> => {
    const [low, high] = [start - first, end - first];
    return {
      theta: vectors.theta.subarray(low, high),
      m: vectors.m.subarray(low, high),
      v: vectors.v.subarray(low, high),
      ema: plan.recipe.ema ? vectors.ema.subarray(low, high) : vectors.ema,
      codes: units.map((unit) => unit.codes.subarray(low / 2, high / 2)),
      scales: units.map((unit) => unit.scales.subarray(low / 64, high / 64)),
    };
  };
  if (kernels.commitTensors === undefined) {
    for (const { start, end, scalars } of commitPieces(plan, before, fromLeaf, toLeaf)) {
      kernels.commitLeaves({ ...arrays(start, end), ...scalars });
    }
    return;
  }
  const parts = tensorParts(plan, fromLeaf, toLeaf);
  const start = parts[0]?.start ?? 0;
  const end = parts.at(-1)?.end ?? 0;
  if (start === end) return;
  const leaves = new Uint32Array(parts.length);
  const weightDecays = new Float32Array(parts.length);
  parts.forEach((part, i) => {
    leaves[i] = (part.end - part.start) / LEAF_ELEMENTS;
    weightDecays[i] = part.weightDecay;
  });
  const scalars = commitScalars(plan.recipe, before, end - start, 0);
  kernels.commitTensors(Object.assign(scalars, arrays(start, end)), leaves, weightDecays);
}

/** Leaves of a vector. */
export function leafCount(layout: Layout): number {
  return layout.length / LEAF_ELEMENTS;
}

/** The vector that is evaluated and shipped. */
export function evaluatedVector(recipe: Recipe, state: StateVectors): Float32Array {
  return recipe.ema ? state.ema : state.theta;
}

/** Packs tensors (all by default) of a vector into a packed-model file. */
export function packModel(
  plan: ModelPlan,
  kernels: Kernels,
  vector: Float32Array,
  file: Uint8Array,
  only?: readonly number[],
): void {
  const packed = packedModelLayout(plan.layout);
  for (const index of only ?? plan.layout.tensors.keys()) {
    const place = packed.tensors[index] as (typeof packed.tensors)[number];
    kernels.packModel({
      x: tensorElements(vector, place.tensor),
      ...packedPlanes(file, place),
      ...packedSizes(place.tensor),
    });
  }
}

/** The fp32 vector that a packed model stands for. */
export function unpackModel(plan: ModelPlan, kernels: Kernels, file: Uint8Array, vector: Float32Array): void {
  const packed = packedModelLayout(plan.layout);
  if (file.length !== packed.bytes) {
    throw new PogoError('SHAPE', `expected a packed model of ${packed.bytes} bytes, found ${file.length}`);
  }
  for (const place of packed.tensors) {
    kernels.unpackModel({
      x: tensorElements(vector, place.tensor),
      ...packedPlanes(file, place),
      ...packedSizes(place.tensor),
    });
  }
}

type Place = ReturnType<typeof packedModelLayout>['tensors'][number];

function tensorElements(vector: Float32Array, tensor: Place['tensor']): Float32Array {
  return vector.subarray(tensor.offset, tensor.offset + paddedSize(tensor));
}

function packedPlanes(file: Uint8Array, place: Place): { codes: Uint8Array; scales: Uint16Array } {
  return {
    codes: file.subarray(place.codesOffset, place.codesOffset + place.codesBytes),
    scales: new Uint16Array(file.buffer, file.byteOffset + place.scalesOffset, place.scalesBytes / 2),
  };
}

function packedSizes(tensor: Place['tensor']): { n: number; bits: 4 | 8 } {
  return { n: paddedSize(tensor), bits: tensor.modelBits };
}
