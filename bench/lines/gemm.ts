/** `gemm/MxNxK`: the integer GEMM with scales per row and panel, one core, against the int8 peak of the core. */

import type { Kernels } from '../../src/backend/types.js';
import { int8Peak } from '../ceilings.js';
import type { BenchGroup } from '../group.js';
import { bytesOf, fillGaussian, measure, requireSameBytes, shared } from '../harness.js';

/** Square sizes of the target, and the shapes of the built-in recipes: tokens of a unit × outputs × inputs. */
const SHAPES: readonly (readonly [number, number, number])[] = [
  [1024, 1024, 1024],
  [2048, 2048, 2048],
  [2048, 384, 128],
  [2048, 768, 256],
  [1024, 2048, 512],
  [1024, 3072, 768],
  [1024, 768, 3072],
];
/** Rows that the reference computes too: all of them would take it minutes. */
const CHECKED_ROWS = 4;

interface Operand {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
}

/** Codes over the whole range and scales of one magnitude. */
export function operand(rows: number, cols: number, seed: number): Operand {
  const codes = shared.i8(rows * cols);
  const values = fillGaussian(new Float32Array(codes.length), seed, 40);
  for (let i = 0; i < codes.length; i++) codes[i] = Math.max(-127, Math.min(127, Math.trunc(values[i])));
  const scales = fillGaussian(shared.f32(Math.ceil(cols / 1024) * rows), seed + 1, 0.01);
  for (let i = 0; i < scales.length; i++) scales[i] = Math.abs(scales[i]) + 1e-4;
  return { codes, scales };
}

function checkRows(reference: Kernels, a: Operand, b: Operand, y: Float32Array, [M, N, K]: readonly number[]): void {
  const panels = Math.ceil(K / 1024);
  const rows = Math.min(CHECKED_ROWS, M);
  const first = M - rows; // the last rows: edges of tiles go wrong there
  const aScales = new Float32Array(panels * rows);
  for (let p = 0; p < panels; p++) aScales.set(a.scales.subarray(p * M + first, p * M + M), p * rows);
  const expected = new Float32Array(rows * N);
  reference.gemm({
    a: a.codes.slice(first * K, M * K),
    aScales,
    b: b.codes,
    bScales: b.scales,
    y: expected,
    M: rows,
    N,
    K,
  });
  requireSameBytes(`gemm/${M}x${N}x${K}`, y.subarray(first * N, M * N), expected);
}

export const gemm: BenchGroup = {
  names: ['gemm/'],
  async *lines({ backend, reference, quick }, wanted) {
    const peak = int8Peak(backend.isa);
    for (const shape of SHAPES) {
      const [M, N, K] = shape;
      const name = `gemm/${M}x${N}x${K}`;
      if (!wanted(name) || (quick && M * N * K > 2 ** 28)) continue;
      const a = operand(M, K, 1);
      const b = operand(N, K, 2);
      const y = shared.f32(M * N);
      const argument = { a: a.codes, aScales: a.scales, b: b.codes, bScales: b.scales, y, M, N, K };
      const operations = 2 * M * N * K;
      yield await measure({
        name,
        backend: backend.name,
        isa: backend.isa,
        unit: { name: 'GOP/s', perCall: operations },
        bytes: M * K + N * K + 4 * M * N,
        operations,
        ceiling: typeof peak === 'string' ? undefined : peak,
        details: typeof peak === 'string' ? { ceilingMissing: peak } : {},
        budgetMs: quick ? 100 : 700,
        run: () => backend.kernels.gemm(argument),
        check: () => checkRows(reference, a, b, y, shape),
        result: () => bytesOf(y),
      });
    }
  },
};
