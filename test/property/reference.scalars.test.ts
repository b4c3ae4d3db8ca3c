import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  absmax,
  bf16,
  bf16Up,
  bf16Value,
  bitsOf,
  exp2,
  exp2c,
  floatOf,
  flushM,
  gelu,
  geluDerivative,
  log2,
  nearest,
} from '../../src/reference/scalars.js';

const pattern = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const finite = pattern.filter((b) => (b & 0x7f800000) !== 0x7f800000).map(floatOf);

/** Nearest integer of a binary32, ties to even, by integers. */
function nearestBig(x: number): bigint {
  const bits = bitsOf(x);
  const exponent = (bits >>> 23) & 0xff;
  const mantissa = BigInt((bits & 0x7fffff) | (exponent === 0 ? 0 : 0x800000));
  const shift = BigInt(150 - Math.max(exponent, 1));
  const sign = bits < 0 ? -1n : 1n;
  if (shift <= 0n) return sign * (mantissa << -shift);
  const floor = mantissa >> shift;
  const rest = mantissa - (floor << shift);
  const half = 1n << (shift - 1n);
  const up = rest > half || (rest === half && (floor & 1n) === 1n) ? 1n : 0n;
  return sign * (floor + up);
}

/** Largest of error(x) over a grid. */
function worst(from: number, to: number, steps: number, error: (x: number) => number): number {
  let largest = 0;
  for (let i = 0; i <= steps; i += 1) {
    largest = Math.max(largest, error(Math.fround(from + ((to - from) * i) / steps)));
  }
  return largest;
}

describe('nearest integer', () => {
  it('is the nearest, ties to even, for every |y| < 2²²', () => {
    const small = finite.filter((y) => Math.abs(y) < 2 ** 22);
    const halves = fc.integer({ min: -(2 ** 22), max: 2 ** 22 }).map((n) => n / 2);
    fc.assert(
      fc.property(fc.oneof(small, halves), (y) => {
        expect(BigInt(nearest(y))).toBe(nearestBig(y));
        expect(Object.is(nearest(y), -0)).toBe(false);
      }),
      { numRuns: 5000 },
    );
  });

  it('is also the low bits of the sum, as native code reads it', () => {
    fc.assert(
      fc.property(fc.double({ min: -130, max: 130, noNaN: true }), (x) => {
        const y = Math.fround(x);
        expect((bitsOf(Math.fround(y + 12582912)) - 0x4b400000) | 0).toBe(nearest(y));
      }),
    );
  });
});

describe('exp2, log2, gelu against the host (a foreign system: error bounds)', () => {
  it('exp2: relative error at most 1.9e-7 + one rounding', () => {
    expect(worst(-64, 64, 200_000, (z) => Math.abs(exp2(z) / 2 ** z - 1))).toBeLessThan(2.5e-7);
  });

  it('exp2c: relative error at most 1.05e-4, exact at integers, continuous at every half', () => {
    expect(worst(-64, 0, 100_000, (z) => Math.abs(exp2c(z) / 2 ** z - 1))).toBeLessThan(1.05e-4);
    for (let k = -63; k < 0; k += 1) {
      expect(exp2c(k)).toBe(2 ** k);
      const below = exp2c(Math.fround(k + 0.5 - 2 ** -17));
      const above = exp2c(Math.fround(k + 0.5 + 2 ** -17));
      expect(Math.abs(below / above - 1)).toBeLessThan(2e-5);
    }
  });

  it('exp2 is +0 below −64, saturates above 64 and never exceeds 1 for z ≤ 0', () => {
    for (const f of [exp2, exp2c]) {
      expect(Object.is(f(-64.00001), 0)).toBe(true);
      expect(Object.is(f(-Infinity), 0)).toBe(true);
      expect(f(-64)).toBe(2 ** -64);
      expect(f(1e30)).toBe(2 ** 64);
      expect(f(0)).toBe(1);
      expect(worst(-1, 0, 50_000, (z) => f(z))).toBe(1);
    }
  });

  it('log2: error at most 1e-7 of max(1, |log2 x|)', () => {
    fc.assert(
      fc.property(
        finite.filter((x) => x >= 2 ** -126),
        (x) => {
          const exact = Math.log2(x);
          expect(Math.abs(log2(x) - exact)).toBeLessThanOrEqual(1.2e-7 * Math.max(1, Math.abs(exact)));
        },
      ),
      { numRuns: 3000 },
    );
    expect(log2(1)).toBe(0);
    expect(log2(8)).toBe(3);
  });

  it('gelu and its derivative: error at most 5e-7 of max(1, |u|)', () => {
    const root = Math.sqrt(2 / Math.PI);
    const exact = (u: number): number => 0.5 * u * (1 + Math.tanh(root * (u + 0.044715 * u ** 3)));
    const slope = (u: number): number => {
      const t = Math.tanh(root * (u + 0.044715 * u ** 3));
      return 0.5 * (1 + t) + 0.5 * u * (1 - t * t) * root * (1 + 3 * 0.044715 * u * u);
    };
    expect(worst(-30, 30, 100_000, (u) => Math.abs(gelu(u) - exact(u)) / Math.max(1, Math.abs(u)))).toBeLessThan(5e-7);
    expect(worst(-30, 30, 100_000, (u) => Math.abs(geluDerivative(u) - slope(u)))).toBeLessThan(2e-6);
    // The code of the derivative fits a byte.
    expect(worst(-30, 30, 100_000, (u) => Math.abs(geluDerivative(u) * 112))).toBeLessThan(127);
    // Without the clamp these would wrap the exponent.
    for (const u of [-11, -50, -1e6, -1e18]) expect(gelu(u)).toBe(-0);
    for (const u of [11, 50, 1e6, 1e18]) expect(gelu(u)).toBe(Math.fround(u));
  });
});

