/** How work is cut for lanes: every item goes to one lane, and no lane has much more than another. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { balancedGroups, cutHashes, evenRanges, hashTaskCount } from '../../src/pipeline/shards.js';

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

it('hash tasks take every node of every tree once, at spans, and none more than one span more than another', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 400_000 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(sizes, parts, fc.constantFrom(0, 4), (nodes, lanes, groupLog) => {
      const { spanLog, tasks } = cutHashes(nodes, lanes, groupLog);
      const span = 2 ** spanLog;
      const shares = tasks.flat();
      for (const [tree, count] of nodes.entries()) {
        let at = 0;
        for (const share of shares.filter((one) => one.tree === tree)) {
          expect(share.first).toBe(at);
          expect(share.first % span).toBe(0);
          at = share.end;
        }
        expect(at).toBe(count);
      }
      const bytes = nodes.reduce((sum, count) => sum + count, 0) * 1024 * 2 ** groupLog;
      expect(tasks.length).toBeLessThanOrEqual(hashTaskCount(bytes, lanes));
      const spans = tasks.map((task) => task.reduce((sum, { first, end }) => sum + Math.ceil((end - first) / span), 0));
      expect(Math.max(...spans) - Math.min(...spans)).toBeLessThanOrEqual(1);
      // As many for each lane, unless there are fewer spans than that.
      if (shares.length > 0 && spans[0]! > 1) expect(tasks.length % lanes).toBe(0);
    }),
  );
});

it('the vectors of a small model are one hash task a lane', () => {
  expect(cutHashes([3280, 3280, 3280], 2).tasks).toHaveLength(2);
  expect(cutHashes([3280, 3280, 3280], 3).tasks).toHaveLength(3);
  expect(cutHashes([17, 17, 17], 2).tasks).toHaveLength(2);
  expect(cutHashes([1], 2).tasks).toHaveLength(1);
});
