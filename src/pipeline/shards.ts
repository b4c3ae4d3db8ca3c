/** How work on a vector is cut for several lanes. The cut never changes a bit. */
import { nodeCount } from '../merkle/shape.js';

/** Leaves that one hash task takes at least: 4 MiB, aligned, so that a task also computes the 12 levels above its leaves. */
const HASH_LEAVES_LOG = 12;
/** Hash tasks a lane, where a vector is large enough for larger tasks: few, since each is a round trip. */
const HASH_TASKS_A_LANE = 4;

/** Level-0 nodes of one hash task, as a power of two. @param groupLog leaves of such a node, likewise */
export function hashSpanLog(nodes: number, lanes: number, groupLog = 0): number {
  const shared = Math.floor(Math.log2(Math.max(1, nodes / (lanes * HASH_TASKS_A_LANE))));
  return Math.max(HASH_LEAVES_LOG - groupLog, shared);
}

/** Tasks that the hash of so many bytes is cut into. */
export function hashTaskCount(bytes: number, lanes: number): number {
  const nodes = nodeCount(bytes);
  return Math.ceil(nodes / 2 ** hashSpanLog(nodes, lanes));
}

/** Even ranges [from, to) over `count` items. */
export function evenRanges(count: number, parts: number): { from: number; to: number }[] {
  const ranges = [];
  const used = Math.max(1, Math.min(parts, count));
  for (let i = 0; i < used; i += 1) {
    ranges.push({ from: Math.floor((count * i) / used), to: Math.floor((count * (i + 1)) / used) });
  }
  return ranges;
}

/** Groups of indices with sums of `sizes` as even as a greedy choice makes them: largest first into the lightest group. */
export function balancedGroups(sizes: readonly number[], parts: number): number[][] {
  const groups = Array.from({ length: Math.max(1, Math.min(parts, sizes.length)) }, () => ({
    total: 0,
    indices: [] as number[],
  }));
  const order = sizes.map((size, index) => ({ size, index })).sort((a, b) => b.size - a.size || a.index - b.index);
  for (const { size, index } of order) {
    let lightest = groups[0] as (typeof groups)[number];
    for (const group of groups) if (group.total < lightest.total) lightest = group;
    lightest.total += size;
    lightest.indices.push(index);
  }
  return groups.map((g) => g.indices);
}
