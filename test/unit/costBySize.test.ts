import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { measuredBySize, type SizedPoint, secondsAt } from '../../src/cost/bySize.js';

const at = (points: readonly (readonly [number, number])[], size: number): number =>
  secondsAt(
    measuredBySize(
      points.map(([s, seconds]) => ({ size: s, seconds })),
      'x',
    ),
    size,
  );

describe('seconds by size', () => {
  test('lie on the line between the neighbouring sizes', () => {
    const points = [
      [30, 10],
      [10, 2],
      [20, 4],
    ] as const;
    expect([10, 15, 20, 25, 30].map((size) => at(points, size))).toEqual([2, 3, 4, 7, 10]);
  });

  test('go on as the last line above the largest, as the first one below the smallest', () => {
    const points = [
      [10, 2],
      [20, 3],
      [30, 9],
    ] as const;
    // 6 for 10 more; and 1 for 10 less, down to what is fixed.
    expect(at(points, 50)).toBe(21);
    expect(at(points, 5)).toBe(1.5);
    expect(at(points, 0)).toBe(1);
  });

  test('are in proportion below the smallest where the first line would fall below zero, and from one size alone', () => {
    const steep = [
      [10, 2],
      [20, 8],
    ] as const;
    expect(at(steep, 5)).toBe(1);
    expect(at(steep, 0)).toBe(0);
    expect(at([[10, 2]], 25)).toBe(5);
  });

  test('never fall: sizes that were measured to take their mean, also over several', () => {
    const points = [
      [10, 1],
      [20, 6],
      [30, 4],
      [40, 2],
      [50, 9],
    ] as const;
    // 6, 4 and 2 become 4; then 1, 4, 4, 4, 9 rise.
    expect([10, 15, 20, 30, 40, 45].map((size) => at(points, size))).toEqual([1, 2.5, 4, 4, 4, 6.5]);
  });

  test('measured below zero are zero; of one size measured twice the mean counts', () => {
    expect(
      at(
        [
          [10, -3],
          [20, 4],
        ],
        15,
      ),
    ).toBe(2);
    expect(
      at(
        [
          [10, 1],
          [10, 3],
          [20, 4],
        ],
        10,
      ),
    ).toBe(2);
  });

  test('of nothing, or of a size that is none, are refused', () => {
    expect(() => measuredBySize([], 'file')).toThrow(/file: expected a measured size/);
    expect(() => measuredBySize([{ size: 0, seconds: 1 }], 'file')).toThrow(/file: expected positive sizes/);
    expect(() => measuredBySize([{ size: Number.NaN, seconds: 1 }], 'file')).toThrow(/file: expected positive sizes/);
  });

  test('rise with the size, whatever was measured, and go through what was measured in order', () => {
    const point = fc.record({
      size: fc.integer({ min: 1, max: 1e9 }),
      seconds: fc.double({ min: -1, max: 1e4, noNaN: true }),
    });
    fc.assert(
      fc.property(
        fc.array(point, { minLength: 1, maxLength: 8 }),
        fc.array(fc.double({ min: 0, max: 2e9, noNaN: true })),
        (points, sizes) => {
          const measured = measuredBySize(points, 'x');
          let before = 0;
          for (const size of [...sizes, ...points.map((one) => one.size)].sort((a, b) => a - b)) {
            const seconds = secondsAt(measured, size);
            expect(seconds).toBeGreaterThanOrEqual(before * (1 - 1e-9) - 1e-9);
            before = seconds;
          }
        },
      ),
    );
    const rising = fc
      .uniqueArray(point, { minLength: 1, maxLength: 8, selector: ({ size }) => size })
      .map((points): SizedPoint[] => {
        const seconds = points.map((one) => Math.abs(one.seconds)).sort((a, b) => a - b);
        return [...points]
          .sort((a, b) => a.size - b.size)
          .map(({ size }, i) => ({ size, seconds: seconds[i] as number }));
      });
    fc.assert(
      fc.property(rising, (points) => {
        const measured = measuredBySize(points, 'x');
        for (const { size, seconds } of points) expect(secondsAt(measured, size)).toBeCloseTo(seconds, 6);
      }),
    );
  });
});
