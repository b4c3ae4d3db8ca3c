import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  type Baseline,
  compare,
  comparisonText,
  LEAST_ALLOWANCE,
  lineKey,
  machineClass,
  readBaseline,
  withLines,
  writeBaseline,
} from '../../../bench/baseline.js';
import { type BenchLine, lineOf } from '../../../bench/harness.js';
import { eventFaults } from '../../support/eventSchema.js';

const folder = mkdtempSync(join(tmpdir(), 'pogo-baseline-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A line that reached `ratio` of its ceiling; `samplesMs` around 100. */
function line(name: string, ratio: number, details: Record<string, string> = {}, samplesMs = [100]): BenchLine {
  const measured = lineOf(
    {
      name,
      backend: 'cpu',
      isa: 'avx2',
      unit: { name: 'GB/s', perCall: 1e9 },
      ceiling: { name: 'copy', value: 1e10 },
      details,
    },
    samplesMs,
  );
  return { ...measured, ratio, features: ['fma', 'avx2'], cores: 2 };
}

const EMPTY: Baseline = { classes: {} };

describe('baseline', () => {
  test('a class is features and cores; a key is name, recipe and set', () => {
    expect(machineClass(line('x', 1))).toBe('avx2 fma, 2 cores');
    expect(lineKey(line('commit', 1))).toBe('commit avx2');
    expect(lineKey(line('step', 1, { recipe: 'moby' }))).toBe('step moby avx2');
  });

  test('holds ratios only, of lines that have any; a second writing replaces lines and keeps the others', () => {
    const none = { ...line('boundary', 1), ratio: null };
    const first = withLines(EMPTY, [line('a', 0.51239), none, { ...line('b', 0.7), peerRatio: 3 }]);
    const second = withLines(first, [line('a', 0.6), { ...line('a', 0.9), cores: 64 }]);
    expect(second).toEqual({
      classes: {
        'avx2 fma, 2 cores': { 'a avx2': { ratio: 0.6 }, 'b avx2': { ratio: 0.7, peerRatio: 3 } },
        'avx2 fma, 64 cores': { 'a avx2': { ratio: 0.9 } },
      },
    });
    expect(first.classes['avx2 fma, 2 cores']?.['a avx2']).toEqual({ ratio: 0.512 });
  });

  test('a file reads back as it was written; anything else is refused with its path', () => {
    const file = join(folder, 'baseline.json');
    const baseline = withLines(EMPTY, [line('a', 0.5), { ...line('b', 0.7), peerRatio: 3 }]);
    writeBaseline(file, baseline);
    expect(readBaseline(file)).toEqual(baseline);
    expect(readFileSync(file, 'utf8')).toContain('      "b avx2": { "ratio": 0.7, "peerRatio": 3 }\n');
    for (const text of ['', '[]', '{"classes": 1}', 'null']) {
      writeFileSync(join(folder, 'bad.json'), text);
      expect(() => readBaseline(join(folder, 'bad.json'))).toThrow(/baseline: expected .*bad\.json/);
    }
    expect(() => readBaseline(join(folder, 'none.json'))).toThrow(/none\.json/);
  });
});

describe('compare', () => {
  const baseline = withLines(EMPTY, [line('a', 0.8), { ...line('b', 0.8), peerRatio: 4 }]);

  test('a loss within the allowance is none; one beyond it is named with both ratios', () => {
    const just = 0.8 * (1 - LEAST_ALLOWANCE);
    expect(compare(baseline, [line('a', just + 0.001)]).slower).toEqual([]);
    const { slower, compared } = compare(baseline, [line('a', just - 0.001), { ...line('b', 0.8), peerRatio: 2 }]);
    expect(compared).toBe(3);
    expect(slower).toMatchObject([
      { line: 'a avx2', measure: 'ratio', before: 0.8, allowance: LEAST_ALLOWANCE },
      { line: 'b avx2', measure: 'peerRatio', before: 4, now: 2, change: 0.5 },
    ]);
  });

  test('samples that scatter allow more', () => {
    const calm = line('a', 0.5, {}, [100, 101, 102]);
    const disturbed = line('a', 0.5, {}, [100, 200, 50]);
    expect(compare(baseline, [calm]).slower).toHaveLength(1);
    expect(compare(baseline, [disturbed]).slower).toHaveLength(0);
    // Samples all over the place: a line that kept its ratio is neither, one that lost more than half is slower.
    const wild = [1, 100, 1000, 5000];
    expect(compare(baseline, [line('a', 0.8, {}, wild)])).toMatchObject({ slower: [], faster: [] });
    expect(compare(baseline, [line('a', 0.39, {}, wild)]).slower).toHaveLength(1);
  });

  test('what got faster and what is unknown is said too, and another class of machines knows nothing', () => {
    const comparison = compare(baseline, [line('a', 0.95), line('new', 0.5)]);
    expect(comparison.faster).toMatchObject([{ line: 'a avx2', now: 0.95 }]);
    expect(comparison.unknown).toEqual(['new avx2 ratio']);
    const other = compare(baseline, [{ ...line('a', 0.1), features: ['neon'] }]);
    expect(other).toMatchObject({ compared: 0, slower: [], unknown: ['a avx2 ratio'] });
    expect(comparisonText(other)).not.toContain('nothing got slower');
  });

  test('is an event of the schema, and text that names the line', () => {
    const comparison = compare(baseline, [line('a', 0.4), line('new', 1)]);
    expect(eventFaults({ ...comparison })).toEqual([]);
    expect(comparisonText(comparison)).toContain('a avx2: ratio 0.8 → 0.4 (50 %, allowed 90 %)');
  });
});
