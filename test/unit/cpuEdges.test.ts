/** Values where instruction sets could part: beyond the range of a conversion, NaN from 0 · ∞, the ends of the range. */
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import type { Kernels } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { Arguments, MAKE } from '../support/kernelArguments.js';

const { addon } = loadCpuAddon();
const isas = Object.entries(addon?.describe().isas ?? {}).filter(([, { built, machine }]) => built && machine);

function each(check: (kernels: Kernels, isa: string) => void): void {
  for (const [isa] of isas) check(openCpuBackend(isa as 'scalar').kernels, isa);
}

describe.skipIf(addon === undefined)('edges of the kernels', () => {
  it('refuses a gelu whose derivative is 0 · ∞, as the reference does', () => {
    const run = (kernels: Kernels) => {
      const a = MAKE.linearGelu(new Arguments(11, 'extreme'));
      a.aScales.fill(2 ** 30);
      a.wScales.fill(2 ** 30);
      kernels.linearGelu(a);
    };
    const refusal = /linearGelu: .* Inf or NaN/;
    expect(() => run(referenceKernels)).toThrow(refusal);
    each((kernels, isa) => {
      expect(() => run(kernels), isa).toThrow(refusal);
    });
  });

  it('gelu over the whole range of arguments', () => {
    // One contracted element: u = code × scale, so that every row is a grid of arguments.
    const [T, N] = [40, 256];
    const run = (kernels: Kernels) => {
      const a = {
        a: new Int8Array(T).fill(1),
        aScales: Float32Array.from({ length: T }, (_, t) => 2 ** (t / 4 - 6)),
        w: Int8Array.from({ length: N }, (_, n) => Math.max(-127, n - 128)),
        wScales: new Float32Array(N).fill(Math.fround(0.013)),
        bias: new Float32Array(0),
        codes: new Int8Array(T * N),
        scales: new Float32Array(T),
        derivative: new Int8Array(T * N),
        T,
        N,
        K: 1,
      };
      kernels.linearGelu(a);
      return a;
    };
    const expected = run(referenceKernels);
    expect(new Set(expected.derivative).size).toBeGreaterThan(100);
    each((kernels, isa) => {
      const found = run(kernels);
      expect(found, isa).toEqual(expected);
    });
  });

  it('never emits −128, and reaches ±127 with the most extreme dither', () => {
    each((kernels, isa) => {
      const [T, N] = [64, 1024];
      const x = new Uint16Array(T * N).map((_, i) => (i % 2 === 0 ? 0x3f80 : 0xbf80));
      const codes = new Int8Array(T * N);
      const seed = Uint32Array.of(1, 2, 3, 4);
      const bias = new Float32Array(0);
      const scales = new Float32Array(T);
      kernels.quantizeGradientRows({ x, codes, scales, bias, seed, T, N, t0: 0, accumulate: false });
      expect([Math.min(...codes), Math.max(...codes)], isa).toEqual([-127, 127]);
    });
  });

  it('four-bit codes stay within ±7', () => {
    each((kernels, isa) => {
      const x = new Float32Array(4096).map((_, i) => (i % 2 === 0 ? 1 : -1) * Math.fround(1.1));
      const codes = new Uint8Array(2048);
      const scales = new Uint16Array(64);
      kernels.quantize4({ x, codes, scales, seed: Uint32Array.of(9, 8, 7, 6), rows: 1, cols: 4096 });
      expect(new Set(codes.map((byte) => byte & 15)).has(8), isa).toBe(false);
      expect(new Set(codes.map((byte) => byte >> 4)).has(8), isa).toBe(false);
    });
  });
});
