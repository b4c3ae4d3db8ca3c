import { describe, expect, it } from 'vitest';
import { mix } from '../../src/reference/dither.js';
import { embed, embedBackward, unitLoss } from '../../src/reference/embedding.js';
import { headForward, headInputGradient, headLogits } from '../../src/reference/head.js';
import {
  linearGelu,
  linearGeluInputGradient,
  linearHeadsInputGradient,
  linearInputGradient,
  linearQkv,
  linearResidual,
} from '../../src/reference/linear.js';
import { normBackward, normForward } from '../../src/reference/norm.js';
import { quantizeGradientRows } from '../../src/reference/quantize8.js';
import { recode } from '../../src/reference/recode.js';
import { bf16Value, floatOf } from '../../src/reference/scalars.js';
import { coded, gaussian, relativeError, slope, toBf16 } from '../support/gaussian.js';
import { seededRandom } from '../support/random.js';

const seedOf = (n: number): Uint32Array => Uint32Array.from([mix(n), mix(n + 1), mix(n + 2), mix(n + 3)]);
const floats = (x: Uint16Array): Float64Array => Float64Array.from(x, bf16Value);
const none = new Float32Array(0);
const indices = (count: number, limit: number, seed: number): Uint32Array => {
  const random = seededRandom(seed);
  return Uint32Array.from({ length: count }, () => Math.floor(random() * limit));
};

/** Values of codes [rows, cols] with scales per group of columns. */
function decoded(codes: Int8Array, scales: Float32Array, rows: number, cols: number, group = 1024): Float64Array {
  return Float64Array.from(codes, (c, i) => c * scales[Math.floor((i % cols) / group) * rows + Math.floor(i / cols)]);
}

/** a [M, K] · b [N, K]ᵀ in binary64. */
function multiply(a: Float64Array, b: Float64Array, M: number, N: number, K: number): Float64Array {
  const y = new Float64Array(M * N);
  for (let i = 0; i < M; i += 1) {
    for (let j = 0; j < N; j += 1) for (let k = 0; k < K; k += 1) y[i * N + j] += a[i * K + k] * b[j * K + k];
  }
  return y;
}

/** Central differences of f at x, in binary64. */
function differences(f: (x: Float64Array) => number, x: Float64Array, step: number): Float64Array {
  const point = x.slice();
  return x.map((value, i) => {
    point[i] = value + step;
    const up = f(point);
    point[i] = value - step;
    const down = f(point);
    point[i] = value;
    return (up - down) / (2 * step);
  });
}

