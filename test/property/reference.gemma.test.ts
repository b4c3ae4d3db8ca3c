import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ropeTables } from '../../src/model/rope.js';
import { groupedAttentionForward } from '../../src/reference/attention.js';
import { groupedAttentionBackward } from '../../src/reference/attentionBackward.js';
import { mix } from '../../src/reference/dither.js';
import { embedScaled, embedScaledBackward } from '../../src/reference/embedding.js';
import { geglu, gegluGradient, normResidual, rotateHeads, rotateHeadsBackward } from '../../src/reference/gemma.js';
import { bf16Value } from '../../src/reference/scalars.js';
import { coded, gaussian, relativeError, slope, toBf16 } from '../support/gaussian.js';

const seedOf = (n: number): Uint32Array => Uint32Array.from([mix(n), mix(n + 1), mix(n + 2), mix(n + 3)]);
const floats = (x: Uint16Array): Float64Array => Float64Array.from(x, bf16Value);

interface Heads {
  readonly T: number;
  readonly H: number;
  readonly G: number;
  readonly h: number;
  readonly context: number;
  readonly window: number;
  readonly scalar: number;
}

const rowOf = ({ H, G, h }: Heads): number => (H + 2 * G) * h;

/** Codes of q, k, v: head n's queries are 2ⁿ times larger, so heads go from flat to peaked. */
function inputs(c: Heads, seed: number) {
  const N = rowOf(c);
  const x = gaussian(c.T * N, seed);
  for (let i = 0; i < x.length; i += 1) {
    const column = i % N;
    if (column < c.H * c.h) x[i] = Math.fround(x[i] * 2 ** Math.floor(column / c.h));
  }
  return coded(x, c.T, N, c.h);
}

function forward(c: Heads, qkv: Int8Array, qkvScales: Float32Array) {
  const o = new Uint16Array(c.T * c.H * c.h);
  const lambda = new Float32Array(c.H * c.T);
  groupedAttentionForward({ qkv, qkvScales, o, lambda, ...c });
  return { o, lambda };
}

/** Attention and its gradient in binary64 on the values that the codes stand for. */
function exact(c: Heads, x: Float64Array, dO: Float64Array) {
  const { T, H, G, h, context, window, scalar } = c;
  const N = rowOf(c);
  const o = new Float64Array(T * H * h);
  const gradient = new Float64Array(T * N);
  for (let head = 0; head < H; head += 1) {
    const group = Math.floor((head * G) / H);
    const [q, k, v] = [head * h, (H + group) * h, (H + G + group) * h];
    for (let i = 0; i < T; i += 1) {
      const start = i - (i % context);
      const first = window === 0 ? start : Math.max(start, i - window + 1);
      const keys = Array.from({ length: i - first + 1 }, (_, n) => first + n);
      const dot = (a: Float64Array, at: number, b: number): number => {
        let sum = 0;
        for (let d = 0; d < h; d += 1) sum += a[at + d] * x[b + d];
        return sum;
      };
      const scores = keys.map((j) => dot(x, i * N + q, j * N + k) / Math.sqrt(scalar));
      const m = Math.max(...scores);
      const sum = scores.reduce((total, s) => total + Math.exp(s - m), 0);
      const P = scores.map((s) => Math.exp(s - m) / sum);
      const dP = keys.map((j) => dot(dO, (i * H + head) * h, j * N + v));
      const D = P.reduce((total, p, n) => total + p * dP[n], 0);
      keys.forEach((j, n) => {
        const dS = (P[n] * (dP[n] - D)) / Math.sqrt(scalar);
        for (let d = 0; d < h; d += 1) {
          o[(i * H + head) * h + d] += P[n] * x[j * N + v + d];
          gradient[i * N + q + d] += dS * x[j * N + k + d];
          gradient[j * N + k + d] += dS * x[i * N + q + d];
          gradient[j * N + v + d] += P[n] * dO[(i * H + head) * h + d];
        }
      });
    }
  }
  return { o, gradient };
}

