import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gemm, weightGradient } from '../../src/reference/gemm.js';
import { f32 } from '../../src/reference/scalars.js';
import { colSum, RowScatter, rowSum, t64 } from '../../src/reference/sums.js';
import { seededRandom } from '../support/random.js';

function values(count: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: count }, () => (2 * random() - 1) * 2 ** Math.floor(20 * random()));
}

function randomCodes(count: number, seed: number): Int8Array {
  const random = seededRandom(seed);
  return Int8Array.from({ length: count }, () => Math.floor(random() * 255) - 127);
}

describe('T64', () => {
  it('is the xor butterfly: every lane gets the same bits', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const x = values(64, seed);
        let lanes = Float32Array.from({ length: 32 }, (_, i) => x[2 * i] + x[2 * i + 1]);
        for (const s of [16, 8, 4, 2, 1]) lanes = lanes.map((v, i) => v + lanes[i ^ s]);
        for (const lane of lanes) expect(lane).toBe(t64(x, 0));
      }),
    );
  });

  it('is close to the exact sum, and is not the naive order', () => {
    let different = 0;
    for (let seed = 0; seed < 200; seed += 1) {
      const x = values(64, seed);
      const exact = x.reduce((sum, v) => sum + v, 0);
      const magnitude = x.reduce((sum, v) => sum + Math.abs(v), 0);
      expect(Math.abs(t64(x, 0) - exact)).toBeLessThanOrEqual(6 * 2 ** -24 * magnitude);
      let naive = 0;
      for (const v of x) naive = f32(naive + v);
      if (naive !== t64(x, 0)) different += 1;
    }
    expect(different).toBeGreaterThan(100);
  });
});

describe('row, column and scatter sums', () => {
  it('rowSum adds blocks ascending from the first; a short block is filled with +0', () => {
    const x = values(192, 1);
    expect(rowSum(x, 0, 192)).toBe(f32(f32(t64(x, 0) + t64(x, 64)) + t64(x, 128)));
    const padded = new Float32Array(64);
    padded.set(x.subarray(0, 40));
    expect(rowSum(x, 0, 40)).toBe(t64(padded, 0));
    // Starting from the first, not from +0, keeps −0.
    expect(Object.is(rowSum(new Float32Array(64).fill(-0), 0, 64), -0)).toBe(true);
  });

  it('colSum of a unit equals colSum of its micro-batches, going on', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 }), (first, second) => {
        const cols = 5;
        const x = values((first + second) * 64 * cols, first * 7 + second);
        const whole = new Float32Array(cols);
        colSum(x, (first + second) * 64, cols, whole, false);
        const parts = new Float32Array(cols);
        colSum(x.subarray(0, first * 64 * cols), first * 64, cols, parts, false);
        colSum(x.subarray(first * 64 * cols), second * 64, cols, parts, true);
        expect(parts).toEqual(whole);
      }),
    );
  });

  it('scatter starts from the first term; rows without one are +0', () => {
    const scatter = new RowScatter(3, 1);
    scatter.add(1, Float32Array.of(-0));
    expect([...scatter.sums].map((v) => Object.is(v, -0))).toEqual([false, true, false]);
    scatter.add(2, Float32Array.of(1e8));
    scatter.add(2, Float32Array.of(1));
    scatter.add(2, Float32Array.of(-1e8));
    expect(scatter.sums[2]).toBe(0);
  });
});

describe('GEMM', () => {
  it('equals BigInt dot products with one rounding a step', () => {
    const shape = fc.record({
      M: fc.integer({ min: 1, max: 6 }),
      N: fc.integer({ min: 1, max: 9 }),
      K: fc.constantFrom(1, 3, 64, 1023, 1024, 1025, 2050),
      extreme: fc.boolean(),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(shape, ({ M, N, K, extreme, seed }) => {
        const P = Math.ceil(K / 1024);
        const a = randomCodes(M * K, seed);
        const b = randomCodes(N * K, seed + 1);
        if (extreme) {
          a.fill(127);
          b.fill(seed % 2 === 0 ? 127 : -127);
        }
        const aScales = values(P * M, seed + 2);
        const bScales = values(P * N, seed + 3);
        const y = new Float32Array(M * N);
        gemm({ a, aScales, b, bScales, y, M, N, K });
        for (let i = 0; i < M; i += 1) {
          for (let j = 0; j < N; j += 1) {
            let expected: number | undefined;
            for (let p = 0; p < P; p += 1) {
              let acc = 0n;
              for (let k = 1024 * p; k < Math.min(K, 1024 * (p + 1)); k += 1) {
                acc += BigInt(a[i * K + k]) * BigInt(b[j * K + k]);
              }
              expect(acc < 1n << 24n && acc > -(1n << 24n)).toBe(true);
              const term = f32(Number(acc) * f32(aScales[p * M + i] * bScales[p * N + j]));
              expected = expected === undefined ? term : f32(expected + term);
            }
            expect(Object.is(y[i * N + j], expected)).toBe(true);
          }
        }
      }),
      { numRuns: 25 },
    );
  });

  it('the weight gradient of a unit equals that of its panels, going on', () => {
    const [N, K, T] = [6, 5, 2048];
    const et = randomCodes(N * T, 1);
    const xt = randomCodes(K * T, 2);
    const etScales = values(2 * N, 3);
    const xtScales = values(2 * K, 4);
    const whole = new Float32Array(N * K);
    weightGradient({ et, etScales, xt, xtScales, dw: whole, N, K, T, accumulate: false });
    const parts = new Float32Array(N * K);
    for (const p of [0, 1]) {
      const half = (x: Int8Array, rows: number): Int8Array => {
        const out = new Int8Array(rows * 1024);
        for (let r = 0; r < rows; r += 1) out.set(x.subarray(r * T + 1024 * p, r * T + 1024 * (p + 1)), r * 1024);
        return out;
      };
      weightGradient({
        et: half(et, N),
        etScales: etScales.subarray(p * N, (p + 1) * N),
        xt: half(xt, K),
        xtScales: xtScales.subarray(p * K, (p + 1) * K),
        dw: parts,
        N,
        K,
        T: 1024,
        accumulate: p > 0,
      });
    }
    expect(parts).toEqual(whole);
  });
});
