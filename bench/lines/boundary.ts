/** `boundary`: what one call from TypeScript into a kernel costs when there is nothing to do. */

import type { BenchGroup } from '../group.js';
import { measure, shared } from '../harness.js';

/** Calls timed together: one is far below the clock's resolution. */
const CALLS = 10_000;

export const boundary: BenchGroup = {
  names: ['boundary'],
  async *lines({ backend, quick }) {
    const { kernels } = backend;
    const argument = { x: shared.f32(1) };
    yield await measure({
      name: 'boundary',
      backend: backend.name,
      isa: backend.isa,
      unit: { name: 'ns', perCall: CALLS },
      budgetMs: quick ? 50 : 500,
      details: { operation: 'fillZero of one element' },
      run() {
        for (let i = 0; i < CALLS; i++) kernels.fillZero(argument);
      },
    });
  },
};
