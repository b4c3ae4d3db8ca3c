import { describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { toHex } from '../../../src/hex.js';
import { type RopeShape, recipeRope, ropeRootOf, ropeRow, ropeTables } from '../../../src/model/rope.js';

const shape: RopeShape = {
  headSize: 64,
  context: 512,
  ropeLocalBase: 10_000,
  ropeGlobalBase: 1_000_000,
  ropeGlobalScale: 8,
};
const tables = ropeTables(shape);

describe('RoPE tables', () => {
  it('are the cosines and sines that binary64 gives, up to the last bit of fp32', () => {
    const { headSize, context } = shape;
    for (const [part, base, scale] of [
      [0, 10_000, 1],
      [1, 1_000_000, 8],
    ] as const) {
      for (let position = 0; position < context; position++) {
        for (let i = 0; i < headSize / 2; i++) {
          const angle = (position * base ** ((-2 * i) / headSize)) / scale;
          const at = (part * context + position) * headSize + i;
          // The angle has an error of 2^-44 at most in binary64; a value in [0.5, 1) has ulp 2^-24.
          expect(Math.abs(tables[at] - Math.cos(angle))).toBeLessThan(2 ** -24.9);
          expect(Math.abs(tables[at + headSize / 2] - Math.sin(angle))).toBeLessThan(2 ** -24.9);
        }
      }
    }
  });

  it('begin with no turn at all', () => {
    expect([...tables.subarray(0, 64)]).toEqual([...new Array(32).fill(1), ...new Array(32).fill(0)]);
  });

  it.each([32, 64, 128, 256])('have the rows that are made alone, heads of %i', (headSize) => {
    const other = { ...shape, headSize, context: 320 };
    const whole = ropeTables(other);
    for (const position of [0, 1, 2, 63, 64, 200, 319]) {
      for (const part of [0, 1]) {
        const from = (part * other.context + position) * headSize;
        expect(ropeRow(other, part === 1, position), `${position}`).toEqual(whole.slice(from, from + headSize));
      }
    }
  });

  it('have rows far beyond any table', () => {
    // Binary64 reduces an integer angle without an error that fp32 could see.
    const row = ropeRow(shape, false, 2 ** 20 - 1);
    expect(row[0]).toBe(Math.fround(Math.cos(2 ** 20 - 1)));
    expect(row[32]).toBe(Math.fround(Math.sin(2 ** 20 - 1)));
  });

  it('are refused under the root of others', () => {
    const { context, ...rope } = shape;
    const gemma = {
      ...rope,
      keyValueHeads: 1,
      queryScalar: 64,
      slidingWindow: 64,
      globalEvery: 2,
      embeddingScaleBits: 0x3f800000,
    };
    const root = ropeRootOf(shape);
    expect(recipeRope({ context, gemma: { ...gemma, ropeRoot: root } })).toEqual(tables);
    const wrong = root.map((byte) => byte ^ 1);
    let found: unknown;
    try {
      recipeRope({ context, gemma: { ...gemma, ropeRoot: wrong } });
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(PogoError);
    expect((found as PogoError).code).toBe('MISMATCH');
    expect((found as PogoError).message).toContain(toHex(root));
  });
});
