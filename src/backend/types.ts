/**
 * Backends: who computes. A backend owns the kernels of {@link Kernels} for one kind of machine; all give the same bits.
 */
import type { LaneKernels } from './ops.js';

export type BackendName = 'cuda' | 'cpu' | 'reference';
/** Instruction sets of the CPU kernels, worst first within x86 and within AArch64. */
export const CPU_ISAS = ['scalar', 'avx2', 'avxvnni', 'avx512', 'amx', 'neon', 'dotprod'] as const;
export type CpuIsa = (typeof CPU_ISAS)[number];
export type IsaName = CpuIsa | 'typescript' | 'sm_80' | 'sm_90' | 'sm_90a';

/** One step of the choice of a backend: what was tried and why it was not taken. */
export interface BackendMiss {
  readonly backend: BackendName;
  readonly reason: string;
  /** The command that would fix it. */
  readonly fix: string;
}

export interface Backend {
  readonly name: BackendName;
  readonly isa: IsaName;
  /** Feature names of the machine that the choice rests on. */
  readonly features: readonly string[];
  readonly kernels: LaneKernels;
  /** Backends that come earlier in the order and were not taken. */
  readonly misses: readonly BackendMiss[];
  /** Number of kernel calls that ran code of `isa`, since the process started. */
  kernelCalls(): number;
}

export type Operands<A> = { readonly [K in keyof A]: A[K] };
export type { Kernels, LaneKernels, OperationName, WeightPacking } from './ops.js';
