/**
 * Computes gradient units and losses: a bound tape with its inputs and outputs.
 *
 * One runner belongs to one lane. θ and the integer weights are shared by all lanes of a step and only read.
 */
import type { LaneKernels, WeightPacking } from '../backend/ops.js';
import { sharedArray } from '../backend/sharedArrays.js';
import { PogoError } from '../errors.js';
import { paddedRank } from './adapter.js';
import { createLayout, createModelLayout, type Layout, unitFileBytes } from './layout.js';
import type { Recipe } from './recipe.js';
import { recipeRoot } from './recipe.js';
import { recipeRope } from './rope.js';
import { ditherSeed } from './seeds.js';
import { BoundTape } from './tape.js';
import { adapterTape, evaluationTape, type GptTape, trainingTape, unitTokens } from './tapes.js';
import { type TokenSequence, tokenRange } from './tokens.js';
import { PlaceWatch, type UnitPlace } from './unitPlaces.js';
import { type WeightPlace, type WeightsLayout, weightsLayout } from './weights.js';

/** Loss bits of a null unit: a batch whose unit would hold an Inf or NaN (`docs/protocol.md`). */
export const NULL_LOSS_BITS = 0x7fc00000;

/** Sizes that everything about a recipe's model derives from; made once, shared freely. */
export interface ModelPlan {
  readonly recipe: Recipe;
  readonly root: Uint8Array;
  /** Of the state: what is trained. */
  readonly layout: Layout;
  /** Of the whole model: {@link layout} unless only adapters are trained. */
  readonly model: Layout;
  readonly weights: WeightsLayout;
  /** θ of the frozen model, f32 [model.length], where only adapters are trained and somebody has it ({@link withFrozen}). */
  readonly frozen?: Float32Array;
}

/** A plan with the θ of its frozen model, on shared memory; its root is that of the recipe's adapter. */
export function withFrozen(plan: ModelPlan, frozen: Float32Array): ModelPlan {
  return { ...plan, frozen };
}

export function modelPlan(recipe: Recipe): ModelPlan {
  const { adapter } = recipe;
  const root = recipeRoot(recipe);
  const layout = createLayout(recipe);
  if (adapter === undefined) return { recipe, root, layout, model: layout, weights: weightsLayout(layout) };
  const model = createModelLayout(recipe);
  return { recipe, root, layout, model, weights: weightsLayout(model, { layout, rows: paddedRank(adapter) }) };
}

/** What all lanes read during a step. */
export interface SharedWeights {
  /** Of the state: f32 [layout.length] */
  readonly theta: Float32Array;
  /** f32 [model.length], where only adapters are trained: θ of the base. */
  readonly frozen?: Float32Array;
  /** i8 [weights.codesLength] */
  readonly codes: Int8Array;
  /** f32 [weights.scalesLength] */
  readonly scales: Float32Array;
  /** The codes in the form of the backend's products, for backends that have one. */
  readonly packed?: PackedWeights;
}

/** Packed forms, two a weight (of its row codes, of its transpose), in the order of `plan.weights.places`. */
export interface PackedWeights {
  readonly bytes: Uint8Array;
  /** Form i is bytes [offsets[i], offsets[i + 1]). */
  readonly offsets: readonly number[];
}

/**
 * θ of a plan's frozen model; undefined where the whole model is trained.
 *
 * @throws PogoError SHAPE for adapters whose frozen model nobody brought
 */
export function frozenTheta({ recipe, model, frozen }: ModelPlan): Float32Array | undefined {
  if (recipe.adapter !== undefined && frozen?.length !== model.length) {
    throw new PogoError(
      'SHAPE',
      `expected a frozen θ of ${model.length} elements for the adapters of ${recipe.name}, found ${frozen?.length ?? 'none'}`,
    );
  }
  return frozen;
}

/**
 * Allocates shared memory for θ's integer weights.
 *
 * @param packing the packing of the backend that will read them; without it products pack their weights themselves
 * @throws PogoError SHAPE for adapters without the θ of their frozen model
 */
