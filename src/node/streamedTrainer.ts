/**
 * A training step for models whose state does not fit memory: θ and the integer weights are in memory, m, v, the EMA and
 * the units on disk, and the commit pass goes through them window by window. The same bits as the trainer in memory.
 *
 * A state is a folder of its own, `state-<step>`, as `pogo` stores states (`header.ssz`, `theta.bin`, …): the next one is
 * written beside it and renamed when it is complete, so a crash leaves the one before. Two states at most are on disk;
 * the older one serves leaf checks until the next commit.
 *
 * One thread. Memory: 4 bytes a parameter of θ, 2 of integer weights, a unit's file, the largest weight's gradient, a
 * window, and 4 bytes a KiB of a vector for its tree.
 */
import { join } from 'node:path';
import type { LaneKernels } from '../backend/ops.js';
import { PogoError } from '../errors.js';
import { type OpenFile, realFiles, removeTree } from '../files/fileLayer.js';
import type { MerkleKernels } from '../merkle/kernels.js';
import { LEAF_BYTES, SEGMENT_BYTES } from '../merkle/shape.js';
import { allocateTree, MerkleTree, type TreeMemory } from '../merkle/tree.js';
import { fillInitialRange } from '../model/initialize.js';
import { LEAF_ELEMENTS, unitFileBytes } from '../model/layout.js';
import {
  advanceScalars,
  commitWindow,
  leafCount,
  START_SCALARS,
  type StateScalars,
  type StateVectors,
  type UnitPlanes,
  vectorBytes,
} from '../model/state.js';
import { allocateWeights, type ModelPlan, quantizeWeights, UnitRunner } from '../model/unit.js';
import type { ChunkSource } from '../protocol/openings.js';
import { STATE_VERSION, type StateHeader, StateHeaderType, ZERO_ROOT } from '../protocol/types.js';
import { HEADER_FILE, writeSynced } from './files/stateFolder.js';

/** Leaves of a window: 64 MiB of each vector. A multiple of the tree's groups. */
const WINDOW_LEAVES = 1 << 16;
export type VectorName = 'theta' | 'm' | 'v' | 'ema';

export interface StreamedOptions {
  readonly plan: ModelPlan;
  readonly kernels: LaneKernels;
  readonly merkle: MerkleKernels;
  /** Empty or absent: it is filled with states and units. */
  readonly folder: string;
  /** Leaves of a window, a multiple of 16; smaller in tests. */
  readonly windowLeaves?: number;
  readonly onProgress?: (what: string, done: number, all: number) => void;
}

/** One state on disk, with the trees over its vectors. */
export interface StreamedState {
  readonly folder: string;
  readonly header: StateHeader;
  readonly trees: ReadonlyMap<VectorName, MerkleTree>;
}

export interface StreamedUnit {
  readonly lossBits: number;
  readonly root: Uint8Array;
  readonly path: string;
}

/** Fills `into` from a file. @throws PogoError CORRUPT where the file is shorter */
function fill(file: OpenFile, into: Uint8Array, position: number): void {
  const found = file.read(into, position);
  if (found !== into.length) {
    throw new PogoError('CORRUPT', `expected ${into.length} bytes at ${position}, found ${found}`);
  }
}

function shared(length: number): Float32Array<SharedArrayBuffer> {
  return new Float32Array(new SharedArrayBuffer(4 * length));
}

export class StreamedTrainer {
  readonly plan: ModelPlan;
  /** f32 [layout.length], of the current state. */
  readonly theta: Float32Array;
  scalars: StateScalars = START_SCALARS;
  state: StreamedState;
  /** The state before {@link state}; undefined at the start. */
  previous: StreamedState | undefined;
  readonly #options: StreamedOptions;
  readonly #weights;
  readonly #runner: UnitRunner;
  readonly #windowLeaves: number;

  private constructor(options: StreamedOptions, theta: Float32Array, state: StreamedState) {
    const { plan, kernels } = options;
    this.plan = plan;
    this.theta = theta;
    this.state = state;
    this.#options = options;
    this.#windowLeaves = options.windowLeaves ?? WINDOW_LEAVES;
    // Unpacked: the packed forms would be a third copy, and a unit reads each weight once.
    this.#weights = allocateWeights(plan, theta);
    this.#runner = new UnitRunner(plan, kernels, this.#weights);
  }

