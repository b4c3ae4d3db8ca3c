/**
 * What one call from TypeScript into a kernel costs, argument checks included, when there is next to nothing to do:
 * `boundary`; `boundary/large` with an operand that lies in a buffer of 256 MiB; `boundary/operands` with the most
 * operands that a step's call has (the commit pass of one leaf, 16 units: 36 arrays).
 */

import { emptyCommit } from '../commitArguments.js';
import type { BenchGroup } from '../group.js';
import { bytesOf, measure, requireSameBytes, shared } from '../harness.js';

/** Calls timed together: one is far below the clock's resolution. */
const CALLS = 10_000;
const LARGE_ELEMENTS = 1 << 26;
/** The target: a microsecond a call. */
const TARGET = { name: 'target of 1 us', value: 1e-6 };
const LEAF = 256;
const UNITS = 16;

export const boundary: BenchGroup = {
  names: ['boundary', 'boundary/large', 'boundary/operands'],
  async *lines({ backend, reference, quick }, wanted) {
    const { kernels } = backend;
    const common = {
      backend: backend.name,
      isa: backend.isa,
      unit: { name: 'ns', perCall: CALLS } as const,
      budgetMs: quick ? 50 : 500,
    };
    // The smallest operation that every backend runs in its own code: a sum of 64 numbers.
    for (const [name, elements] of [
      ['boundary', 64],
      ['boundary/large', LARGE_ELEMENTS],
    ] as const) {
      if (!wanted(name)) continue;
      const whole = shared.f32(elements);
      const loss = whole.subarray(elements - 64);
      for (let i = 0; i < 64; i++) loss[i] = i / 7;
      const argument = { loss, out: shared.f32(1), U: 64 };
      yield await measure({
        ...common,
        name,
        ceiling: TARGET,
        details: { operation: 'unitLoss of 64 tokens', bufferBytes: whole.byteLength },
        run() {
          for (let i = 0; i < CALLS; i++) kernels.unitLoss(argument);
        },
        check() {
          const out = new Float32Array(1);
          reference.unitLoss({ ...argument, out });
          requireSameBytes(name, argument.out, out);
        },
        result: () => bytesOf(argument.out),
      });
    }
    if (!wanted('boundary/operands')) return;
    const argument = emptyCommit(LEAF, UNITS);
    yield await measure({
      ...common,
      name: 'boundary/operands',
      unit: { name: 'ns', perCall: 1000 },
      details: { operation: `commitLeaves of one leaf, ${UNITS} units; its work is inside`, arrays: 4 + 2 * UNITS },
      run() {
        for (let i = 0; i < 1000; i++) kernels.commitLeaves(argument);
      },
      check() {
        const expected = emptyCommit(LEAF, UNITS);
        reference.commitLeaves(expected);
        const once = emptyCommit(LEAF, UNITS);
        kernels.commitLeaves(once);
        requireSameBytes('boundary/operands', once.theta, expected.theta);
      },
      result: () => bytesOf(argument.theta),
    });
  },
};
