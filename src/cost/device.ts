/** Machines that work is put on: one that was measured, and one that is assumed from its data sheet. */

import type { Figure } from './figure.js';
import { figure } from './figure.js';
import { type Beside, besideSeconds, type MeasuredPoints, type PassRate, passSeconds } from './points.js';
import type { Workload } from './workload.js';

export interface Device {
  readonly name: string;
  /** Units that it computes at a time. */
  readonly lanes: number;
  /** Seconds of one unit on one lane. */
  unitSeconds(work: Workload): Figure;
  /** Bytes a second of all lanes together. */
  readonly commit: Figure;
  readonly hash: Figure;
  readonly weights: Figure;
  /** A unit while all lanes compute, over one alone. */
  readonly together: Figure;
  /** Seconds of a step in which lanes wait, of its other seconds. */
  waits(seconds: number): Figure;
  /** What writing the log adds to a miner's step, of its units' bytes. */
  log(bytes: number): Figure;
  /** A verifier's reading of a step's units, by one thread, of their bytes. */
  read(bytes: number): Figure;
  /** Start and end of a process, of the state's bytes. */
  around(command: 'mine' | 'verify', stateBytes: number): Figure;
  /** Loss alone, as a share of a unit's time for the same tokens. */
  readonly forwardShare: Figure;
  /** Memory, bytes; absent where whatever is needed is assumed to be there. */
  readonly memoryBytes?: number;
}

/** The machine of a file of results, all of its cores. */
export function measuredDevice(points: MeasuredPoints): Device {
  const { cores, file } = points;
  const all = (point: { value: number; source: string }): Figure =>
    figure(cores * point.value, 'B/s', 'measured', point.source);
  return {
    name: `${points.cpu}, ${cores} cores, ${points.isa}, ${points.date}`,
    lanes: cores,
    unitSeconds(work) {
      let seconds = 0;
      for (const [kind, cost] of work.unit) seconds += passSeconds(rateOf(points, kind), cost);
      return figure(seconds, 's', 'derived', `operations and bytes of the tape over the pass rates of ${file}`);
    },
    commit: all(points.commit),
    hash: all(points.hash),
    weights: all(points.weights),
    together: figure(points.together.value, 'share', 'measured', points.together.source),
    waits: (seconds) => figure(points.waits.value * Math.sqrt(seconds), 's', 'derived', points.waits.source),
    log: (bytes) => besideFigure(points.process?.log, bytes),
    // Without such runs: one core hashes what it reads.
    read: (bytes) => besideFigure(points.process?.read ?? hashedByOne(points), bytes),
    around: (command, stateBytes) => besideFigure(points.process?.[command], stateBytes),
    forwardShare: figure(points.forwardShare.value, 'share', 'measured', points.forwardShare.source),
  };
}

const NOT_TIMED: Beside = { fixed: 0, perUnit: 0, source: 'left out: no run of pogo mine and pogo verify was timed' };

function besideFigure(beside: Beside = NOT_TIMED, size: number): Figure {
  return figure(besideSeconds(beside, size), 's', 'derived', beside.source);
}

function hashedByOne({ hash }: MeasuredPoints): Beside {
  return { fixed: 0, perUnit: 1 / hash.value, source: hash.source };
}

/** Operations of other families that a file of results may lack, and the one of its own that is made alike. */
const ALIKE: Readonly<Record<string, string>> = {
  groupedAttentionForward: 'attentionForward',
  groupedAttentionBackward: 'attentionBackward',
  linearRows: 'linearResidual',
  embedScaled: 'embed',
  embedScaledBackward: 'embedBackward',
  normResidual: 'normBackward',
  rotateHeads: 'normForward',
  rotateHeadsBackward: 'normBackward',
  geglu: 'normForward',
  gegluGradient: 'normBackward',
  gainPlusOne: 'embed',
};

function rateOf(points: MeasuredPoints, kind: string): PassRate {
  return points.passes[kind] ?? points.passes[ALIKE[kind] ?? ''] ?? (points.passes['*'] as PassRate);
}

/** What is assumed of a GPU that nothing was measured on. */
export interface AssumedGpu {
  readonly name: string;
  readonly int8OperationsPerSecond: number;
  readonly memoryBytesPerSecond: number;
  readonly memoryBytes: number;
  readonly source: string;
}

export const H100: AssumedGpu = {
  name: 'one H100 SXM (assumed)',
  int8OperationsPerSecond: 1.979e15,
  memoryBytesPerSecond: 3.35e12,
  memoryBytes: 80e9,
  source: 'NVIDIA H100 SXM data sheet: 1,979 TOPS of dense INT8, 3.35 TB/s, 80 GB',
};

/** Share of the integer peak in a whole unit, and of the memory bandwidth in a pass: assumptions, nothing was run there. */
export const GPU_SHARE = { products: 0.3, memory: 0.8, hashBytesPerSecond: 8e11 } as const;

export function assumedDevice(gpu: AssumedGpu): Device {
  const memory = GPU_SHARE.memory * gpu.memoryBytesPerSecond;
  const share = `${100 * GPU_SHARE.memory} % of the memory bandwidth; ${gpu.source}`;
  return {
    name: gpu.name,
    lanes: 1,
    unitSeconds(work) {
      const seconds = work.unitOperations / (GPU_SHARE.products * gpu.int8OperationsPerSecond);
      return figure(seconds, 's', 'assumed', `${100 * GPU_SHARE.products} % of the integer peak; ${gpu.source}`);
    },
    commit: figure(memory, 'B/s', 'assumed', share),
    hash: figure(GPU_SHARE.hashBytesPerSecond, 'B/s', 'assumed', 'target of this project: 800 GB/s of BLAKE3'),
    weights: figure(memory, 'B/s', 'assumed', share),
    together: figure(1, 'share', 'assumed', 'one lane'),
    waits: () => figure(0, 's', 'assumed', 'no waiting'),
    log: () => figure(0, 's', 'assumed', 'written beside the units'),
    read: (bytes) => figure(bytes / GPU_SHARE.hashBytesPerSecond, 's', 'assumed', 'hashed on the device'),
    around: () => figure(0, 's', 'assumed', 'left out'),
    forwardShare: figure(1 / 3, 'share', 'assumed', 'one product of three'),
    memoryBytes: gpu.memoryBytes,
  };
}
