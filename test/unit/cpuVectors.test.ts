import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { OPERATIONS } from '../../src/backend/ops.js';
import { checkVector } from '../../src/backend/selfTest.js';
import { VECTOR_CASES } from '../../src/backend/vectorCases.js';

const { addon } = loadCpuAddon();
const isas = addon === undefined ? [] : Object.entries(addon.describe().isas);

describe.skipIf(addon === undefined)('CPU kernels give the bits of the known-answer vectors', () => {
  for (const [isa, { built, machine }] of isas) {
    if (!built || !machine) continue;
    const { kernels } = openCpuBackend(isa as 'scalar');
    for (const operation of OPERATIONS) {
      it(`${isa}: ${operation}`, () => {
        const cases = VECTOR_CASES.filter((c) => c.operation === operation);
        expect(cases.length).toBeGreaterThan(0);
        expect(cases.map((c) => checkVector(kernels, c)).filter((m) => m !== undefined)).toEqual([]);
      });
    }
  }
});
