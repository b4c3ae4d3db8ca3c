/**
 * Attacks on the commitment: each is shown to succeed against a tree with the defence taken out, and to fail here.
 * Sources: CVE-2017-12842 (inner node passed as leaf), CVE-2012-2459 (duplicated last leaf).
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { rootFromProof, verifyLeafProof } from '../../src/merkle/proof.js';
import { buildTree } from '../../src/merkle/tree.js';
import { allKernels, hex, patternBytes } from '../support/merkleKernels.js';

const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

/** A tree without domain tags: leaves and inner nodes are hashed alike; an odd last node is paired with itself. */
function weakRoot(leaves: readonly Uint8Array[]): Uint8Array {
  let level: Uint8Array[] = leaves.map((leaf) => blake3(leaf));
  while (level.length > 1) {
    const pairs: Uint8Array[] = [];
    for (let i = 0; i < level.length; i += 2) pairs.push(blake3(join(level[i], level[i + 1] ?? level[i])));
    level = pairs;
  }
  return level[0];
}

/** A checker that takes the depth from the proof, and has no domain tags. */
function weakVerify(root: Uint8Array, index: number, leaf: Uint8Array, proof: readonly Uint8Array[]): boolean {
  let value = blake3(leaf);
  for (const sibling of proof) {
    value = blake3(index % 2 === 0 ? join(value, sibling) : join(sibling, value));
    index = Math.floor(index / 2);
  }
  return hex(value) === hex(root);
}

const leaf = (byte: number): Uint8Array => new Uint8Array(1024).fill(byte);

describe.each(allKernels)('attacks on trees of $name kernels', (kernels) => {
  it('an inner node passed as a leaf', () => {
    const leaves = [1, 2, 3, 4].map(leaf);
    const inner = join(blake3(leaves[0]), blake3(leaves[1]));
    const right = blake3(join(blake3(leaves[2]), blake3(leaves[3])));
    expect(weakVerify(weakRoot(leaves), 0, inner, [right])).toBe(true);

    const bytes = join(...leaves);
    const tree = buildTree(kernels, bytes);
    const node = tree.chainingValues(0, 0, 2);
    const sibling = tree.chainingValues(1, 1, 2);
    expect(verifyLeafProof(tree.root(), 4096, 0, node, sibling)).toBe(false);
    // Lengths apart: not even a checker that believes in a shorter input is led to the root, because of the tags.
    expect(hex(rootFromProof(1024 + 64, 1, node, sibling) ?? new Uint8Array())).not.toBe(hex(tree.root()));
    expect(hex(rootFromProof(64, 0, tree.chainingValues(1, 0, 2), new Uint8Array()) ?? new Uint8Array())).not.toBe(
      hex(tree.root()),
    );
  });

  it('a duplicated last leaf', () => {
    const [a, b, c] = [1, 2, 3].map(leaf);
    expect(hex(weakRoot([a, b, c]))).toBe(hex(weakRoot([a, b, c, c])));
    const root = (...leaves: Uint8Array[]): string => hex(buildTree(kernels, join(...leaves)).root());
    expect(root(a, b, c)).not.toBe(root(a, b, c, c));
    expect(root(a)).not.toBe(root(a, a));
    // Equal leaves have different chaining values: one cannot stand for the other.
    const tree = buildTree(kernels, join(a, a, c));
    expect(hex(tree.chainingValues(0, 0, 1))).not.toBe(hex(tree.chainingValues(0, 1, 2)));
    expect(verifyLeafProof(tree.root(), 3072, 1, a, tree.proveLeaf(0))).toBe(false);
  });

  it('a last leaf padded with zeros, or cut', () => {
    const bytes = join(leaf(7), leaf(8).subarray(0, 1000));
    const tree = buildTree(kernels, bytes);
    const padded = join(bytes.subarray(1024), new Uint8Array(24));
    expect(hex(buildTree(kernels, join(bytes, new Uint8Array(24))).root())).not.toBe(hex(tree.root()));
    expect(verifyLeafProof(tree.root(), bytes.length, 1, padded, tree.proveLeaf(1))).toBe(false);
    expect(verifyLeafProof(tree.root(), bytes.length, 1, padded.subarray(0, 999), tree.proveLeaf(1))).toBe(false);
  });

  it('a proof of the right length made from other values, or for another root', () => {
    const bytes = patternBytes(40 * 1024);
    const tree = buildTree(kernels, bytes);
    const forged = bytes.slice(3 * 1024, 4 * 1024);
    forged[17] ^= 64;
    const own = buildTree(kernels, join(bytes.subarray(0, 3 * 1024), forged, bytes.subarray(4 * 1024)));
    // The forger's proof leads to the forger's root: what counts is the root that the verifier holds.
    expect(verifyLeafProof(own.root(), bytes.length, 3, forged, own.proveLeaf(3))).toBe(true);
    expect(verifyLeafProof(tree.root(), bytes.length, 3, forged, own.proveLeaf(3))).toBe(false);
    expect(verifyLeafProof(tree.root(), bytes.length, 3, forged, tree.proveLeaf(3))).toBe(false);
    expect(
      verifyLeafProof(tree.root().subarray(0, 16), bytes.length, 3, bytes.slice(3072, 4096), tree.proveLeaf(3)),
    ).toBe(false);
  });
});
