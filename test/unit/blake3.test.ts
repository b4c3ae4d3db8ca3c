import { readFileSync } from 'node:fs';
import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { hashBytes } from '../../src/backend/merkleAddon.js';
import * as reference from '../../src/reference/blake3.js';
import { allKernels, hex, patternBytes } from '../support/merkleKernels.js';

interface Vectors {
  key: string;
  context: string;
  cases: { length: number; hash: string; keyedHash: string; deriveKey: string }[];
  extended: { length: number; hash: string };
}

const vectors = JSON.parse(readFileSync(new URL('../vectors/blake3.json', import.meta.url), 'utf8')) as Vectors;

describe('BLAKE3: the official vectors', () => {
  it('are all here', () => {
    expect(vectors.cases.length).toBe(35);
  });

  it.each(vectors.cases)('reference, $length bytes: hash, keyed hash, key derivation', (vector) => {
    const input = patternBytes(vector.length);
    expect(hex(reference.hash(input))).toBe(vector.hash);
    expect(hex(reference.keyedHash(new TextEncoder().encode(vectors.key), input))).toBe(vector.keyedHash);
    expect(hex(reference.deriveKey(vectors.context, input))).toBe(vector.deriveKey);
  });

  it('reference: extended output', () => {
    const { length, hash } = vectors.extended;
    expect(hex(reference.hash(patternBytes(length), hash.length / 2))).toBe(hash);
  });

  it.each(allKernels)('$name kernels', (kernels) => {
    for (const { length, hash } of vectors.cases) {
      const out = new Uint8Array(32);
      kernels.hash(patternBytes(length), out);
      expect(hex(out), `${length} bytes`).toBe(hash);
    }
  });

  it('hashBytes', () => {
    for (const { length, hash } of vectors.cases) expect(hex(hashBytes(patternBytes(length)))).toBe(hash);
  });
});

describe('BLAKE3: the reference', () => {
  it('equals @noble/hashes one byte around blocks, chunks, SIMD widths and powers of two', () => {
    const edges = [64, 128, 1024, 2048, 4 * 1024, 8 * 1024, 16 * 1024, 32 * 1024, 17 * 1024];
    for (const length of edges.flatMap((edge) => [edge - 1, edge, edge + 1])) {
      const input = patternBytes(length);
      expect(hex(reference.hash(input)), `${length} bytes`).toBe(hex(blake3(input)));
    }
  });

  it('combines subtrees to the root: parentRoot(subtree, subtree) = hash', () => {
    const input = patternBytes(5 * 1024 + 7);
    const left = reference.subtree(input.subarray(0, 4096), 0);
    const right = reference.subtree(input.subarray(4096), 4);
    expect(hex(reference.parentRoot(left, right))).toBe(hex(blake3(input)));
    const quarter = reference.parent(
      reference.subtree(input.subarray(0, 2048), 0),
      reference.subtree(input.subarray(2048, 4096), 2),
    );
    expect(hex(quarter)).toBe(hex(left));
  });

  it('proves every chunk, and only with its own bytes', () => {
    for (const length of [1, 1024, 1025, 3 * 1024, 7 * 1024 + 1, 8 * 1024]) {
      const input = patternBytes(length);
      for (let index = 0; index * 1024 < length; index++) {
        const chunk = input.slice(index * 1024, (index + 1) * 1024);
        const proof = reference.prove(input, index);
        expect(hex(reference.rootFromProof(length, index, chunk, proof))).toBe(hex(blake3(input)));
        chunk[0] ^= 1;
        expect(hex(reference.rootFromProof(length, index, chunk, proof))).not.toBe(hex(blake3(input)));
      }
    }
  });
});
