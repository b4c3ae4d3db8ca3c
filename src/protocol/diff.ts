/**
 * The binary diff between two packed models of equal length: canonical, so equal models give equal bytes everywhere.
 *
 * A packed byte holds two nibbles (a 4-bit code each; bytes of 8-bit codes and bf16 scales are treated alike). The
 * difference is taken per nibble, new − old modulo 16, so codes that moved by one step stay small and nothing overflows.
 *
 * Layout (little-endian):
 *
 * | bytes | field |
 * |---|---|
 * | 8 | magic `PGDIFF` 0x01 0x00: format version 1 |
 * | 8 | length of both models in bytes |
 * | 32 | BLAKE3 root of the old model |
 * | 32 | BLAKE3 root of the new model |
 * | … | one chunk per {@link DIFF_CHUNK_BYTES} bytes of model, the last one shorter |
 *
 * A chunk is a tag and its data; for n bytes of model with z nibbles that differ:
 *
 * | tag | data | used |
 * |---|---|---|
 * | 0 | none | exactly if z = 0 |
 * | 1 | ⌈n/4⌉ bytes of bitmap (bit i of byte ⌊i/8⌋, least significant first, for nibble i), then ⌈z/2⌉ bytes with the non-zero differences in order, low nibble first | if ⌈n/4⌉ + ⌈z/2⌉ ≤ n |
 * | 2 | n bytes: the differences, packed as the models are | otherwise |
 *
 * Unused bits of the bitmap and an unused last nibble are zero. Every diff has exactly one encoding, and
 * {@link applyDiff} refuses all others.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';

/** Bytes of packed model per chunk: 16 chunks' worth of 1 KiB leaves. */
export const DIFF_CHUNK_BYTES = 16384;
/** Bytes before the first chunk. */
export const DIFF_HEADER_BYTES = 80;

const MAGIC = Uint8Array.of(0x50, 0x47, 0x44, 0x49, 0x46, 0x46, 0x01, 0x00);

/** BLAKE3 of `bytes`: 32 bytes. Injected, so that Node uses the native kernel and a browser the portable one. */
export type HashBytes = (bytes: Uint8Array) => Uint8Array;

export interface DiffHeader {
  /** Length of the old and of the new model, bytes. */
  readonly length: number;
  readonly oldRoot: Uint8Array;
  readonly newRoot: Uint8Array;
}

/** Largest diff of two models of `length` bytes: every chunk raw. */
export function maxDiffBytes(length: number): number {
  return DIFF_HEADER_BYTES + Math.ceil(length / DIFF_CHUNK_BYTES) + length;
}

/** new − old of two packed nibbles, each modulo 16. */
function subtractNibbles(newer: number, older: number): number {
  return ((newer - older) & 0x0f) | (((newer & 0xf0) - (older & 0xf0)) & 0xf0);
}

/** old + difference of two packed nibbles, each modulo 16. */
function addNibbles(older: number, difference: number): number {
  return ((older + difference) & 0x0f) | (((older & 0xf0) + (difference & 0xf0)) & 0xf0);
}

/**
 * @param older packed model, any length
 * @param newer packed model of the same length
 * @returns the canonical diff; `applyDiff(older, diff)` is `newer`
 * @throws PogoError SHAPE if the lengths differ
 */
