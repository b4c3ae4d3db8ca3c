import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attentionForward } from '../../src/reference/attention.js';
import { attentionBackward } from '../../src/reference/attentionBackward.js';
import { mix } from '../../src/reference/dither.js';
import { bf16Value } from '../../src/reference/scalars.js';
import { coded, gaussian, relativeError, slope } from '../support/gaussian.js';

interface Case {
  readonly T: number;
  readonly C: number;
  readonly H: number;
  readonly context: number;
}

const seedOf = (n: number): Uint32Array => Uint32Array.from([mix(n), mix(n + 1), mix(n + 2), mix(n + 3)]);
const floats = (x: Uint16Array): Float64Array => Float64Array.from(x, bf16Value);

/** Codes of q, k, v: head n's queries are 2ⁿ times larger, so heads go from flat to peaked. */
function inputs({ T, C, H }: Case, seed: number) {
  const h = C / H;
  const x = gaussian(T * 3 * C, seed);
  for (let i = 0; i < x.length; i += 1) {
    const column = i % (3 * C);
    if (column < C) x[i] = Math.fround(x[i] * 2 ** Math.floor(column / h));
  }
  return coded(x, T, 3 * C, h);
}

function forward(c: Case, qkv: Int8Array, qkvScales: Float32Array) {
  const o = new Uint16Array(c.T * c.C);
  const lambda = new Float32Array(c.H * c.T);
  attentionForward({ qkv, qkvScales, o, lambda, ...c });
  return { o, lambda };
}

function backward(
  c: Case,
  qkv: Int8Array,
  qkvScales: Float32Array,
  lambda: Float32Array,
  dO: Int8Array,
  dOScales: Float32Array,
  seed = 1,
  t0 = 0,
  U = c.T,
): Uint16Array {
  const dqkv = new Uint16Array(c.T * 3 * c.C);
  const [seedV, seedK, seedQ] = [seedOf(seed), seedOf(seed + 4), seedOf(seed + 8)];
  attentionBackward({ qkv, qkvScales, dO, dOScales, lambda, dqkv, seedV, seedK, seedQ, ...c, t0, U });
  return dqkv;
}

/** Attention and its gradient in binary64 on the values that the codes stand for. */
function exact({ T, C, H, context }: Case, x: Float64Array, dO: Float64Array) {
  const h = C / H;
  const o = new Float64Array(T * C);
  const lambda = new Float64Array(H * T);
  const gradient = new Float64Array(T * 3 * C);
  const at = (part: number, t: number, head: number): number => t * 3 * C + part * C + head * h;
  for (let head = 0; head < H; head += 1) {
    for (let i = 0; i < T; i += 1) {
      const first = i - (i % context);
      const scores: number[] = [];
      for (let j = first; j <= i; j += 1) {
        let s = 0;
        for (let d = 0; d < h; d += 1) s += x[at(0, i, head) + d] * x[at(1, j, head) + d];
        scores.push(s / Math.sqrt(h));
      }
      const m = Math.max(...scores);
      const sum = scores.reduce((total, s) => total + Math.exp(s - m), 0);
      lambda[head * T + i] = (m + Math.log(sum)) * Math.LOG2E;
      const P = scores.map((s) => Math.exp(s - m) / sum);
      const dP = P.map((p, n) => {
        let g = 0;
        for (let d = 0; d < h; d += 1) {
          o[i * C + head * h + d] += p * x[at(2, first + n, head) + d];
          g += dO[i * C + head * h + d] * x[at(2, first + n, head) + d];
        }
        return g;
      });
      const D = P.reduce((total, p, n) => total + p * dP[n], 0);
      P.forEach((p, n) => {
        const dS = (p * (dP[n] - D)) / Math.sqrt(h);
        for (let d = 0; d < h; d += 1) {
          gradient[at(0, i, head) + d] += dS * x[at(1, first + n, head) + d];
          gradient[at(1, first + n, head) + d] += dS * x[at(0, i, head) + d];
          gradient[at(2, first + n, head) + d] += p * dO[i * C + head * h + d];
        }
      });
    }
  }
  return { o, lambda, gradient };
}

function part(x: Float64Array, C: number, index: number): Float64Array {
  return x.filter((_, i) => Math.floor((i % (3 * C)) / C) === index);
}

