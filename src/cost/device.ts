/** Machines that work is put on: one that was measured, and one that is assumed from its data sheet. */

import type { Figure } from './figure.js';
import { figure } from './figure.js';
import { type MeasuredPoints, type PassRate, passSeconds } from './points.js';
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
  /** Share of a step in which the lanes do not wait. */
  readonly busy: Figure;
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
    busy: figure(points.busy.value, 'share', 'measured', points.busy.source),
    forwardShare: figure(points.forwardShare.value, 'share', 'measured', points.forwardShare.source),
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
    busy: figure(1, 'share', 'assumed', 'no waiting'),
    forwardShare: figure(1 / 3, 'share', 'assumed', 'one product of three'),
    memoryBytes: gpu.memoryBytes,
  };
}
