/**
 * Inputs of the known-answer vectors: what stands in `test/vectors/*.json` instead of megabytes.
 *
 * Every element comes from a counter hash (`docs/numerics.md` §1.10): r = h(seed, 9E3779B9, i), then a fill rule makes
 * bits of it. Nothing here computes with floats, so an implementer in any language gets the same inputs.
 */
import { PogoError } from '../errors.js';
import { counterHash } from '../reference/dither.js';

export type Dtype = 'i8' | 'u8' | 'u16' | 'u32' | 'f32';

/**
 * Fill rules, with r the element's word, e and span the tensor's exponent and its range:
 * - `codes` r mod 255 − 127; `extreme` ±127 by the lowest bit of r; `nibbles` two codes r mod 15 − 7 and (r >>> 8) mod 15 − 7;
 * - `values` the binary32 with the sign of r, mantissa r & 7FFFFF and exponent e + ((r >>> 23) & FF) mod span
 *   (`u16`: its upper half, a bf16); `positive` the same without the sign;
 * - `index` r mod limit; `words` r; `zero`; `edges` see {@link edgeBits}.
 */
export type Fill = 'codes' | 'extreme' | 'nibbles' | 'values' | 'positive' | 'index' | 'words' | 'zero' | 'edges';

/** One array argument of a case. */
export interface TensorSpec {
  readonly dtype: Dtype;
  readonly length: number;
  readonly fill: Fill;
  readonly seed?: number;
  readonly e?: number;
  readonly span?: number;
  readonly limit?: number;
  /** Elements that get these bits (hexadecimal) after the fill. */
  readonly poke?: readonly (readonly [number, string])[];
  /** The operation writes it: its bytes after the call are the answer. */
  readonly out?: true;
}

/** A number, a flag, the bits of a binary32, an array, or one array per unit. */
export type ArgumentSpec =
  | number
  | boolean
  | { readonly f32: string }
  | TensorSpec
  | { readonly list: readonly TensorSpec[] };

export type Tensor = Int8Array | Uint8Array | Uint16Array | Uint32Array | Float32Array;

const COUNTER = 0x9e3779b9;

/** Groups of 64 that meet the borders of the quantizers, by group number mod 8. */
function edgeBits(i: number, r: number): number {
  const sign = (r & 1) << 31;
  switch ((i >>> 6) & 7) {
    case 0:
      return sign; // ±0
    case 1:
      return sign | ((r >>> 1) & 0x7fffff); // subnormals: below the smallest absmax
    case 2:
      return sign | (0x0d000000 + ((r >>> 9) & 0x7fffff)); // below 2⁻¹⁰⁰
    case 3:
      return sign | (i % 64 === 17 ? 0x0d800000 : 0x0d000000); // the smallest absmax itself, and halves of it
    case 4:
      return sign | (0x7e000000 + ((r >>> 9) & 0x7fffff)); // near the largest
    case 5:
      return i % 64 === 63 ? sign | 0x3f800000 : 0; // one element
    case 6:
      return sign | 0x41200000; // all of one magnitude
    default:
      return sign | ((0x20000000 + (r >>> 2)) & 0x7fffffff); // 65 binades
  }
}

function elementBits(spec: TensorSpec, i: number): number {
  const r = counterHash(spec.seed ?? 0, COUNTER, i) >>> 0;
  switch (spec.fill) {
    case 'codes':
      return (r % 255) - 127;
    case 'extreme':
      return (r & 1) === 0 ? 127 : -127;
    case 'nibbles':
      return (((r % 15) - 7) & 15) | (((((r >>> 8) % 15) - 7) & 15) << 4);
    case 'values':
    case 'positive': {
      const exponent = 127 + (spec.e ?? 0) + (((r >>> 23) & 0xff) % (spec.span ?? 1));
      return (spec.fill === 'values' ? r & 0x80000000 : 0) | (exponent << 23) | (r & 0x7fffff);
    }
    case 'index':
      return r % (spec.limit ?? 1);
    case 'words':
      return r;
    case 'zero':
      return 0;
    case 'edges':
      return edgeBits(i, r);
  }
}

/** The array that a spec describes. */
export function makeTensor(spec: TensorSpec): Tensor {
  const { length, dtype } = spec;
  const bits = new Uint32Array(length);
  if (spec.fill !== 'zero') for (let i = 0; i < length; i += 1) bits[i] = elementBits(spec, i);
  const wantsHalves = dtype === 'u16';
  if (wantsHalves) for (let i = 0; i < length; i += 1) bits[i] = bits[i] >>> 16;
  for (const [index, pattern] of spec.poke ?? []) bits[index] = Number.parseInt(pattern, 16);
  switch (dtype) {
    case 'i8':
      return new Int8Array(bits);
    case 'u8':
      return new Uint8Array(bits);
    case 'u16':
      return new Uint16Array(bits);
    case 'u32':
      return bits;
    case 'f32':
      return new Float32Array(bits.buffer);
  }
}

/** True for an array argument. */
export function isTensorSpec(spec: ArgumentSpec): spec is TensorSpec {
  return typeof spec === 'object' && 'dtype' in spec;
}

/** What the operation gets for one argument. */
export function makeArgument(spec: ArgumentSpec): number | boolean | Tensor | Tensor[] {
  if (typeof spec !== 'object') return spec;
  if ('f32' in spec) return new Float32Array(new Uint32Array([Number.parseInt(spec.f32, 16)]).buffer)[0];
  if ('list' in spec) return spec.list.map(makeTensor);
  if ('dtype' in spec) return makeTensor(spec);
  throw new PogoError('INTERNAL', 'a vector argument has an unknown form');
}
