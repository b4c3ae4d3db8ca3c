/**
 * Operations of a tape that a backend may run in one pass, without the tensor between them in memory.
 *
 * A fusion is no operation: the tape, its names and what disputes speak of know its parts alone. It takes the arguments of
 * its parts in order and leaves every array as they would, but for the tensors between them, which it leaves as they were.
 */
import type { Kernels, OperationName } from './ops.js';

/** Argument `from` of part `of` is argument `to` of part `into`. */
export interface Link {
  readonly of: number;
  readonly from: string;
  readonly into: number;
  readonly to: string;
}

export interface Fusion {
  readonly parts: readonly OperationName[];
  /** Tensors that nothing after the parts reads: they are not written. */
  readonly hidden: readonly Link[];
}

/** In the order in which they are looked for. */
export const FUSIONS = {
  /** The gradient of a weight straight to 4-bit codes; not where the gradient goes on from another micro-batch. */
  weightGradient4: { parts: ['weightGradient', 'quantize4'], hidden: [{ of: 0, from: 'dw', into: 1, to: 'x' }] },
  /** Row codes of what attention gives, a sequence at a time. */
  attentionForwardRows: {
    parts: ['attentionForward', 'quantizeRows'],
    hidden: [{ of: 0, from: 'o', into: 1, to: 'x' }],
  },
  groupedAttentionForwardRows: {
    parts: ['groupedAttentionForward', 'quantizeRows'],
    hidden: [{ of: 0, from: 'o', into: 1, to: 'x' }],
  },
  /** The error codes of the layer that gave q, k and v. */
  attentionBackwardRows: {
    parts: ['attentionBackward', 'quantizeGradientRows'],
    hidden: [{ of: 0, from: 'dqkv', into: 1, to: 'x' }],
  },
} as const satisfies Record<string, Fusion>;

export type FusionName = keyof typeof FUSIONS;

export const FUSION_NAMES = Object.keys(FUSIONS) as readonly FusionName[];

type Arguments<P extends readonly OperationName[]> = { [I in keyof P]: Parameters<Kernels[P[I]]>[0] };

/** The arguments of a fusion's parts. */
export type FusionParts<F extends FusionName> = Arguments<(typeof FUSIONS)[F]['parts']>;

/** What a fusion asks of the numbers and flags of its parts. */
const CONDITIONS: { readonly [F in FusionName]: (...parts: FusionParts<F>) => boolean } = {
  weightGradient4: (gradient, codes) =>
    !gradient.accumulate && gradient.K % 64 === 0 && codes.rows === gradient.N && codes.cols === gradient.K,
  attentionForwardRows: (attention, rows) => rows.T === attention.T && rows.N === attention.C,
  groupedAttentionForwardRows: (attention, rows) => rows.T === attention.T && rows.N === attention.H * attention.h,
  attentionBackwardRows: (attention, rows) =>
    rows.T === attention.T && rows.N === 3 * attention.C && rows.t0 === attention.t0,
};

/** Whether operations with these numbers and flags may run as the fusion; their arrays do not matter. */
export function fusionFits(name: FusionName, parts: readonly object[]): boolean {
  const condition = CONDITIONS[name] as unknown as (...parts: readonly object[]) => boolean;
  return condition(...parts);
}

/** Fusions of a backend. */
export type FusedKernels = { readonly [F in FusionName]?: (...parts: FusionParts<F>) => void };
