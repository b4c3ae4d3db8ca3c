/**
 * The law of fusions: for any legal shape and any values, every instruction set leaves the arrays that the parts of a
 * fusion leave in the reference, one after the other, and does not touch the tensors between them.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { FUSION_NAMES, FUSIONS, type Fusion, type FusionName } from '../../src/backend/fusions.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { PogoError } from '../../src/errors.js';
import { MAKE_FUSION } from '../support/fusionArguments.js';
import { Arguments, STYLES, type Style } from '../support/kernelArguments.js';

const { addon } = loadCpuAddon();
const only = process.env['POGO_TEST_ISA'] ?? '';
/** Fewer cases where one set is asked for: its instructions may be emulated, under sanitizers. */
const numRuns = only === '' ? 24 : 8;
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([name, isa]) => isa.built && isa.machine && (only === '' || name === only))
  .map(([name]) => name as 'scalar');

type Part = Record<string, unknown>;

/** Every array after the run by part and name, or the error's code. */
function outcome(name: FusionName, seed: number, style: Style, run: (parts: Part[]) => void): Record<string, string> {
  const parts = MAKE_FUSION[name](new Arguments(seed, style)) as readonly object[] as Part[];
  try {
    run(parts);
  } catch (error) {
    if (error instanceof PogoError) return { error: error.code };
    throw error;
  }
  const arrays = parts.flatMap((part, i) =>
    Object.entries(part).flatMap(([field, value]) =>
      ArrayBuffer.isView(value)
        ? [[`${i}.${field}`, Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')]]
        : [],
    ),
  );
  return Object.fromEntries(arrays);
}

/** The parts one after the other; tensors between them are put back to what they were. */
function runParts(name: FusionName, parts: readonly Part[]): void {
  const { parts: kinds, hidden }: Fusion = FUSIONS[name];
  const tensors = hidden.map(({ of, from }) => parts[of]?.[from] as Float32Array | Uint16Array);
  const before = tensors.map((tensor) => tensor.slice());
  kinds.forEach((kind, i) => {
    (referenceKernels[kind] as (a: unknown) => void)(parts[i]);
  });
  tensors.forEach((tensor, i) => {
    tensor.set(before[i] as Uint16Array);
  });
}

describe.skipIf(addon === undefined)('every fusion gives the bits of its parts', () => {
  for (const name of FUSION_NAMES) {
    it(name, () => {
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom(...STYLES), (seed, style) => {
          const expected = outcome(name, seed, style, (parts) => runParts(name, parts));
          for (const isa of isas) {
            const fused = openCpuBackend(isa).kernels.fused?.[name] as
              | ((...parts: readonly Part[]) => void)
              | undefined;
            if (fused === undefined) throw new Error(`${isa} has no ${name}`);
            expect(
              outcome(name, seed, style, (parts) => fused(...parts)),
              isa,
            ).toEqual(expected);
          }
        }),
        { numRuns },
      );
    });
  }
});
