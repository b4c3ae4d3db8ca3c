/**
 * 4-bit codes in groups of 64 with bf16 scales: `docs/numerics.md` §2.5 and §2.6.
 *
 * The scale is rounded up to bf16, so that |x| ÷ d never exceeds 7 and no clamp is needed. A value is code × d, exact
 * in binary32. Two codes share a byte: the even index in the low nibble, two's complement, −7 … 7.
 */
import * as K from './constants.js';
import { absmax, bf16Up, bf16Value, f32, nearest } from './scalars.js';

/** Elements of one scale. */
export const GROUP4 = 64;

/** The scale of one group of x, bf16 bits; 0 where its absmax is below 2⁻¹⁰⁰. @throws PogoError NON_FINITE */
export function blockScale(x: Float32Array, start: number, count: number, inverseC: number, operation: string): number {
  const largest = absmax(x, start, count, operation, (at) => `elements from ${at}`);
  return largest < K.F32_ABSMAX_MIN ? 0 : bf16Up(f32(largest * inverseC), operation);
}

/** Codes of one group x[start … start + count − 1]: the scale's bf16 bits; `codes` gets −7 … 7 (or −127 … 127). */
export function quantizeBlock(
  x: Float32Array,
  start: number,
  count: number,
  inverseC: number,
  deltas: Float32Array | undefined,
  codes: Int8Array,
  operation: string,
): number {
  const scale = blockScale(x, start, count, inverseC, operation);
  if (scale === 0) {
    codes.fill(0, 0, count);
    return 0;
  }
  const k = f32(1 / bf16Value(scale));
  for (let i = 0; i < count; i += 1) {
    const y = f32(x[start + i] * k);
    codes[i] = nearest(deltas === undefined ? y : f32(y + deltas[i]));
  }
  return scale;
}

/** Writes `count` codes as nibbles from element `first` on. */
export function packNibbles(codes: Int8Array, count: number, out: Uint8Array, first: number): void {
  for (let i = 0; i < count; i += 1) {
    const byteIndex = (first + i) >>> 1;
    const nibble = codes[i] & 15;
    if (((first + i) & 1) === 0) out[byteIndex] = (out[byteIndex] & 0xf0) | nibble;
    else out[byteIndex] = (out[byteIndex] & 0x0f) | (nibble << 4);
  }
}

/** The code of element i, −8 … 7. */
export function nibbleAt(codes: Uint8Array, i: number): number {
  const byte = codes[i >>> 1];
  return (i & 1) === 0 ? (byte << 28) >> 28 : (byte << 24) >> 28;
}
