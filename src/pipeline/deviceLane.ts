/**
 * A lane's part of a model on a device: the tapes that it keeps bound, and what they read and write.
 *
 * Everything is synchronous and belongs to the worker's thread. Only tokens and seeds go up for a unit; the unit file, its
 * root and its loss come down, the file's tensors while later ones are still computed.
 */
import { type CudaTable, cudaError, failureError } from '../backend/cuda.js';
import type { CudaAddon, CudaArray, CudaCopy, CudaDownload, CudaFailure, CudaUpload } from '../backend/cudaAddon.js';
import { PogoError } from '../errors.js';
import { packedModelLayout } from '../model/layout.js';
import { recipeRope } from '../model/rope.js';
import type { StateScalars, StateVectors } from '../model/state.js';
import { type ModelPlan, NULL_LOSS_BITS, splitSequences, type UnitRequest, unitInputs } from '../model/unit.js';
import { joinPlaces, placeReads, type UnitPlace } from '../model/unitPlaces.js';
import {
  commitEntries,
  type DeviceNeeds,
  type DevicePlan,
  type DeviceVector,
  devicePlan,
  laneRegions,
  nullUnitEntries,
  type PlacedTape,
  packEntries,
  rootEntries,
  stagingBytes,
  TAPES,
  type TapeName,
  unitEntries,
  weightEntries,
} from './devicePlan.js';
import { byteLength, type DeviceEntry, type DeviceRef, deviceSlice, encodeEntries } from './deviceTape.js';

/** A model on a device: travels with its session. */
export interface DeviceSession {
  /** Number of the model in this process. */
  readonly model: number;
  readonly training: boolean;
  readonly needs: DeviceNeeds;
}

export interface DeviceUnit {
  readonly lossBits: number;
  /** BLAKE3 of the unit file. */
  readonly root: Uint8Array;
  readonly observed: Uint8Array;
}

/** Tensors of at least this many bytes come down while the rest is computed; the others together at the end. */
const OVERLAPPED_BYTES = 256 * 1024;
/** Operations whose codes are a tensor of the unit file. */
const EMITS_UNIT = ['quantize4', 'weightGradient4'];
const ROOT_BYTES = 32;
const NON_FINITE = 1;

interface Bound {
  readonly tape: number;
  readonly entries: readonly DeviceEntry[];
}

export class DeviceLane {
  readonly #addon: CudaAddon;
  readonly #table: CudaTable;
  readonly #plan: ModelPlan;
  readonly #places: DevicePlan;
  readonly #lane: number;
  readonly #regions: ReturnType<typeof laneRegions>;
  readonly #bound = new Map<TapeName, Bound>();

  /** @throws PogoError ENVIRONMENT where the model's lanes are all taken, or the device is gone */
  constructor(addon: CudaAddon, table: CudaTable, plan: ModelPlan, microBatches: number, session: DeviceSession) {
    this.#addon = addon;
    this.#table = table;
    this.#plan = plan;
    this.#places = devicePlan(plan, { microBatches, training: session.training });
    this.#regions = laneRegions(this.#places, session.needs);
    this.#lane = translated('lane', () => addon.attachLane(session.model, stagingBytes(plan, this.#places)));
  }

  /** Gives the lane's part of the model back. */
  dispose(): void {
    this.#addon.detachLane(this.#lane);
  }

  /**
   * Brings vectors from host memory and makes the integer weights.
   *
   * @param frozen θ of the model that adapters stand on: the first time
   */
  load(vectors: Partial<StateVectors>, frozen?: Float32Array): void {
    const rope = recipeRope(this.#plan.recipe);
    if (rope.length > 0) this.#upload(this.#places.rope, rope);
    for (const [name, place] of Object.entries(this.#places.vectors) as [DeviceVector, DeviceRef][]) {
      const vector = vectors[name];
      if (vector !== undefined) this.#upload(place, vector);
    }
    if (frozen !== undefined && this.#places.frozen !== undefined) {
      this.#upload(this.#places.frozen, frozen);
      this.#run(
        this.#tape('frozenWeights', () => weightEntries(this.#plan, this.#places, true)),
        [],
        [],
        [],
      );
    }
    this.#run(
      this.#tape('weights', () => weightEntries(this.#plan, this.#places)),
      [],
      [],
      [],
    );
  }