describe.each([
  ['RMS', false],
  ['layer', true],
] as const)('%s norm against binary64', (_, layer) => {
  const [T, C] = [70, 128];
  const epsilon = Math.fround(1e-5);
  const x = toBf16(gaussian(T * C, 1, 3));
  const gain = gaussian(C, 2).map((v) => 1 + 0.1 * v);
  const bias = layer ? gaussian(C, 3, 0.1) : none;
  const rstd = new Float32Array(T);
  const mean = layer ? new Float32Array(T) : none;
  const codes = new Int8Array(T * C);
  const scales = new Float32Array(T);
  normForward({ x, gain, bias, codes, scales, rstd, mean, T, C, layer, epsilon });

  const normalize = (row: Float64Array): Float64Array => {
    const mu = layer ? row.reduce((s, v) => s + v, 0) / C : 0;
    const variance = row.reduce((s, v) => s + (v - mu) ** 2, 0) / C;
    return row.map((v, c) => ((v - mu) / Math.sqrt(variance + epsilon)) * gain[c] + (layer ? bias[c] : 0));
  };

  it('forward', () => {
    const values = floats(x);
    const expected = new Float64Array(T * C);
    for (let t = 0; t < T; t += 1) expected.set(normalize(values.slice(t * C, (t + 1) * C)), t * C);
    expect(relativeError(decoded(codes, scales, T, C), expected)).toBeLessThan(0.01);
  });

  it('backward: input, gain and bias by finite differences', () => {
    const dy = toBf16(gaussian(T * C, 4, 1e-3));
    const before = toBf16(gaussian(T * C, 5, 1e-3));
    const dx = before.slice();
    const dGain = new Float32Array(C);
    const dBias = layer ? new Float32Array(C) : none;
    normBackward({ dy, x, gain, rstd, mean, dx, dGain, dBias, T, C, layer, residual: true, accumulate: false });
    const values = floats(x);
    const weights = floats(dy);
    const gained = new Float64Array(C);
    for (let t = 0; t < T; t += 1) {
      const row = values.slice(t * C, (t + 1) * C);
      const loss = (p: Float64Array): number => normalize(p).reduce((s, y, c) => s + y * weights[t * C + c], 0);
      normalize(row).forEach((y, c) => {
        gained[c] += (weights[t * C + c] * (y - (layer ? bias[c] : 0))) / gain[c];
      });
      if (t % 10 !== 0) continue;
      const expected = differences(loss, row, 1e-4).map((d, c) => d + bf16Value(before[t * C + c]));
      expect(relativeError(floats(dx.slice(t * C, (t + 1) * C)), expected)).toBeLessThan(0.003);
    }
    expect(relativeError(dGain, gained)).toBeLessThan(1e-4);
    if (layer) {
      const sums = new Float64Array(C);
      weights.forEach((g, i) => {
        sums[i % C] += g;
      });
      expect(relativeError(dBias, sums)).toBeLessThan(1e-5);
    }
  });

  it('column sums of micro-batches of 64 tokens, going on, are those of the unit', () => {
    const dy = toBf16(gaussian(T * C, 6));
    const run = (first: number, count: number, dGain: Float32Array, dBias: Float32Array, dx: Uint16Array): void => {
      const rows = (a: Uint16Array): Uint16Array => a.subarray(first * C, (first + count) * C);
      const slices = {
        rstd: rstd.subarray(first, first + count),
        mean: layer ? mean.subarray(first, first + count) : none,
      };
      const flags = { T: count, C, layer, residual: false, accumulate: first > 0 };
      normBackward({ dy: rows(dy), x: rows(x), gain, ...slices, dx: rows(dx), dGain, dBias, ...flags });
    };
    const results = [[70], [64, 6]].map((parts) => {
      const dGain = new Float32Array(C);
      const dBias = layer ? new Float32Array(C) : none;
      const dx = new Uint16Array(T * C);
      let first = 0;
      for (const count of parts) {
        run(first, count, dGain, dBias, dx);
        first += count;
      }
      return { dGain, dBias, dx };
    });
    expect(results[1]).toEqual(results[0]);
  });
});

