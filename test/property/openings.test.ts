/**
 * Openings of several chunks at once: what is opened leads to the root of all bytes, has one form, and nothing else does.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../src/hex.js';
import { type ChunkSet, openSet, rootOfSet, siblingBytes, treeOver } from '../../src/merkle/opening.js';
import { portableKernels } from '../../src/merkle/portable.js';
import { CV_BYTES, LEAF_BYTES, leafCount } from '../../src/merkle/shape.js';
import { buildTree } from '../../src/merkle/tree.js';
import { blobSource } from '../../src/protocol/evidence/build.js';
import { openChunks, openRanges } from '../../src/protocol/openings.js';
import { seededBytes } from '../support/random.js';

/** Whole chunks, one byte less, and anything between; which chunks are opened, modulo their number. */
const wanted = fc.record({
  bytes: fc
    .tuple(fc.integer({ min: 1, max: 21 }), fc.integer({ min: -1023, max: 0 }))
    .map(([chunks, less]) => chunks * LEAF_BYTES + less),
  seed: fc.nat(),
  chunks: fc.array(fc.nat(), { minLength: 1 }),
});

function open({ bytes: length, seed, chunks }: { bytes: number; seed: number; chunks: readonly number[] }) {
  const bytes = seededBytes(length, seed);
  const count = leafCount(length);
  const indices = [...new Set(chunks.map((index) => index % count))].sort((a, b) => a - b);
  const set = openSet(treeOver(bytes, buildTree(portableKernels, bytes)), indices);
  return { length, count, set, root: blake3(bytes) };
}

/** All ways in which an opening can have another form: each is refused, or leads elsewhere. */
function otherForms({ indices, chunks, siblings }: ChunkSet, count: number): ChunkSet[] {
  const moved = indices.map((index) => (index + 1) % count);
  return [
    { indices, chunks, siblings: new Uint8Array([...siblings, ...new Uint8Array(CV_BYTES)]) },
    { indices, chunks, siblings: new Uint8Array([...siblings, 0]) },
    ...(siblings.length > 0 ? [{ indices, chunks, siblings: siblings.subarray(0, -CV_BYTES) }] : []),
    { indices: [...indices, indices.at(-1)!], chunks: [...chunks, chunks.at(-1)!], siblings },
    { indices: indices.slice(1), chunks: chunks.slice(1), siblings },
    { indices, chunks: chunks.slice(1), siblings },
    { indices, chunks: [...chunks.slice(0, -1), chunks.at(-1)!.subarray(1)], siblings },
    { indices: [...indices.slice(0, -1), count], chunks, siblings },
    { indices: [...indices.slice(0, -1), indices.at(-1)! + 0.5], chunks, siblings },
    ...(count > 1 ? [{ indices: moved, chunks, siblings }] : []),
  ];
}

describe('openings of byte ranges', () => {
  it('give the bytes, and are refused with a chunk more, less, twice or in another place', () => {
    const range = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 3000 }));
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9000 }),
        fc.nat(),
        fc.array(range, { minLength: 1, maxLength: 3 }),
        (n, seed, cuts) => {
          const bytes = seededBytes(n, seed);
          const ranges = cuts.map(([start, size]): [number, number] => {
            const from = start % n;
            return [from, Math.min(n, from + size)];
          });
          const blob = { name: 'blob', root: blake3(bytes), totalBytes: n };
          const source = blobSource(bytes);
          const openings = openChunks(source, ranges);
          expect(openRanges(blob, ranges, openings)).toEqual(ranges.map(([from, to]) => bytes.slice(from, to)));
          const first = openings[0]!;
          const others = [openings.slice(1), [...openings, openings.at(-1)!], [...openings, source.chunk(0)]];
          if (openings.length > 1) others.push([...openings].reverse(), [first, first, ...openings.slice(2)]);
          for (const other of others) expect(() => openRanges(blob, ranges, other)).toThrow(/^blob: expected /);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('an opening of chunks', () => {
  it('leads to the root, with as many chaining values as are counted', () => {
    fc.assert(
      fc.property(wanted, (what) => {
        const { length, set, root } = open(what);
        expect(toHex(rootOfSet(length, set)!)).toBe(toHex(root));
        expect(set.siblings.length).toBe(siblingBytes(length, set.indices));
      }),
      { numRuns: 50 },
    );
  });

  it('has one form: with anything more, less or elsewhere it leads nowhere else', () => {
    fc.assert(
      fc.property(wanted, (what) => {
        const { length, count, set, root } = open(what);
        for (const other of otherForms(set, count)) {
          expect(toHex(rootOfSet(length, other) ?? new Uint8Array(0))).not.toBe(toHex(root));
        }
      }),
      { numRuns: 50 },
    );
  });

  it('holds no bit that does not matter', () => {
    fc.assert(
      fc.property(wanted, fc.nat(), fc.nat(7), (what, at, bit) => {
        const { length, set, root } = open(what);
        const flipped = (part: Uint8Array): Uint8Array => {
          const copy = part.slice();
          copy[at % copy.length]! ^= 1 << bit;
          return copy;
        };
        const [first, ...others] = set.chunks;
        const changed: ChunkSet[] = [{ ...set, chunks: [flipped(first!), ...others] }];
        if (set.siblings.length > 0) changed.push({ ...set, siblings: flipped(set.siblings) });
        for (const other of changed) expect(toHex(rootOfSet(length, other)!)).not.toBe(toHex(root));
      }),
      { numRuns: 50 },
    );
  });
});
