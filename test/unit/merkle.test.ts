import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import { afterAll, describe, expect, it } from 'vitest';
import { loadMerkleAddon } from '../../src/backend/merkleAddon.js';
import { PogoError } from '../../src/errors.js';
import { verifyGroupProof, verifyLeafProof } from '../../src/merkle/proof.js';
import { GROUP_BYTES, LEAF_BYTES, proofBytes, treeBytes } from '../../src/merkle/shape.js';
import { allocateTree, buildTree, MerkleTree, splitSegments } from '../../src/merkle/tree.js';
import { hashFile } from '../../src/node/hashFile.js';
import { prove } from '../../src/reference/blake3.js';
import { allKernels, hex, patternBytes } from '../support/merkleKernels.js';

/** One below, at and above: block, chunk, SIMD widths (4, 8, 16), group, the kernels' inner block, powers of two. */
const EDGES = [
  0,
  1,
  ...[64, 1024, 2048, 4096, 8192, 16384, 31 * 1024, 32768, 65536, 257 * 1024].flatMap((n) => [n - 1, n, n + 1]),
];

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return error instanceof PogoError ? error.code : String(error);
  }
  return 'no error';
};

describe('the addon', () => {
  it('is loaded, or says what was tried and the command that fixes it', () => {
    const result = loadMerkleAddon();
    if (result.addon === undefined) {
      console.warn(`native kernels are not tested here: ${result.reason}`);
      expect(result.reason).toContain('npm run setup');
    } else {
      expect(result.addon.name).toBe('native');
    }
  });

  it('refuses wrong lengths, counts and order without touching memory', () => {
    const { addon } = loadMerkleAddon();
    if (addon === undefined) return; // Nothing to refuse: the reason is shown above.
    const bytes = patternBytes(4096);
    const tree = new Uint8Array(treeBytes(4096));
    expect(() => addon.hash(bytes, new Uint8Array(31))).toThrow(/32 bytes/);
    expect(() => addon.hashRange(bytes, tree.subarray(1), 4, 0, 0, 0)).toThrow(/expected 256 bytes/);
    expect(() => addon.hashRange(bytes, tree, 4, 1, 0, 0)).toThrow(/do not fit/);
    expect(() => addon.hashRange(bytes.subarray(1025), tree, 4, 1, 0, 0)).not.toThrow();
    expect(() => addon.hashRange(bytes.subarray(1, 1025 + 5), tree, 4, 0, 0, 0)).toThrow(/do not fit/);
    expect(() => addon.hashRange(bytes, tree, 4, Number.NaN, 0, 0)).toThrow(/integer/);
    expect(() => addon.hashRange(bytes, tree, 4, 0, -1, 0)).toThrow(/integer/);
    expect(() => addon.hashRange(bytes, tree, 4, 0, 0, 40)).toThrow(/groupLog/);
    expect(() => addon.finish(tree, 0, 0)).toThrow(/1 or more/);
    expect(() => addon.finish(tree, 2 ** 52, 0)).toThrow(/bytes/);
    expect(() => addon.update(bytes, tree, 4, 0, 0, Uint32Array.of(4))).toThrow(/ascending/);
    expect(() => addon.update(bytes, tree, 4, 0, 0, Uint32Array.of(2, 1))).toThrow(/ascending/);
    expect(() => addon.update(bytes, tree, 4, 0, 0, Uint32Array.of(1, 1))).toThrow(/ascending/);
  });
});

