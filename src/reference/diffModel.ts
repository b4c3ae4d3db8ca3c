/**
 * The chunks of a difference between two packed models: operations diffModel and patchModel, `docs/numerics.md` §4.
 *
 * A packed byte holds two nibbles (a 4-bit code each; bytes of 8-bit codes and bf16 scales are treated alike). The
 * difference is taken per nibble, new − old modulo 16, so codes that moved by one step stay small and nothing overflows.
 *
 * A chunk stands for {@link DIFF_CHUNK_BYTES} bytes of model, the last one for what is left. It is a tag and its data;
 * for n bytes of model with z nibbles that differ:
 *
 * | tag | data | used |
 * |---|---|---|
 * | 0 | none | exactly if z = 0 |
 * | 1 | ⌈n/4⌉ bytes of bitmap (bit i of byte ⌊i/8⌋, least significant first, for nibble i), then ⌈z/2⌉ bytes with the non-zero differences in order, low nibble first | if ⌈n/4⌉ + ⌈z/2⌉ ≤ n |
 * | 2 | n bytes: the differences, packed as the models are | otherwise |
 *
 * Unused bits of the bitmap and an unused last nibble are zero. Every difference has exactly one encoding, and
 * {@link patchModel} refuses all others.
 */
import { PogoError } from '../errors.js';

/** Bytes of packed model per chunk: 16 chunks' worth of 1 KiB leaves. */
export const DIFF_CHUNK_BYTES = 16384;

/** new − old of two packed nibbles, each modulo 16. */
function subtractNibbles(newer: number, older: number): number {
  return ((newer - older) & 0x0f) | (((newer & 0xf0) - (older & 0xf0)) & 0xf0);
}

/** old + difference of two packed nibbles, each modulo 16. */
function addNibbles(older: number, difference: number): number {
  return ((older + difference) & 0x0f) | (((older & 0xf0) + (difference & 0xf0)) & 0xf0);
}

function countNonZero(bytes: Uint8Array): number {
  let nonZero = 0;
  for (const byte of bytes) nonZero += Number((byte & 0x0f) !== 0) + Number((byte & 0xf0) !== 0);
  return nonZero;
}

/**
 * Operation `diffModel`: the canonical chunks of newer − older, both u8 [n], into `out` from its first byte on. `end`
 * u32 [2] gets their length, low word first.
 */
export function diffModel(a: {
  older: Uint8Array;
  newer: Uint8Array;
  out: Uint8Array;
  end: Uint32Array;
  n: number;
}): void {
  const difference = new Uint8Array(DIFF_CHUNK_BYTES);
  let at = 0;
  for (let start = 0; start < a.n; start += DIFF_CHUNK_BYTES) {
    const n = Math.min(DIFF_CHUNK_BYTES, a.n - start);
    for (let i = 0; i < n; i += 1) difference[i] = subtractNibbles(a.newer[start + i], a.older[start + i]);
    at = encodeChunk(difference.subarray(0, n), a.out, at);
  }
  a.end[0] = at % 2 ** 32;
  a.end[1] = Math.floor(at / 2 ** 32);
}

function encodeChunk(difference: Uint8Array, out: Uint8Array, at: number): number {
  const n = difference.length;
  const nonZero = countNonZero(difference);
  const bitmapBytes = Math.ceil(n / 4);
  if (nonZero === 0) {
    out[at] = 0;
    return at + 1;
  }
  if (bitmapBytes + Math.ceil(nonZero / 2) > n) {
    out[at] = 2;
    out.set(difference, at + 1);
    return at + 1 + n;
  }
  out[at] = 1;
  const bitmap = at + 1;
  const values = bitmap + bitmapBytes;
  const end = values + Math.ceil(nonZero / 2);
  out.fill(0, bitmap, end);
  let count = 0;
  for (let nibble = 0; nibble < 2 * n; nibble += 1) {
    const value = (difference[nibble >>> 1] >>> (4 * (nibble & 1))) & 0x0f;
    if (value === 0) continue;
    out[bitmap + (nibble >>> 3)] |= 1 << (nibble & 7);
    out[values + (count >>> 1)] |= value << (4 * (count & 1));
    count += 1;
  }
  return end;
}