describe('attention against binary64 on the same codes', () => {
  // Bounds: the prototype's errors against autograd were o .008, dQ .024, dK .016, dV .009 (256 tokens, heads of 64).
  const c = { T: 256, C: 256, H: 4, context: 256 };
  const x = inputs(c, 1);
  const dO = coded(gaussian(c.T * c.C, 2, 1e-4), c.T, c.C, 64);
  const reference = exact(c, x.values, dO.values);
  const { o, lambda } = forward(c, x.codes, x.scales);
  const found = floats(backward(c, x.codes, x.scales, lambda, dO.codes, dO.scales));

  it('output and log of the denominator', () => {
    expect(relativeError(floats(o), reference.o)).toBeLessThan(0.01);
    expect(relativeError(lambda, reference.lambda)).toBeLessThan(1e-4);
  });

  it.each([
    ['dQ', 0, 0.03],
    ['dK', 1, 0.02],
    ['dV', 2, 0.012],
  ] as const)('%s', (_, index, bound) => {
    const [a, b] = [part(found, c.C, index), part(reference.gradient, c.C, index)];
    expect(relativeError(a, b)).toBeLessThan(bound);
    expect(Math.abs(slope(a, b) - 1)).toBeLessThan(0.003);
  });

  it('heads of 32 in several sequences', () => {
    const small = { T: 192, C: 64, H: 2, context: 64 };
    const y = inputs(small, 5);
    const g = coded(gaussian(small.T * small.C, 6, 1e-3), small.T, small.C, 32);
    const expected = exact(small, y.values, g.values);
    const run = forward(small, y.codes, y.scales);
    expect(relativeError(floats(run.o), expected.o)).toBeLessThan(0.01);
    const gradient = floats(backward(small, y.codes, y.scales, run.lambda, g.codes, g.scales));
    expect(relativeError(gradient, expected.gradient)).toBeLessThan(0.02);
  });
});

describe('causality and neighbours', () => {
  const c = { T: 256, C: 64, H: 1, context: 128 };
  const x = inputs(c, 3);
  const base = forward(c, x.codes, x.scales);

  it('a changed token changes no output before it, and none of another sequence', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: c.T - 1 }), fc.integer({ min: 1, max: 1000 }), (t, seed) => {
        const codes = x.codes.slice();
        codes.set(coded(gaussian(3 * c.C, seed), 1, 3 * c.C).codes, t * 3 * c.C);
        const scales = x.scales.slice();
        for (let g = 0; g < 3 * c.H; g += 1) scales[g * c.T + t] = Math.fround(scales[g * c.T + t] * 1.5);
        const changed = forward(c, codes, scales);
        const end = t - (t % c.context) + c.context;
        for (let i = 0; i < c.T; i += 1) {
          const same = changed.o.subarray(i * c.C, (i + 1) * c.C).every((v, d) => v === base.o[i * c.C + d]);
          if (i < t || i >= end) expect(same && changed.lambda[i] === base.lambda[i]).toBe(true);
          if (i === t) expect(same).toBe(false);
        }
      }),
      { numRuns: 12 },
    );
  });

  it('gradients of a sequence do not depend on the other one, and a micro-batch gives the bits of the unit', () => {
    const dO = coded(gaussian(c.T * c.C, 4, 1e-3), c.T, c.C, 64);
    const whole = backward(c, x.codes, x.scales, base.lambda, dO.codes, dO.scales);
    const tokens = { ...c, T: 128 };
    const alone = (first: number, t0: number): Uint16Array => {
      const slice = (s: Float32Array, groups: number): Float32Array =>
        Float32Array.from({ length: groups * 128 }, (_, i) => s[Math.floor(i / 128) * c.T + first + (i % 128)]);
      const rows = (a: Int8Array, width: number): Int8Array => a.slice(first * width, (first + 128) * width);
      const [qkv, qkvScales] = [rows(x.codes, 3 * c.C), slice(x.scales, 3)];
      const gradient = [rows(dO.codes, c.C), slice(dO.scales, 1)] as const;
      return backward(tokens, qkv, qkvScales, slice(base.lambda, 1), ...gradient, 1, t0, c.T);
    };
    const width = 128 * 3 * c.C;
    expect(alone(0, 0)).toEqual(whole.slice(0, width));
    expect(alone(128, 128)).toEqual(whole.slice(width));
    // The dither is tied to the token's place in the unit: another place gives other bits.
    expect(alone(0, 128)).not.toEqual(whole.slice(0, width));
  });
});

describe('extremes', () => {
  it('zero queries give the mean of the values so far; zero values give zero', () => {
    const c = { T: 64, C: 64, H: 1, context: 64 };
    const codes = new Int8Array(64 * 192);
    for (let t = 0; t < 64; t += 1) codes.fill(127, t * 192 + 128, t * 192 + 192);
    const scales = new Float32Array(3 * 64).fill(1 / 127);
    const { o, lambda } = forward(c, codes, scales);
    for (let t = 0; t < 64; t += 1) {
      expect(Math.abs(bf16Value(o[t * 64]) - 1)).toBeLessThan(0.01);
      expect(Math.abs(lambda[t] - Math.log2(t + 1))).toBeLessThan(1e-6);
    }
    scales.fill(0);
    expect(forward(c, codes, scales).o.every((v) => v === 0)).toBe(true);
  });
});
