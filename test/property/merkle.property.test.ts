import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { verifyGroupProof, verifyLeafProof } from '../../src/merkle/proof.js';
import { GROUP_BYTES, LEAF_BYTES } from '../../src/merkle/shape.js';
import { allocateTree, MerkleTree, splitSegments } from '../../src/merkle/tree.js';
import { allKernels, hex } from '../support/merkleKernels.js';
import { seededBytes } from '../support/random.js';

/** Lengths in leaves and bytes past the last whole leaf, so that edges are frequent. */
const length = fc
  .tuple(fc.integer({ min: 0, max: 70 }), fc.constantFrom(0, 1, 63, 64, 65, 512, 1023))
  .map(([leaves, rest]) => leaves * LEAF_BYTES + rest);

const shape = fc.record({
  length,
  seed: fc.integer(),
  groupLog: fc.constantFrom(0 as const, 4 as const),
  segmentLog: fc.constantFrom(4, 5, 6, 18),
});

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

const memoryOf = (tree: MerkleTree): string =>
  [...tree.memory.segments, tree.memory.top].map((part) => hex(new Uint8Array(part))).join('|');

describe.each(allKernels)('laws of the tree on $name kernels', (kernels) => {
  const open = (bytes: Uint8Array, groupLog: 0 | 4, segmentLog: number): MerkleTree =>
    new MerkleTree(
      kernels,
      allocateTree(bytes.length, groupLog, segmentLog),
      splitSegments(bytes, LEAF_BYTES * 2 ** segmentLog),
    );

  it('ranges hashed by several workers in any order equal one pass', () => {
    fc.assert(
      fc.property(
        shape,
        fc.array(fc.nat(80), { maxLength: 6 }),
        fc.nat(2),
        fc.func(fc.nat()),
        (s, cuts, alignLog, order) => {
          const bytes = shared(seededBytes(s.length, s.seed));
          const whole = open(bytes, s.groupLog, s.segmentLog).build();
          const align = 2 ** Math.max(s.groupLog, alignLog);
          const leaves = whole.leaves;
          const bounds = [0, leaves, ...cuts.map((cut) => Math.min(leaves, cut * align))];
          const ends = [...new Set(bounds)].sort((a, b) => a - b);
          const ranges = ends.slice(1).map((end, i) => [ends[i], end] as const);
          const shuffled = ranges.toSorted((a, b) => order(a[0]) - order(b[0]));
          // Every worker opens the shared memory anew; half of them hash their bytes from elsewhere.
          const memory = allocateTree(bytes.length, s.groupLog, s.segmentLog);
          const views = splitSegments(bytes, LEAF_BYTES * 2 ** s.segmentLog);
          for (const [low, high] of shuffled) {
            if (low % (2 * align) === 0) new MerkleTree(kernels, memory, views).hashLeafRange(low, high);
            else new MerkleTree(kernels, memory).hashLeafBytes(bytes.slice(low * LEAF_BYTES, high * LEAF_BYTES), low);
          }
          const owner = new MerkleTree(kernels, memory, views);
          owner.finish(Math.max(s.groupLog, alignLog));
          expect(hex(owner.root())).toBe(hex(blake3(bytes)));
          expect(memoryOf(owner)).toBe(memoryOf(whole));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('an update of any leaves equals a rebuild', () => {
    fc.assert(
      fc.property(shape, fc.array(fc.nat(70), { maxLength: 20 }), (s, picks) => {
        const bytes = shared(seededBytes(s.length, s.seed));
        const tree = open(bytes, s.groupLog, s.segmentLog).build();
        const dirty = picks.map((pick) => pick % tree.leaves);
        for (const leaf of dirty) {
          if (bytes.length > 0) bytes[Math.min(bytes.length - 1, leaf * LEAF_BYTES + (leaf % 7))] += 1 + leaf;
        }
        tree.update(dirty);
        expect(hex(tree.root())).toBe(hex(blake3(bytes)));
        expect(memoryOf(tree)).toBe(memoryOf(open(bytes, s.groupLog, s.segmentLog).build()));
      }),
      { numRuns: 60 },
    );
  });

  it('a proof holds for its leaf and its group, and any flipped bit, other place or other length is found', () => {
    fc.assert(
      fc.property(shape, fc.nat(), fc.nat(), (s, place, bit) => {
        const bytes = shared(seededBytes(s.length, s.seed));
        const tree = open(bytes, s.groupLog, s.segmentLog).build();
        const root = tree.root();
        for (const [size, prove, verify] of [
          [LEAF_BYTES, (i: number) => tree.proveLeaf(i), verifyLeafProof],
          [GROUP_BYTES, (i: number) => tree.proveGroup(i), verifyGroupProof],
        ] as const) {
          const count = Math.max(1, Math.ceil(bytes.length / size));
          const index = place % count;
          const data = bytes.slice(index * size, (index + 1) * size);
          const proof = prove(index);
          const check = (at = index, d = data, p = proof): boolean => verify(root, bytes.length, at, d, p);
          expect(check()).toBe(true);
          expect(check(index, data, Uint8Array.of(...proof, ...new Uint8Array(32)))).toBe(false);
          expect(check(index, Uint8Array.of(...data, 0))).toBe(false);
          if (proof.length > 0) expect(check(index, data, proof.subarray(32))).toBe(false);
          if (count > 1) expect(check((index + 1) % count)).toBe(false);
          for (const part of [data, proof].filter((bytes) => bytes.length > 0)) {
            part[(bit >> 3) % part.length] ^= 1 << (bit & 7);
            expect(check()).toBe(false);
            part[(bit >> 3) % part.length] ^= 1 << (bit & 7);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});
