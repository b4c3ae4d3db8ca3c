import { describe, expect, test } from 'vitest';
import { lineOf, measure, median, requireSameBytes } from '../../../bench/harness.js';
import { textLine } from '../../../bench/table.js';

const base = { name: 'x', backend: 'cpu', isa: 'avx2' };

describe('bench lines', () => {
  test('a throughput line: value, share of the ceiling and of the peer', () => {
    const line = lineOf(
      {
        ...base,
        unit: { name: 'GB/s', perCall: 2e9 },
        ceiling: { name: 'copy', value: 8e9 },
        peer: { name: 'other', value: 1e9 },
      },
      [400, 500, 600],
    );
    expect(line).toMatchObject({ value: 4, ceiling: 8, ratio: 0.5, peerValue: 1, peerRatio: 4 });
  });

  test('a time line counts inversely: half the ceiling’s speed is ratio 0.5, not 2', () => {
    const line = lineOf({ ...base, unit: { name: 'ms', perCall: 1 }, ceiling: { name: 'best', value: 0.005 } }, [10]);
    expect(line).toMatchObject({ value: 10, ceiling: 5, ratio: 0.5 });
  });

  test('missing ceilings and peers are null, never a number', () => {
    const line = lineOf({ ...base, unit: { name: 'ns', perCall: 1000 } }, [1]);
    expect(line).toMatchObject({ value: 1000, ceiling: null, ratio: null, peer: null, peerRatio: null, result: null });
  });

  test('a wrong result is not timed', async () => {
    let calls = 0;
    const job = {
      ...base,
      unit: { name: 'ms', perCall: 1 } as const,
      run: () => {
        calls += 1;
      },
      check: () => requireSameBytes('x', Uint8Array.of(1, 2), Uint8Array.of(1, 3)),
    };
    await expect(measure(job)).rejects.toMatchObject({ code: 'SELF_TEST', details: { byte: 1 } });
    expect(calls).toBe(1);
  });

  test('the samples are those of the function, and its result is hashed', async () => {
    const line = await measure({
      ...base,
      unit: { name: 'ms', perCall: 1 },
      budgetMs: 5,
      minSamples: 3,
      run: () => undefined,
      result: () => new Uint8Array(0),
    });
    expect(line.samples.length).toBeGreaterThanOrEqual(3);
    // BLAKE3 of nothing, from the official vectors.
    expect(line.result).toBe('af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262');
  });

  test('median of odd and even counts', () => {
    expect([median([3, 1, 2]), median([4, 1, 3, 2])]).toEqual([2, 2.5]);
  });

  test('the spread is in the unit of the value: lowest, highest, median deviation', () => {
    const line = lineOf({ ...base, unit: { name: 'GB/s', perCall: 1e9 } }, [500, 1000, 2000]);
    expect(line).toMatchObject({ value: 1, spread: { min: 0.5, max: 2, mad: 0.5 } });
  });

  test('a line of text says nothing about what was not measured', () => {
    const line = lineOf({ ...base, unit: { name: 'ns', perCall: 1 } }, [1]);
    expect(textLine(line)).not.toContain('null');
  });
});
