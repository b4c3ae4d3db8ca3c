import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeUnitStrict } from '../../src/reference/adamw.js';
import { nibbleAt } from '../../src/reference/codes4.js';
import { ditherColumn, ditherOf, ditherRow, mix } from '../../src/reference/dither.js';
import { quantize4 } from '../../src/reference/gradient4.js';
import { packModel, quantizeWeight, unpackModel } from '../../src/reference/model4.js';
import { quantizeGroup, quantizeGroups, quantizeGroupUnsigned } from '../../src/reference/quantize8.js';
import { recode } from '../../src/reference/recode.js';
import { bf16Value, f32, floatOf, nearest } from '../../src/reference/scalars.js';
import { seededRandom } from '../support/random.js';

const seedOf = (n: number): Uint32Array => Uint32Array.from([mix(n), mix(n + 1), mix(n + 2), mix(n + 3)]);
const where = (): string => 'test';
const LOWEST = Int32Array.of(0x3f800000); // δ = −0.5
const HIGHEST = Int32Array.of(0x3fffffff); // δ = 0.5 − 2⁻²³

/** Uniform values in (−1, 1) times 2^exponent. */
function values(count: number, seed: number, exponent = 0): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: count }, () => (2 * random() - 1) * 2 ** exponent);
}

describe('dither', () => {
  it('is uniform, and any two entries are independent over seeds (chi-square)', () => {
    const bins = 8;
    const seeds = 1 << 14;
    const bin = (delta: number): number => Math.floor((delta + 0.5) * bins);
    const delta = (seed: Uint32Array, n: number, t: number): number =>
      ditherOf(ditherColumn(seed, n), ditherRow(seed, t));
    const pairs = [
      [0, 0, 1, 0],
      [0, 0, 0, 1],
      [3, 5, 4, 6],
      [50_000, 2047, 50_001, 2047],
      [7, 1, 8, 2],
      [1, 2, 2, 1],
    ];
    for (const [n, t, otherN, otherT] of pairs) {
      const table = new Float64Array(bins * bins);
      for (let s = 0; s < seeds; s += 1) {
        const seed = seedOf(4 * s);
        const first = delta(seed, n, t);
        if (first < -0.5 || first >= 0.5) throw new Error(`dither ${first}`);
        table[bin(first) * bins + bin(delta(seed, otherN, otherT))] += 1;
      }
      const expected = seeds / bins ** 2;
      const chi = table.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
      // 63 degrees of freedom: exceeded by chance once in 10⁶.
      expect(chi, `entries ${n},${t} and ${otherN},${otherT}`).toBeLessThan(130);
      expect(chi).toBeGreaterThan(25);
    }
  });

  it('within one tensor every bin is met as often as for independent draws', () => {
    const seed = seedOf(7);
    const size = 512;
    const bins = 16;
    const counts = new Float64Array(bins);
    const rows = Array.from({ length: size }, (_, t) => ditherRow(seed, t));
    for (let n = 0; n < size; n += 1) {
      const column = ditherColumn(seed, n);
      for (const row of rows) counts[Math.floor((ditherOf(column, row) + 0.5) * bins)] += 1;
    }
    const expected = size ** 2 / bins;
    expect(counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)).toBeLessThan(50);
  });

  it('rounds without bias: the mean over tokens is the value', () => {
    const seed = seedOf(11);
    const tokens = 1 << 15;
    for (const y of [0.001, 0.3, 0.5, 0.9, 3.25, -0.02, -6.7]) {
      let sum = 0;
      const column = ditherColumn(seed, 5);
      for (let t = 0; t < tokens; t += 1) sum += nearest(f32(f32(y) + ditherOf(column, ditherRow(seed, t))));
      expect(Math.abs(sum / tokens - y)).toBeLessThan(4 * Math.sqrt(0.25 / tokens));
    }
  });

  it('two entries of one row are uncorrelated: a sum has the variance of independent rounding', () => {
    const seeds = 400;
    const width = 256;
    const y = 0.3;
    let variance = 0;
    for (let s = 0; s < seeds; s += 1) {
      const seed = seedOf(1000 + 4 * s);
      const row = ditherRow(seed, 3);
      let sum = 0;
      for (let n = 0; n < width; n += 1) sum += nearest(f32(f32(y) + ditherOf(ditherColumn(seed, n), row))) - y;
      variance += sum * sum;
    }
    const independent = width * y * (1 - y);
    expect(variance / seeds / independent).toBeGreaterThan(0.7);
    expect(variance / seeds / independent).toBeLessThan(1.35);
  });

  it('mix has no collisions among 2¹⁷ counters', () => {
    const seen = new Set<number>();
    for (let i = 0; i < 1 << 17; i += 1) seen.add(mix(i));
    expect(seen.size).toBe(1 << 17);
  });
});

