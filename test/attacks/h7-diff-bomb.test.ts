/** H7: a diff that claims more than it holds, or reaches outside the model it is for. */
import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { applyDiff, DIFF_HEADER_BYTES, encodeDiff, readDiffHeader } from '../../src/protocol/diff.js';
import { seededBytes } from '../support/random.js';

const OLD = seededBytes(1000, 1);

/** A kilobyte that says it makes a terabyte. */
function bomb(): Uint8Array {
  const patch = new Uint8Array(1024);
  patch.set(encodeDiff(OLD, OLD));
  new DataView(patch.buffer).setBigUint64(8, 2n ** 40n, true);
  return patch;
}

/**
 * The weakened decoder: it allocates what the header says, adds the differences in place, and checks neither the
 * bounds nor the root. `allocate` is where the harm shows.
 */
function weakApply(older: Uint8Array, patch: Uint8Array, allocate: (bytes: number) => Uint8Array): Uint8Array {
  const result = allocate(readDiffHeader(patch).length);
  result.set(older.subarray(0, result.length));
  const bitmapBytes = Math.ceil(older.length / 4);
  const bitmap = patch.subarray(DIFF_HEADER_BYTES + 1, DIFF_HEADER_BYTES + 1 + bitmapBytes);
  let at = DIFF_HEADER_BYTES + 1 + bitmapBytes;
  for (let nibble = 0; nibble < 8 * bitmapBytes; nibble += 1) {
    if (((bitmap[nibble >>> 3]! >>> (nibble & 7)) & 1) === 0) continue;
    result[nibble >>> 1] = (result[nibble >>> 1]! + patch[at]!) & 0xff;
    at += 1;
  }
  return result;
}

describe('H7 diff bomb', () => {
  it('the weakened decoder asks for a terabyte; the real one refuses before it allocates', () => {
    let asked = 0;
    const allocate = (bytes: number): Uint8Array => {
      asked = bytes;
      return new Uint8Array(OLD.length);
    };
    weakApply(OLD, bomb(), allocate);
    expect(asked).toBe(2 ** 40);
    const before = process.memoryUsage().arrayBuffers;
    expect(() => applyDiff(OLD, bomb())).toThrow(expect.objectContaining({ code: 'SHAPE' }));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
  });

  it('the weakened decoder writes outside the model; the real one refuses the index', () => {
    // Five bytes have ten nibbles; the bitmap's bits 10 to 15 stand for none.
    const five = new Uint8Array(5);
    const head = encodeDiff(five, five).subarray(0, DIFF_HEADER_BYTES);
    const outside = Uint8Array.from([...head, 1, 0x00, 0x04, 0x01]);
    const memory = new Uint8Array(16);
    weakApply(five, outside, () => memory);
    expect(memory[5]).toBe(1);
    // With a hash that agrees to everything only the bounds are left to refuse it.
    const agree = (bytes: Uint8Array) => (bytes.length === 5 ? blake3(five) : bytes);
    expect(() => applyDiff(five, outside, agree)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
  });

  it('a decoder without the canonical form takes two diffs for one model; the real one takes one', () => {
    const newer = OLD.slice();
    newer[3]! ^= 1;
    const good = encodeDiff(OLD, newer);
    // Raw form of the same change: the sum is right, and so is the root of the result.
    const raw = new Uint8Array(DIFF_HEADER_BYTES + 1 + OLD.length);
    raw.set(good.subarray(0, DIFF_HEADER_BYTES));
    raw[DIFF_HEADER_BYTES] = 2;
    raw[DIFF_HEADER_BYTES + 1 + 3] = (newer[3]! - OLD[3]!) & 0x0f;
    const weakResult = OLD.map((byte, i) => (byte & 0xf0) | ((byte + raw[DIFF_HEADER_BYTES + 1 + i]!) & 0x0f));
    expect(Buffer.compare(weakResult, newer)).toBe(0);
    expect(() => applyDiff(OLD, raw)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
    expect(Buffer.compare(applyDiff(OLD, good), newer)).toBe(0);
  });

  it('a failed patch leaves the old model as it was', () => {
    const patch = encodeDiff(OLD, seededBytes(1000, 2));
    patch[60]! ^= 1;
    const before = OLD.slice();
    expect(() => applyDiff(OLD, patch)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
    expect(Buffer.compare(OLD, before)).toBe(0);
  });
});
