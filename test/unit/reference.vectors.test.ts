import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Kernels, OPERATIONS } from '../../src/backend/ops.js';
import { openReferenceBackend, referenceKernels } from '../../src/backend/reference.js';
import { assertSelfTest, checkVector, selfTest } from '../../src/backend/selfTest.js';
import { VECTOR_CASES } from '../../src/backend/vectorCases.js';
import { VECTOR_ANSWERS } from '../../src/backend/vectorData.js';
import { digestOutput, runVector, vectorKey } from '../../src/backend/vectorRun.js';

describe('the known-answer vectors', () => {
  it('hold for the reference', () => {
    expect(selfTest(referenceKernels).filter((r) => !r.ok)).toEqual([]);
  });

  it('cover every operation, also in the short form, and no case is stored twice', () => {
    expect(Object.keys(referenceKernels).sort()).toEqual([...OPERATIONS].sort());
    for (const operation of OPERATIONS) {
      expect(VECTOR_CASES.some((c) => c.operation === operation && c.quick)).toBe(true);
    }
    const keys = VECTOR_CASES.map(vectorKey);
    expect(new Set(keys).size).toBe(keys.length);
    expect(Object.keys(VECTOR_ANSWERS).sort()).toEqual(keys.sort());
  });

  it('find one flipped bit in any output of any operation', () => {
    for (const vector of VECTOR_CASES.filter((c) => c.quick && c.throws === undefined)) {
      const outputs = Object.entries(vector.args).filter(
        ([, s]) => typeof s === 'object' && 'out' in s && s.length > 0,
      );
      for (const [name] of outputs) {
        const flipped: Kernels = {
          ...referenceKernels,
          [vector.operation]: (a: Record<string, ArrayBufferView>) => {
            (referenceKernels[vector.operation] as (x: unknown) => void)(a);
            const view = a[name];
            const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
            bytes[bytes.length - 1] ^= 1;
          },
        };
        expect(checkVector(flipped, vector), `${vectorKey(vector)} ${name}`).toContain(`${name} expected`);
      }
    }
  });

  it('refuse kernels that let an Inf or NaN pass', () => {
    const silent: Kernels = { ...referenceKernels, quantizeRows: () => {} };
    expect(() => assertSelfTest(silent, 'silent')).toThrow(/expected NON_FINITE, found no error/);
  });

  it('stand in test/vectors as in the self-test', () => {
    for (const operation of OPERATIONS) {
      const file = new URL(`../vectors/${operation}.json`, import.meta.url);
      const { cases } = JSON.parse(readFileSync(file, 'utf8'));
      expect(cases.map((c: { name: string }) => `${operation}: ${c.name}`)).toEqual(
        VECTOR_CASES.filter((c) => c.operation === operation).map(vectorKey),
      );
      for (const stored of cases) {
        const answer = VECTOR_ANSWERS[`${operation}: ${stored.name}`];
        for (const [name, output] of Object.entries<{ blake3: string; base64?: string }>(stored.outputs ?? {})) {
          expect((answer as Record<string, readonly string[]>)[name][0]).toBe(output.blake3);
          if (output.base64 !== undefined) {
            expect(digestOutput(Uint8Array.from(Buffer.from(output.base64, 'base64')))[0]).toBe(output.blake3);
          }
        }
      }
    }
  });

  it('hold a subnormal: flushing it to zero is found', () => {
    const vector = VECTOR_CASES.find((c) => c.name === 'subnormal results')!;
    const result = runVector(referenceKernels, vector);
    if (!('outputs' in result)) throw new Error('expected outputs');
    const y = new Float32Array(result.outputs.get('y')!.buffer);
    expect(y.every((x) => x !== 0 && Math.abs(x) < 2 ** -126)).toBe(true);
    const flushing: Kernels = {
      ...referenceKernels,
      gemm: (a) => {
        referenceKernels.gemm(a);
        for (let i = 0; i < a.y.length; i += 1) if (Math.abs(a.y[i]) < 2 ** -126) a.y[i] = 0;
      },
    };
    expect(checkVector(flushing, vector)).toContain('expected');
  });

  it('count the calls of the reference backend', () => {
    const backend = openReferenceBackend();
    expect(backend.kernelCalls()).toBe(0);
    backend.kernels.fillZero({ x: new Float32Array(4) });
    expect(backend.kernelCalls()).toBe(1);
  });
});
