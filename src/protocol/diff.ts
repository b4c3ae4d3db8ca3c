/**
 * The binary diff between two packed models of equal length: canonical, so equal models give equal bytes everywhere.
 *
 * Layout (little-endian):
 *
 * | bytes | field |
 * |---|---|
 * | 8 | magic `PGDIFF` 0x01 0x00: format version 1 |
 * | 8 | length of both models in bytes |
 * | 32 | BLAKE3 root of the old model |
 * | 32 | BLAKE3 root of the new model |
 * | … | one chunk per {@link DIFF_CHUNK_BYTES} bytes of model, the last one shorter: `src/reference/diffModel.ts` |
 *
 * Every diff has exactly one encoding, and {@link applyDiff} refuses all others. The chunks are made and read by the
 * operations `diffModel` and `patchModel` of a backend; the reference's are used where none is given.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import type { Kernels } from '../backend/ops.js';
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { DIFF_CHUNK_BYTES, diffModel, malformedDiff, patchModel } from '../reference/diffModel.js';

export { DIFF_CHUNK_BYTES };
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

/** The operations behind a diff; a {@link Kernels} is one. */
export type DiffKernels = Pick<Kernels, 'diffModel' | 'patchModel'>;

const REFERENCE: DiffKernels = { diffModel, patchModel };

/**
 * @param older packed model, any length
 * @param newer packed model of the same length
 * @returns the canonical diff; `applyDiff(older, diff)` is `newer`
 * @throws PogoError SHAPE if the lengths differ
 */
export function encodeDiff(
  older: Uint8Array,
  newer: Uint8Array,
  hash: HashBytes = blake3,
  kernels: DiffKernels = REFERENCE,
): Uint8Array {
  if (older.length !== newer.length) {
    throw new PogoError(
      'SHAPE',
      `diff: expected two packed models of one length, found ${older.length} and ${newer.length} bytes: they are of different recipes`,
      { oldBytes: older.length, newBytes: newer.length },
    );
  }
  const n = older.length;
  const file = new Uint8Array(maxDiffBytes(n));
  file.set(diffHeader(n, hash(older), hash(newer)));
  if (n === 0) return file;
  const end = new Uint32Array(2);
  kernels.diffModel({ older, newer, out: file.subarray(DIFF_HEADER_BYTES), end, n });
  const [low, high] = end as unknown as readonly [number, number];
  return file.slice(0, DIFF_HEADER_BYTES + low + 2 ** 32 * high);
}

/** The first {@link DIFF_HEADER_BYTES} of a diff of models of `length` bytes. */
export function diffHeader(length: number, oldRoot: Uint8Array, newRoot: Uint8Array): Uint8Array {
  const header = new Uint8Array(DIFF_HEADER_BYTES);
  header.set(MAGIC);
  new DataView(header.buffer).setBigUint64(8, BigInt(length), true);
  header.set(oldRoot, 16);
  header.set(newRoot, 48);
  return header;
}

/** Reads the header alone. @throws PogoError MALFORMED */
export function readDiffHeader(patch: Uint8Array): DiffHeader {
  if (patch.length < DIFF_HEADER_BYTES) {
    throw malformedDiff(`expected a header of ${DIFF_HEADER_BYTES} bytes, found the end`, patch.length);
  }
  if (!equalBytes(patch.subarray(0, 8), MAGIC)) {
    throw malformedDiff(`expected the magic ${toHex(MAGIC)}, found ${toHex(patch.subarray(0, 8))}`, 0);
  }
  const length = new DataView(patch.buffer, patch.byteOffset, patch.byteLength).getBigUint64(8, true);
  if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw malformedDiff(`expected a length below 2^53, found ${length}`, 8);
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
export function applyDiff(
  older: Uint8Array,
  patch: Uint8Array,
  hash: HashBytes = blake3,
  kernels: DiffKernels = REFERENCE,
): Uint8Array<ArrayBuffer> {
  const header = readDiffHeader(patch);
  if (header.length !== older.length) {
    throw new PogoError('SHAPE', `diff: expected a model of ${header.length} bytes, found ${older.length}`, {
      expected: header.length,
      found: older.length,
    });
  }
  if (patch.length > maxDiffBytes(older.length)) {
    throw malformedDiff(`expected at most ${maxDiffBytes(older.length)} bytes, found ${patch.length}`, patch.length);
  }
  const oldRoot = hash(older);
  if (!equalBytes(oldRoot, header.oldRoot)) {
    throw new PogoError(
      'MISMATCH',
      `diff: expected the old model ${toHex(header.oldRoot)}, found ${toHex(oldRoot)}: apply it to the model it was made from`,
      { expected: toHex(header.oldRoot), found: toHex(oldRoot) },
    );
  }
  const result = new Uint8Array(older.length);
  if (older.length > 0) {
    kernels.patchModel({ older, patch, newer: result, start: DIFF_HEADER_BYTES, n: older.length });
  } else if (patch.length !== DIFF_HEADER_BYTES) {
    const more = patch.length - DIFF_HEADER_BYTES;
    throw malformedDiff(`expected the end, found ${more} bytes more`, DIFF_HEADER_BYTES);
  }
  const newRoot = hash(result);
  if (!equalBytes(newRoot, header.newRoot)) {
    throw malformedDiff(`expected a result with root ${toHex(header.newRoot)}, found ${toHex(newRoot)}`, 48);
  }
  return result;
}
