/**
 * Products of the sizes at which a set changes its order of work: strips of other heights, depth in two sweeps, panel by panel,
 * blocks of columns that a cache holds, results past the caches. The scalar set has one order.
 */
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { sharedArray } from '../../src/backend/sharedArrays.js';
import type { LaneKernels } from '../../src/backend/types.js';

const { addon } = loadCpuAddon();
const only = process.env['POGO_TEST_ISA'] ?? '';
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([isa, { built, machine }]) => built && machine && isa !== 'scalar' && (only === '' || isa === only))
  .map(([isa]) => isa as 'avx2');

const panels = (n: number): number => Math.ceil(n / 1024);

/** Codes and scales, the same ones for the same sizes. */
class Values {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  #next(): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state >>> 8;
  }
  codes(rows: number, cols: number): Int8Array {
    return sharedArray(Int8Array, rows * cols).map(() => (this.#next() % 255) - 127);
  }
  scales(rows: number, cols: number): Float32Array {
    return sharedArray(Float32Array, rows * panels(cols)).map(() => (this.#next() + 1) * 2 ** -40);
  }
  bf16(n: number): Uint16Array {
    return sharedArray(Uint16Array, n).map(() => 0x3c00 + (this.#next() % 0x400));
  }
}

const bytes = (x: ArrayBufferView): Buffer => Buffer.from(x.buffer as ArrayBuffer, x.byteOffset, x.byteLength);

type Shape = readonly [rows: number, columns: number, depth: number];
type Run = (kernels: LaneKernels, values: Values, shape: Shape) => ArrayBufferView[];

const noBias = new Float32Array(0);

function packed(kernels: LaneKernels, codes: Int8Array, rows: number, cols: number): Uint8Array {
  const { packing } = kernels;
  if (packing === undefined) throw new Error('the set offers no packing');
  const out = sharedArray(Uint8Array, packing.bytes(rows, cols));
  packing.pack({ codes, rows, cols, packed: out });
  return out;
}

const gemm: Run = ({ gemm }, v, [M, N, K]) => {
  const y = sharedArray(Float32Array, M * N).fill(Number.NaN);
  gemm({ a: v.codes(M, K), aScales: v.scales(M, K), b: v.codes(N, K), bScales: v.scales(N, K), y, M, N, K });
  return [y];
};

/** Twice: from nothing, and going on from what is there. */
const gradient: Run = ({ weightGradient }, v, [N, K, T]) => {
  const dw = sharedArray(Float32Array, N * K).fill(Number.NaN);
  const operands = { et: v.codes(N, T), etScales: v.scales(N, T), xt: v.codes(K, T), xtScales: v.scales(K, T) };
  const first = { ...operands, dw, N, K, T };
  weightGradient({ ...first, accumulate: false });
  const once = dw.slice();
  weightGradient({ ...first, accumulate: true });
  return [once, dw];
};

const residual =
  (isPacked: boolean): Run =>
  (kernels, v, [T, N, K]) => {
    const [a, aScales, w, wScales] = [v.codes(T, K), v.scales(T, K), v.codes(N, K), v.scales(N, K)];
    const y = sharedArray(Uint16Array, T * N);
    const operands = { a, aScales, w, wScales, ...(isPacked ? { packed: packed(kernels, w, N, K) } : {}) };
    kernels.linearResidual({ ...operands, bias: noBias, x: v.bf16(T * N), y, T, N, K });
    return [y];
  };

const gelu: Run = (kernels, v, [T, N, K]) => {
  const codes = sharedArray(Int8Array, T * N);
  const derivative = sharedArray(Int8Array, T * N);
  const scales = sharedArray(Float32Array, T * panels(N));
  const operands = { a: v.codes(T, K), aScales: v.scales(T, K), w: v.codes(N, K), wScales: v.scales(N, K) };
  kernels.linearGelu({ ...operands, bias: noBias, codes, scales, derivative, T, N, K });
  return [codes, scales, derivative];
};

const PRODUCTS: readonly (readonly [name: string, run: Run, shapes: readonly Shape[]])[] = [
  [
    'gemm',
    gemm,
    [
      // Depths around those at which a panel is cut in two, of whole and of cut steps of 64; rows of whole and of cut tiles.
      ...[576, 577, 640, 704, 960, 1000, 1023, 1024].flatMap((K): Shape[] => [
        [48, 70, K],
        [37, 33, K],
      ]),
      // Panels of both kinds, and a last one that is not cut.
      [50, 66, 1024 + 64],
      [35, 40, 2 * 1024 + 640],
      [48, 530, 2048],
      // Strips that are high, and results of 2 MiB and more, in rows of whole lines and not.
      [70, 300, 192],
      [70, 300, 328],
      [513, 1024, 65],
      [600, 1023, 64],
      [40, 2064, 704],
    ],
  ],
  [
    'weightGradient',
    gradient,
    [
      [70, 80, 704],
      [40, 300, 1024 + 700],
      [520, 1040, 64],
    ],
  ],
  [
    'linearResidual',
    residual(false),
    [
      [70, 1088, 640],
      // Panel by panel where b is large.
      [40, 1088, 1152],
    ],
  ],
  [
    'linearResidual, packed weights',
    residual(true),
    [
      // With more rows than stay in a cache.
      [200, 1024, 1088],
      [33, 64, 8 * 1024 + 64],
    ],
  ],
  [
    'linearGelu',
    gelu,
    [
      [70, 1088, 704],
      [33, 1152, 1088],
    ],
  ],
];

describe.skipIf(isas.length === 0)('large products are the scalar set’s, bit by bit', () => {
  for (const [name, run, shapes] of PRODUCTS) {
    it(name, () => {
      for (const [index, shape] of shapes.entries()) {
        const expected = run(openCpuBackend('scalar').kernels, new Values(index), shape);
        for (const isa of isas) {
          const found = run(openCpuBackend(isa).kernels, new Values(index), shape);
          const equal = found.map((x, i) => bytes(x).equals(bytes(expected[i] as ArrayBufferView)));
          expect(equal, `${isa} ${shape.join(' x ')}`).toEqual(expected.map(() => true));
        }
      }
    }, 120_000);
  }
});
