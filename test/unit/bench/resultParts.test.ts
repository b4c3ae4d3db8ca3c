/** Results that are measured in parts, and again: every line once, with its own time. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  isComplete,
  namesAsked,
  partsText,
  type ResultLine,
  readParts,
  withMeasured,
} from '../../../bench/resultParts.mjs';

const line = (name: string, isa: string, time: string, value = 1): ResultLine => ({
  type: 'bench',
  name,
  isa,
  time,
  value,
});
const closing = (part: string, seconds: number, more = {}): ResultLine => ({
  type: 'bench-part',
  part,
  seconds,
  ...more,
});

const FIRST = [
  line('commit', 'avx512', 'day 1'),
  line('hash', 'native', 'day 1'),
  closing('avx512/kernels', 40),
  line('commit', 'avx2', 'day 1'),
  closing('avx2/kernels', 20),
];
const text = FIRST.map((value) => `${JSON.stringify(value)}\n`).join('');

describe('parts of a measurement', () => {
  it('are read and written without a change, the committed results too', () => {
    expect(partsText(readParts(text))).toBe(text);
    const committed = readFileSync('bench/results/2026-11-27-zen5-2cores.jsonl', 'utf8');
    const lines = (from: string): string[] => from.split('\n').sort();
    expect(lines(partsText(readParts(committed)))).toEqual(lines(committed));
  });

  it('take new lines in the place of the same ones, and keep all others with their time', () => {
    const again = [line('hash', 'native', 'day 2', 5), line('hash/1', 'native', 'day 2', 6)];
    const merged = withMeasured(readParts(text), again, closing('avx512/kernels', 3, { only: 'hash' }));
    const [first, second] = merged;
    expect(first.lines.map(({ name, time }) => [name, time])).toEqual([
      ['commit', 'day 1'],
      ['hash', 'day 2'],
      ['hash/1', 'day 2'],
    ]);
    expect(first.closings.map(({ seconds }) => seconds)).toEqual([40, 3]);
    expect(second).toEqual(readParts(text)[1]);
  });

  it('are replaced whole when they are measured again whole, and added when they are new', () => {
    const whole = withMeasured(readParts(text), [line('commit', 'avx512', 'day 2')], closing('avx512/kernels', 41));
    expect(whole.map(({ lines }) => lines.length)).toEqual([1, 1]);
    expect(withMeasured(readParts(text), [], closing('avx512/moby', 9)).map(({ name }) => name)).toEqual([
      'avx512/kernels',
      'avx2/kernels',
      'avx512/moby',
    ]);
  });

  it('are complete only when they were measured whole; a file that was cut goes on with the part that is open', () => {
    const some = withMeasured([], [line('hash', 'native', 'day 1')], closing('avx512/kernels', 3, { only: 'hash' }));
    expect(isComplete(some, 'avx512/kernels')).toBe(false);
    const cut = readParts(text.slice(0, text.indexOf('{"type":"bench-part","part":"avx2')));
    expect(isComplete(cut, 'avx512/kernels')).toBe(true);
    expect(isComplete(cut, 'avx2/kernels')).toBe(false);
  });

  it('have the lines that are asked for, by name or group', () => {
    const part = 'ceiling/,gemm/,merkle/,hash,commit,commit/ema';
    expect(namesAsked(part, ['hash', 'merkle/update'])).toEqual(['merkle/update', 'hash']);
    expect(namesAsked(part, ['commit'])).toEqual(['commit', 'commit/ema']);
    expect(namesAsked(part, ['step'])).toEqual([]);
  });
});
