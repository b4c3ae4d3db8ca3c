/**
 * RoPE tables from integers alone: cosine and sine of position · base^(−2i ÷ headSize), correctly rounded to fp32.
 *
 * Base and scale are integers and the head size is a power of two, so the powers of the base are repeated square roots in
 * BigInt fixed point. A table is made by turning from position to position; one row alone by the series of its own angles.
 * Both have errors below 2^-150, so both round to the same fp32 (a sine or cosine of such an angle lies that close to the
 * middle of two fp32 with probability 2^-126 an entry).
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { rationalToBits } from './fp32.js';
import { integerSquareRoot } from './integers.js';
import type { Recipe } from './recipeTypes.js';
import { PI_FIXED } from './schedule.js';

/** What the tables of a recipe follow from. */
export interface RopeShape {
  readonly headSize: number;
  readonly context: number;
  readonly ropeLocalBase: number;
  readonly ropeGlobalBase: number;
  readonly ropeGlobalScale: number;
}

/** Fractional bits of angles, sines and cosines. */
const BITS = 192n;
const ONE = 1n << BITS;
/** Bits by which the angle of a row is computed further than its sine: positions are below 2^20. */
const GUARD = 32n;

const KNOWN_FREQUENCIES = 16;
const frequenciesMade = new Map<string, readonly bigint[]>();

/** base^(−2i ÷ size) ÷ scale for i < size ÷ 2, in fixed point with BITS + GUARD fractional bits. */
function frequencies(size: number, base: number, scale: number): readonly bigint[] {
  const key = [size, base, scale].join(' ');
  const known = frequenciesMade.get(key);
  if (known !== undefined) return known;
  if (frequenciesMade.size >= KNOWN_FREQUENCIES) frequenciesMade.clear();
  const made = makeFrequencies(size, base, scale);
  frequenciesMade.set(key, made);
  return made;
}

function makeFrequencies(size: number, base: number, scale: number): bigint[] {
  const bits = BITS + GUARD;
  let root = BigInt(base) << bits;
  for (let power = 2; power < size; power *= 2) root = integerSquareRoot(root << bits);
  const inverse = (1n << (2n * bits)) / root;
  const out: bigint[] = [];
  let power = 1n << bits;
  for (let i = 0; i < size / 2; i++) {
    out.push(power / BigInt(scale));
    power = (power * inverse) >> bits;
  }
  return out;
}

interface Turn {
  readonly cosine: bigint;
  readonly sine: bigint;
}

/** Cosine and sine of an angle with BITS fractional bits, 0 <= x < 8. */
function turnOf(x: bigint): Turn {
  // The series at x ÷ 8, then three doublings: each loses one bit.
  const small = x >> 3n;
  const square = (small * small) >> BITS;
  let cosine = 0n;
  let sine = 0n;
  let even = ONE;
  let odd = small;
  for (let k = 1n; even !== 0n || odd !== 0n; k += 2n) {
    cosine += even;
    sine += odd;
    even = -((even * square) >> BITS) / (k * (k + 1n));
    odd = -((odd * square) >> BITS) / ((k + 1n) * (k + 2n));
  }
  for (let doubling = 0; doubling < 3; doubling++) {
    const twice = (cosine * sine) >> (BITS - 1n);
    cosine = ONE - ((sine * sine) >> (BITS - 1n));
    sine = twice;
  }
  return { cosine, sine };
}

const DOUBLE = new Float64Array(1);
const WORDS = new Uint32Array(DOUBLE.buffer);
const UNIT = 2 ** -Number(BITS);

/** The fp32 nearest to a fixed-point value. */
function rounded(value: bigint): number {
  // Number() rounds to nearest; only a double in the middle of two fp32 would be rounded twice.
  const double = Number(value) * UNIT;
  DOUBLE[0] = double;
  if ((WORDS[0] & 0x1fffffff) !== 0x10000000) return double;
  WORDS[0] = rationalToBits(value, ONE);
  return new Float32Array(DOUBLE.buffer, 0, 1)[0];
}

