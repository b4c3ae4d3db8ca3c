/** `quantize4`, `dequantize4`, `pack-model`: 4-bit codes at memory speed, one core, against copy bandwidth. */

import { copyBandwidth, copyOfFootprint } from '../ceilings.js';
import type { BenchGroup } from '../group.js';
import { bytesOf, fillGaussian, measure, requireSameBytes, shared } from '../harness.js';

const COLS = 1024;
/** 16 Mi elements, 64 MiB of fp32: larger than any cache. */
const ROWS = 16_384;
const QUICK_ROWS = 256;
/** Rows that the reference computes too. Codes do not depend on how many rows follow. */
const CHECKED_ROWS = 16;
const SEED = Uint32Array.of(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344);

export const codes: BenchGroup = {
  names: ['quantize4', 'dequantize4', 'pack-model'],
  async *lines({ backend, reference, quick }, wanted) {
    const { kernels } = backend;
    const rows = quick ? QUICK_ROWS : ROWS;
    const n = rows * COLS;
    const checked = CHECKED_ROWS * COLS;
    const bytes = 4 * n + n / 2 + n / 32;
    const x = fillGaussian(shared.f32(n), 3, 1e-3);
    const nibbles = shared.u8(n / 2);
    const scales = shared.u16(n / 64);
    const common = {
      backend: backend.name,
      isa: backend.isa,
      unit: { name: 'GB/s', perCall: bytes } as const,
      bytes,
      ceiling: copyBandwidth(),
      footprint: copyOfFootprint(bytes),
      details: { elements: n },
      budgetMs: quick ? 50 : 700,
    };
    const checkPlanes = (name: string, fill: (codes: Uint8Array, scales: Uint16Array) => void): void => {
      const expectedCodes = new Uint8Array(checked / 2);
      const expectedScales = new Uint16Array(checked / 64);
      fill(expectedCodes, expectedScales);
      requireSameBytes(`${name} codes`, nibbles.subarray(0, checked / 2), expectedCodes);
      requireSameBytes(`${name} scales`, scales.subarray(0, checked / 64), expectedScales);
    };
    const result = (): Uint8Array => {
      const both = new Uint8Array(nibbles.length + scales.byteLength);
      both.set(nibbles);
      both.set(bytesOf(scales), nibbles.length);
      return both;
    };
    // dequantize4 reads what quantize4 made, so it runs even where only the former is asked for.
    const quantize = { x, codes: nibbles, scales, seed: SEED, rows, cols: COLS };
    kernels.quantize4(quantize);
    if (wanted('quantize4')) {
      yield await measure({
        ...common,
        name: 'quantize4',
        run: () => kernels.quantize4(quantize),
        check: () =>
          checkPlanes('quantize4', (codes, scales) => {
            const head = x.slice(0, checked);
            reference.quantize4({ x: head, codes, scales, seed: SEED, rows: CHECKED_ROWS, cols: COLS });
          }),
        result,
      });
    }
    if (wanted('dequantize4')) {
      const back = shared.f32(n);
      yield await measure({
        ...common,
        name: 'dequantize4',
        run: () => kernels.dequantize4({ codes: nibbles, scales, x: back, n }),
        check: () => {
          const expected = new Float32Array(checked);
          const head = { codes: nibbles.slice(0, checked / 2), scales: scales.slice(0, checked / 64) };
          reference.dequantize4({ ...head, x: expected, n: checked });
          requireSameBytes('dequantize4', back.subarray(0, checked), expected);
        },
        result: () => bytesOf(back),
      });
    }
    if (wanted('pack-model')) {
      yield await measure({
        ...common,
        name: 'pack-model',
        run: () => kernels.packModel({ x, codes: nibbles, scales, n, bits: 4 }),
        check: () =>
          checkPlanes('pack-model', (codes, scales) => {
            reference.packModel({ x: x.slice(0, checked), codes, scales, n: checked, bits: 4 });
          }),
        result,
      });
    }
  },
};