const shapes: readonly Heads[] = [
  { T: 256, H: 4, G: 2, h: 64, context: 256, window: 64, scalar: 64 },
  { T: 256, H: 4, G: 1, h: 64, context: 256, window: 128, scalar: 168 },
  { T: 256, H: 2, G: 2, h: 32, context: 128, window: 0, scalar: 24 },
];

describe.each(shapes)('grouped attention against binary64 on the same codes: $H on $G of $h, window $window', (c) => {
  const N = rowOf(c);
  const x = inputs(c, 1);
  const dO = coded(gaussian(c.T * c.H * c.h, 2, 1e-4), c.T, c.H * c.h, c.h);
  const reference = exact(c, x.values, dO.values);
  const { o, lambda } = forward(c, x.codes, x.scales);
  const dqkv = new Uint16Array(c.T * N);
  groupedAttentionBackward({
    qkv: x.codes,
    qkvScales: x.scales,
    dO: dO.codes,
    dOScales: dO.scales,
    lambda,
    dqkv,
    seedV: seedOf(1),
    seedK: seedOf(5),
    seedQ: seedOf(9),
    ...c,
    t0: 0,
    U: c.T,
  });
  const columns = (a: Float64Array, from: number, to: number): Float64Array =>
    a.filter((_, i) => i % N >= from && i % N < to);

  it('output', () => {
    expect(relativeError(floats(o), reference.o)).toBeLessThan(0.01);
  });

  it.each([
    ['dQ', 0, c.H * c.h, 0.03],
    ['dK', c.H * c.h, (c.H + c.G) * c.h, 0.025],
    ['dV', (c.H + c.G) * c.h, N, 0.015],
  ] as const)('%s', (_, from, to, bound) => {
    const [a, b] = [columns(floats(dqkv), from, to), columns(reference.gradient, from, to)];
    expect(relativeError(a, b)).toBeLessThan(bound);
    expect(Math.abs(slope(a, b) - 1)).toBeLessThan(0.004);
  });
});

describe('the window', () => {
  const c: Heads = { T: 256, H: 2, G: 1, h: 32, context: 256, window: 64, scalar: 32 };
  const N = rowOf(c);
  const x = inputs(c, 3);
  const base = forward(c, x.codes, x.scales);

  it('a changed token changes exactly the outputs of the next 64 tokens, its own included', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: c.T - 1 }), fc.integer({ min: 1, max: 1000 }), (t, seed) => {
        const codes = x.codes.slice();
        codes.set(coded(gaussian(N, seed), 1, N).codes, t * N);
        const changed = forward(c, codes, x.scales);
        for (let i = 0; i < c.T; i += 1) {
          const row = (o: Uint16Array): string => o.subarray(i * c.H * c.h, (i + 1) * c.H * c.h).join();
          const same = row(changed.o) === row(base.o);
          if (i < t || i >= t + 64) expect(same, `token ${i} after a change of ${t}`).toBe(true);
          if (i === t) expect(same).toBe(false);
        }
      }),
      { numRuns: 12 },
    );
  });

  it('a window of the context or more is none', () => {
    for (const window of [256, 1024]) {
      expect(forward({ ...c, window }, x.codes, x.scales)).toEqual(forward({ ...c, window: 0 }, x.codes, x.scales));
    }
  });
});

