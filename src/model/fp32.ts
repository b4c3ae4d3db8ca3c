/**
 * fp32 values as bit patterns, and the exact conversion of a fraction of integers to fp32.
 *
 * Constants, recipe decimals and tables enter the arithmetic only through this file, so a value such as 0.95 has one
 * pattern on every machine (no libm, no decimal parser of a host language).
 */

import { invariant } from '../errors.js';

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

// Every file and every typed-array view of this project is little-endian; a big-endian host would silently commit to
// other bytes, so it is refused where the first module of the model loads.
invariant(new Uint8Array(new Uint32Array([1]).buffer)[0] === 1, 'this machine is big-endian; PoGO needs little-endian');

/** @returns the fp32 bit pattern (uint32) of `value` rounded to nearest even */
export function floatToBits(value: number): number {
  FLOAT[0] = value;
  return BITS[0];
}

/** @returns the fp32 value of a bit pattern (uint32) */
export function bitsToFloat(bits: number): number {
  BITS[0] = bits;
  return FLOAT[0];
}

/** @returns whether the fp32 of these bits is neither Inf nor NaN */
export function bitsAreFinite(bits: number): boolean {
  return (bits & 0x7f800000) !== 0x7f800000;
}

/**
 * The fp32 nearest to numerator ÷ denominator (ties to even), from integers alone.
 *
 * @param numerator any sign
 * @param denominator > 0
 * @returns fp32 bits; ±0 for a zero or underflowing fraction, ±Inf bits on overflow
 */
export function rationalToBits(numerator: bigint, denominator: bigint): number {
  invariant(denominator > 0n, 'rationalToBits: denominator must be positive');
  const sign = numerator < 0n ? 0x80000000 : 0;
  let n = numerator < 0n ? -numerator : numerator;
  if (n === 0n) return 0;
  let d = denominator;
  // Exponent e with 2^e <= n/d < 2^(e+1), from the bit lengths and one compare.
  let e = bitLength(n) - bitLength(d);
  if (e >= 0 ? n < d << BigInt(e) : n << BigInt(-e) < d) e -= 1;
  const quantum = Math.max(e, -126) - 23; // weight of the last mantissa bit; −149 for subnormals
  if (quantum >= 0) d <<= BigInt(quantum);
  else n <<= BigInt(-quantum);
  let q = n / d;
  const twice = (n - q * d) * 2n;
  if (twice > d || (twice === d && (q & 1n) === 1n)) q += 1n;
  // q < 2^24 + 1; adding it to the exponent field lets a carry move into the exponent by itself.
  const biased = quantum + 149; // 0 for subnormals and for e = −126
  const magnitude = BigInt(biased) * 0x800000n + q;
  return (sign | Number(magnitude >= 0x7f800000n ? 0x7f800000n : magnitude)) >>> 0;
}

/** Nearest fp32 bits of a decimal such as `"0.95"` or `"1e-8"`. @throws RangeError if it is no plain decimal */
export function decimalToBits(text: string): number {
  const match = /^([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?$/.exec(text);
  if (match === null) throw new RangeError(`expected a decimal number, found ${JSON.stringify(text)}`);
  const fraction = match[3] ?? '';
  const exponent = Number(match[4] ?? '0') - fraction.length;
  const digits = BigInt(match[2] + fraction);
  const scaled = exponent >= 0 ? digits * 10n ** BigInt(exponent) : digits;
  return rationalToBits(match[1] === '-' ? -scaled : scaled, exponent >= 0 ? 1n : 10n ** BigInt(-exponent));
}

/**
 * The shortest decimal that {@link decimalToBits} turns back into the same bits: what the JSON view prints.
 *
 * @param bits of a finite fp32
 */
export function bitsToDecimal(bits: number): number {
  invariant(bitsAreFinite(bits), 'bitsToDecimal: Inf and NaN have no decimal');
  const value = bitsToFloat(bits);
  for (let precision = 1; precision < 10; precision++) {
    const candidate = Number(value.toPrecision(precision));
    if (decimalToBits(String(candidate)) === bits) return candidate;
  }
  return value; // nine digits always suffice, except for −0, which no recipe may hold
}

/** Number of bits of a positive integer. */
export function bitLength(value: bigint): number {
  return value.toString(2).length;
}