export function encodeDiff(older: Uint8Array, newer: Uint8Array, hash: HashBytes = blake3): Uint8Array {
  if (older.length !== newer.length) {
    throw new PogoError(
      'SHAPE',
      `diff: expected two packed models of one length, found ${older.length} and ${newer.length} bytes: they are of different recipes`,
      { oldBytes: older.length, newBytes: newer.length },
    );
  }
  const out = new Uint8Array(maxDiffBytes(older.length));
  out.set(MAGIC);
  new DataView(out.buffer).setBigUint64(8, BigInt(older.length), true);
  out.set(hash(older), 16);
  out.set(hash(newer), 48);
  let at = DIFF_HEADER_BYTES;
  const difference = new Uint8Array(DIFF_CHUNK_BYTES);
  for (let start = 0; start < older.length; start += DIFF_CHUNK_BYTES) {
    const n = Math.min(DIFF_CHUNK_BYTES, older.length - start);
    let nonZero = 0;
    for (let i = 0; i < n; i += 1) {
      const value = subtractNibbles(newer[start + i]!, older[start + i]!);
      difference[i] = value;
      nonZero += Number((value & 0x0f) !== 0) + Number((value & 0xf0) !== 0);
    }
    at = encodeChunk(difference.subarray(0, n), nonZero, out, at);
  }
  return out.slice(0, at);
}

function encodeChunk(difference: Uint8Array, nonZero: number, out: Uint8Array, at: number): number {
  const n = difference.length;
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
  let count = 0;
  for (let nibble = 0; nibble < 2 * n; nibble += 1) {
    const value = (difference[nibble >>> 1]! >>> (4 * (nibble & 1))) & 0x0f;
    if (value === 0) continue;
    out[bitmap + (nibble >>> 3)]! |= 1 << (nibble & 7);
    out[values + (count >>> 1)]! |= value << (4 * (count & 1));
    count += 1;
  }
  return values + Math.ceil(nonZero / 2);
}

function malformed(what: string, offset: number): PogoError {
  return new PogoError('MALFORMED', `diff: ${what} at byte ${offset}: get the diff again, or make it with pogo diff`, {
    offset,
  });
}

/** Reads the header alone. @throws PogoError MALFORMED */
export function readDiffHeader(patch: Uint8Array): DiffHeader {
  if (patch.length < DIFF_HEADER_BYTES) {
    throw malformed(`expected a header of ${DIFF_HEADER_BYTES} bytes, found the end`, patch.length);
  }
  if (!equalBytes(patch.subarray(0, 8), MAGIC)) {
    throw malformed(`expected the magic ${toHex(MAGIC)}, found ${toHex(patch.subarray(0, 8))}`, 0);
  }
  const length = new DataView(patch.buffer, patch.byteOffset, patch.byteLength).getBigUint64(8, true);
  if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(`expected a length below 2^53, found ${length}`, 8);
  return { length: Number(length), oldRoot: patch.slice(16, 48), newRoot: patch.slice(48, 80) };
}

/**
 * Applies a diff to a copy of the old model. Bounds are checked before anything is allocated (the new model is as long
 * as the old one, which the caller holds), the encoding must be the canonical one, and the result must have its root.
 *
 * @param older the packed model that the diff was made from; unchanged
 * @returns the new packed model
 * @throws PogoError SHAPE if the diff is for models of another length, MISMATCH if it is for another old model,
 *   MALFORMED if it is not canonical or does not give the new root that it states
 */
export function applyDiff(older: Uint8Array, patch: Uint8Array, hash: HashBytes = blake3): Uint8Array<ArrayBuffer> {
  const header = readDiffHeader(patch);
  if (header.length !== older.length) {
    throw new PogoError('SHAPE', `diff: expected a model of ${header.length} bytes, found ${older.length}`, {
      expected: header.length,
      found: older.length,
    });
  }
  if (patch.length > maxDiffBytes(older.length)) {
    throw malformed(`expected at most ${maxDiffBytes(older.length)} bytes, found ${patch.length}`, patch.length);
  }
  const oldRoot = hash(older);
  if (!equalBytes(oldRoot, header.oldRoot)) {
    throw new PogoError(
      'MISMATCH',
      `diff: expected the old model ${toHex(header.oldRoot)}, found ${toHex(oldRoot)}: apply it to the model it was made from`,
      { expected: toHex(header.oldRoot), found: toHex(oldRoot) },
    );
  }
  const result = Uint8Array.from(older);
  let at = DIFF_HEADER_BYTES;
  for (let start = 0; start < result.length; start += DIFF_CHUNK_BYTES) {
    at = applyChunk(result.subarray(start, Math.min(start + DIFF_CHUNK_BYTES, result.length)), patch, at);
  }
  if (at !== patch.length) throw malformed(`expected the end, found ${patch.length - at} bytes more`, at);
  const newRoot = hash(result);
  if (!equalBytes(newRoot, header.newRoot)) {
    throw malformed(`expected a result with root ${toHex(header.newRoot)}, found ${toHex(newRoot)}`, 48);
  }
  return result;
}

