/**
 * The integer products at their limits: VPMADDUBSW and its kin saturate, sign tricks fail at -128, accumulators of fewer
 * than 24 bits round, long contractions pass an int32. Every instruction set gives the reference's bits, and plain
 * products are also compared with exact integers.
 */
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import type { Kernels } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { EXTREME_CASES, type ExtremeCase } from '../support/extremeArguments.js';

const { addon } = loadCpuAddon();
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([, isa]) => isa.built && isa.machine)
  .map(([name]) => name as 'scalar');

function outcome(kernels: Kernels, { operation, make }: ExtremeCase): Record<string, string> {
  const argument = make();
  (kernels[operation] as (a: unknown) => void)(argument);
  const text = (value: unknown): string =>
    ArrayBuffer.isView(value)
      ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
      : String(value);
  return Object.fromEntries(Object.entries(argument).map(([name, value]) => [name, text(value)]));
}

type Product = Parameters<Kernels['gemm']>[0];

/** Sums of one panel in binary64, exact far beyond 2^31. */
function panelSums({ a, b, M, N, K }: Product, panel: number): Float64Array {
  const out = new Float64Array(M * N);
  const last = Math.min(K, 1024 * (panel + 1));
  for (let i = 0; i < M; i += 1) {
    for (let j = 0; j < N; j += 1) {
      let sum = 0;
      for (let k = 1024 * panel; k < last; k += 1) sum += a[i * K + k]! * b[j * K + k]!;
      out[i * N + j] = sum;
    }
  }
  return out;
}

const products = EXTREME_CASES.filter((c) => c.operation === 'gemm').map((c) => c as ExtremeCase<'gemm'>);

describe('products of extreme codes', () => {
  it.each(products)('the reference is the exact sum: $name', ({ make }) => {
    const argument = make();
    const expected = new Float32Array(argument.M * argument.N);
    let largest = 0;
    for (let p = 0; p * 1024 < argument.K; p += 1) {
      const sums = panelSums(argument, p);
      for (const [i, sum] of sums.entries()) {
        largest = Math.max(largest, Math.abs(sum));
        // A panel's sum has at most 24 bits; panels are added with one rounding each.
        expected[i] = p === 0 ? sum : Math.fround(expected[i]! + sum);
      }
    }
    expect(largest).toBeLessThanOrEqual(2 ** 24);
    referenceKernels.gemm(argument);
    expect(argument.y).toEqual(expected);
  });

  it('reach the limits that they are about', () => {
    const sums = products.flatMap(({ make }) => {
      const argument = make();
      return argument.K > 4096 ? [] : [...panelSums(argument, 0)];
    });
    // Only an accumulator of 24 bits holds the first, only one of 25 with its sign the second.
    expect(sums).toContain(1023 * 127 * 127 + 127 * 126);
    expect(sums).toContain(2 ** 24);
    const longest = Math.max(...products.map(({ make }) => make().K));
    expect(longest * 127 * 127).toBeGreaterThan(2 ** 31);
  });
});

describe.skipIf(addon === undefined)('every instruction set at the limits', () => {
  it.each(EXTREME_CASES)('$operation: $name', (extreme) => {
    const expected = outcome(referenceKernels, extreme);
    for (const isa of isas) expect(outcome(openCpuBackend(isa).kernels, extreme), isa).toEqual(expected);
  });
});
