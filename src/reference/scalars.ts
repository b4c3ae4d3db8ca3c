/**
 * Scalars of the exact arithmetic: `docs/numerics.md` §1.
 *
 * Every float operation is one binary32 rounding, written `f32(a op b)`. JavaScript computes in binary64, and
 * rounding a binary64 result of one + − × ÷ √ of binary32 operands to binary32 is the same as rounding once
 * (53 ≥ 2 · 24 + 2), so `Math.fround` around each operation is exact binary32 arithmetic, subnormals included.
 */
import { PogoError } from '../errors.js';
import * as K from './constants.js';

export const f32 = Math.fround;

const scratchFloat = new Float32Array(1);
const scratchWord = new Int32Array(scratchFloat.buffer);

/** Bit pattern of a binary32, as int32. */
export function bitsOf(x: number): number {
  scratchFloat[0] = x;
  return scratchWord[0];
}

/** The binary32 with this bit pattern. Not for NaN: engines may change its payload. */
export function floatOf(bits: number): number {
  scratchWord[0] = bits;
  return scratchFloat[0];
}

/** Reports an Inf or NaN in the input of a quantizer or in a loss (docs/numerics.md §1.2). */
export function nonFinite(operation: string, where: string): PogoError {
  return new PogoError(
    'NON_FINITE',
    `${operation}: expected finite values, found an Inf or NaN in ${where}; lower the learning rate or check the input`,
    { operation, where },
  );
}

/** 1.2. Maximum of |x[i]| over `count` elements from `start`. Throws NON_FINITE. */
export function absmax(
  x: Float32Array,
  start: number,
  count: number,
  operation: string,
  where: (start: number) => string,
): number {
  const words = new Int32Array(x.buffer, x.byteOffset + 4 * start, count);
  let maximum = 0;
  for (let i = 0; i < count; i += 1) {
    const magnitude = words[i] & K.U32_ABS;
    if (magnitude > maximum) maximum = magnitude;
  }
  if (maximum >= K.U32_INFINITY_BITS) throw nonFinite(operation, where(start));
  return floatOf(maximum);
}

/** 1.4. Nearest integer of |y| < 2²², ties to even. The sum's low bits are the integer; taking them off is exact. */
export function nearest(y: number): number {
  return f32(f32(y + K.F32_ROUND) - K.F32_ROUND);
}

/** 1.5. Values that only decay never become subnormal. */
export function flushGradient(g: number): number {
  return Math.abs(g) < K.F32_FLUSH_GRADIENT ? 0 : g;
}

export function flushM(m: number): number {
  return Math.abs(m) < K.F32_FLUSH_M ? 0 : m;
}

export function flushV(v: number): number {
  return v < K.F32_FLUSH_V ? 0 : v;
}

export function flushBeta(b: number): number {
  return b < K.F32_FLUSH_BETA ? 0 : b;
}

/** 1.6. 2^z, degree 5, relative error 1.9e-7. */
export function exp2(z: number): number {
  if (z < K.F32_EXP2_MIN) return 0;
  const y = z > K.F32_EXP2_MAX ? K.F32_EXP2_MAX : z;
  const t = f32(y + K.F32_ROUND);
  const k = (bitsOf(t) - K.U32_ROUND_BITS) | 0;
  const f = f32(y - f32(t - K.F32_ROUND));
  let p = f32(f32(K.F32_EXP2_C5 * f) + K.F32_EXP2_C4);
  p = f32(f32(p * f) + K.F32_EXP2_C3);
  p = f32(f32(p * f) + K.F32_EXP2_C2);
  p = f32(f32(p * f) + K.F32_EXP2_C1);
  p = f32(f32(p * f) + 1);
  return floatOf((bitsOf(p) + (k << 23)) | 0);
}

/** 1.6. 2^z, cubic, relative error 1.0e-4: where the result becomes an 8-bit code. */
export function exp2c(z: number): number {
  if (z < K.F32_EXP2_MIN) return 0;
  const y = z > K.F32_EXP2_MAX ? K.F32_EXP2_MAX : z;
  const t = f32(y + K.F32_ROUND);
  const k = (bitsOf(t) - K.U32_ROUND_BITS) | 0;
  const f = f32(y - f32(t - K.F32_ROUND));
  let p = f32(f32(K.F32_EXP2C_C3 * f) + K.F32_EXP2C_C2);
  p = f32(f32(p * f) + K.F32_EXP2C_C1);
  p = f32(f32(p * f) + 1);
  return floatOf((bitsOf(p) + (k << 23)) | 0);
}

/** 1.7. log2(x) of a normal x > 0, absolute error about 1e-7. */
export function log2(x: number): number {
  const i = (bitsOf(x) - K.U32_LOG2_OFFSET) | 0;
  const e = i >> 23;
  const m = floatOf(((i & K.U32_MANTISSA) + K.U32_LOG2_OFFSET) | 0);
  const s = f32(f32(m - 1) / f32(m + 1));
  const w = f32(s * s);
  let q = f32(f32(K.F32_LOG2_L3 * w) + K.F32_LOG2_L2);
  q = f32(f32(q * w) + K.F32_LOG2_L1);
  q = f32(f32(q * w) + K.F32_LOG2_L0);
  return f32(e + f32(s * q));
}

/** 1.8. The sigmoid of the tanh form of GELU. Without the clamp, u < −10 would wrap the exponent. */
export function geluGate(u: number): number {
  const c = f32(K.F32_GELU_C0 + f32(K.F32_GELU_C1 * f32(u * u)));
  const w = -f32(u * c);
  return w > K.F32_GELU_MAX ? 0 : f32(1 / f32(1 + exp2(w)));
}

/** 1.8. gelu(u). */
export function gelu(u: number): number {
  return f32(u * geluGate(u));
}

/** 1.8. gelu'(u). */
export function geluDerivative(u: number): number {
  const s = geluGate(u);
  const slope = f32(K.F32_GELU_D0 + f32(K.F32_GELU_D1 * f32(u * u)));
  return f32(s + f32(f32(u * f32(s * f32(1 - s))) * slope));
}

/** 1.9. Bits of the bf16 nearest to x. NaN and Inf are carried, to be found by the next absmax. */
export function bf16(x: number): number {
  const b = bitsOf(x);
  if ((b & K.U32_ABS) > K.U32_INFINITY_BITS) return (b >>> 16) | 0x40;
  return ((b + 0x7fff + ((b >>> 16) & 1)) >>> 16) & 0xffff;
}

/** 1.9. Bits of the smallest bf16 ≥ x, for positive finite x. */
export function bf16Up(x: number, operation: string): number {
  const up = (bitsOf(x) + 0xffff) >>> 16;
  if (up === 0x7f80) throw nonFinite(operation, 'a bf16 scale');
  return up;
}

/** The value of a bf16 bit pattern. */
export function bf16Value(bits: number): number {
  return floatOf(bits << 16);
}

/** Values of `count` bf16 elements from `start`, into `out`. */
export function bf16Row(x: Uint16Array, start: number, count: number, out: Float32Array): void {
  const words = new Int32Array(out.buffer, out.byteOffset, count);
  for (let i = 0; i < count; i += 1) words[i] = x[start + i] << 16;
}

/** 1.12. fl(1 ÷ count). */
export function inverse(count: number): number {
  return f32(1 / f32(count));
}

/** 1.12. fl(1 ÷ √h) of a head size. */
export function inverseRoot(h: number): number {
  return f32(1 / f32(Math.sqrt(h)));
}