describe('8-bit codes', () => {
  it('never leave −127 … 127 or 0 … 255, at ±absmax with extreme dither, for any absmax', () => {
    const codes = new Int8Array(2);
    const unsigned = new Uint8Array(1);
    const random = seededRandom(3);
    const one = new Float32Array(1);
    for (let i = 0; i < 300_000; i += 1) {
      // Any normal absmax from 2⁻¹⁰⁰ on; a third of them at mantissas that are all ones or zeros.
      const exponent = 27 + Math.floor(random() * 227);
      const mantissa = [Math.floor(random() * 2 ** 23), i & 7, 0x7fffff - (i & 7)][i % 3];
      const absmax = floatOf((exponent << 23) | mantissa);
      const x = Float32Array.of(absmax, -absmax);
      for (const columns of [LOWEST, HIGHEST]) {
        quantizeGroup(x, 0, 1, codes, 0, { columns, first: 0, row: 0 }, 'test', where);
        quantizeGroup(x, 1, 1, codes, 1, { columns, first: 0, row: 0 }, 'test', where);
        if (codes[0] !== 127 && codes[0] !== 126) throw new Error(`code ${codes[0]} of ${absmax}`);
        if (codes[1] !== -127 && codes[1] !== -126) throw new Error(`code ${codes[1]} of ${-absmax}`);
        one[0] = ditherOf(columns[0], 0);
        quantizeGroupUnsigned(x, 1, unsigned, one, 'test', 'test');
        if (unsigned[0] < 254) throw new Error(`unsigned code ${unsigned[0]} of ${absmax}`);
      }
    }
  });

  it('reproduce every value within half a step (nearest) and a whole one (dithered)', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom(1, 63, 64, 65, 1023, 1024, 1025, 2049),
        fc.integer({ min: -60, max: 60 }),
        fc.boolean(),
        (rows, cols, exponent, dithered) => {
          const x = values(rows * cols, rows + cols, exponent);
          const codes = new Int8Array(rows * cols);
          const scales = new Float32Array(rows * Math.ceil(cols / 1024));
          const dither = dithered ? { seed: seedOf(cols), t0: 64 } : undefined;
          quantizeGroups(x, rows, cols, 1024, codes, scales, dither, 'test');
          for (let i = 0; i < x.length; i += 1) {
            const scale = scales[Math.floor((i % cols) / 1024) * rows + Math.floor(i / cols)];
            const within = Math.abs(codes[i] * scale - x[i]) <= (dithered ? 1.0001 : 0.5001) * scale;
            if (!within || codes[i] === -128) throw new Error(`element ${i}: code ${codes[i]} of ${x[i]}`);
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it('a group below 2⁻¹⁰⁰ has codes 0 and scale +0', () => {
    const codes = new Int8Array(4).fill(9);
    const scale = quantizeGroup(Float32Array.of(1e-40, -1e-31, 0, -0), 0, 4, codes, 0, undefined, 'test', where);
    expect(Object.is(scale, 0)).toBe(true);
    expect([...codes]).toEqual([0, 0, 0, 0]);
  });

  it('scaling by a power of two changes only the scale', () => {
    const x = values(64, 5);
    const scaled = x.map((v) => v * 2 ** 20);
    const [a, b] = [new Int8Array(64), new Int8Array(64)];
    const first = quantizeGroup(x, 0, 64, a, 0, undefined, 'test', where);
    expect(quantizeGroup(scaled, 0, 64, b, 0, undefined, 'test', where)).toBe(f32(first * 2 ** 20));
    expect(b).toEqual(a);
  });
});

describe('recode', () => {
  it('transposes, within half a new step (nearest) or a whole one (dithered)', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 64, 70, 1023, 1025),
        fc.constantFrom(1, 17, 1026),
        fc.boolean(),
        (T, N, dither) => {
          if (T * N > 80_000) return;
          const codes = new Int8Array(T * N);
          const scales = new Float32Array(T * Math.ceil(N / 1024));
          quantizeGroups(values(T * N, T + N), T, N, 1024, codes, scales, undefined, 'test');
          const out = new Int8Array(T * N);
          const outScales = new Float32Array(N * Math.ceil(T / 1024));
          recode({ codes, scales, out, outScales, seed: seedOf(T), dither, T, N, t0: 1024 });
          for (let t = 0; t < T; t += 1) {
            for (let n = 0; n < N; n += 1) {
              const before = f32(codes[t * N + n] * scales[Math.floor(n / 1024) * T + t]);
              const scale = outScales[Math.floor(t / 1024) * N + n];
              const error = Math.abs(out[n * T + t] * scale - before);
              if (error > (dither ? 1.0001 : 0.5001) * scale) throw new Error(`t ${t}, n ${n}: error ${error}`);
            }
          }
        },
      ),
      { numRuns: 15 },
    );
  });

  it('of a weight is what quantizeWeight gives', () => {
    const [N, K] = [128, 64];
    const theta = values(N * K, 9);
    const w = new Int8Array(N * K);
    const wScales = new Float32Array(N);
    const wt = new Int8Array(N * K);
    const wtScales = new Float32Array(K);
    quantizeWeight({ theta, w, wScales, wt, wtScales, N, K });
    for (let n = 0; n < N; n += 1) {
      for (let k = 0; k < K; k += 1) {
        expect(Math.abs(w[n * K + k] * wScales[n] - theta[n * K + k])).toBeLessThanOrEqual(0.5001 * wScales[n]);
        expect(Math.abs(wt[k * N + n] * wtScales[k] - theta[n * K + k])).toBeLessThanOrEqual(
          0.5001 * (wScales[n] + wtScales[k]),
        );
      }
    }
  });
});

