/** Results that are larger than the caches are stored past them (`native/cpu/kernels/codes4.inc`): the scalar set never does. */
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import type { Kernels } from '../../src/backend/ops.js';
import { sharedArray } from '../../src/backend/sharedArrays.js';
import { DIFF_CHUNK_BYTES } from '../../src/protocol/diff.js';
import { seededRandom } from '../support/random.js';

const { addon } = loadCpuAddon();
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([isa, { built, machine }]) => built && machine && isa !== 'scalar')
  .map(([isa]) => isa);

/** From 8 MiB of a result on: 16 Mi codes of 4 bits, and rows that do not fill the last chunk of blocks. */
const ROWS = 16_385;
const COLS = 1024;
const ELEMENTS = ROWS * COLS;
const MODEL_BYTES = (8 << 20) + 3 * 64;

/** Random values of a few blocks, again and again: what matters is where they go. */
function values(): Float32Array {
  const x = sharedArray(Float32Array, ELEMENTS);
  const random = seededRandom(5);
  const known = 40_000;
  for (let i = 0; i < known; i++) x[i] = (random() - 0.5) * 2 ** Math.floor(random() * 20 - 10);
  for (let i = known; i < ELEMENTS; i *= 2) x.copyWithin(i, 0, Math.min(i, ELEMENTS - i));
  return x;
}

/** What all passes leave, in order. */
function* passes(kernels: Kernels): Generator<[string, ArrayBufferView]> {
  const x = values();
  const codes = sharedArray(Uint8Array, ELEMENTS / 2);
  const scales = sharedArray(Uint16Array, ELEMENTS / 64);
  kernels.packModel({ x, codes, scales, n: ELEMENTS, bits: 4 });
  yield ['packModel codes', codes.slice()];
  yield ['packModel scales', scales.slice()];
  kernels.quantize4({ x, codes, scales, seed: Uint32Array.of(1, 2, 3, 4), rows: ROWS, cols: COLS });
  yield ['quantize4 codes', codes];
  yield ['quantize4 scales', scales];
  kernels.dequantize4({ codes, scales, x, n: ELEMENTS });
  yield ['dequantize4', x];
  const older = codes.subarray(0, MODEL_BYTES);
  const newer = older.slice();
  for (let i = 0; i < MODEL_BYTES; i += 3) newer[i] ^= 1 << (i & 7);
  const out = sharedArray(Uint8Array, MODEL_BYTES + Math.ceil(MODEL_BYTES / DIFF_CHUNK_BYTES));
  const end = new Uint32Array(2);
  kernels.diffModel({ older, newer, out, end, n: MODEL_BYTES });
  const patch = out.subarray(0, end[0]);
  yield ['diffModel', patch];
  const patched = sharedArray(Uint8Array, MODEL_BYTES);
  kernels.patchModel({ older, patch, newer: patched, start: 0, n: MODEL_BYTES });
  yield ['patchModel', patched];
}

const bytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);

describe.skipIf(isas.length === 0)('results beyond the caches', () => {
  it('are the scalar set’s, bit by bit', () => {
    const expected = [...passes(openCpuBackend('scalar').kernels)];
    for (const isa of isas) {
      let at = 0;
      for (const [name, found] of passes(openCpuBackend(isa as 'avx2').kernels)) {
        expect(bytes(found).equals(bytes(expected[at++][1])), `${isa} ${name}`).toBe(true);
      }
    }
  }, 60_000);
});
