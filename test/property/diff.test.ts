import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { PogoError } from '../../src/errors.js';
import { equalBytes } from '../../src/hex.js';
import {
  applyDiff,
  DIFF_CHUNK_BYTES,
  DIFF_HEADER_BYTES,
  encodeDiff,
  maxDiffBytes,
  readDiffHeader,
} from '../../src/protocol/diff.js';
import { seededBytes, seededRandom } from '../support/random.js';

/** The old model with each nibble changed with the given probability. */
function changed(older: Uint8Array, density: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  return older.map((byte) => {
    const low = random() < density ? 1 + Math.floor(random() * 15) : 0;
    const high = random() < density ? 1 + Math.floor(random() * 15) : 0;
    return ((byte + low) & 0x0f) | ((((byte & 0xf0) + 16 * high) % 256) & 0xf0);
  });
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof PogoError ? error.code : String(error);
  }
  return 'accepted';
}

const EDGES = [
  0,
  1,
  2,
  3,
  4,
  5,
  127,
  128,
  DIFF_CHUNK_BYTES - 1,
  DIFF_CHUNK_BYTES,
  DIFF_CHUNK_BYTES + 1,
  3 * DIFF_CHUNK_BYTES + 7,
];

/** What a diff or its refusal is: bytes as text, or code, message and offset of the error. */
function resultOf(work: () => Uint8Array): unknown {
  try {
    return Buffer.from(work()).toString('base64');
  } catch (error) {
    const { code, message, details } = PogoError.from(error);
    return { code, message, details };
  }
}

