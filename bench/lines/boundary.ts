/** `boundary`: what one call from TypeScript into a kernel costs, argument checks included, when there is next to nothing to do. */

import type { BenchGroup } from '../group.js';
import { measure, shared } from '../harness.js';

/** Calls timed together: one is far below the clock's resolution. */
const CALLS = 10_000;

export const boundary: BenchGroup = {
  names: ['boundary'],
  async *lines({ backend, quick }) {
    const { kernels } = backend;
    // The smallest operation that every backend runs in its own code: a sum of 64 numbers.
    const argument = { loss: shared.f32(64), out: shared.f32(1), U: 64 };
    yield await measure({
      name: 'boundary',
      backend: backend.name,
      isa: backend.isa,
      unit: { name: 'ns', perCall: CALLS },
      budgetMs: quick ? 50 : 500,
      details: { operation: 'unitLoss of 64 tokens' },
      run() {
        for (let i = 0; i < CALLS; i++) kernels.unitLoss(argument);
      },
    });
  },
};
