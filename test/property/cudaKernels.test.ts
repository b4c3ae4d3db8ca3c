/**
 * The CUDA kernels on the device model, through the addon: every operation gives the known answers and, for any legal shape
 * and any values, the bits of the reference or its refusal.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cudaKernels, cudaTable, missingOperations } from '../../src/backend/cuda.js';
import type { Kernels, OperationName } from '../../src/backend/ops.js';
import { OPERATIONS } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { checkVector } from '../../src/backend/selfTest.js';
import { VECTOR_CASES } from '../../src/backend/vectorCases.js';
import { PogoError } from '../../src/errors.js';
import { buildModelAddon, modelAddon } from '../support/cudaModel.js';
import { Arguments, MAKE, STYLES, type Style } from '../support/kernelArguments.js';

const file = buildModelAddon();
const addon = file === undefined ? undefined : modelAddon(file);
/** Arrays of an outcome as text, or the error's code. */
function outcome(kernels: Kernels, operation: OperationName, seed: number, style: Style): Record<string, string> {
  const argument = MAKE[operation](new Arguments(seed, style));
  try {
    (kernels[operation] as (a: unknown) => void)(argument);
  } catch (error) {
    if (error instanceof PogoError) return { error: error.code };
    throw error;
  }
  const bytes = (value: unknown): string => {
    if (Array.isArray(value)) return value.map(bytes).join('|');
    if (!ArrayBuffer.isView(value)) return String(value);
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
  };
  return Object.fromEntries(Object.entries(argument).map(([name, value]) => [name, bytes(value)]));
}

// A machine without a C++ compiler or CMake cannot build the model; set-up reports what is missing.
describe.skipIf(addon === undefined)('CUDA kernels on the device model', () => {
  const kernels = addon === undefined ? referenceKernels : cudaKernels(addon, 0);

  it('exist for every operation of the registry', () => {
    expect(addon === undefined ? [] : missingOperations(cudaTable(addon))).toEqual([]);
  });

  it.each(OPERATIONS)('%s gives the known answers', (operation) => {
    const cases = VECTOR_CASES.filter((vector) => vector.operation === operation);
    expect(cases.length).toBeGreaterThan(0);
    const before = addon?.counters().operations ?? 0;
    expect(cases.map((vector) => checkVector(kernels, vector)).filter((message) => message !== undefined)).toEqual([]);
    expect(addon?.counters().operations).toBeGreaterThan(before);
  });

  it.each(OPERATIONS)('%s gives the bits of the reference', (operation) => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(...STYLES), (seed, style) => {
        expect(outcome(kernels, operation, seed, style)).toEqual(outcome(referenceKernels, operation, seed, style));
      }),
      { numRuns: 6 },
    );
  });
});
