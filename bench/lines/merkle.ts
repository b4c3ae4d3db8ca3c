/**
 * `merkle/tree` (1 KiB leaves, every chaining value kept), `merkle/groups` (16 KiB groups) and `merkle/root` (one-shot),
 * one core. The ceiling is the one-shot hash of the same bytes in the same run; the peer is JavaScript's.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { loadMerkleAddon } from '../../src/backend/merkleAddon.js';
import { portableKernels } from '../../src/merkle/portable.js';
import { allocateTree, MerkleTree, splitSegments } from '../../src/merkle/tree.js';
import { type BenchGroup, skipped } from '../group.js';
import { bytesOf, fillGaussian, measure, requireSameBytes, shared } from '../harness.js';

const BYTES = 64 << 20;
const QUICK_BYTES = 4 << 20;
/** JavaScript hashes some 50 MB/s: a megabyte is enough to know. */
const PEER_BYTES = 1 << 20;

export const merkle: BenchGroup = {
  names: ['merkle/'],
  async *lines({ quick }, wanted) {
    const loaded = loadMerkleAddon();
    const kernels = loaded.addon ?? portableKernels;
    if (loaded.addon === undefined) yield skipped('merkle/native', loaded.reason);
    const length = quick || loaded.addon === undefined ? QUICK_BYTES : BYTES;
    const bytes = bytesOf(fillGaussian(shared.f32(length / 4), 7, 1));
    const root = new Uint8Array(32);
    const unit = { name: 'GB/s (input)', perCall: length } as const;
    const common = { backend: kernels.name, isa: kernels.name, unit, bytes: length, budgetMs: quick ? 50 : 500 };

    const sample = bytes.slice(0, PEER_BYTES);
    const noble = await measure({
      ...common,
      name: 'noble',
      unit: { name: 'GB/s (input)', perCall: PEER_BYTES },
      run: () => blake3(sample),
      minSamples: 3,
    });
    const peer = { name: '@noble/hashes', value: noble.value * 1e9 };
    const oneShot = await measure({
      ...common,
      name: 'merkle/root',
      peer,
      run: () => kernels.hash(bytes, root),
      check: () => {
        const expected = new Uint8Array(32);
        kernels.hash(sample, expected);
        requireSameBytes('merkle/root', expected, blake3(sample));
      },
      result: () => root,
    });
    if (wanted('merkle/root')) yield oneShot;

    const ceiling = { name: 'one-shot BLAKE3 of the same bytes', value: oneShot.value * 1e9 };
    for (const [name, groupLog] of [
      ['merkle/tree', 0],
      ['merkle/groups', 4],
    ] as const) {
      if (!wanted(name)) continue;
      const tree = new MerkleTree(kernels, allocateTree(length, groupLog), splitSegments(bytes));
      yield await measure({
        ...common,
        name,
        ceiling,
        peer,
        run: () => tree.build(),
        check: () => requireSameBytes(name, tree.root(), root),
        result: () => tree.root(),
      });
    }
  },
};
