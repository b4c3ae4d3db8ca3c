import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AdamwScalars,
  adamwLeaf,
  advanceBeta,
  assertCanonicalUnit,
  commitLeaves,
  decodeUnitStrict,
  sumUnitsLeaf,
} from '../../src/reference/adamw.js';
import { mix } from '../../src/reference/dither.js';
import { quantize4 } from '../../src/reference/gradient4.js';
import { f32 } from '../../src/reference/scalars.js';
import { gaussian } from '../support/gaussian.js';

const LEAF = 256;
const beta1 = f32(0.9);
const beta2 = f32(0.95);

function scalars(step: number, more: Partial<AdamwScalars> = {}): AdamwScalars {
  let [beta1t, beta2t] = [1, 1];
  for (let i = 0; i <= step; i += 1) {
    beta1t = advanceBeta(beta1, beta1t);
    beta2t = advanceBeta(beta2, beta2t);
  }
  return {
    beta1,
    beta2,
    beta1t,
    beta2t,
    epsilon: f32(1e-8),
    weightDecay: f32(0.1),
    learningRate: f32(3e-3),
    emaDecay: f32(0.95 ** 8),
    updateEma: true,
    ...more,
  };
}

function leaf(seed: number, gradientScale: number) {
  const [theta, m, ema] = [gaussian(LEAF, seed), gaussian(LEAF, seed + 1, 1e-3), gaussian(LEAF, seed + 2)];
  const v = gaussian(LEAF, seed + 3, 1e-3).map((x) => x * x);
  return { theta, m, v, ema, gradient: gaussian(LEAF, seed + 4, gradientScale) };
}

/** The same step in binary64. */
function exactStep(l: ReturnType<typeof leaf>, s: AdamwScalars) {
  const v = Float64Array.from(l.v, (x, i) => s.beta2 * x + (1 - s.beta2) * l.gradient[i] ** 2);
  const vHat = v.map((x) => x / (1 - s.beta2t));
  const squares = l.gradient.reduce((sum, g) => sum + g * g, 0);
  const r = Math.sqrt(squares / (4 * vHat.reduce((sum, x) => sum + x, 0)));
  const g = Float64Array.from(l.gradient, (x) => (r > 1 ? x / r : x));
  const m = Float64Array.from(l.m, (x, i) => s.beta1 * x + (1 - s.beta1) * g[i]);
  const theta = Float64Array.from(l.theta, (x, i) => {
    const update = m[i] / (1 - s.beta1t) / (Math.sqrt(vHat[i]) + s.epsilon);
    return x - s.learningRate * (update + s.weightDecay * x);
  });
  const ema = Float64Array.from(l.ema, (x, i) => s.emaDecay * x + (1 - s.emaDecay) * theta[i]);
  return { theta, m, v, ema, clipped: r > 1 };
}

