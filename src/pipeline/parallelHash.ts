/** BLAKE3 of bytes in host memory by all lanes. */
import type { MerkleKernels } from '../merkle/kernels.js';
import { nodeCount } from '../merkle/shape.js';
import type { LanePool } from './lanePool.js';
import { cutHashes } from './shards.js';

/** What is hashed. */
export interface HashedBytes {
  /** On shared memory. */
  readonly bytes: Uint8Array;
  /** Where every chaining value is left: shared memory of `treeBytes(bytes.length, groupLog)` bytes. */
  readonly tree: Uint8Array;
}

/**
 * BLAKE3 roots of several byte strings by all lanes, cut together: small ones are one task a lane.
 *
 * @param groupLog 0: 1 KiB leaves are kept; 4: 16 KiB groups
 */
export async function hashParallel(
  pool: LanePool,
  merkle: MerkleKernels,
  hashed: readonly HashedBytes[],
  signal?: AbortSignal,
  groupLog: 0 | 4 = 0,
): Promise<Uint8Array[]> {
  const nodes = hashed.map(({ bytes }) => nodeCount(bytes.length, groupLog));
  const { spanLog, tasks } = cutHashes(nodes, pool.lanes, groupLog);
  await Promise.all(
    tasks.map((shares) => {
      const parts = shares.map(({ tree, first, end }) => {
        return { ...(hashed[tree] as HashedBytes), nodes: nodes[tree] as number, first, end };
      });
      return pool.run({ kind: 'hash', parts, spanLog, groupLog }, signal);
    }),
  );
  return hashed.map(({ tree }, i) => {
    const count = nodes[i] as number;
    merkle.finish(tree, count, Math.min(spanLog, Math.ceil(Math.log2(count))));
    return tree.slice(tree.length - 32);
  });
}
