/** Reading and changing the 4-bit codes of a gradient unit's file, for forgers. */
import { type Layout, unitFileBytes } from '../../src/model/layout.js';

/** Codes −7…7 of a unit's file, in order. */
export function codesOf(layout: Layout, file: Uint8Array): Int8Array {
  const { codes } = unitFileBytes(layout);
  const values = new Int8Array(2 * codes);
  for (let i = 0; i < codes; i += 1) {
    values[2 * i] = ((file[i]! & 15) << 28) >> 28;
    values[2 * i + 1] = (file[i]! << 24) >> 28;
  }
  return values;
}

/** Writes codes; groups without a scale stay zero, as an encoder would leave them. */
export function writeCodes(layout: Layout, file: Uint8Array, codes: Int8Array): void {
  const scales = scaleBits(layout, file);
  for (let i = 0; i < codes.length; i += 2) {
    if (scales[Math.floor(i / 64)] === 0) continue;
    file[i / 2] = (codes[i]! & 15) | ((codes[i + 1]! & 15) << 4);
  }
}

/** The bf16 scales, one for 64 codes: a view. */
export function scaleBits(layout: Layout, file: Uint8Array): Uint16Array {
  const { codes, scales } = unitFileBytes(layout);
  return new Uint16Array(file.buffer, file.byteOffset + codes, scales / 2);
}

/** The gradient that a unit stands for, in doubles. */
export function valuesOf(layout: Layout, file: Uint8Array): Float64Array {
  const codes = codesOf(layout, file);
  const scales = scaleBits(layout, file);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  return Float64Array.from(codes, (code, i) => {
    bits[0] = scales[Math.floor(i / 64)]! << 16;
    return code * float[0]!;
  });
}

export function norm(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

export function distance(a: Float64Array, b: Float64Array): number {
  return norm(a.map((value, i) => value - b[i]!));
}