describe('AdamW of a leaf', () => {
  it('is close to binary64, with and without clipping', () => {
    const seen = new Set<boolean>();
    fc.assert(
      fc.property(
        fc.nat(10_000),
        fc.constantFrom(1e-4, 1e-3, 0.1),
        fc.constantFrom(0, 1, 10, 500),
        (seed, size, step) => {
          const before = leaf(seed, size);
          const s = scalars(step);
          const after = adamwLeaf({ ...before, ...s });
          const exact = exactStep(before, s);
          seen.add(exact.clipped);
          for (const name of ['theta', 'm', 'v', 'ema'] as const) {
            const scale = exact[name].reduce((a, x) => Math.max(a, Math.abs(x)), 0);
            after[name].forEach((x, i) => {
              if (Math.abs(x - exact[name][i]) > 2e-6 * scale)
                throw new Error(`${name}[${i}]: ${x}, ${exact[name][i]}`);
            });
          }
        },
      ),
      { numRuns: 60 },
    );
    expect(seen.size).toBe(2);
  });

  it('leaves its inputs alone, and the average where it is not due', () => {
    const before = leaf(1, 1e-3);
    const copy = before.theta.slice();
    const after = adamwLeaf({ ...before, ...scalars(3, { updateEma: false }) });
    expect(before.theta).toEqual(copy);
    expect(after.theta).not.toEqual(copy);
    expect(after.ema).toEqual(before.ema);
  });

  it('padding stays +0', () => {
    const zero = new Float32Array(LEAF);
    const after = adamwLeaf({ theta: zero, m: zero, v: zero, ema: zero, gradient: zero, ...scalars(7) });
    for (const x of [after.theta, after.m, after.v, after.ema]) {
      expect(x.every((value) => Object.is(value, 0))).toBe(true);
    }
  });

  it('flushes: nothing that only decays becomes subnormal', () => {
    const gradient = new Float32Array(LEAF).fill(2 ** -49);
    let state = adamwLeaf({ ...leaf(2, 0), gradient, ...scalars(5) });
    for (let step = 0; step < 2000; step += 1) state = adamwLeaf({ ...state, gradient, ...scalars(5) });
    expect(state.m.every((x) => Object.is(x, 0))).toBe(true);
    expect(state.v.every((x) => Object.is(x, 0))).toBe(true);
    let power = 1;
    for (let step = 0; step < 1000; step += 1) power = advanceBeta(beta1, power);
    expect(Object.is(power, 0)).toBe(true);
  });

  it('is what commitLeaves does, leaf by leaf', () => {
    const n = 3 * LEAF;
    const units = [1, 2, 3].map((unit) => {
      const codes = new Uint8Array(n / 2);
      const scales = new Uint16Array(n / 64);
      const seed = Uint32Array.from([mix(unit), mix(unit + 9), 3, 4]);
      quantize4({ x: gaussian(n, 50 + unit, 1e-3), codes, scales, seed, rows: 3, cols: LEAF });
      return { codes, scales };
    });
    const vectors = { theta: gaussian(n, 1), m: gaussian(n, 2, 1e-3), v: gaussian(n, 3, 1e-3).map((x) => x * x) };
    const before = { ...vectors, ema: gaussian(n, 4) };
    const after = {
      theta: before.theta.slice(),
      m: before.m.slice(),
      v: before.v.slice(),
      ema: before.ema.slice(),
    };
    const s = scalars(9);
    const planes = { codes: units.map((u) => u.codes), scales: units.map((u) => u.scales) };
    commitLeaves({ ...after, ...planes, n, ...s, b1t: s.beta1t, b2t: s.beta2t });
    for (let index = 0; index < 3; index += 1) {
      const at = (x: Float32Array): Float32Array => x.slice(index * LEAF, (index + 1) * LEAF);
      const gradient = sumUnitsLeaf(
        units.map((u) => u.codes.subarray(index * 128, (index + 1) * 128)),
        units.map((u) => u.scales.subarray(index * 4, (index + 1) * 4)),
      );
      const expected = adamwLeaf({
        theta: at(before.theta),
        m: at(before.m),
        v: at(before.v),
        ema: at(before.ema),
        gradient,
        ...s,
      });
      for (const name of ['theta', 'm', 'v', 'ema'] as const) expect(at(after[name])).toEqual(expected[name]);
    }
  });

  it('the order of the units is part of the result', () => {
    const codes = [0x77, 0x11, 0x99].map((byte) => new Uint8Array(128).fill(byte));
    const scales = [0x4b80, 0x3f80, 0x4b80].map((bits) => new Uint16Array(4).fill(bits));
    expect(sumUnitsLeaf(codes, scales)[0]).not.toBe(
      sumUnitsLeaf([codes[0], codes[2], codes[1]], [scales[0], scales[2], scales[1]])[0],
    );
  });
});

describe('canonical units', () => {
  const codes = new Uint8Array(128);
  const scales = new Uint16Array(4);
  quantize4({ x: gaussian(LEAF, 1), codes, scales, seed: new Uint32Array(4), rows: 1, cols: LEAF });

  it('quantized gradients are canonical', () => {
    expect(decodeUnitStrict(codes, scales)).toHaveLength(LEAF);
  });

  it.each([
    ['low nibble −8', 0x08],
    ['high nibble −8', 0x80],
  ])('%s is refused', (_, byte) => {
    const bad = codes.slice();
    bad[77] = byte;
    expect(() => assertCanonicalUnit(bad, scales)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
  });

  it.each([
    ['NaN', 0x7fc0],
    ['Inf', 0x7f80],
    ['negative', 0xbf80],
    ['−0', 0x8000],
    ['0 with codes', 0],
  ])('a scale that is %s is refused', (_, bits) => {
    const bad = scales.slice();
    bad[2] = bits;
    expect(() => decodeUnitStrict(codes, bad)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
  });

  it('planes of different lengths are refused', () => {
    expect(() => assertCanonicalUnit(codes.subarray(1), scales)).toThrow(/32 bytes of codes a scale/);
  });

  it('a scale of 0 with codes 0 is canonical', () => {
    assertCanonicalUnit(new Uint8Array(64), new Uint16Array(2));
  });
});
