/** Operands of the commit pass for benches: deterministic weights, zero moments, unit planes with realistic codes. */

import type { Kernels } from '../src/backend/types.js';
import { fillGaussian, shared } from './harness.js';

const SEED = Uint32Array.of(1, 2, 3, 4);

export interface UnitPlanes {
  readonly codes: Uint8Array[];
  readonly scales: Uint16Array[];
}

/** Unit planes of n elements, made by the measured backend itself. */
export function makeUnits(kernels: Kernels, n: number, count: number): UnitPlanes {
  const units: UnitPlanes = { codes: [], scales: [] };
  for (let u = 0; u < count; u++) {
    const x = fillGaussian(shared.f32(n), 11 + u, 1e-3);
    const codes = shared.u8(n / 2);
    const scales = shared.u16(n / 64);
    kernels.quantize4({ x, codes, scales, seed: SEED, rows: n / 256, cols: 256 });
    units.codes.push(codes);
    units.scales.push(scales);
  }
  return units;
}

export const OPTIMIZER = {
  beta1: Math.fround(0.9),
  beta2: Math.fround(0.95),
  b1t: Math.fround(0.9),
  b2t: Math.fround(0.95),
  epsilon: Math.fround(1e-8),
  weightDecay: Math.fround(0.1),
  learningRate: Math.fround(1e-3),
  emaDecay: Math.fround(0.95 ** 8),
  updateEma: false,
};

export interface Vectors {
  readonly theta: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  readonly ema: Float32Array;
}

/** θ of n elements, zero moments, the EMA as θ. */
export function newVectors(theta: Float32Array): Vectors {
  const n = theta.length;
  const vectors = { theta: shared.f32(n), m: shared.f32(n), v: shared.f32(n), ema: shared.f32(n) };
  vectors.theta.set(theta);
  vectors.ema.set(theta);
  return vectors;
}

export function startWeights(n: number): Float32Array {
  return fillGaussian(new Float32Array(n), 5, 0.02);
}

/** A whole argument of `commitLeaves` whose units are zero. */
export function emptyCommit(n: number, units: number): Parameters<Kernels['commitLeaves']>[0] {
  const planes = Array.from({ length: units }, () => ({ codes: shared.u8(n / 2), scales: shared.u16(n / 64) }));
  return {
    ...newVectors(startWeights(n)),
    ...OPTIMIZER,
    codes: planes.map(({ codes }) => codes),
    scales: planes.map(({ scales }) => scales),
    n,
  };
}