describe('linear layers against binary64 on the same codes', () => {
  const [T, K, N, H] = [9, 128, 192, 1];
  const a = coded(gaussian(T * K, 1), T, K);
  const w = coded(gaussian(N * K, 2, 0.1), N, K);
  const bias = gaussian(N, 3, 0.1);
  const operands = { a: a.codes, aScales: a.scales, w: w.codes, wScales: w.scales };
  const u = multiply(a.values, w.values, T, N, K).map((v, i) => v + bias[i % N]);

  it('linearResidual', () => {
    const x = toBf16(gaussian(T * N, 4));
    const y = new Uint16Array(T * N);
    linearResidual({ ...operands, bias, x, y, T, N, K });
    expect(
      relativeError(
        floats(y),
        u.map((v, i) => v + bf16Value(x[i])),
      ),
    ).toBeLessThan(0.004);
    // In place: y may be x.
    linearResidual({ ...operands, bias, x, y: x, T, N, K });
    expect(x).toEqual(y);
  });

  it('linearGelu: values and derivative codes', () => {
    const codes = new Int8Array(T * N);
    const scales = new Float32Array(T);
    const derivative = new Int8Array(T * N);
    linearGelu({ ...operands, bias, codes, scales, derivative, T, N, K });
    const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
    expect(relativeError(decoded(codes, scales, T, N), u.map(gelu))).toBeLessThan(0.015);
    u.forEach((v, i) => {
      const exact = (gelu(v + 1e-5) - gelu(v - 1e-5)) / 2e-5;
      expect(Math.abs(derivative[i] / 112 - exact)).toBeLessThan(0.5 / 112 + 1e-5);
    });
  });

  it('linearGelu refuses an input without a derivative', () => {
    const codes = Int8Array.of(127);
    const scales = Float32Array.of(2 ** 60);
    const run = (bits: number): void => {
      const weights = { w: codes, wScales: Float32Array.of(floatOf(bits)) };
      const outputs = { codes: new Int8Array(1), scales: new Float32Array(1), derivative: new Int8Array(1) };
      linearGelu({ a: codes, aScales: scales, ...weights, bias: none, ...outputs, T: 1, N: 1, K: 1 });
    };
    expect(() => run(0x3f800000)).toThrow(/linearGelu.*derivative/);
    expect(() => run(0x21800000)).not.toThrow();
  });

  it('linearQkv: one scale a head', () => {
    const C = 64;
    const narrow = coded(gaussian(T * C, 6), T, C);
    const weights = coded(gaussian(N * C, 7, 0.1), N, C);
    const codes = new Int8Array(T * N);
    const scales = new Float32Array(3 * H * T);
    const inputs = { a: narrow.codes, aScales: narrow.scales, w: weights.codes, wScales: weights.scales };
    linearQkv({ ...inputs, bias: none, codes, scales, T, C, H });
    expect(
      relativeError(decoded(codes, scales, T, N, 64), multiply(narrow.values, weights.values, T, N, C)),
    ).toBeLessThan(0.01);
  });

  it('input gradients, plain, by heads and through GELU; micro-batches give the bits of the unit', () => {
    const tokens = 2048;
    const [outputs, width] = [64, 64];
    const e = coded(gaussian(tokens * outputs, 8, 1e-4), tokens, outputs);
    const wt = coded(gaussian(width * outputs, 9, 0.1), width, outputs);
    const exact = multiply(e.values, wt.values, tokens, width, outputs);
    const derivative = Int8Array.from(gaussian(tokens * width, 10, 30), (v) =>
      Math.max(-14, Math.min(126, Math.round(v))),
    );
    const seed = seedOf(1);
    const run = (first: number, count: number) => {
      const sizes = { T: count, N: outputs, K: width };
      const backward = {
        e: e.codes.subarray(first * outputs, (first + count) * outputs),
        eScales: e.scales.subarray(first, first + count),
        wt: wt.codes,
        wtScales: wt.scales,
      };
      const dx = new Uint16Array(count * width);
      linearInputGradient({ ...backward, dx, ...sizes });
      const heads = { codes: new Int8Array(count * width), scales: new Float32Array(2 * count) };
      linearHeadsInputGradient({ ...backward, ...heads, seed, ...sizes, H: 2, t0: first });
      return { backward, sizes, dx, heads };
    };
    const [whole, first, second] = [run(0, 2048), run(0, 1024), run(1024, 1024)];
    expect(relativeError(floats(whole.dx), exact)).toBeLessThan(0.004);
    expect([...first.dx, ...second.dx]).toEqual([...whole.dx]);
    expect([...first.heads.codes, ...second.heads.codes]).toEqual([...whole.heads.codes]);
    expect(Math.abs(slope(decoded(whole.heads.codes, whole.heads.scales, tokens, width, 32), exact) - 1)).toBeLessThan(
      1e-3,
    );

    const gelu = (part: ReturnType<typeof run>, t0: number, sums: Float32Array) => {
      const count = part.sizes.T;
      const codes = new Int8Array(count * width);
      const scales = new Float32Array(count);
      const slopes = derivative.subarray(t0 * width, (t0 + count) * width);
      const rest = { derivative: slopes, codes, scales, bias: sums, seed, t0, accumulate: t0 > 0 };
      linearGeluInputGradient({ ...part.backward, ...part.sizes, ...rest });
      return codes;
    };
    const sums = new Float32Array(width);
    const codes = gelu(whole, 0, sums);
    const going = new Float32Array(width);
    expect([...gelu(first, 0, going), ...gelu(second, 1024, going)]).toEqual([...codes]);
    expect(going).toEqual(sums);
    const column = new Float64Array(width);
    exact.forEach((g, i) => {
      column[i % width] += (g * derivative[i]) / 112;
    });
    expect(relativeError(sums, column)).toBeLessThan(1e-4);
  });

  it('gradient row codes and recode of micro-batches give the bits of the unit', () => {
    const [tokens, width] = [2048, 20];
    const x = toBf16(gaussian(tokens * width, 11, 1e-3));
    const run = (first: number, count: number, bias: Float32Array) => {
      const codes = new Int8Array(count * width);
      const scales = new Float32Array(count);
      const rows = x.subarray(first * width, (first + count) * width);
      const place = { T: count, N: width, t0: first };
      quantizeGradientRows({ x: rows, codes, scales, bias, seed: seedOf(5), ...place, accumulate: first > 0 });
      const out = new Int8Array(count * width);
      const outScales = new Float32Array(width * Math.ceil(count / 1024));
      recode({ codes, scales, out, outScales, seed: seedOf(9), dither: true, ...place });
      return { codes, out, outScales };
    };
    const [sums, going] = [new Float32Array(width), new Float32Array(width)];
    const whole = run(0, 2048, sums);
    const [first, second] = [run(0, 1024, going), run(1024, 1024, going)];
    expect(going).toEqual(sums);
    expect([...first.codes, ...second.codes]).toEqual([...whole.codes]);
    expect([...first.outScales, ...second.outScales]).toEqual([...whole.outScales]);
    for (let n = 0; n < width; n += 1) {
      expect(whole.out.slice(n * 2048, n * 2048 + 1024)).toEqual(first.out.slice(n * 1024, (n + 1) * 1024));
      expect(whole.out.slice(n * 2048 + 1024, (n + 1) * 2048)).toEqual(second.out.slice(n * 1024, (n + 1) * 1024));
    }
  });
});

