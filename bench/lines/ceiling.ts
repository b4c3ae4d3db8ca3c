/**
 * The ceilings as lines of their own: `ceiling/copy` (one thread), `ceiling/copy-all` (all threads at once),
 * `ceiling/int8` (multiply-accumulates of the instruction set on registers, one core).
 */

import { availableParallelism } from 'node:os';
import { type Ceiling, copiesOf, copyBandwidth, int8Peak } from '../ceilings.js';
import { type BenchGroup, skipped } from '../group.js';
import { type BenchLine, lineOf, round, type Unit } from '../harness.js';

/** A line whose value is the ceiling itself; its one sample is the time of a giga of the unit. */
function lineFor(
  name: string,
  isa: string,
  unit: Unit['name'],
  { value, name: how }: Ceiling,
  more: object,
): BenchLine {
  const job = { name, backend: 'machine', isa, unit: { name: unit, perCall: 1e9 } as Unit };
  return lineOf({ ...job, details: { how, ...more } }, [(1e3 * 1e9) / value]);
}

export const ceiling: BenchGroup = {
  names: ['ceiling/copy', 'ceiling/copy-all', 'ceiling/int8'],
  async *lines({ backend }, wanted) {
    const all = availableParallelism();
    for (const [name, threads] of [
      ['ceiling/copy', 1],
      ['ceiling/copy-all', all],
    ] as const) {
      if (!wanted(name)) continue;
      const sizes = copiesOf(threads);
      if (threads > 1 && sizes === undefined) {
        yield skipped(name, 'no C compiler that builds copypeak.c');
        continue;
      }
      const bySize = [...(sizes ?? [])].map(([mib, rate]) => [`GBs${mib}MiB`, round(rate / 1e9, 4)] as const);
      yield lineFor(name, 'any', 'GB/s', copyBandwidth(threads), { threads, ...Object.fromEntries(bySize) });
    }
    if (!wanted('ceiling/int8')) return;
    const peak = int8Peak(backend.isa);
    if (typeof peak === 'string') yield skipped('ceiling/int8', peak);
    else yield lineFor('ceiling/int8', backend.isa, 'GOP/s', peak, {});
  },
};
