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

const { addon } = loadCpuAddon();
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([, isa]) => isa.built && isa.machine)
  .map(([name]) => name as 'scalar');

type Shape = Record<string, number>;

/** Operations with a packed weight: its field, rows and columns. */
const WEIGHTS: Partial<Record<OperationName, readonly ['w' | 'wt', (a: Shape) => readonly [number, number]]>> = {
  linearQkv: ['w', ({ C = 0 }) => [3 * C, C]],
  linearResidual: ['w', ({ N = 0, K = 0 }) => [N, K]],
  linearGelu: ['w', ({ N = 0, K = 0 }) => [N, K]],
  linearInputGradient: ['wt', ({ N = 0, K = 0 }) => [K, N]],
  linearHeadsInputGradient: ['wt', ({ N = 0, K = 0 }) => [K, N]],
  linearGeluInputGradient: ['wt', ({ N = 0, K = 0 }) => [K, N]],
  headForward: ['w', ({ V = 0, C = 0 }) => [V, C]],
  headInputGradient: ['wt', ({ V = 0, C = 0 }) => [C, V]],
};

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
  for (const [operation, [field, shapeOf]] of Object.entries(WEIGHTS)) {
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
            const [rows, cols] = shapeOf(given as Shape);
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
});