describe('the head', () => {
  const [T, C, V, vocab] = [24, 64, 1088, 1050];
  const a = coded(gaussian(T * C, 1), T, C);
  const w = coded(gaussian(V * C, 2, 0.3), V, C);
  const targets = indices(T, vocab, 3);
  const operands = { a: a.codes, aScales: a.scales, w: w.codes, wScales: w.scales };

  const lossOf = (row: Float64Array, target: number): number => {
    const logits = multiply(row, w.values, 1, vocab, C);
    const m = logits.reduce((x, y) => Math.max(x, y), Number.NEGATIVE_INFINITY);
    return m + Math.log(logits.reduce((s, z) => s + Math.exp(z - m), 0)) - logits[target];
  };

  function run(seed: number, first = 0, count = T) {
    const codes = new Int8Array(count * V);
    const eScales = new Float32Array(2 * count);
    const loss = new Float32Array(count);
    const rows = {
      a: a.codes.subarray(first * C, (first + count) * C),
      aScales: a.scales.subarray(first, first + count),
      targets: targets.subarray(first, first + count),
    };
    const sizes = { T: count, C, V, vocab, t0: first, U: T };
    headForward({ ...operands, ...rows, codes, eScales, loss, seed: seedOf(seed), ...sizes });
    return { codes, eScales, loss };
  }

  it('losses against binary64; the same without codes, and for every micro-batch', () => {
    const { loss, codes } = run(1);
    for (let t = 0; t < T; t += 1) {
      const exact = lossOf(a.values.slice(t * C, (t + 1) * C), targets[t]);
      expect(Math.abs(loss[t] - exact)).toBeLessThan(3e-6 * Math.max(1, exact));
    }
    const only = new Float32Array(T);
    const empty = { codes: new Int8Array(0), eScales: none, seed: seedOf(1) };
    headForward({ ...operands, targets, ...empty, loss: only, T, C, V, vocab, t0: 0, U: T });
    expect(only).toEqual(loss);
    const [first, second] = [run(1, 0, 8), run(1, 8, 16)];
    expect([...first.loss, ...second.loss]).toEqual([...loss]);
    expect([...first.codes, ...second.codes]).toEqual([...codes]);
    const mean = new Float32Array(1);
    unitLoss({ loss: new Float32Array(64).fill(3), out: mean, U: 64 });
    expect(mean[0]).toBe(3);
  });

  it('padded entries are masked: their codes are 0, whatever their rows hold', () => {
    const { codes, loss } = run(2);
    for (let t = 0; t < T; t += 1) expect(codes.subarray(t * V + vocab, (t + 1) * V).every((c) => c === 0)).toBe(true);
    const other = w.codes.slice();
    other.fill(127, vocab * C);
    const changed = new Float32Array(T);
    const outputs = { codes: new Int8Array(0), eScales: none, loss: changed, seed: seedOf(2) };
    headForward({ ...operands, w: other, targets, ...outputs, T, C, V, vocab, t0: 0, U: T });
    expect(changed).toEqual(loss);
  });

  it('gradient of the mean loss by finite differences: unbiased, and close for one seed', () => {
    const wt = { codes: new Int8Array(C * V), scales: new Float32Array(2 * C) };
    const plain = { dither: false, seed: seedOf(0), t0: 0 };
    recode({ codes: w.codes, scales: w.scales, out: wt.codes, outScales: wt.scales, T: V, N: C, ...plain });
    const expected = new Float64Array(T * C);
    for (let t = 0; t < T; t += 1) {
      const row = a.values.slice(t * C, (t + 1) * C);
      expected.set(
        differences((p) => lossOf(p, targets[t]) / T, row, 1e-4),
        t * C,
      );
    }
    const average = new Float64Array(T * C);
    const seeds = 16;
    for (let seed = 0; seed < seeds; seed += 1) {
      const { codes: e, eScales } = run(100 + 4 * seed);
      const dx = new Uint16Array(T * C);
      const weights = { wt: wt.codes, wtScales: wt.scales, w: w.codes, wScales: w.scales };
      headInputGradient({ e, eScales, ...weights, targets, dx, T, V, C, U: T });
      floats(dx).forEach((g, i) => {
        average[i] += g / seeds;
      });
      expect(relativeError(floats(dx), expected)).toBeLessThan(0.05);
    }
    expect(relativeError(average, expected)).toBeLessThan(0.02);
    expect(Math.abs(slope(average, expected) - 1)).toBeLessThan(0.005);
  });

  it('plain logits, and an Inf that is not passed on', () => {
    const logits = new Float32Array(T * V);
    headLogits({ ...operands, logits, T, C, V });
    expect(relativeError(logits, multiply(a.values, w.values, T, V, C))).toBeLessThan(1e-6);
    const aScales = a.scales.slice();
    aScales[5] = Number.NaN;
    const outputs = { codes: new Int8Array(0), eScales: none, loss: new Float32Array(T), seed: seedOf(2) };
    expect(() => headForward({ ...operands, aScales, targets, ...outputs, T, C, V, vocab, t0: 0, U: T })).toThrow(
      /headForward.*token 5/,
    );
  });
});

