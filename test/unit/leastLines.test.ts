import { expect, test } from 'vitest';
import { leastLines } from '../../bench/leastLines.js';

const line = (name: string, unit: string, value: number, details: Record<string, string | number>, isa = 'avx512') =>
  ({ name, unit, value, details, isa }) as const;

test('of lines that were measured several times the one that took least counts, whatever it is measured in', () => {
  const moby = { recipe: 'moby' };
  const first = line('unit-replay', 'ms', 26.5, moby);
  const least = line('unit-replay', 'ms', 21.9, moby);
  const other = line('unit-replay', 'ms', 98, { recipe: 'gpt-5m' });
  const forced = line('unit-replay', 'ms', 20, moby, 'avx2');
  // By speed the first step would count; by its least round the second does.
  const fast = line('step', 'tokens/s', 150_000, { ...moby, leastRoundMs: 27.5 });
  const even = line('step', 'tokens/s', 140_000, { ...moby, leastRoundMs: 26.1 });
  const speed = line('claim/mine', 'tokens/s', 100, moby);
  const faster = line('claim/mine', 'tokens/s', 120, moby);
  const again = line('unit-replay', 'ms', 24, moby);
  expect(leastLines([first, other, fast, speed, least, forced, even, again, faster])).toEqual([
    least,
    other,
    even,
    faster,
    forced,
  ]);
  expect(leastLines([])).toEqual([]);
});