describe.skipIf(loadCpuAddon().addon === undefined)('diff by a backend', () => {
  const agree = () => new Uint8Array(32);
  const kernels = loadCpuAddon().addon === undefined ? undefined : openCpuBackend().kernels;

  it('gives the bytes of the specification, and refuses hostile bytes with its very errors', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...EDGES.filter((n) => n <= 2 * DIFF_CHUNK_BYTES)),
        fc.constantFrom(0, 0.001, 0.1, 0.7, 0.76, 1),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
        fc.option(fc.nat(), { nil: undefined }),
        fc.nat(1000),
        (length, density, changes, cut, seed) => {
          const older = seededBytes(length, seed);
          const newer = changed(older, density, seed + 1);
          const good = encodeDiff(older, newer, agree);
          expect(resultOf(() => encodeDiff(older, newer, agree, kernels))).toEqual(resultOf(() => good));
          const bad = good.slice(0, cut === undefined ? good.length : cut % (good.length + 1));
          for (const [where, value] of changes) bad[where % bad.length] = value;
          const fast = resultOf(() => applyDiff(older, bad, agree, kernels));
          expect(fast).toEqual(resultOf(() => applyDiff(older, bad, agree)));
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('diff', () => {
  it('gives the new model back, for any length and any density of changes', () => {
    for (const length of EDGES) {
      for (const density of [0, 0.0001, 0.02, 0.5, 0.74, 0.76, 1]) {
        const older = seededBytes(length, length + 1);
        const newer = changed(older, density, length + 2);
        const before = older.slice();
        const patch = encodeDiff(older, newer);
        expect(patch.length).toBeLessThanOrEqual(maxDiffBytes(length));
        expect(equalBytes(applyDiff(older, patch), newer)).toBe(true);
        expect(equalBytes(older, before)).toBe(true);
        expect(readDiffHeader(patch)).toEqual({ length, oldRoot: blake3(older), newRoot: blake3(newer) });
      }
    }
  });

  it('is small where little changed: one tag per equal chunk, a bitmap and nibbles elsewhere', () => {
    const older = seededBytes(4 * DIFF_CHUNK_BYTES, 5);
    expect(encodeDiff(older, older).length).toBe(DIFF_HEADER_BYTES + 4);
    const newer = older.slice();
    newer[20000]! ^= 0x01;
    const chunkBytes = 1 + DIFF_CHUNK_BYTES / 4 + 1;
    expect(encodeDiff(older, newer).length).toBe(DIFF_HEADER_BYTES + 3 + chunkBytes);
  });

  it('writes the documented bytes', () => {
    // Nibbles of old 00 00 00 00, new 10 00 00 0f…: differences 0,1 | 0,0 | 0,0 | 15,0 → bits 1 and 6.
    const older = Uint8Array.of(0, 0, 0, 0);
    const newer = Uint8Array.of(0x10, 0, 0, 0x0f);
    expect([...encodeDiff(older, newer).subarray(DIFF_HEADER_BYTES)]).toEqual([1, 0b0100_0010, 0xf1]);
    // All eight nibbles differ: bitmap 1 + values 4 > 4, so raw; 0 − 1 = 15 modulo 16 in each nibble.
    const raw = encodeDiff(Uint8Array.of(0x11, 0x11, 0x11, 0x11), older);
    expect([...raw.subarray(DIFF_HEADER_BYTES)]).toEqual([2, 0xff, 0xff, 0xff, 0xff]);
  });

  it('accepts no other bytes: every single-byte change, cut and addition is refused', () => {
    for (const [length, density] of [
      [37, 0.1],
      [37, 1],
      [64, 0.3],
    ] as const) {
      const older = seededBytes(length, 1);
      const newer = changed(older, density, 2);
      const patch = encodeDiff(older, newer);
      for (let at = 0; at < patch.length; at += 1) {
        for (const flip of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
          const bad = patch.slice();
          bad[at]! ^= flip;
          expect(['MALFORMED', 'MISMATCH', 'SHAPE']).toContain(codeOf(() => applyDiff(older, bad)));
        }
        expect(codeOf(() => applyDiff(older, patch.subarray(0, at)))).toBe('MALFORMED');
      }
      expect(codeOf(() => applyDiff(older, Uint8Array.from([...patch, 0])))).toBe('MALFORMED');
    }
  });

  it('refuses encodings that are valid but not canonical, although their result is right', () => {
    const older = new Uint8Array(8);
    const head = (newer: Uint8Array): number[] => [...encodeDiff(older, newer).subarray(0, DIFF_HEADER_BYTES)];
    const one = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);
    const full = new Uint8Array(8).fill(0x11);
    const cases: [Uint8Array, number[]][] = [
      [older, [1, 0, 0]],
      [older, [2, 0, 0, 0, 0, 0, 0, 0, 0]],
      [one, [2, 1, 0, 0, 0, 0, 0, 0, 0]],
      [one, [1, 3, 0, 0x01]],
      [one, [1, 1, 0, 0x21]],
      [full, [1, 255, 255, ...full]],
    ];
    for (const [newer, chunk] of cases) {
      const bytes = Uint8Array.from([...head(newer), ...chunk]);
      expect(codeOf(() => applyDiff(older, bytes))).toBe('MALFORMED');
    }
    // Five bytes have ten nibbles: bit 10 of the bitmap belongs to none.
    const five = encodeDiff(new Uint8Array(5), Uint8Array.of(1, 0, 0, 0, 0)).subarray(0, DIFF_HEADER_BYTES);
    const beyond = Uint8Array.from([...five, 1, 0x01, 0x04, 0x11]);
    expect(codeOf(() => applyDiff(new Uint8Array(5), beyond))).toBe('MALFORMED');
    const canonical = Uint8Array.from([...head(one), 1, 1, 0, 1]);
    expect(applyDiff(older, canonical)).toEqual(one);
  });

  it('H7: a short diff that claims a terabyte, or another model, is refused before anything is allocated', () => {
    const older = seededBytes(100, 1);
    const patch = encodeDiff(older, older);
    new DataView(patch.buffer).setBigUint64(8, 2n ** 40n, true);
    expect(codeOf(() => applyDiff(older, patch))).toBe('SHAPE');
    new DataView(patch.buffer).setBigUint64(8, 2n ** 63n, true);
    expect(codeOf(() => applyDiff(older, patch))).toBe('MALFORMED');
    expect(codeOf(() => applyDiff(seededBytes(100, 2), encodeDiff(older, older)))).toBe('MISMATCH');
    const padded = new Uint8Array(maxDiffBytes(100) + 1);
    padded.set(encodeDiff(older, older));
    expect(codeOf(() => applyDiff(older, padded))).toBe('MALFORMED');
    expect(codeOf(() => encodeDiff(older, new Uint8Array(99)))).toBe('SHAPE');
  });

  it('answers any bytes with an error, or with the model that encodes to them', () => {
    const older = seededBytes(60, 4);
    const start = encodeDiff(older, older).subarray(0, DIFF_HEADER_BYTES);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (chunk) => {
        // A hash that always agrees leaves the codec's own checks as the only ones.
        const agree = (bytes: Uint8Array) => (bytes.length === 60 ? blake3(older) : bytes);
        const patch = Uint8Array.from([...start, ...chunk]);
        try {
          const newer = applyDiff(older, patch, agree);
          expect([...encodeDiff(older, newer, agree)]).toEqual([...patch]);
        } catch (error) {
          expect(error).toBeInstanceOf(PogoError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('has exactly one encoding that the codec accepts, whatever the hash says', () => {
    const agree = () => new Uint8Array(32);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 255 })),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (older, stream, where, flip) => {
          const newer = older.map((byte) => {
            const next = stream.next().value as number;
            return next < 128 ? byte : byte ^ next;
          });
          const patch = encodeDiff(older, newer, agree);
          const at = DIFF_HEADER_BYTES + (where % (patch.length - DIFF_HEADER_BYTES));
          const other = patch.slice();
          other[at]! ^= flip;
          try {
            expect(equalBytes(applyDiff(older, other, agree), newer)).toBe(false);
          } catch (error) {
            expect(error).toMatchObject({ code: 'MALFORMED' });
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