describe('embeddings', () => {
  it('lookup and gradient against binary64', () => {
    const [U, C, V, context] = [128, 64, 20, 64];
    const tokens = indices(U, V - 1, 1);
    const targets = indices(U, V - 1, 2);
    const wte = gaussian(V * C, 3);
    const wpe = gaussian(context * C, 4);
    const x = new Uint16Array(U * C);
    embed({ tokens, wte, wpe, x, T: U, C, context });
    const sum = Float64Array.from(x, (_, i) => wte[tokens[Math.floor(i / C)] * C + (i % C)] + wpe[i % (context * C)]);
    expect(relativeError(floats(x), sum)).toBeLessThan(0.003);

    const a = coded(gaussian(U * C, 5), U, C);
    const dx = toBf16(gaussian(U * C, 6, 1e-3));
    const dense = gaussian(V * C, 7, 1e-3);
    const dWte = dense.slice();
    const dWpe = new Float32Array(context * C);
    embedBackward({ tokens, targets, a: a.codes, aScales: a.scales, dx, dWte, dWpe, U, C, V, context });
    const expected = Float64Array.from(dense);
    const positions = new Float64Array(context * C);
    for (let i = 0; i < U * C; i += 1) {
      const [t, c] = [Math.floor(i / C), i % C];
      expected[targets[t] * C + c] -= a.values[i] / U;
      expected[tokens[t] * C + c] += bf16Value(dx[i]);
      positions[(t % context) * C + c] += bf16Value(dx[i]);
    }
    expect(relativeError(dWte, expected)).toBeLessThan(1e-6);
    expect(relativeError(dWpe, positions)).toBeLessThan(1e-6);
    // The last entry is met by no token: only its dense part remains.
    expect(dWte.slice((V - 1) * C)).toEqual(dense.slice((V - 1) * C));
  });
});
