import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../../src/hex.js';
import { bitsToFloat } from '../../../src/model/fp32.js';
import { fillInitialRange, initialScaleBits, initialVector, writeInitialState } from '../../../src/model/initialize.js';
import { integerSquareRoot } from '../../../src/model/integers.js';
import { createLayout, paddedSize } from '../../../src/model/layout.js';
import { loadRecipe } from '../../../src/model/recipe.js';

const tiny = loadRecipe('tiny');
const layout = createLayout(tiny);
const theta = initialVector(tiny, layout);

describe('initial weights', () => {
  it('of tiny are the pinned ones', () => {
    // Made by this code; pinned so that no later change of a line can move the start state in silence.
    expect(toHex(blake3(new Uint8Array(theta.buffer)))).toBe(
      '9bd2f00d864db8948cbcc0d75032da6c013211792271b4a22831ec7b9921acfb',
    );
  });

  it('are the same however the vector is cut', () => {
    for (const pieces of [2, 3, 7]) {
      const whole = new Float32Array(layout.length).fill(Number.NaN);
      for (let piece = 0; piece < pieces; piece++) {
        const from = Math.floor((layout.length * piece) / pieces);
        const to = Math.floor((layout.length * (piece + 1)) / pieces);
        fillInitialRange(layout, tiny, from, whole.subarray(from, to));
      }
      expect(Buffer.compare(Buffer.from(whole.buffer), Buffer.from(theta.buffer))).toBe(0);
    }
  });

  it('have the deviation of their kind, mean 0, gains 1 and padding +0', () => {
    const expected = (name: string): number => {
      if (name === 'wpe') return 0.01;
      return /\.(?:o|proj)\.weight$/.test(name) ? 0.02 / Math.sqrt(2 * tiny.layers) : 0.02;
    };
    for (const tensor of layout.tensors) {
      const values = theta.subarray(tensor.offset, tensor.offset + tensor.size);
      const padding = theta.subarray(tensor.offset + tensor.size, tensor.offset + paddedSize(tensor));
      expect(padding.every((value) => Object.is(value, 0))).toBe(true);
      if (tensor.kind === 'vector') {
        expect(values.every((value) => value === 1)).toBe(true);
        continue;
      }
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
      const sigma = expected(tensor.name);
      expect(Math.abs(mean)).toBeLessThan((5 * sigma) / Math.sqrt(values.length));
      expect(Math.abs(deviation / sigma - 1), tensor.name).toBeLessThan(5 / Math.sqrt(2 * values.length));
    }
  });

  it('are +0 in the rows that pad the vocabulary, and biases are +0', () => {
    const recipe = { ...tiny, vocab: 257, norm: 'layer', bias: true } as const;
    const padded = createLayout(recipe);
    const vector = new Float32Array(padded.length).fill(Number.NaN);
    writeInitialState(padded, recipe, vector);
    const wte = padded.byName('wte');
    expect(wte.rows).toBe(320);
    expect(vector.subarray(257 * 64, 320 * 64).every((value) => Object.is(value, 0))).toBe(true);
    expect(vector.subarray(256 * 64, 257 * 64).some((value) => value !== 0)).toBe(true);
    for (const name of ['h0.qkv.bias', 'h1.norm2.bias', 'norm.bias']) {
      const { offset, size } = padded.byName(name);
      expect(vector.subarray(offset, offset + size).every((value) => Object.is(value, 0))).toBe(true);
    }
  });

  it('depend on the seed and on the tensor', () => {
    const other = { ...tiny, start: { kind: 'seed', seed: new Uint8Array(32) } } as const;
    const vector = new Float32Array(layout.length);
    writeInitialState(layout, other, vector);
    const equal = vector.subarray(0, 4096).filter((value, i) => value === theta[i]).length;
    expect(equal).toBeLessThan(10);
    const [a, b] = ['h0.fc.weight', 'h1.fc.weight'].map((name) => layout.byName(name).offset);
    expect(theta[a]).not.toBe(theta[b]);
  });

  it('refuses a recipe that starts from a root, and a vector of another length', () => {
    const imported = { ...tiny, start: { kind: 'root', root: new Uint8Array(32) } } as const;
    expect(() => writeInitialState(layout, imported, new Float32Array(layout.length))).toThrow(/state root/);
    expect(() => writeInitialState(layout, tiny, new Float32Array(1))).toThrow(/119|120064/);
  });
});

describe('scale of the residual projections', () => {
  it('is the correctly rounded root, against Math.sqrt', () => {
    for (let layers = 1; layers <= 200; layers++) {
      const bits = initialScaleBits({ name: 'h0.o.weight' }, layers);
      expect(bitsToFloat(bits)).toBe(Math.fround(0.02 / 65_536 / Math.sqrt(2 * layers)));
    }
  });

  it('takes the floor of a root', () => {
    for (const value of [0n, 1n, 2n, 3n, 4n, 15n, 16n, 17n, 10n ** 40n - 1n, 10n ** 40n]) {
      const root = integerSquareRoot(value);
      expect(root * root <= value && value < (root + 1n) * (root + 1n)).toBe(true);
    }
  });
});
