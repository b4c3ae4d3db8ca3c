/**
 * What travels to a worker: plain data and typed arrays over shared memory (which are shared, not copied).
 *
 * A task names its *session*: the model and the memory that it works on. Workers keep the sessions that they have seen,
 * so the tape of a recipe is bound once per worker and then reused for every unit.
 */
import type { BackendName, IsaName } from '../backend/types.js';
import type { StateScalars, StateVectors } from '../model/state.js';
import type { SharedWeights, UnitRequest } from '../model/unit.js';
import type { UnitPlace } from '../model/unitPlaces.js';
import type { DeviceSession } from './deviceLane.js';

export interface Session {
  /** Unique in the process that owns the pool. */
  readonly id: string;
  /** SSZ bytes of the recipe. */
  readonly recipe: Uint8Array;
  readonly microBatches: number;
  /** In host memory; absent where no lane computes there. */
  readonly weights?: SharedWeights;
  /** In host memory; absent in sessions that only evaluate. */
  readonly state?: StateVectors;
  /** On devices, by index of the group of lanes. */
  readonly devices: readonly (DeviceSession | undefined)[];
}

export interface UnitTask extends UnitRequest {
  readonly kind: 'unit';
  readonly session: Session;
  /** Where the unit file goes: shared memory of `unitFileBytes` bytes. */
  readonly file: Uint8Array;
  /** Places inside the computation whose values come back; none if absent. */
  readonly places?: readonly UnitPlace[];
}

export interface CommitTask {
  readonly kind: 'commit';
  readonly session: Session;
  readonly before: StateScalars;
  readonly units: readonly Uint8Array[];
  readonly fromLeaf: number;
  readonly toLeaf: number;
}

export interface WeightsTask {
  readonly kind: 'weights';
  readonly session: Session;
  /** Indices into the places of the weights' layout. */
  readonly places: readonly number[];
}

/** Level-0 nodes [first, end) of the tree over `bytes`. */
export interface HashPart {
  /** All bytes of the tree. */
  readonly bytes: Uint8Array;
  readonly tree: Uint8Array;
  /** Level-0 nodes of the tree. */
  readonly nodes: number;
  /** Begins a span. */
  readonly first: number;
  readonly end: number;
}

export interface HashTask {
  readonly kind: 'hash';
  readonly parts: readonly HashPart[];
  /** Nodes whose hashes and levels above are computed together, as a power of two. */
  readonly spanLog: number;
  /** Leaves of a level-0 node, as a power of two. */
  readonly groupLog: number;
}

/** A unit file that came from elsewhere. */
export interface InspectTask {
  readonly kind: 'inspect';
  readonly session: Session;
  readonly file: Uint8Array;
}

export interface PackTask {
  readonly kind: 'pack';
  readonly session: Session;
  readonly vector: Float32Array;
  readonly file: Uint8Array;
  readonly tensors: readonly number[];
}

export interface LossTask {
  readonly kind: 'loss';
  readonly session: Session;
  /** u32 [n, context + 1] */
  readonly sequences: Uint32Array;
  /** f32 [n · context] on shared memory: losses by token. */
  readonly losses: Float32Array;
}

/** Work on a session's model on the device of one group of lanes. */
export type DeviceTask =
  | {
      /** Vectors from host memory → integer weights. */
      readonly kind: 'deviceLoad';
      readonly group: number;
      readonly session: Session;
      readonly vectors: Partial<StateVectors>;
      /** θ of the model that adapters stand on, on shared memory; absent once the device has it. */
      readonly frozen?: Float32Array;
    }
  | {
      /** Vectors into host memory. */
      readonly kind: 'deviceFetch';
      readonly group: number;
      readonly session: Session;
      readonly vectors: Partial<StateVectors>;
    }
  | {
      /** Trees into host memory. */
      readonly kind: 'deviceTrees';
      readonly group: number;
      readonly session: Session;
      readonly trees: Readonly<Partial<Record<keyof StateVectors, Uint8Array>>>;
    }
  | {
      /** State(s) → state(s + 1) and its integer weights. */
      readonly kind: 'deviceCommit';
      readonly group: number;
      readonly session: Session;
      readonly before: StateScalars;
      /** Unit files; undefined where the group's device computed the unit itself. */
      readonly units: readonly (Uint8Array | undefined)[];
    }
  | {
      readonly kind: 'deviceRoots';
      readonly group: number;
      readonly session: Session;
      readonly names: readonly (keyof StateVectors)[];
    }
  | { readonly kind: 'devicePack'; readonly group: number; readonly session: Session; readonly file: Uint8Array };

export type LaneTask = UnitTask | CommitTask | WeightsTask | HashTask | InspectTask | PackTask | LossTask | DeviceTask;

export interface UnitResult {
  readonly lossBits: number;
  /** BLAKE3 of the unit file. */
  readonly root: Uint8Array;
  /** Values at the places that were asked for, one after the other. */
  readonly observed: Uint8Array;
  /** The group of lanes that computed it. */
  readonly group: number;
  readonly ms: number;
}

/** What each kind of task returns. */
export interface TaskResults {
  unit: UnitResult;
  commit: { readonly ms: number };
  weights: { readonly ms: number };
  hash: { readonly ms: number };
  /** BLAKE3 of the file, and what no encoder writes. */
  inspect: { readonly root: Uint8Array; readonly fault: string | undefined; readonly ms: number };
  pack: { readonly ms: number };
  loss: { readonly ms: number };
  deviceLoad: { readonly ms: number };
  deviceFetch: { readonly ms: number };
  deviceTrees: { readonly ms: number };
  deviceCommit: { readonly ms: number };
  deviceRoots: { readonly roots: readonly Uint8Array[]; readonly ms: number };
  devicePack: { readonly ms: number };
}

/** What every worker of a pool is started with. */
export interface LaneOptions {
  readonly backend: BackendName;
  readonly isa: IsaName;
  /** Index of the group that the lane belongs to. */
  readonly group: number;
  /** Of CUDA lanes: the addon, where it is not the package's own. */
  readonly addonFile?: string;
  /** Counters in shared memory: see `progress.ts`. */
  readonly progress: Int32Array;
}
