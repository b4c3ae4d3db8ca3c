/**
 * The order of the subtractions in LayerNorm's gradient, (gy - a) - xhat s. Random rows hide it: 16-bit results keep eight of
 * the bits, and the other order differs in the last of 24. Where a row's gradients are nearly equal, gy - a is exact and small,
 * and a + xhat s loses what is left: the orders differ in most elements.
 */
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { bf16 } from '../../src/reference/scalars.js';
import { Arguments } from '../support/kernelArguments.js';

const { addon } = loadCpuAddon();
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([, isa]) => isa.built && isa.machine)
  .map(([name]) => name as 'scalar');

/** Rows whose gradients are all the same bf16 number. */
function nearlyEqualRows(seed: number, T: number, C: number) {
  const a = new Arguments(seed, 'ordinary');
  const dy = new Uint16Array(T * C);
  for (let t = 0; t < T; t += 1) dy.fill(bf16(1 + (t % 64) / 64), t * C, (t + 1) * C);
  return {
    dy,
    x: a.bf16(T * C),
    gain: new Float32Array(C).fill(1),
    rstd: a.calm(T).map(Math.abs),
    mean: a.calm(T),
    dx: new Uint16Array(T * C),
    dGain: new Float32Array(C),
    dBias: new Float32Array(C),
    T,
    C,
    layer: true,
    residual: false,
    accumulate: false,
  };
}

describe.skipIf(addon === undefined)("LayerNorm's gradient subtracts in the order of the definition", () => {
  for (const isa of isas) {
    it(isa, () => {
      for (const [seed, T, C] of [
        [1, 33, 64],
        [2, 17, 320],
        [3, 64, 192],
      ] as const) {
        const [expected, got] = [nearlyEqualRows(seed, T, C), nearlyEqualRows(seed, T, C)];
        referenceKernels.normBackward(expected);
        openCpuBackend(isa).kernels.normBackward(got);
        expect(got).toEqual(expected);
      }
    });
  }
});
