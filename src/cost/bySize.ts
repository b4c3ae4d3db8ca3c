/**
 * Seconds that were measured at several sizes, and what they say of other sizes.
 *
 * Between two measured sizes the seconds lie on the line between them; above the largest the last line goes on, below the
 * smallest the first one, as far as a fixed part that is not below zero. One line through all sizes would be pulled up by
 * the large ones: what a small model pays however small it is (a process that starts, a task that goes to a lane and back)
 * drowns in it.
 */

export interface SizedPoint {
  /** Bytes, or whatever the seconds grow with. */
  readonly size: number;
  readonly seconds: number;
}

export interface BySize {
  /** In rising order of size, seconds never falling and not below zero; one at least. */
  readonly points: readonly SizedPoint[];
  readonly source: string;
}

/** Neighbouring sizes that take one value: how many points they have together, and the mean of their seconds. */
interface Pool {
  readonly sizes: number;
  readonly count: number;
  readonly seconds: number;
}

/**
 * Seconds by size from measured points, in any order.
 *
 * More bytes never take less time: where a larger size was measured to, all sizes concerned take the mean of their seconds,
 * which of all sequences that never fall is the nearest one to the measured (isotonic regression by pooling neighbours).
 * Differences below zero, which noise gives, are zero.
 *
 * @param source where the seconds stand
 * @throws RangeError for no points, or a size that is not positive
 */
export function measuredBySize(measured: readonly SizedPoint[], source: string): BySize {
  if (measured.length === 0) throw new RangeError(`${source}: expected a measured size, found none`);
  const sizes = [...new Set(measured.map(({ size }) => size))].sort((a, b) => a - b);
  if (!((sizes[0] as number) > 0)) throw new RangeError(`${source}: expected positive sizes, found ${sizes[0]}`);
  const pools: Pool[] = [];
  for (const size of sizes) {
    const same = measured.filter((point) => point.size === size);
    const seconds = same.reduce((sum, point) => sum + Math.max(0, point.seconds), 0) / same.length;
    let pool: Pool = { sizes: 1, count: same.length, seconds };
    for (let last = pools.at(-1); last !== undefined && last.seconds > pool.seconds; last = pools.at(-1)) {
      pools.pop();
      const count = last.count + pool.count;
      const mean = (last.count * last.seconds + pool.count * pool.seconds) / count;
      pool = { sizes: last.sizes + pool.sizes, count, seconds: mean };
    }
    pools.push(pool);
  }
  const seconds = pools.flatMap((pool) => Array.from({ length: pool.sizes }, () => pool.seconds));
  return { points: sizes.map((size, i) => ({ size, seconds: seconds[i] as number })), source };
}

/** Seconds at a size: see the head of this file. */
export function secondsAt({ points }: Pick<BySize, 'points'>, size: number): number {
  const [first, second] = points as [SizedPoint, SizedPoint | undefined];
  // One size alone says nothing of a fixed part.
  if (second === undefined) return (first.seconds * size) / first.size;
  if (size <= first.size) {
    const fixed = Math.max(0, first.seconds - slope(first, second) * first.size);
    return fixed + ((first.seconds - fixed) * size) / first.size;
  }
  const next = points.findIndex((point) => point.size >= size);
  const to = next < 0 ? points.length - 1 : next;
  const [a, b] = [points[to - 1] as SizedPoint, points[to] as SizedPoint];
  return a.seconds + slope(a, b) * (size - a.size);
}

const slope = (a: SizedPoint, b: SizedPoint): number => (b.seconds - a.seconds) / (b.size - a.size);
