/**
 * The law of packed weights: for every operation that takes one, any legal shape and any values, a weight packed
 * beforehand gives the bits of a weight that the operation packs itself.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import type { OperationName } from '../../src/backend/ops.js';
import { PogoError } from '../../src/errors.js';
import { Arguments, MAKE, STYLES } from '../support/kernelArguments.js';
import { PACKED_WEIGHTS } from '../support/packedWeights.js';

const { addon } = loadCpuAddon();
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([, isa]) => isa.built && isa.machine)
  .map(([name]) => name as 'scalar');

function bytes(value: unknown): string {
  if (!ArrayBuffer.isView(value)) return String(value);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
}

function outcome(run: (a: unknown) => void, argument: Record<string, unknown>): Record<string, string> {
  try {
    run(argument);
  } catch (error) {
    if (error instanceof PogoError) return { error: error.code };
    throw error;
  }
  return Object.fromEntries(Object.entries(argument).map(([name, value]) => [name, bytes(value)]));
}

describe.skipIf(addon === undefined)('a weight packed beforehand gives the same bits', () => {
  for (const [operation, { field, shape }] of Object.entries(PACKED_WEIGHTS)) {
    it(operation, () => {
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(...STYLES), (seed, style) => {
          for (const isa of isas) {
            const { kernels } = openCpuBackend(isa);
            const run = kernels[operation as OperationName] as (a: unknown) => void;
            const make = (): Record<string, unknown> => ({
              ...MAKE[operation as OperationName](new Arguments(seed, style)),
            });
            const given = make();
            const [rows, cols] = shape(given as Record<string, number>);
            const { packing } = kernels;
            if (packing === undefined) throw new Error(`${isa} offers no packing`);
            const packed = new Uint8Array(packing.bytes(rows, cols)).fill(0xa5);
            const codes = given[field] as Int8Array;
            packing.pack({ codes, rows, cols, packed });
            const { packed: _, ...found } = outcome(run, { ...given, packed });
            expect(found, isa).toEqual(outcome(run, make()));
          }
        }),
        { numRuns: 30 },
      );
    });
  }

  it('refuses a packed form that is too short', () => {
    const { kernels } = openCpuBackend('auto');
    const a = MAKE.linearResidual(new Arguments(5, 'ordinary'));
    expect(() => kernels.linearResidual({ ...a, packed: new Uint8Array(3) })).toThrow(/at least \d+ elements, found 3/);
  });

  it('refuses a packed form off the alignment of its words', () => {
    const { kernels } = openCpuBackend('auto');
    const a = MAKE.linearResidual(new Arguments(5, 'ordinary'));
    const packed = new Uint8Array(kernels.packing!.bytes(a.N, a.K) + 4).subarray(1);
    const expected = /a packed form that begins at a multiple of 4 bytes/;
    expect(() => kernels.linearResidual({ ...a, packed })).toThrow(expected);
    expect(() => kernels.packing!.pack({ codes: a.w, rows: a.N, cols: a.K, packed })).toThrow(expected);
  });
});