export function allocateWeights(plan: ModelPlan, theta: Float32Array, packing?: WeightPacking): SharedWeights {
  const frozen = frozenTheta(plan);
  const weights = {
    theta,
    ...(frozen === undefined ? {} : { frozen }),
    codes: sharedArray(Int8Array, plan.weights.codesLength),
    scales: sharedArray(Float32Array, plan.weights.scalesLength),
  };
  if (packing === undefined) return weights;
  const offsets = [0];
  for (const { tensor, packs } of plan.weights.places) {
    for (const bytes of [packing.bytes(tensor.rows, tensor.cols), packing.bytes(tensor.cols, tensor.rows)]) {
      // Whole cache lines.
      offsets.push((offsets.at(-1) as number) + (packs ? Math.ceil(bytes / 64) * 64 : 0));
    }
  }
  const bytes = sharedArray(Uint8Array, offsets.at(-1) as number);
  return { ...weights, packed: { bytes, offsets } };
}

function packedForm({ bytes, offsets }: PackedWeights, index: number): Uint8Array {
  return bytes.subarray(offsets[index], offsets[index + 1]);
}

/** Finds a packed form by where its plain codes begin. */
function packedByCodes(plan: ModelPlan, { packed }: SharedWeights): (codes: number) => Uint8Array | undefined {
  if (packed === undefined) return () => undefined;
  const forms = new Map<number, Uint8Array>();
  plan.weights.places.forEach((place, i) => {
    if (!place.packs) return;
    forms.set(place.codes, packedForm(packed, 2 * i));
    forms.set(place.transposed, packedForm(packed, 2 * i + 1));
  });
  return (codes) => forms.get(codes);
}

/** Quantizes the weights with these indices of `plan.weights.places` (all by default) from θ. */
export function quantizeWeights(
  plan: ModelPlan,
  kernels: LaneKernels,
  shared: SharedWeights,
  only?: readonly number[],
): void {
  const { places } = plan.weights;
  const { packing } = kernels;
  for (const index of only ?? places.keys()) {
    const place = places[index] as (typeof places)[number];
    const { rows: N, cols: K, size } = place.tensor;
    const w = shared.codes.subarray(place.codes, place.codes + size);
    const wt = shared.codes.subarray(place.transposed, place.transposed + size);
    kernels.quantizeWeight({
      theta: weightValues(place, shared),
      w,
      wScales: shared.scales.subarray(place.scales, place.transposedScales),
      wt,
      wtScales: shared.scales.subarray(place.transposedScales, place.transposedScales + Math.ceil(N / 1024) * K),
      N,
      K,
    });
    if (shared.packed === undefined || packing === undefined || !place.packs) continue;
    packing.pack({ codes: w, rows: N, cols: K, packed: packedForm(shared.packed, 2 * index) });
    packing.pack({ codes: wt, rows: K, cols: N, packed: packedForm(shared.packed, 2 * index + 1) });
  }
}

/** θ of a weight, f32 [rows · cols]: of an adapter whose rank is padded, a copy with rows of +0 behind it. */
function weightValues({ tensor, elements, frozen }: WeightPlace, shared: SharedWeights): Float32Array {
  const source = frozen ? (shared.frozen as Float32Array) : shared.theta;
  const values = source.subarray(tensor.offset, tensor.offset + elements);
  if (elements === tensor.size) return values;
  const padded = new Float32Array(tensor.size);
  padded.set(values);
  return padded;
}

/** A unit's identity: everything but θ that its bits depend on. */
export interface UnitRequest {
  /** 32 bytes */
  readonly draw1: Uint8Array;
  readonly step: number;
  readonly unit: number;
  /** u32 [sequencesPerUnit, context + 1]: inputs and the last target of each sequence. */
  readonly tokens: Uint32Array;
}

