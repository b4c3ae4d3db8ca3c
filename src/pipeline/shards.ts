/** How work on a vector is cut for several lanes. The cut never changes a bit. */

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
