/** How work on a vector is cut for several lanes. The cut never changes a bit. */
import { LEAF_BYTES } from '../merkle/shape.js';

/** Bytes of a hash task, about. */
const HASH_BYTES = 8 * 2 ** 20;
/** Most hash tasks a lane: few, since each is a round trip, and enough that lanes end together. */
const HASH_TASKS_A_LANE = 4;
/** Leaves that are hashed in one call at least, as a power of two: 512 KiB, and the levels above them. */
const SPAN_LEAVES_LOG = 9;
/** Such calls a task, about: shares of lanes differ by one at most. */
const SPANS_A_TASK = 8;

/** Tasks that the hashes of so many bytes together are cut into: as many for each lane. */
export function hashTaskCount(bytes: number, lanes: number): number {
  return lanes * Math.min(HASH_TASKS_A_LANE, Math.max(1, Math.round(bytes / HASH_BYTES / lanes)));
}

/** Level-0 nodes [first, end) of one of several trees; `first` begins a span. */
export interface HashShare {
  readonly tree: number;
  readonly first: number;
  readonly end: number;
}

export interface HashCut {
  /** Nodes that are hashed in one call, as a power of two. */
  readonly spanLog: number;
  readonly tasks: readonly (readonly HashShare[])[];
}

/**
 * Cuts the hashing of several trees into tasks of even size, each of one or more trees.
 *
 * @param nodes level-0 nodes by tree
 * @param groupLog leaves of such a node, as a power of two
 */
export function cutHashes(nodes: readonly number[], lanes: number, groupLog = 0): HashCut {
  const total = nodes.reduce((sum, count) => sum + count, 0);
  const count = hashTaskCount(total * LEAF_BYTES * 2 ** groupLog, lanes);
  const shared = Math.floor(Math.log2(Math.max(1, total / (count * SPANS_A_TASK))));
  const spanLog = Math.max(SPAN_LEAVES_LOG - groupLog, shared);
  const span = 2 ** spanLog;
  const spans = nodes.flatMap((of, tree) =>
    Array.from({ length: Math.ceil(of / span) }, (_, i): HashShare => {
      return { tree, first: i * span, end: Math.min(of, (i + 1) * span) };
    }),
  );
  const tasks = evenRanges(spans.length, count).map(({ from, to }) => {
    const shares: HashShare[] = [];
    for (const next of spans.slice(from, to)) {
      const last = shares.at(-1);
      if (last?.tree === next.tree) shares[shares.length - 1] = { ...last, end: next.end };
      else shares.push(next);
    }
    return shares;
  });
  return { spanLog, tasks };
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