/** The tape of a plan's units. */
export function unitTape(plan: ModelPlan, microBatches = 1): GptTape {
  const { recipe, layout, model, weights } = plan;
  return recipe.adapter === undefined
    ? trainingTape(recipe, layout, weights, microBatches)
    : adapterTape(recipe, recipe.adapter, { model, state: layout, weights }, microBatches);
}

export class UnitRunner {
  readonly #plan: ModelPlan;
  readonly #gpt: GptTape;
  readonly #bound: BoundTape;
  /** Values at the places of the last {@link compute}, one after the other; empty where it watched none. */
  observed: Uint8Array = new Uint8Array(0);
  /** The unit file of the last {@link compute}: codes plane, then scales plane. */
  readonly file: Uint8Array;

  constructor(plan: ModelPlan, kernels: LaneKernels, shared: SharedWeights, microBatches = 1) {
    this.#plan = plan;
    this.#gpt = unitTape(plan, microBatches);
    const bytes = unitFileBytes(plan.layout);
    this.file = sharedArray(Uint8Array, bytes.total);
    const { buffer, byteOffset } = this.file;
    const given = {
      theta: shared.frozen ?? shared.theta,
      weightCodes: shared.codes,
      weightScales: shared.scales,
      unitCodes: this.file.subarray(0, bytes.codes),
      unitScales: new Uint16Array(buffer, byteOffset + bytes.codes, bytes.scales / 2),
      rope: recipeRope(plan.recipe),
    };
    this.#bound = new BoundTape(this.#gpt.tape, kernels, given, packedByCodes(plan, shared));
  }

