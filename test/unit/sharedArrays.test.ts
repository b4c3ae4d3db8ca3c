/** Arrays on shared memory: what they are, and that a large one is a view behind its buffer's start. */
import { describe, expect, it } from 'vitest';
import { sharedArray } from '../../src/backend/sharedArrays.js';

const MAKERS = [
  (n: number) => sharedArray(Float32Array, n),
  (n: number) => sharedArray(Uint16Array, n),
  (n: number) => sharedArray(Uint8Array, n),
  (n: number) => sharedArray(Int8Array, n),
] as const;

describe('shared arrays', () => {
  it.each([0, 1, 3, 255, 2 ** 15 - 1, 2 ** 15, 2 ** 15 + 1, 2 ** 20])('%i zeros, on memory of their own', (n) => {
    for (const make of MAKERS) {
      const array = make(n);
      expect(array.length).toBe(n);
      expect(array.buffer).toBeInstanceOf(SharedArrayBuffer);
      expect(array.buffer).not.toBe(make(n).buffer);
      expect(array.every((value) => value === 0)).toBe(true);
      expect(array.byteOffset + array.byteLength).toBe(array.buffer.byteLength);
      // 16 bytes behind a page are 48 before a line.
      expect(array.byteOffset).toBe(array.byteLength < 128 * 1024 ? 0 : 48);
    }
  });
});
