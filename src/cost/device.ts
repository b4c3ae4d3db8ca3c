/** Machines that work is put on: one that was measured, and one that is assumed from its data sheet. */

import { EMA_INTERVAL } from '../model/state.js';
import { hashTaskCount } from '../pipeline/shards.js';
import { type BySize, secondsAt } from './bySize.js';
import type { Figure } from './figure.js';
import { figure } from './figure.js';
import { commitBytes, hashBytes } from './passBytes.js';
import { type MeasuredPoints, type PassRate, passSeconds } from './points.js';
import type { Work, Workload } from './workload.js';

export interface Device {
  readonly name: string;
  /** Units that it computes at a time. */
  readonly lanes: number;
  /** Seconds of one unit on one lane. */
  unitSeconds(work: Workload): Figure;
  /** Seconds of the loss of one sequence on one lane. */
  lossSeconds(work: Workload): Figure;
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
  /** A verifier's reading of a step's units, of their bytes. */
  read(bytes: number): Figure;
  /** The commit pass of a verifier's replay, one step. */
  replay(work: Workload): Figure;
  /** Hashing the state at a step. */
  stateHash(work: Workload): Figure;
  /** Beside the computing of a drawn unit, of its bytes: its batch, its tokens, the comparison. */
  compare(bytes: number): Figure;
  /** Rebuilding the 4-bit model and its diff, of the model's bytes. */
  model(bytes: number): Figure;
  /** Start and end of a process, of the state's bytes. */
  around(command: 'mine' | 'verify', stateBytes: number): Figure;
  /** From handing a task to a lane to its answer, where the task does nothing. */
  readonly trip: Figure;
  /** Memory, bytes; absent where whatever is needed is assumed to be there. */
  readonly memoryBytes?: number;
}

/** The machine of a file of results, all of its cores. */
export function measuredDevice(points: MeasuredPoints): Device {
  const { cores } = points;
  const all = (point: { value: number; source: string }): Figure =>
    figure(cores * point.value, 'B/s', 'measured', point.source);
  return {
    name: `${points.cpu}, ${cores} cores, ${points.isa}, ${points.date}`,
    lanes: cores,
    unitSeconds: ({ unit }) => tapeFigure(points, unit, points.passes),
    lossSeconds: ({ sequenceLoss }) => tapeFigure(points, sequenceLoss, points.lossPasses),
    commit: all(points.commit),
    hash: all(points.hash),
    weights: all(points.weights),
    together: figure(points.together.value, 'share', 'measured', points.together.source),
    waits: (seconds) => figure(points.waits.value * Math.sqrt(seconds), 's', 'derived', points.waits.source),
    log: (bytes) => sizedFigure(points.process?.log, bytes),
    // Without such runs: the lanes hash what is read; one core hashes the model and its diff.
    read: (bytes) => sizedFigure(points.process?.read ?? hashed(points, cores), bytes),
    replay: ({ length, unitsPerStep }) => {
      const bytes = commitBytes(length, unitsPerStep);
      return points.process === undefined
        ? figure(bytes / (cores * points.commit.value) + points.trip.value, 's', 'derived', points.commit.source)
        : sizedFigure(points.process.replay, bytes);
    },
    stateHash: ({ length, vectors }) => {
      const bytes = hashBytes(length);
      if (points.process !== undefined) return sizedFigure(points.process.hash, bytes);
      // θ, m and v at every step, the EMA at every eighth.
      const ofEma = ((vectors - 3) / EMA_INTERVAL) * hashTaskCount(4 * length, cores);
      const tasks = hashTaskCount(12 * length, cores) + ofEma;
      const seconds = bytes / (cores * points.hash.value) + (tasks / cores) * points.trip.value;
      return figure(seconds, 's', 'derived', points.hash.source);
    },
    compare: (bytes) => sizedFigure(points.process?.compare, bytes),
    model: (bytes) => sizedFigure(points.process?.model ?? hashed(points, 1 / 2), bytes),
    around: (command, stateBytes) => sizedFigure(points.process?.[command], stateBytes),
    trip: figure(points.trip.value, 's', 'measured', points.trip.source),
  };
}

type PassRates = MeasuredPoints['passes'];

/** @param rates those of such a tape; a unit's stand for what it lacks */
function tapeFigure({ passes, file }: MeasuredPoints, tape: ReadonlyMap<string, Work>, rates: PassRates): Figure {
  let seconds = 0;
  for (const [kind, cost] of tape) {
    const rate = rateOf(rates, kind) ?? rateOf(passes, kind) ?? (passes['*'] as PassRate);
    seconds += passSeconds(rate, cost);
  }
  return figure(seconds, 's', 'derived', `operations and bytes of the tape over the pass rates of ${file}`);
}

const NOT_TIMED: BySize = {
  points: [{ size: 1, seconds: 0 }],
  source: 'left out: no run of pogo mine and pogo verify was timed',
};

function sizedFigure(measured: BySize = NOT_TIMED, size: number): Figure {
  return figure(secondsAt(measured, size), 's', 'derived', measured.source);
}

function hashed({ hash }: MeasuredPoints, cores: number): BySize {
  return {
    points: [{ size: 1, seconds: 1 / (cores * hash.value) }],
    source: `${hash.source}: hashing alone, no run was timed`,
  };
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

function rateOf(rates: PassRates, kind: string): PassRate | undefined {
  return rates[kind] ?? rates[ALIKE[kind] ?? ''];
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
  const products = (tape: ReadonlyMap<string, Work>): Figure => {
    const operations = [...tape.values()].reduce((sum, one) => sum + one.operations, 0);
    const seconds = operations / (GPU_SHARE.products * gpu.int8OperationsPerSecond);
    return figure(seconds, 's', 'assumed', `${100 * GPU_SHARE.products} % of the integer peak; ${gpu.source}`);
  };
  return {
    name: gpu.name,
    lanes: 1,
    unitSeconds: ({ unit }) => products(unit),
    lossSeconds: ({ sequenceLoss }) => products(sequenceLoss),
    commit: figure(memory, 'B/s', 'assumed', share),
    hash: figure(GPU_SHARE.hashBytesPerSecond, 'B/s', 'assumed', 'target of this project: 800 GB/s of BLAKE3'),
    weights: figure(memory, 'B/s', 'assumed', share),
    together: figure(1, 'share', 'assumed', 'one lane'),
    waits: () => figure(0, 's', 'assumed', 'no waiting'),
    log: () => figure(0, 's', 'assumed', 'written beside the units'),
    read: (bytes) => figure(bytes / GPU_SHARE.hashBytesPerSecond, 's', 'assumed', 'hashed on the device'),
    replay: ({ length, unitsPerStep }) =>
      figure(commitBytes(length, unitsPerStep) / memory, 's', 'assumed', `bytes of the commit pass at ${share}`),
    stateHash: ({ length }) =>
      figure(hashBytes(length) / GPU_SHARE.hashBytesPerSecond, 's', 'assumed', 'hashed on the device'),
    compare: (bytes) => figure((2 * bytes) / memory, 's', 'assumed', `both read at ${share}`),
    model: (bytes) =>
      figure((2 * bytes) / GPU_SHARE.hashBytesPerSecond, 's', 'assumed', 'model and diff hashed on the device'),
    around: () => figure(0, 's', 'assumed', 'left out'),
    trip: figure(0, 's', 'assumed', 'left out'),
    memoryBytes: gpu.memoryBytes,
  };
}