/**
 * Operation `patchModel`: newer u8 [n] = older + the differences of `patch` from byte `start` to its end. Each chunk is
 * checked whole before anything of it is written.
 *
 * @throws PogoError MALFORMED with the offset in `patch`, unless it is exactly what `diffModel` writes
 */
export function patchModel(a: {
  older: Uint8Array;
  patch: Uint8Array;
  newer: Uint8Array;
  start: number;
  n: number;
}): void {
  let at = a.start;
  for (let from = 0; from < a.n; from += DIFF_CHUNK_BYTES) {
    const to = Math.min(from + DIFF_CHUNK_BYTES, a.n);
    at = patchChunk(a.older.subarray(from, to), a.patch, at, a.newer.subarray(from, to));
  }
  if (at !== a.patch.length) throw malformedDiff(`expected the end, found ${a.patch.length - at} bytes more`, at);
}

export function malformedDiff(what: string, offset: number): PogoError {
  return new PogoError('MALFORMED', `diff: ${what} at byte ${offset}: get the diff again, or make it with pogo diff`, {
    offset,
  });
}

/** One chunk at `at`; returns the offset behind it. Refuses what the encoder never writes. */
export function patchChunk(older: Uint8Array, patch: Uint8Array, at: number, newer: Uint8Array): number {
  const n = older.length;
  const tag = patch[at];
  const data = at + 1;
  if (tag === 0) {
    newer.set(older);
    return data;
  }
  if (tag === 1) return patchSparse(older, patch, at, newer);
  if (tag !== 2) {
    const what = tag === undefined ? 'expected a chunk, found the end' : `expected a tag of 0, 1 or 2, found ${tag}`;
    throw malformedDiff(what, at);
  }
  if (data + n > patch.length) throw malformedDiff(`expected ${n} differences, found the end`, patch.length);
  const difference = patch.subarray(data, data + n);
  const nonZero = countNonZero(difference);
  if (nonZero === 0 || Math.ceil(n / 4) + Math.ceil(nonZero / 2) <= n) {
    throw malformedDiff('expected tag 0 or 1 for a chunk with so few differences, found tag 2', at);
  }
  for (let i = 0; i < n; i += 1) newer[i] = addNibbles(older[i], difference[i]);
  return data + n;
}

function patchSparse(older: Uint8Array, patch: Uint8Array, at: number, newer: Uint8Array): number {
  const n = older.length;
  const data = at + 1;
  const bitmapBytes = Math.ceil(n / 4);
  const values = data + bitmapBytes;
  if (values > patch.length) {
    throw malformedDiff(`expected a bitmap of ${bitmapBytes} bytes, found the end`, patch.length);
  }
  const bitmap = patch.subarray(data, values);
  let count = 0;
  for (const byte of bitmap) for (let bits = byte; bits !== 0; bits >>>= 1) count += bits & 1;
  const end = values + Math.ceil(count / 2);
  if (count === 0) throw malformedDiff('expected tag 0 for equal chunks, found an empty bitmap', at);
  if (end - data > n) {
    throw malformedDiff('expected tag 2 for a chunk with so many differences, found tag 1', at);
  }
  if (end > patch.length) throw malformedDiff(`expected ${count} differences, found the end`, patch.length);
  if (n % 4 !== 0 && bitmap[bitmapBytes - 1] >>> (2 * (n % 4)) !== 0) {
    throw malformedDiff('expected unused bits of the bitmap to be zero, found a one', values - 1);
  }
  if (count % 2 === 1 && patch[end - 1] >>> 4 !== 0) {
    throw malformedDiff('expected the unused nibble to be zero, found another value', end - 1);
  }
  const value = (i: number): number => (patch[values + (i >>> 1)] >>> (4 * (i & 1))) & 0x0f;
  for (let i = 0; i < count; i += 1) {
    if (value(i) === 0) throw malformedDiff('expected a non-zero difference, found zero', values + (i >>> 1));
  }
  newer.set(older);
  let used = 0;
  for (let nibble = 0; nibble < 2 * n; nibble += 1) {
    if (((bitmap[nibble >>> 3] >>> (nibble & 7)) & 1) === 0) continue;
    newer[nibble >>> 1] = addNibbles(newer[nibble >>> 1], value(used) << (4 * (nibble & 1)));
    used += 1;
  }
  return end;
}