describe('4-bit codes', () => {
  it('never leave −7 … 7, at ±absmax with extreme dither, for any absmax', () => {
    const random = seededRandom(4);
    const codes = new Uint8Array(32);
    const scales = new Uint16Array(1);
    const x = new Float32Array(64);
    for (let i = 0; i < 4000; i += 1) {
      const exponent = 27 + Math.floor(random() * 227);
      const mantissa = [Math.floor(random() * 2 ** 23), i & 7, 0x7fffff - (i & 7), (i & 127) << 16][i % 4];
      const absmax = floatOf((exponent << 23) | mantissa);
      for (let j = 0; j < 64; j += 1) x[j] = (j & 1) === 0 ? absmax : -absmax;
      quantize4({ x, codes, scales, seed: seedOf(i), rows: 1, cols: 64 });
      const d = bf16Value(scales[0]);
      for (let j = 0; j < 64; j += 1) {
        const code = nibbleAt(codes, j);
        if (Math.abs(code) > 7 || Math.abs(code * d - x[j]) > 1.0001 * d) throw new Error(`code ${code} of ${x[j]}`);
      }
    }
  });

  it('of any gradient are a canonical unit, and decode within a step', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom(64, 128, 192),
        fc.integer({ min: -110, max: 100 }),
        (rows, cols, exponent) => {
          const leaves = Math.ceil((rows * cols) / 256);
          const x = values(rows * cols, rows * cols, exponent);
          const codes = new Uint8Array(leaves * 128).fill(0x88);
          const scales = new Uint16Array(leaves * 4).fill(0x7fff);
          quantize4({ x, codes, scales, seed: seedOf(exponent), rows, cols });
          const decoded = decodeUnitStrict(codes, scales);
          for (let i = 0; i < decoded.length; i += 1) {
            const step = bf16Value(scales[i >>> 6]);
            const expected = i < x.length ? x[i] : 0;
            expect(Math.abs(decoded[i] - expected)).toBeLessThanOrEqual(Math.max(1.0001 * step, 2 ** -100));
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('a vector shorter than a group is one group', () => {
    const codes = new Uint8Array(128);
    const scales = new Uint16Array(4);
    quantize4({ x: Float32Array.of(7, -7, 3), codes, scales, seed: seedOf(1), rows: 1, cols: 3 });
    expect(Math.abs(nibbleAt(codes, 0))).toBeGreaterThanOrEqual(6);
    expect(codes.subarray(2).every((b) => b === 0)).toBe(true);
    expect([...scales.subarray(1)]).toEqual([0, 0, 0]);
  });

  it.each([4, 8] as const)('the packed model of %s bits keeps values within half a step', (bits) => {
    const n = 1000;
    const x = values(n, bits);
    const codes = new Uint8Array(bits === 4 ? n / 2 : n);
    const scales = new Uint16Array(Math.ceil(n / 64));
    packModel({ x, codes, scales, n, bits });
    const back = new Float32Array(n);
    unpackModel({ codes, scales, x: back, n, bits });
    for (let i = 0; i < n; i += 1) {
      expect(Math.abs(back[i] - x[i])).toBeLessThanOrEqual(0.5001 * bf16Value(scales[i >>> 6]));
    }
  });
});
