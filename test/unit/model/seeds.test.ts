import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { ditherSeed, mix } from '../../../src/model/seeds.js';

const root = Uint8Array.from({ length: 32 }, (_, i) => i);
const draw = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);

describe('dither seeds', () => {
  it('are the first 16 bytes of derive_key over root, draw, step, unit, tensor and purpose', () => {
    const input = Buffer.alloc(84);
    Buffer.from(root).copy(input, 0);
    Buffer.from(draw).copy(input, 32);
    input.writeBigUInt64LE(2n ** 40n + 7n, 64);
    input.writeUInt32LE(3, 72);
    input.writeUInt32LE(11, 76);
    input.writeUInt32LE(5, 80);
    const hash = Buffer.from(blake3(input, { context: Buffer.from('pogo/dither/1') }));
    const words = [0, 4, 8, 12].map((at) => hash.readUInt32LE(at));
    expect([...ditherSeed(root, draw, 2 ** 40 + 7, 3, 11, 5)]).toEqual(words);
  });

  it('differ when any argument differs', () => {
    const seeds = [
      ditherSeed(root, draw, 1, 2, 3, 4),
      ditherSeed(draw, draw, 1, 2, 3, 4),
      ditherSeed(root, root, 1, 2, 3, 4),
      ditherSeed(root, draw, 2, 2, 3, 4),
      ditherSeed(root, draw, 1, 1, 3, 4),
      ditherSeed(root, draw, 1, 2, 4, 4),
      ditherSeed(root, draw, 1, 2, 3, 3),
    ].map(String);
    expect(new Set(seeds).size).toBe(seeds.length);
  });
});

describe('mix', () => {
  it('is a bijection as far as 2^16 inputs show, and has known values', () => {
    const outputs = new Set<number>();
    for (let x = 0; x < 1 << 16; x++) outputs.add(mix(x));
    expect(outputs.size).toBe(1 << 16);
    expect(mix(0)).toBe(0);
    // By hand in 64-bit integers, not in Math.imul.
    const big = (x: bigint): bigint => {
      x ^= x >> 16n;
      x = (x * 0x7feb352dn) & 0xffffffffn;
      x ^= x >> 15n;
      x = (x * 0x846ca68bn) & 0xffffffffn;
      return x ^ (x >> 16n);
    };
    for (const x of [1, 2, 0x80000000, 0xffffffff, 123_456_789]) expect(BigInt(mix(x))).toBe(big(BigInt(x)));
  });
});
