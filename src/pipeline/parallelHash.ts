/** BLAKE3 of bytes in host memory by all lanes. */
import type { MerkleKernels } from '../merkle/kernels.js';
import { nodeCount } from '../merkle/shape.js';
import type { LanePool } from './lanePool.js';
import { hashSpanLog } from './shards.js';

/**
 * BLAKE3 root of `bytes` (on shared memory) by all lanes; every chaining value is left in `tree`.
 *
 * @param tree shared memory of `treeBytes(bytes.length, groupLog)` bytes
 * @param groupLog 0: 1 KiB leaves are kept; 4: 16 KiB groups
 */
export async function hashParallel(
  pool: LanePool,
  merkle: MerkleKernels,
  bytes: Uint8Array,
  tree: Uint8Array,
  signal?: AbortSignal,
  groupLog: 0 | 4 = 0,
): Promise<Uint8Array> {
  const nodes = nodeCount(bytes.length, groupLog);
  const spanLog = hashSpanLog(nodes, pool.lanes, groupLog);
  const span = 2 ** spanLog;
  const nodeBytes = 1024 * 2 ** groupLog;
  const tasks = [];
  for (let first = 0; first < nodes; first += span) {
    const part = bytes.subarray(first * nodeBytes, Math.min(bytes.length, (first + span) * nodeBytes));
    tasks.push(pool.run({ kind: 'hash', bytes: part, tree, nodes, first, groupLog }, signal));
  }
  await Promise.all(tasks);
  merkle.finish(tree, nodes, Math.min(spanLog, Math.ceil(Math.log2(nodes))));
  return tree.slice(tree.length - 32);
}