  /** Copies vectors to host memory. */
  fetch(vectors: Partial<StateVectors>): void {
    for (const [name, place] of Object.entries(this.#places.vectors) as [DeviceVector, DeviceRef][]) {
      const vector = vectors[name];
      if (vector !== undefined) this.#download(place, vector);
    }
  }

  /** Copies the trees of the last {@link roots} to host memory. */
  fetchTrees(trees: Readonly<Partial<Record<DeviceVector, Uint8Array>>>): void {
    for (const [name, place] of Object.entries(this.#places.trees) as [DeviceVector, DeviceRef][]) {
      const tree = trees[name];
      if (tree !== undefined) this.#download(place, tree);
    }
  }

  /**
   * Computes a unit into `file` and, where `slot` is given, into that place of the model for the commit.
   *
   * @param file u8 on shared memory
   */
  computeUnit(request: UnitRequest, file: Uint8Array, places: readonly UnitPlace[] = []): DeviceUnit {
    const training = this.#places.training as PlacedTape;
    const bound =
      places.length === 0
        ? this.#tape('unit', () => unitEntries(this.#places))
        : this.#tape('watchedUnit', () => unitEntries(this.#places, true));
    const [tokens, targets, seeds] = ['tokens', 'targets', 'seeds'].map((name) => bufferOf(training, name)) as [
      DeviceRef,
      DeviceRef,
      DeviceRef,
    ];
    const inputs = [tokens, targets, seeds].map((ref) => ({ ...ref, data: new Uint32Array(ref.length) }));
    const [tokenData, targetData, seedData] = inputs.map(({ data }) => data) as [Uint32Array, Uint32Array, Uint32Array];
    unitInputs(this.#plan, training.gpt, request, tokenData, targetData, seedData);

    const last = bound.entries.length - 1;
    const loss = new Uint32Array(1);
    const root = new Uint8Array(ROOT_BYTES);
    const watched = placeReads(training.gpt.tape, places).map((read) => {
      const ref = training.entries[read.entry]?.args[read.argument] as DeviceRef;
      const part = deviceSlice(ref, read.from, read.to - read.from);
      return { read, part, data: new Uint8Array(byteLength(part)) };
    });
    const downloads: CudaDownload[] = [
      ...watched.map(({ read, part, data }) => ({ ...part, after: read.entry, overlap: false, data })),
      ...unitDownloads(this.#places, bound.entries, file),
      { ...bufferOf(training, 'unitLoss'), after: last, overlap: false, data: loss },
      { ...rootPlace(this.#places.unitTree), after: last, overlap: false, data: root },
    ];
    downloads.sort((a, b) => a.after - b.after);
    const slot = this.#places.units[request.step % 2]?.[request.unit];
    const copies = slot === undefined ? [] : [copyOf(this.#places.unit, slot)];
    const failure = this.#runTape(bound, inputs, downloads, copies);
    if (failure === undefined) {
      const parts: (Uint8Array | undefined)[] = places.map(() => undefined);
      for (const { read, data } of watched) parts[read.place] = data;
      return { lossBits: loss[0] as number, root, observed: joinPlaces(parts) };
    }
    if (failure.kind !== NON_FINITE) throw named(bound, failure);
    // A null unit has no values, and which operation met the Inf or NaN first is nobody's business.
    file.fill(0);
    const nothing = this.#tape('nullUnit', () => nullUnitEntries(this.#places));
    const after = nothing.entries.length - 1;
    this.#run(nothing, [], [{ ...rootPlace(this.#places.unitTree), after, overlap: false, data: root }], copies);
    return { lossBits: NULL_LOSS_BITS, root, observed: new Uint8Array(0) };
  }

  /**
   * State(s) → state(s + 1) and its integer weights.
   *
   * @param units the step's files; undefined where this device computed the unit itself
   */
  commit(before: StateScalars, units: readonly (Uint8Array | undefined)[]): void {
    units.forEach((file, unit) => {
      const slot = this.#places.units[before.step % 2]?.[unit] as DeviceRef;
      if (file !== undefined) this.#upload(slot, file);
    });
    // Scalars change from step to step, so the tape is bound anew.
    this.#release('commit');
    this.#run(
      this.#tape('commit', () => commitEntries(this.#plan, this.#places, before)),
      [],
      [],
      [],
    );
  }

  /** BLAKE3 of vectors, in the order of `names`; their trees stay on the device. */
  roots(names: readonly DeviceVector[]): Uint8Array[] {
    this.#release('roots');
    const bound = this.#tape('roots', () => rootEntries(this.#places, names));
    const after = bound.entries.length - 1;
    const roots = names.map(() => new Uint8Array(ROOT_BYTES));
    const downloads = names.map((name, i) => ({
      ...rootPlace(this.#places.trees[name] as DeviceRef),
      after,
      overlap: false,
      data: roots[i] as Uint8Array,
    }));
    this.#run(bound, [], downloads, []);
    return roots;
  }

  /** The packed model of the current state into `file`. */
  pack(file: Uint8Array): void {
    this.#run(
      this.#tape('pack', () => packEntries(this.#plan, this.#places)),
      [],
      [],
      [],
    );
    packedModelLayout(this.#plan.layout).tensors.forEach(
      ({ codesOffset, codesBytes, scalesOffset, scalesBytes }, i) => {
        const { codes, scales } = this.#places.packed[i] as DevicePlan['packed'][number];
        this.#download(codes, file.subarray(codesOffset, codesOffset + codesBytes));
        this.#download(scales, file.subarray(scalesOffset, scalesOffset + scalesBytes));
      },
    );
  }

  /** Losses by token, f32 [n · context], of sequences u32 [n, context + 1] under the model's weights. */
  losses(sequences: Uint32Array, losses: Float32Array): void {
    const { evaluation, evaluatedSequences: group } = this.#places;
    const { context } = this.#plan.recipe;
    const bound = this.#tape('evaluation', () => evaluation.entries);
    const count = losses.length / context;
    const inputs = ['tokens', 'targets'].map((name) => {
      const ref = bufferOf(evaluation, name);
      return { ...ref, data: new Uint32Array(ref.length) };
    });
    const [tokens, targets] = inputs.map(({ data }) => data) as [Uint32Array, Uint32Array];
    const out = new Float32Array(group * context);
    const download = { ...bufferOf(evaluation, 'loss'), after: bound.entries.length - 1, overlap: false, data: out };
    for (let from = 0; from < count; from += group) {
      const some = Math.min(group, count - from);
      const part = sequences.subarray(from * (context + 1), (from + some) * (context + 1));
      // The last group may be short: what stands behind it was computed before and changes nothing.
      splitSequences(part, context, tokens.subarray(0, some * context), targets.subarray(0, some * context));
      this.#run(bound, inputs, [download], []);
      losses.set(out.subarray(0, some * context), from * context);
    }
  }

  #tape(name: TapeName, entries: () => readonly DeviceEntry[]): Bound {
    const known = this.#bound.get(name);
    if (known !== undefined) return known;
    const list = entries();
    const words = encodeEntries(this.#table, list);
    const constants = this.#regions.constants[TAPES.indexOf(name)] as { offset: number; bytes: number };
    const tape = translated(name, () => this.#addon.bindTape(this.#lane, words, constants, this.#regions.workspace));
    const bound = { tape, entries: list };
    this.#bound.set(name, bound);
    return bound;
  }

  #release(name: TapeName): void {
    const known = this.#bound.get(name);
    if (known === undefined) return;
    this.#bound.delete(name);
    this.#addon.releaseTape(this.#lane, known.tape);
  }

  #run(bound: Bound, uploads: CudaUpload[], downloads: CudaDownload[], copies: CudaCopy[]): void {
    const failure = this.#runTape(bound, uploads, downloads, copies);
    if (failure !== undefined) throw named(bound, failure);
  }

  #runTape(
    bound: Bound,
    uploads: readonly CudaUpload[],
    downloads: readonly CudaDownload[],
    copies: readonly CudaCopy[],
  ): CudaFailure | undefined {
    return translated('tape', () => this.#addon.runTape(this.#lane, bound.tape, uploads, downloads, copies));
  }

  #upload(to: DeviceRef, data: CudaArray): void {
    translated('upload', () => this.#addon.upload(this.#lane, to.space, to.offset, data));
  }

  #download(from: DeviceRef, data: CudaArray): void {
    translated('download', () => this.#addon.download(this.#lane, from.space, from.offset, data));
  }
}

function translated<T>(operation: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw cudaError(error, operation);
  }
}

/** A failure of a tape as the CPU's tape reports it: the operation's name in front. */
function named({ entries }: Bound, failure: CudaFailure): PogoError {
  const { kind, name } = entries[failure.entry] as DeviceEntry;
  const { code, message, details } = failureError(kind, failure);
  return new PogoError(code, `${name}: ${message}`, details);
}

function bufferOf({ gpt, buffers }: PlacedTape, name: string): DeviceRef {
  return buffers[gpt.tape.buffers.findIndex((spec) => spec.name === name)] as DeviceRef;
}

function rootPlace(tree: DeviceRef): DeviceRef {
  return deviceSlice(tree, tree.length - ROOT_BYTES, ROOT_BYTES);
}

function copyOf(from: DeviceRef, to: DeviceRef): CudaCopy {
  return {
    fromSpace: from.space,
    fromOffset: from.offset,
    toSpace: to.space,
    toOffset: to.offset,
    bytes: byteLength(from),
  };
}

/** Downloads of a unit file: large planes as soon as they are quantized, what lies between them at the end. */
function unitDownloads({ unit }: DevicePlan, entries: readonly DeviceEntry[], file: Uint8Array): CudaDownload[] {
  const early = entries
    .map(({ kind, args }, after) => ({ kind, plane: args['codes'] as DeviceRef, after }))
    .filter(({ kind, plane }) => EMITS_UNIT.includes(kind) && byteLength(plane) >= OVERLAPPED_BYTES)
    .map(({ plane, after }) => ({
      from: plane.offset - unit.offset,
      to: plane.offset - unit.offset + plane.length,
      after,
    }))
    .sort((a, b) => a.from - b.from);
  const ranges: { from: number; to: number; after: number; overlap: boolean }[] = [];
  let at = 0;
  for (const { from, to, after } of [...early, { from: unit.length, to: unit.length, after: 0 }]) {
    if (from > at) ranges.push({ from: at, to: from, after: entries.length - 1, overlap: false });
    if (to > from) ranges.push({ from, to, after, overlap: true });
    at = to;
  }
  return ranges.map(({ from, to, after, overlap }) => ({
    ...deviceSlice(unit, from, to - from),
    after,
    overlap,
    data: file.subarray(from, to),
  }));
}