describe('heads: norm and rotation', () => {
  const [T, H, G, h, context] = [70, 3, 1, 64, 32];
  const N = (H + 2 * G) * h;
  const y = toBf16(gaussian(T * N, 1, 2));
  const [gainQ, gainK] = [gaussian(h, 2).map((v) => 1 + 0.1 * v), gaussian(h, 3).map((v) => 1 + 0.1 * v)];
  const shape = { headSize: h, context, ropeLocalBase: 10_000, ropeGlobalBase: 10_000, ropeGlobalScale: 1 };
  const rope = ropeTables(shape).slice(0, context * h);
  const [codes, scales, rstd] = [
    new Int8Array(T * N),
    new Float32Array((H + 2 * G) * T),
    new Float32Array((H + G) * T),
  ];
  const common = { y, gainQ, gainK, rope, rstd, T, H, G, h, context };
  rotateHeads({ ...common, codes, scales, epsilon: Math.fround(1e-6) });

  /** What the operation quantizes, in binary64. */
  function turned(values: Float64Array, q: ArrayLike<number>, k: ArrayLike<number>): Float64Array {
    const out = values.slice();
    for (let t = 0; t < T; t += 1) {
      for (let head = 0; head < H + G; head += 1) {
        const at = t * N + head * h;
        const gain = head < H ? q : k;
        const row = values.subarray(at, at + h);
        const r = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / h + 1e-6);
        for (let i = 0; i < h / 2; i += 1) {
          const angle = (t % context) * 10_000 ** ((-2 * i) / h);
          const [a, b] = [row[i] * r * gain[i], row[i + h / 2] * r * gain[i + h / 2]];
          out[at + i] = a * Math.cos(angle) - b * Math.sin(angle);
          out[at + i + h / 2] = b * Math.cos(angle) + a * Math.sin(angle);
        }
      }
    }
    return out;
  }

  it('forward', () => {
    const decoded = Float64Array.from(codes, (code, i) => {
      const head = Math.floor((i % N) / h);
      return code * scales[head * T + Math.floor(i / N)];
    });
    expect(relativeError(decoded, turned(floats(y), gainQ, gainK))).toBeLessThan(0.008);
  });

  it('backward: directional derivatives of y and of both gains', () => {
    const dqkv = toBf16(gaussian(T * N, 4));
    const dy = new Uint16Array(T * N);
    const [dGainQ, dGainK] = [new Float32Array(h), new Float32Array(h)];
    rotateHeadsBackward({ ...common, dqkv, dy, dGainQ, dGainK, accumulate: false });
    const d = floats(dqkv);
    const value = (yy: Float64Array, q: ArrayLike<number>, k: ArrayLike<number>): number =>
      turned(yy, q, k).reduce((sum, z, i) => sum + z * d[i], 0);
    const y0 = floats(y);
    const step = 1e-4;
    for (let seed = 10; seed < 14; seed += 1) {
      const way = Float64Array.from(gaussian(T * N, seed));
      const move = (sign: number): Float64Array => y0.map((v, i) => v + sign * step * way[i]);
      const expected = (value(move(1), gainQ, gainK) - value(move(-1), gainQ, gainK)) / (2 * step);
      const gradient = floats(dy);
      const found = way.reduce((sum, w, i) => sum + w * gradient[i], 0);
      const size = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
      expect(Math.abs(found - expected) / size).toBeLessThan(0.02);
    }
    for (let i = 0; i < h; i += 7) {
      const bump = (gain: Float32Array, sign: number): Float64Array =>
        Float64Array.from(gain, (v, n) => v + (n === i ? sign * step : 0));
      const q = (value(y0, bump(gainQ, 1), gainK) - value(y0, bump(gainQ, -1), gainK)) / (2 * step);
      const k = (value(y0, gainQ, bump(gainK, 1)) - value(y0, gainQ, bump(gainK, -1))) / (2 * step);
      expect(Math.abs(dGainQ[i] - q)).toBeLessThan(1e-3 * Math.max(1, Math.abs(q)));
      expect(Math.abs(dGainK[i] - k)).toBeLessThan(1e-3 * Math.max(1, Math.abs(k)));
    }
  });
});