  /**
   * Computes a unit into {@link file}, and reads the values at `places` on the way into {@link observed}.
   *
   * @returns fp32 bits of the unit's loss; {@link NULL_LOSS_BITS} and an all-zero file where the unit is null
   */
  compute(request: UnitRequest, places: readonly UnitPlace[] = []): number {
    this.#load(request);
    const watch = places.length === 0 ? undefined : new PlaceWatch(this.#gpt.tape, this.#bound, places);
    try {
      this.#bound.run(watch);
      this.observed = watch?.bytes ?? new Uint8Array(0);
    } catch (error) {
      if (!(error instanceof PogoError && error.code === 'NON_FINITE')) throw error;
      this.file.fill(0);
      // Which operation met the Inf or NaN first is nobody's business: a null unit has no values.
      this.observed = new Uint8Array(0);
      return NULL_LOSS_BITS;
    }
    return lossBits(this.#bound.array('unitLoss') as Float32Array);
  }

  /** Like {@link compute}, with milliseconds by operation. */
  profile(request: UnitRequest, clock: () => number): Map<string, number> {
    this.#load(request);
    return this.#bound.profile(clock);
  }

  #load(request: UnitRequest): void {
    const array = (name: string): Uint32Array => this.#bound.array(name) as Uint32Array;
    unitInputs(this.#plan, this.#gpt, request, array('tokens'), array('targets'), array('seeds'));
  }
}

/** Writes what changes from unit to unit: inputs and targets, u32 [tokens] each, and the dither seeds of `gpt.seeds`. */
export function unitInputs(
  { recipe, root }: Pick<ModelPlan, 'recipe' | 'root'>,
  gpt: Pick<GptTape, 'seeds'>,
  request: UnitRequest,
  inputs: Uint32Array,
  targets: Uint32Array,
  seeds: Uint32Array,
): void {
  splitSequences(request.tokens, recipe.context, inputs, targets);
  gpt.seeds.forEach((use, i) => {
    seeds.set(ditherSeed(root, request.draw1, request.step, request.unit, use.tensorId, use.purpose), 4 * i);
  });
}

function lossBits(loss: Float32Array): number {
  return new Uint32Array(loss.buffer, loss.byteOffset, 1)[0] as number;
}

/** Sequences of context + 1 tokens → inputs and targets, each [sequences, context]. */
export function splitSequences(
  sequences: Uint32Array,
  context: number,
  inputs: Uint32Array,
  targets: Uint32Array,
): void {
  const count = inputs.length / context;
  if (sequences.length !== count * (context + 1)) {
    throw new PogoError(
      'SHAPE',
      `expected ${count} sequences of ${context + 1} tokens, found ${sequences.length} tokens`,
    );
  }
  for (let s = 0; s < count; s++) {
    const from = s * (context + 1);
    inputs.set(sequences.subarray(from, from + context), s * context);
    targets.set(sequences.subarray(from + 1, from + context + 1), s * context);
  }
}

/** Copies the sequences that start at `offsets` out of a token file: u32 [offsets, context + 1]. */
export function gatherSequences(tokens: TokenSequence, offsets: readonly number[], context: number): Uint32Array {
  const out = new Uint32Array(offsets.length * (context + 1));
  offsets.forEach((from, i) => {
    if (from + context + 1 > tokens.length) {
      throw new PogoError(
        'RANGE',
        `a sequence at ${from} of ${context + 1} tokens exceeds the ${tokens.length} tokens`,
      );
    }
    out.set(tokenRange(tokens, from, context + 1), i * (context + 1));
  });
  return out;
}

/** Exact losses of sequences under given weights: the forward pass in fixed groups of sequences. */
export class LossRunner {
  readonly #plan: ModelPlan;
  readonly #kernels: LaneKernels;
  readonly #bound: BoundTape;
  readonly sequences: number;

  constructor(plan: ModelPlan, kernels: LaneKernels, shared: SharedWeights, sequences: number) {
    this.#plan = plan;
    this.#kernels = kernels;
    this.sequences = sequences;
    const given = {
      theta: shared.frozen ?? shared.theta,
      weightCodes: shared.codes,
      weightScales: shared.scales,
      rope: recipeRope(plan.recipe),
    };
    const { tape } = evaluationTape(plan.recipe, plan.model, plan.weights, sequences);
    this.#bound = new BoundTape(tape, kernels, given, packedByCodes(plan, shared));
  }

  /**
   * Mean loss in nats per token, as fp32 bits: the sum over all tokens in order × 1/count (`unitLoss`).
   *
   * @param sequences u32 [n, context + 1]; n a multiple of the runner's group
   */
  lossBits(sequences: Uint32Array): number {
    const losses = this.losses(sequences);
    const out = new Float32Array(new SharedArrayBuffer(4));
    this.#kernels.unitLoss({ loss: losses, out, U: losses.length });
    return lossBits(out);
  }

  /** Of one group of sequences u32 [sequences, context + 1]: milliseconds by operation. */
  profile(sequences: Uint32Array, clock: () => number): Map<string, number> {
    const array = (name: string): Uint32Array => this.#bound.array(name) as Uint32Array;
    splitSequences(sequences, this.#plan.recipe.context, array('tokens'), array('targets'));
    return this.#bound.profile(clock);
  }

  /** Losses of every token, f32 [n · context]. A sequence's losses do not depend on its neighbours. */
  losses(sequences: Uint32Array): Float32Array {
    const { context } = this.#plan.recipe;
    const count = sequences.length / (context + 1);
    if (!Number.isInteger(count / this.sequences)) {
      throw new PogoError('SHAPE', `expected a multiple of ${this.sequences} sequences, found ${count}`);
    }
    const all = new Float32Array(new SharedArrayBuffer(4 * count * context));
    const inputs = this.#bound.array('tokens') as Uint32Array;
    const targets = this.#bound.array('targets') as Uint32Array;
    const group = this.sequences * (context + 1);
    for (let from = 0; from < sequences.length; from += group) {
      splitSequences(sequences.subarray(from, from + group), context, inputs, targets);
      this.#bound.run();
      all.set(this.#bound.array('loss') as Float32Array, (from / (context + 1)) * context);
    }
    return all;
  }
}

export { unitTokens };
