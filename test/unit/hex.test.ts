import fc from 'fast-check';
import { expect, test } from 'vitest';
import { equalBytes, equalByWords } from '../../src/hex.js';

/** A copy on shared memory, `offset` bytes behind its beginning. */
function placed(bytes: Uint8Array, offset: number): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(offset + bytes.length), offset);
  copy.set(bytes);
  return copy;
}

test.each([
  ['by Node where there is one', equalBytes],
  ['by words', equalByWords],
])('byte strings are equal where each byte is, wherever they lie, and not where one bit is another: %s', (_, equal) => {
  const bytes = fc.uint8Array({ maxLength: 3000, size: 'max' });
  fc.assert(
    fc.property(bytes, fc.nat(7), fc.nat(7), fc.nat(), fc.nat(7), (a, left, right, at, bit) => {
      const b = placed(a, right);
      expect(equal(placed(a, left), b)).toBe(true);
      if (a.length === 0) return;
      b[at % a.length]! ^= 1 << bit;
      expect(equal(placed(a, left), b)).toBe(false);
    }),
  );
});

test('byte strings of unlike length are not equal', () => {
  for (const length of [0, 31, 2000])
    expect(equalBytes(new Uint8Array(length), new Uint8Array(length + 1))).toBe(false);
});