describe('GeGLU against binary64', () => {
  const [T, N] = [9, 576];
  const u = toBf16(gaussian(T * 2 * N, 1));
  const x = floats(u);
  const gate = (t: number, n: number): number => x[2 * t * N + n];
  const up = (t: number, n: number): number => x[(2 * t + 1) * N + n];
  const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));

  it('forward', () => {
    const [codes, scales] = [new Int8Array(T * N), new Float32Array(T)];
    geglu({ u, codes, scales, T, N });
    const found = Float64Array.from(codes, (code, i) => code * scales[Math.floor(i / N)]);
    const expected = Float64Array.from(
      found,
      (_, i) => gelu(gate(Math.floor(i / N), i % N)) * up(Math.floor(i / N), i % N),
    );
    expect(relativeError(found, expected)).toBeLessThan(0.03);
  });

  it('backward', () => {
    const dh = toBf16(gaussian(T * N, 2, 1e-3));
    const [codes, scales] = [new Int8Array(2 * T * N), new Float32Array(2 * T)];
    gegluGradient({ dh, u, codes, scales, seed: seedOf(3), T, N, t0: 0 });
    const found = Float64Array.from(codes, (code, i) => {
      const [t, column] = [Math.floor(i / (2 * N)), i % (2 * N)];
      return code * scales[Math.floor(column / 1024) * T + t];
    });
    const expected = Float64Array.from(found, (_, i) => {
      const [t, column] = [Math.floor(i / (2 * N)), i % (2 * N)];
      const n = column % N;
      const d = bf16Value(dh[t * N + n]);
      const slopeOf = (v: number): number => (gelu(v + 1e-5) - gelu(v - 1e-5)) / 2e-5;
      return column < N ? d * up(t, n) * slopeOf(gate(t, n)) : d * gelu(gate(t, n));
    });
    expect(relativeError(found, expected)).toBeLessThan(0.04);
    expect(Math.abs(slope(found, expected) - 1)).toBeLessThan(0.003);
  });
});

describe('scaled embedding, norm behind a layer', () => {
  it('embedScaled multiplies the row, its gradient the sum', () => {
    const [T, C, V, scale] = [40, 64, 8, 33.5];
    const tokens = Uint32Array.from({ length: T }, (_, t) => (t * 5) % V);
    const wte = gaussian(V * C, 1);
    const x = new Uint16Array(T * C);
    embedScaled({ tokens, wte, x, T, C, scale });
    const expected = Float64Array.from(x, (_, i) => wte[tokens[Math.floor(i / C)] * C + (i % C)] * scale);
    expect(relativeError(floats(x), expected)).toBeLessThan(0.004);
    const dx = toBf16(gaussian(T * C, 2));
    const dWte = new Float32Array(V * C);
    const a = new Int8Array(T * C);
    const aScales = new Float32Array(T);
    embedScaledBackward({ tokens, targets: tokens, a, aScales, dx, dWte, U: T, C, V, scale });
    const sums = new Float64Array(V * C);
    floats(dx).forEach((d, i) => {
      sums[tokens[Math.floor(i / C)] * C + (i % C)] += d * scale;
    });
    expect(relativeError(dWte, sums)).toBeLessThan(1e-6);
  });

  it('normResidual', () => {
    const [T, C] = [5, 192];
    const [x, o] = [toBf16(gaussian(T * C, 1)), toBf16(gaussian(T * C, 2, 5))];
    const gain = gaussian(C, 3).map((v) => 1 + 0.1 * v);
    const [y, rstd] = [new Uint16Array(T * C), new Float32Array(T)];
    normResidual({ x, o, gain, y, rstd, T, C, epsilon: Math.fround(1e-6) });
    const [xs, os] = [floats(x), floats(o)];
    const expected = xs.map((v, i) => {
      const row = os.subarray(i - (i % C), i - (i % C) + C);
      return v + (os[i] / Math.sqrt(row.reduce((sum, w) => sum + w * w, 0) / C + 1e-6)) * gain[i % C];
    });
    expect(relativeError(floats(y), expected)).toBeLessThan(0.003);
  });
});