describe.each(allKernels)('a tree on $name kernels', (kernels) => {
  it.each(EDGES)('has the root of plain BLAKE3 with leaves and with groups: %i bytes', (length) => {
    const bytes = patternBytes(length);
    const root = hex(blake3(bytes));
    const fine = buildTree(kernels, bytes, 0);
    const coarse = buildTree(kernels, bytes, 4);
    expect(hex(fine.root())).toBe(root);
    expect(hex(coarse.root())).toBe(root);
    // The coarse tree is the end of the fine one.
    const [all, upper] = [fine, coarse].map((tree) => new Uint8Array(tree.memory.segments[0]));
    if (length > GROUP_BYTES) expect(hex(all.subarray(-upper.length))).toBe(hex(upper));
  });

  it('has the same root and proofs however it is cut into segments', () => {
    for (const length of [16, 31, 32, 33, 47, 48, 49, 100].flatMap((leaves) => [leaves * 1024, leaves * 1024 - 500])) {
      const bytes = patternBytes(length);
      const whole = buildTree(kernels, bytes);
      for (const groupLog of [0, 4] as const) {
        const memory = allocateTree(length, groupLog, 4);
        const cut = new MerkleTree(kernels, memory, splitSegments(bytes, 16 * LEAF_BYTES)).build();
        expect(hex(cut.root()), `${length} bytes`).toBe(hex(blake3(bytes)));
        for (let leaf = 0; leaf < whole.leaves; leaf += 7) expect(cut.proveLeaf(leaf)).toEqual(whole.proveLeaf(leaf));
        for (let group = 0; group * GROUP_BYTES < length; group++) {
          expect(cut.proveGroup(group)).toEqual(whole.proveGroup(group));
        }
        expect(cut.chainingValues(5, 0, 1)).toEqual(whole.chainingValues(5, 0, 1));
      }
    }
  });

  it('gives the proofs of the specification', () => {
    for (const length of [1, 1025, 5 * 1024, 21 * 1024 + 3]) {
      const bytes = patternBytes(length);
      for (const tree of [buildTree(kernels, bytes, 0), buildTree(kernels, bytes, 4)]) {
        for (let leaf = 0; leaf < tree.leaves; leaf++) {
          expect(hex(tree.proveLeaf(leaf))).toBe(prove(bytes, leaf).map(hex).join(''));
          expect(tree.proveLeaf(leaf).length).toBe(proofBytes(length, leaf));
        }
      }
    }
  });

  it('finds any flipped bit of a leaf, of its proof and of the root', () => {
    const bytes = patternBytes(13 * 1024 + 100);
    const tree = buildTree(kernels, bytes);
    const root = tree.root();
    for (const leaf of [0, 7, 12, 13]) {
      const data = bytes.slice(leaf * 1024, (leaf + 1) * 1024);
      const proof = tree.proveLeaf(leaf);
      expect(verifyLeafProof(root, bytes.length, leaf, data, proof)).toBe(true);
      for (const part of [data, proof, root]) {
        for (let bit = leaf % 5; bit < part.length * 8; bit += 5) {
          part[bit >> 3] ^= 1 << (bit & 7);
          expect(verifyLeafProof(root, bytes.length, leaf, data, proof), `bit ${bit}`).toBe(false);
          part[bit >> 3] ^= 1 << (bit & 7);
        }
      }
    }
  });

  it('proves groups, whole and short', () => {
    for (const length of [0, 5, GROUP_BYTES, GROUP_BYTES + 1, 5 * GROUP_BYTES - 1000]) {
      const bytes = patternBytes(length);
      const tree = buildTree(kernels, bytes, 4);
      for (let group = 0; group === 0 || group * GROUP_BYTES < length; group++) {
        const data = bytes.slice(group * GROUP_BYTES, (group + 1) * GROUP_BYTES);
        expect(verifyGroupProof(tree.root(), length, group, data, tree.proveGroup(group))).toBe(true);
        if (length === 0) continue;
        data[data.length - 1] ^= 128;
        expect(verifyGroupProof(tree.root(), length, group, data, tree.proveGroup(group))).toBe(false);
      }
    }
  });

  it('follows dirty leaves: an update equals a rebuild', () => {
    for (const [groupLog, segmentLog] of [
      [0, 18],
      [4, 18],
      [0, 4],
      [4, 5],
    ] as const) {
      const bytes = patternBytes(75 * 1024 + 1);
      const views = splitSegments(bytes, LEAF_BYTES << segmentLog);
      const tree = new MerkleTree(kernels, allocateTree(bytes.length, groupLog, segmentLog), views).build();
      // Without neighbours, in every number of lanes that is left over; the last leaf has one byte.
      const every = (step: number): number[] => Array.from({ length: Math.ceil(76 / step) }, (_, i) => 75 - i * step);
      for (const dirty of [
        [0],
        [75],
        [3, 4, 5, 6],
        [74, 1, 40, 41, 1],
        [],
        every(2),
        every(3),
        every(7),
        Array.from({ length: 76 }, (_, i) => i),
      ]) {
        for (const leaf of dirty) bytes[leaf * 1024] ^= 0x5a;
        tree.update(dirty);
        const rebuilt = new MerkleTree(kernels, allocateTree(bytes.length, groupLog, segmentLog), views).build();
        expect(hex(tree.root())).toBe(hex(blake3(bytes)));
        expect(tree.memory.segments.map((s) => hex(new Uint8Array(s)))).toEqual(
          rebuilt.memory.segments.map((s) => hex(new Uint8Array(s))),
        );
      }
    }
  });

  it('hides the root until it is finished, also the former one', () => {
    const bytes = patternBytes(9000);
    const tree = buildTree(kernels, bytes);
    tree.hashLeafRange(0, 4);
    expect(codeOf(() => tree.root())).toBe('INTERNAL');
    tree.finish(2);
    expect(hex(tree.root())).toBe(hex(blake3(bytes)));
  });

  it('names wrong arguments', () => {
    const tree = buildTree(kernels, patternBytes(5000), 4);
    for (const leaf of [-1, 5, 0.5, Number.NaN]) {
      expect(codeOf(() => tree.proveLeaf(leaf))).toBe('RANGE');
      expect(codeOf(() => tree.update([leaf]))).toBe('RANGE');
    }
    expect(codeOf(() => tree.proveGroup(1))).toBe('RANGE');
    expect(codeOf(() => tree.chainingValues(0, 0, 1))).toBe('RANGE');
    expect(codeOf(() => tree.hashLeafBytes(new Uint8Array(1024), 4))).toBe('RANGE');
    expect(codeOf(() => tree.hashLeafBytes(new Uint8Array(1024), 1))).toBe('RANGE');
    expect(codeOf(() => new MerkleTree(kernels, tree.memory, [patternBytes(4999)]))).toBe('SHAPE');
    expect(codeOf(() => new MerkleTree(kernels, tree.memory).build())).toBe('USAGE');
    expect(codeOf(() => allocateTree(-1))).toBe('RANGE');
    expect(codeOf(() => allocateTree(2 ** 53))).toBe('RANGE');
  });
});