describe('bf16', () => {
  it('nearest: no other bf16 is closer, ties go to the even one', () => {
    fc.assert(
      fc.property(finite, (x) => {
        const b = bf16(x);
        if ((b & 0x7fff) === 0x7f80) {
          expect(Math.abs(x)).toBeGreaterThanOrEqual(2 ** 127 * (2 - 2 ** -8));
          return;
        }
        const error = Math.abs(bf16Value(b) - x);
        for (const near of [b - 1, b + 1]) {
          if ((near & 0x7f80) === 0x7f80 || (near & 0x8000) !== (b & 0x8000) || near < 0) continue;
          const other = Math.abs(bf16Value(near) - x);
          expect(other).toBeGreaterThanOrEqual(error);
          if (other === error) expect(b & 1).toBe(0);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('carries Inf and NaN', () => {
    expect(bf16(Infinity)).toBe(0x7f80);
    expect(bf16(-Infinity)).toBe(0xff80);
    expect(bf16(Number.NaN) & 0x7fff).toBeGreaterThan(0x7f80);
  });

  it('up: the smallest bf16 that is not below', () => {
    fc.assert(
      fc.property(
        finite.filter((x) => x > 0 && x < 2 ** 127),
        (x) => {
          const b = bf16Up(x, 'test');
          expect(bf16Value(b)).toBeGreaterThanOrEqual(x);
          expect(bf16Value(b - 1)).toBeLessThan(x);
        },
      ),
      { numRuns: 2000 },
    );
    expect(() => bf16Up(floatOf(0x7f7fffff), 'test')).toThrow(/finite/);
  });
});

describe('absmax and flushes', () => {
  it('absmax is the largest magnitude and names Inf and NaN', () => {
    const name = (start: number): string => `group at ${start}`;
    fc.assert(
      fc.property(fc.array(finite, { minLength: 1, maxLength: 70 }), (values) => {
        const x = Float32Array.from(values);
        expect(absmax(x, 0, x.length, 'test', name)).toBe(Math.max(...values.map((v) => Math.abs(Math.fround(v)))));
      }),
    );
    for (const bad of [Infinity, -Infinity, Number.NaN]) {
      expect(() => absmax(Float32Array.of(1, 2, bad, 3), 1, 3, 'test', name)).toThrow(/test.*group at 1/);
    }
    expect(Object.is(absmax(Float32Array.of(-0, 0), 0, 2, 'test', name), 0)).toBe(true);
  });

  it('a flushed value is +0, whatever its sign', () => {
    expect(Object.is(flushM(-(2 ** -61)), 0)).toBe(true);
    expect(flushM(-(2 ** -60))).toBe(-(2 ** -60));
  });
});
