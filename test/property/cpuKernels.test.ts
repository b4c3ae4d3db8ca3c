/**
 * The law of the backends: for every operation, any legal shape and any values, every instruction set of this machine
 * gives the bits of the reference, or refuses with the same error.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { type Kernels, OPERATIONS, type OperationName } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { PogoError } from '../../src/errors.js';
import { Arguments, MAKE, STYLES, type Style } from '../support/kernelArguments.js';

const { addon } = loadCpuAddon();
/** A check of one set names it, so that it need not wait for the others: scripts/tile-model.mjs. */
const only = process.env['POGO_TEST_ISA'] ?? '';
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([name, isa]) => isa.built && isa.machine && (only === '' || name === only))
  .map(([name]) => name as 'scalar');

/** Heavy operations of the reference get fewer runs. */
const RUNS: Partial<Record<OperationName, number>> = {
  attentionForward: 12,
  attentionBackward: 8,
  groupedAttentionForward: 12,
  groupedAttentionBackward: 8,
};

function bytes(value: unknown): string {
  if (Array.isArray(value)) return value.map(bytes).join('|');
  if (!ArrayBuffer.isView(value)) return String(value);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
}

/** Every array after the call as text, or the error's code. */
function outcome(kernels: Kernels, operation: OperationName, seed: number, style: Style): Record<string, string> {
  const argument = MAKE[operation](new Arguments(seed, style));
  try {
    (kernels[operation] as (a: unknown) => void)(argument);
  } catch (error) {
    if (error instanceof PogoError) return { error: error.code };
    throw error;
  }
  return Object.fromEntries(Object.entries(argument).map(([name, value]) => [name, bytes(value)]));
}

describe.skipIf(addon === undefined)('every instruction set gives the bits of the reference', () => {
  it('runs at least the scalar kernels, or the set that was asked for', () => {
    expect(isas).toContain(only === '' ? 'scalar' : only);
  });
  for (const operation of OPERATIONS) {
    it(operation, () => {
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(...STYLES), (seed, style) => {
          const expected = outcome(referenceKernels, operation, seed, style);
          for (const isa of isas) {
            expect(outcome(openCpuBackend(isa).kernels, operation, seed, style), isa).toEqual(expected);
          }
        }),
        { numRuns: RUNS[operation] ?? 40 },
      );
    });
  }

  // AVX-512 machines may lack VPCOMPRESSB: the other way must give the same bits on those that have it.
  for (const operation of ['diffModel', 'patchModel'] as const) {
    it(`${operation} without optional features`, () => {
      addon?.useOptionalFeatures(false);
      try {
        fc.assert(
          fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(...STYLES), (seed, style) => {
            const expected = outcome(referenceKernels, operation, seed, style);
            for (const isa of isas) {
              expect(outcome(openCpuBackend(isa).kernels, operation, seed, style), isa).toEqual(expected);
            }
          }),
          { numRuns: 40 },
        );
      } finally {
        addon?.useOptionalFeatures(true);
      }
    });
  }
});