describe('hashFile', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pogo-hash-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const PIECE = 4 * 1024 * 1024;

  it.each([0, 1, 1025, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5000])('hashes a file of %i bytes', async (length) => {
    const bytes = patternBytes(length);
    const path = join(folder, `file-${length}`);
    const treeFile = join(folder, `tree-${length}`);
    writeFileSync(path, bytes);
    // The fastest kernels: portable ones hash every length above.
    const kernels = allKernels[allKernels.length - 1];
    const hashed = await hashFile(path, { treeFile, kernels });
    const tree = buildTree(kernels, bytes);
    expect(hex(hashed.root)).toBe(hex(tree.root()));
    expect(hashed.bytes).toBe(length);
    expect(statSync(treeFile).size).toBe(treeBytes(length));
    expect(Buffer.compare(readFileSync(treeFile), new Uint8Array(tree.memory.segments[0]))).toBe(0);
  });

  it('says what the system refused, and leaves no tree behind', async () => {
    const treeFile = join(folder, 'none');
    await expect(hashFile(join(folder, 'missing'), { treeFile })).rejects.toMatchObject({ code: 'IO' });
    await expect(hashFile(folder)).rejects.toMatchObject({ code: 'IO' });
    const path = join(folder, 'small');
    writeFileSync(path, 'text');
    await expect(hashFile(path, { treeFile, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    });
    await expect(hashFile(path, { treeFile: join(path, 'tree') })).rejects.toMatchObject({ code: 'IO' });
    expect(readdirSync(folder).filter((name) => name.includes('none'))).toEqual([]);
  });
});