  /** The start state of a recipe that starts from a seed. @throws PogoError RECIPE, IO, SHAPE for a bad window */
  static create(options: StreamedOptions): StreamedTrainer {
    const { plan, folder, windowLeaves = WINDOW_LEAVES } = options;
    const { layout, recipe } = plan;
    if (!(windowLeaves > 0 && windowLeaves % 16 === 0)) {
      throw new PogoError('SHAPE', `windowLeaves: expected a multiple of 16, found ${windowLeaves}`);
    }
    if (realFiles.status(folder) !== undefined) {
      throw new PogoError('IO', `expected ${folder} to be free, found something there: choose another folder`, {
        path: folder,
      });
    }
    realFiles.makeDirectory(folder);
    const theta = shared(layout.length);
    const writer = new StateWriter(options, START_SCALARS);
    const zero = shared(Math.min(layout.length, windowLeaves * LEAF_ELEMENTS));
    for (let leaf = 0; leaf < leafCount(layout); leaf += windowLeaves) {
      const [from, to] = [leaf, Math.min(leaf + windowLeaves, leafCount(layout))].map((l) => l * LEAF_ELEMENTS) as [
        number,
        number,
      ];
      const part = theta.subarray(from, to);
      fillInitialRange(layout, recipe, from, part);
      const none = zero.subarray(0, to - from);
      writer.window(leaf, { theta: part, m: none, v: none, ema: recipe.ema ? part : none.subarray(0, 0) });
      options.onProgress?.('start state', to, layout.length);
    }
    return new StreamedTrainer(options, theta, writer.finish()).prepared();
  }