/** Adds one chunk's differences to `target`; returns the offset behind the chunk. Refuses what the encoder never writes. */
function applyChunk(target: Uint8Array, patch: Uint8Array, at: number): number {
  const n = target.length;
  const bitmapBytes = Math.ceil(n / 4);
  const tag = patch[at];
  const data = at + 1;
  if (tag === 0) return data;
  if (tag === 1) {
    const values = data + bitmapBytes;
    if (values > patch.length)
      throw malformed(`expected a bitmap of ${bitmapBytes} bytes, found the end`, patch.length);
    const bitmap = patch.subarray(data, values);
    let count = 0;
    for (const byte of bitmap) count += POPULATION[byte]!;
    const end = values + Math.ceil(count / 2);
    if (count === 0) throw malformed('expected tag 0 for equal chunks, found an empty bitmap', at);
    if (end - data > n) throw malformed('expected tag 2 for a chunk with so many differences, found tag 1', at);
    if (end > patch.length) throw malformed(`expected ${count} differences, found the end`, patch.length);
    if (n % 4 !== 0 && bitmap[bitmapBytes - 1]! >>> (2 * (n % 4)) !== 0) {
      throw malformed('expected unused bits of the bitmap to be zero, found a one', values - 1);
    }
    if (count % 2 === 1 && patch[end - 1]! >>> 4 !== 0) {
      throw malformed('expected the unused nibble to be zero, found another value', end - 1);
    }
    addSparse(target, bitmap, patch, values);
    return end;
  }
  if (tag !== 2)
    throw malformed(
      tag === undefined ? 'expected a chunk, found the end' : `expected a tag of 0, 1 or 2, found ${tag}`,
      at,
    );
  if (data + n > patch.length) throw malformed(`expected ${n} differences, found the end`, patch.length);
  let nonZero = 0;
  for (let i = 0; i < n; i += 1) {
    const value = patch[data + i]!;
    nonZero += Number((value & 0x0f) !== 0) + Number((value & 0xf0) !== 0);
    target[i] = addNibbles(target[i]!, value);
  }
  if (nonZero === 0 || bitmapBytes + Math.ceil(nonZero / 2) <= n) {
    throw malformed('expected tag 0 or 1 for a chunk with so few differences, found tag 2', at);
  }
  return data + n;
}

function addSparse(target: Uint8Array, bitmap: Uint8Array, patch: Uint8Array, values: number): void {
  let count = 0;
  for (let byte = 0; byte < bitmap.length; byte += 1) {
    for (let bits = bitmap[byte]!, bit = 0; bits !== 0; bits >>>= 1, bit += 1) {
      if ((bits & 1) === 0) continue;
      const value = (patch[values + (count >>> 1)]! >>> (4 * (count & 1))) & 0x0f;
      if (value === 0) throw malformed('expected a non-zero difference, found zero', values + (count >>> 1));
      const nibble = 8 * byte + bit;
      target[nibble >>> 1] = addNibbles(target[nibble >>> 1]!, value << (4 * (nibble & 1)));
      count += 1;
    }
  }
}

/** Number of ones in each byte value. */
const POPULATION = Uint8Array.from({ length: 256 }, (_, byte) => {
  let ones = 0;
  for (let bits = byte; bits !== 0; bits >>>= 1) ones += bits & 1;
  return ones;
});