/** One table: f32 [context, headSize], of each position the cosines of its headSize ÷ 2 pairs, then their sines. */
function fillTable(out: Float32Array, size: number, context: number, base: number, scale: number): void {
  const half = size / 2;
  frequencies(size, base, scale).forEach((frequency, i) => {
    const step = turnOf(frequency >> GUARD);
    let cosine = ONE;
    let sine = 0n;
    for (let position = 0; position < context; position++) {
      out[position * size + i] = rounded(cosine);
      out[position * size + half + i] = rounded(sine);
      const next = (cosine * step.cosine - sine * step.sine) >> BITS;
      sine = (sine * step.cosine + cosine * step.sine) >> BITS;
      cosine = next;
    }
  });
}

/** π with BITS + GUARD fractional bits would need more digits than the schedule's; this one has them. */
const TWO_PI = twoPi();

function twoPi(): bigint {
  // One Newton step on sin(x) = 0 near π trebles the digits: π = x + sin(x) with x right to 128 bits.
  const wide = BITS + GUARD + 64n;
  const x = PI_FIXED << (wide - 128n);
  const square = (x * x) >> wide;
  let term = x;
  let sine = 0n;
  for (let k = 2n; term !== 0n; k += 2n) {
    sine += term;
    term = -((term * square) >> wide) / (k * (k + 1n));
  }
  return (2n * (x + sine)) >> 64n;
}

/** One row of a table, made alone: f32 [headSize]. The same bits as the table's. */
export function ropeRow(shape: RopeShape, global: boolean, position: number): Float32Array {
  const { headSize } = shape;
  const [base, scale] = global ? [shape.ropeGlobalBase, shape.ropeGlobalScale] : [shape.ropeLocalBase, 1];
  const out = new Float32Array(headSize);
  frequencies(headSize, base, scale).forEach((frequency, i) => {
    const { cosine, sine } = turnOf(((frequency * BigInt(position)) % TWO_PI) >> GUARD);
    out[i] = rounded(cosine);
    out[headSize / 2 + i] = rounded(sine);
  });
  return out;
}

/** Both tables on shared memory, f32 [2, context, headSize]: of the local layers, then of the global ones. */
export function ropeTables(shape: RopeShape): Float32Array<SharedArrayBuffer> {
  const { headSize, context } = shape;
  const size = headSize * context;
  const out = new Float32Array(new SharedArrayBuffer(8 * size));
  fillTable(out.subarray(0, size), headSize, context, shape.ropeLocalBase, 1);
  fillTable(out.subarray(size), headSize, context, shape.ropeGlobalBase, shape.ropeGlobalScale);
  return out;
}

/** BLAKE3 of the bytes of both tables. */
export function ropeRootOf(shape: RopeShape): Uint8Array {
  return withRoot(ropeTables(shape)).root;
}

/** The shape of a recipe's tables; undefined for the families without RoPE. */
export function ropeShape(recipe: Pick<Recipe, 'context' | 'gemma'>): RopeShape | undefined {
  return recipe.gemma === undefined ? undefined : { ...recipe.gemma, context: recipe.context };
}

const made = new Map<string, { readonly tables: Float32Array<SharedArrayBuffer>; readonly root: Uint8Array }>();

/**
 * The tables of a recipe, made once a thread; empty for a family without RoPE.
 *
 * @throws PogoError MISMATCH where the recipe's root is not that of its tables
 */
export function recipeRope(recipe: Pick<Recipe, 'context' | 'gemma'>): Float32Array<SharedArrayBuffer> {
  const shape = ropeShape(recipe);
  if (shape === undefined || recipe.gemma === undefined) return new Float32Array(new SharedArrayBuffer(0));
  const { headSize, context, ropeLocalBase, ropeGlobalBase, ropeGlobalScale } = shape;
  const key = [headSize, context, ropeLocalBase, ropeGlobalBase, ropeGlobalScale].join(' ');
  const known = made.get(key) ?? withRoot(ropeTables(shape));
  made.set(key, known);
  if (!equalBytes(known.root, recipe.gemma.ropeRoot)) {
    const expected = toHex(known.root);
    const found = toHex(recipe.gemma.ropeRoot);
    throw new PogoError(
      'MISMATCH',
      `recipe field gemma.ropeRoot: expected ${expected}, the root of its RoPE tables, found ${found}; leave it out of the JSON to have it made`,
      { field: 'gemma.ropeRoot', expected, found },
    );
  }
  return known.tables;
}

function withRoot(tables: Float32Array<SharedArrayBuffer>): {
  tables: Float32Array<SharedArrayBuffer>;
  root: Uint8Array;
} {
  return { tables, root: blake3(new Uint8Array(tables.buffer).slice()) };
}