  private prepared(): this {
    const { kernels, onProgress } = this.#options;
    const { places } = this.plan.weights;
    for (let i = 0; i < places.length; i += 1) {
      quantizeWeights(this.plan, kernels, this.#weights, [i]);
      onProgress?.('weights', i + 1, places.length);
    }
    return this;
  }

  /** One unit of the current step, written to a file of its own. */
  computeUnit(draw1: Uint8Array, unit: number, tokens: Uint32Array): StreamedUnit {
    const { step } = this.scalars;
    const lossBits = this.#runner.compute({ draw1, step, unit, tokens });
    const root = new Uint8Array(32);
    this.#options.merkle.hash(this.#runner.file, root);
    const path = join(this.#options.folder, `unit-${step}-${unit}.bin`);
    realFiles.remove(path);
    writeSynced(realFiles, path, this.#runner.file);
    return { lossBits, root, path };
  }

  /** State(s) → state(s + 1) from the M units of step s, in index order. */
  commit(units: readonly StreamedUnit[]): StreamedState {
    const { plan } = this;
    const { recipe, layout } = plan;
    const { kernels, folder, onProgress } = this.#options;
    const leaves = leafCount(layout);
    const window = new Window(plan, this.#windowLeaves, this.state.folder, units);
    try {
      const writer = new StateWriter(this.#options, advanceScalars(recipe, this.scalars));
      for (let leaf = 0; leaf < leaves; leaf += this.#windowLeaves) {
        const end = Math.min(leaf + this.#windowLeaves, leaves);
        const first = leaf * LEAF_ELEMENTS;
        const loaded = window.load(first, end * LEAF_ELEMENTS, this.theta);
        commitWindow(plan, kernels, loaded, this.scalars, leaf, end);
        writer.window(leaf, loaded.vectors);
        onProgress?.('commit', end, leaves);
      }
      const next = writer.finish();
      if (this.previous !== undefined) removeTree(realFiles, this.previous.folder);
      this.previous = this.state;
      this.state = next;
    } finally {
      window.close();
    }
    this.scalars = advanceScalars(recipe, this.scalars);
    this.prepared();
    // Units of the step before this one are needed by nobody here any more; their roots are committed.
    for (let unit = 0; unit < recipe.unitsPerStep; unit += 1) {
      realFiles.remove(join(folder, `unit-${this.scalars.step - 2}-${unit}.bin`));
    }
    return this.state;
  }
}

/** Files of a state and of its step's units, and memory for one window of them. */
class Window {
  readonly #files: ReadonlyMap<VectorName, OpenFile>;
  readonly #units: readonly OpenFile[];
  readonly #memory: Readonly<Record<'m' | 'v' | 'ema', Float32Array>>;
  readonly #planes: readonly UnitPlanes[];
  readonly #codesBytes: number;

  constructor(plan: ModelPlan, windowLeaves: number, folder: string, units: readonly StreamedUnit[]) {
    const { layout, recipe } = plan;
    const length = Math.min(layout.length, windowLeaves * LEAF_ELEMENTS);
    const names: VectorName[] = recipe.ema ? ['m', 'v', 'ema'] : ['m', 'v'];
    this.#files = new Map(names.map((name) => [name, realFiles.open(join(folder, `${name}.bin`), 'read')]));
    this.#units = units.map(({ path }) => realFiles.open(path, 'read'));
    this.#memory = { m: shared(length), v: shared(length), ema: shared(recipe.ema ? length : 0) };
    this.#planes = units.map(() => ({
      codes: new Uint8Array(new SharedArrayBuffer(length / 2)),
      scales: new Uint16Array(new SharedArrayBuffer(length / 32)),
    }));
    this.#codesBytes = unitFileBytes(layout).codes;
  }

  load(first: number, end: number, theta: Float32Array) {
    const count = end - first;
    for (const [name, file] of this.#files) {
      fill(file, vectorBytes(this.#memory[name as 'm' | 'v' | 'ema'].subarray(0, count)), 4 * first);
    }
    this.#units.forEach((file, i) => {
      const { codes, scales } = this.#planes[i] as UnitPlanes;
      fill(file, codes.subarray(0, count / 2), first / 2);
      const bytes = new Uint8Array(scales.buffer, 0, count / 32);
      fill(file, bytes, this.#codesBytes + first / 32);
    });
    const { m, v, ema } = this.#memory;
    const vectors: StateVectors = {
      theta: theta.subarray(first, end),
      m: m.subarray(0, count),
      v: v.subarray(0, count),
      ema: ema.subarray(0, ema.length === 0 ? 0 : count),
    };
    return { first, vectors, units: this.#planes };
  }

  close(): void {
    for (const file of [...this.#files.values(), ...this.#units]) file.close();
  }
}

/** Writes a state window by window and hashes it on the way. */
class StateWriter {
  readonly #options: StreamedOptions;
  readonly #scalars: StateScalars;
  readonly #unfinished: string;
  readonly #files: ReadonlyMap<VectorName, OpenFile>;
  readonly #memory: ReadonlyMap<VectorName, TreeMemory>;
  readonly #trees: ReadonlyMap<VectorName, MerkleTree>;

  constructor(options: StreamedOptions, scalars: StateScalars) {
    const { plan, folder, merkle } = options;
    const names: VectorName[] = plan.recipe.ema ? ['theta', 'm', 'v', 'ema'] : ['theta', 'm', 'v'];
    this.#options = options;
    this.#scalars = scalars;
    this.#unfinished = join(folder, `state-${scalars.step}.unfinished`);
    // Of a commit that did not end.
    if (realFiles.status(this.#unfinished) !== undefined) removeTree(realFiles, this.#unfinished);
    realFiles.makeDirectory(this.#unfinished);
    this.#files = new Map(
      names.map((name) => [name, realFiles.open(join(this.#unfinished, `${name}.bin`), 'exclusive')]),
    );
    this.#memory = new Map(names.map((name) => [name, allocateTree(4 * plan.layout.length, 4)]));
    this.#trees = new Map([...this.#memory].map(([name, memory]) => [name, new MerkleTree(merkle, memory)]));
  }

  window(firstLeaf: number, vectors: StateVectors): void {
    for (const [name, file] of this.#files) {
      const bytes = vectorBytes(vectors[name]);
      file.write(bytes, firstLeaf * LEAF_BYTES);
      this.#trees.get(name)?.hashLeafBytes(bytes, firstLeaf);
    }
  }

  finish(): StreamedState {
    const { plan, folder, merkle } = this.#options;
    const roots = new Map<VectorName, Uint8Array>();
    for (const [name, file] of this.#files) {
      file.sync();
      file.close();
      const tree = this.#trees.get(name) as MerkleTree;
      tree.finish(0);
      roots.set(name, tree.root());
    }
    const header: StateHeader = {
      version: STATE_VERSION,
      recipeRoot: plan.root,
      ...this.#scalars,
      thetaRoot: roots.get('theta') as Uint8Array,
      mRoot: roots.get('m') as Uint8Array,
      vRoot: roots.get('v') as Uint8Array,
      emaRoot: roots.get('ema') ?? ZERO_ROOT,
    };
    writeSynced(realFiles, join(this.#unfinished, HEADER_FILE), StateHeaderType.serialize(header));
    realFiles.syncDirectory(this.#unfinished);
    const path = join(folder, `state-${this.#scalars.step}`);
    realFiles.rename(this.#unfinished, path);
    realFiles.syncDirectory(folder);
    const trees = [...this.#memory].map(([name, memory]) => {
      const reader = segmentReader(join(path, `${name}.bin`), memory.totalBytes);
      return [name, new MerkleTree(merkle, memory, reader)] as const;
    });
    return { folder: path, header, trees: new Map(trees) };
  }
}

/** Segments of a file of `totalBytes` bytes; the last one read is kept. */
function segmentReader(path: string, totalBytes: number): (segment: number) => Uint8Array {
  let kept: { readonly segment: number; readonly bytes: Uint8Array } | undefined;
  return (segment) => {
    if (kept?.segment === segment) return kept.bytes;
    const start = segment * SEGMENT_BYTES;
    const bytes = new Uint8Array(Math.min(SEGMENT_BYTES, totalBytes - start));
    const file = realFiles.open(path, 'read');
    try {
      fill(file, bytes, start);
    } finally {
      file.close();
    }
    kept = { segment, bytes };
    return bytes;
  };
}

/** The chunks of a vector on disk, for leaf checks. */
export function vectorChunks(state: StreamedState, name: VectorName): ChunkSource {
  const tree = state.trees.get(name);
  if (tree === undefined) throw new PogoError('MISSING', `expected the vector ${name} in ${state.folder}, found none`);
  const read = segmentReader(join(state.folder, `${name}.bin`), tree.memory.totalBytes);
  const perSegment = SEGMENT_BYTES / LEAF_BYTES;
  return {
    chunk(index) {
      const at = (index % perSegment) * LEAF_BYTES;
      const bytes = read(Math.floor(index / perSegment)).slice(at, at + LEAF_BYTES);
      return { bytes, path: tree.proveLeaf(index) };
    },
  };
}
