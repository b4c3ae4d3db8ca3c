/** How work is cut for lanes: every item goes to one lane, and no lane has much more than another. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { balancedGroups, evenRanges } from '../../src/pipeline/shards.js';

const parts = fc.integer({ min: 1, max: 20 });

it('ranges follow one another from the first item to the last, and differ by one item at most', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), parts, (count, lanes) => {
      const ranges = evenRanges(count, lanes);
      expect(ranges.length).toBe(Math.min(lanes, count));
      expect(ranges.map(({ from }) => from)).toEqual([0, ...ranges.slice(0, -1).map(({ to }) => to)]);
      expect(ranges.at(-1)!.to).toBe(count);
      const sizes = ranges.map(({ from, to }) => to - from);
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }),
  );
});

it('groups hold every index once; the heaviest is ahead of the lightest by one item at most', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 40 }), parts, (sizes, lanes) => {
      const groups = balancedGroups(sizes, lanes);
      expect(groups.flat().sort((a, b) => a - b)).toEqual([...sizes.keys()]);
      const totals = groups.map((group) => group.reduce((sum, index) => sum + sizes[index]!, 0));
      expect(Math.max(...totals) - Math.min(...totals)).toBeLessThanOrEqual(Math.max(...sizes));
    }),
  );
});
