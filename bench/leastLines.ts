/**
 * Lines that were measured several times with other work in between, and which of them count: **the least of each**.
 *
 * A host that lends its processors to others may be slower by a quarter for a minute or two, and everything that is timed in
 * that minute is. Lines of one recipe, timed once, then say that it is slower than the others. So they are timed in passes,
 * minutes apart.
 */
import type { BenchLine } from './harness.js';

type Timed = Pick<BenchLine, 'name' | 'value' | 'unit' | 'isa' | 'details'>;

/** What a line stands for: its name alone is the same for every recipe and instruction set. */
const keyOf = ({ name, isa, details }: Timed): string => `${name} ${isa} ${String(details['recipe'])}`;

/** Milliseconds, or whatever is in proportion to them: a step is its least round. */
function timeOf({ value, unit, details }: Timed): number {
  if (details['leastRoundMs'] !== undefined) return Number(details['leastRoundMs']);
  return unit.endsWith('/s') ? 1 / value : value;
}

/** @returns of each name, set and recipe the line that took least, in the order in which they were first met */
export function leastLines<T extends Timed>(lines: readonly T[]): T[] {
  const least = new Map<string, T>();
  for (const line of lines) {
    const key = keyOf(line);
    const known = least.get(key);
    if (known === undefined || timeOf(line) < timeOf(known)) least.set(key, line);
  }
  return [...least.values()];
}
