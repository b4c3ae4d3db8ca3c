/**
 * The safetensors container: u64 LE header length, a JSON header, then the tensors' bytes without gaps
 * (https://github.com/huggingface/safetensors, "Format").
 *
 * Files come from strangers. A header is believed only after its length was compared with the file, and its offsets
 * must tile the data exactly: no gap, no overlap, no byte that belongs to nobody.
 */

import { PogoError } from '../errors.js';
import { parseStrictJson } from './strictJson.js';

/** Bytes of one element; no other dtype is known. */
export const SAFETENSORS_DTYPES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

export type SafetensorsDtype = keyof typeof SAFETENSORS_DTYPES;

/** The format's own limit of the header. */
export const MAX_HEADER_BYTES = 100_000_000;

/** More axes than any tensor has. */
const MAX_RANK = 16;

export interface SafetensorsTensor {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Byte offset of the tensor in the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: readonly SafetensorsTensor[];
  readonly metadata: ReadonlyMap<string, string>;
  /** Byte offset of the first tensor: 8 + length of the JSON. */
  readonly dataOffset: number;
}

function malformed(file: string, expected: string, found: string): never {
  throw new PogoError(
    'MALFORMED',
    `${file}: expected ${expected}, found ${found}; the file is damaged or no safetensors file: download or export it again`,
    { path: file },
  );
}

/** What messages call a file whose name nobody gave. */
const UNNAMED = 'safetensors';

/**
 * Length of the JSON header, checked before anybody allocates it.
 *
 * @param head at least the first 8 bytes of the file
 * @param fileBytes length of the whole file
 * @param file its name, for messages
 * @throws PogoError MALFORMED
 */
export function safetensorsHeaderLength(head: Uint8Array, fileBytes: number, file = UNNAMED): number {
  if (head.length < 8 || fileBytes < 8) malformed(file, 'a file of at least 8 bytes', `${fileBytes} bytes`);
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  const most = Math.min(MAX_HEADER_BYTES, fileBytes - 8);
  if (length < 2n || length > BigInt(most)) malformed(file, `a header of 2 to ${most} bytes`, `${length} bytes`);
  return Number(length);
}

/**
 * Reads a header.
 *
 * @param json the bytes after the first 8, {@link safetensorsHeaderLength} of them
 * @param fileBytes length of the whole file
 * @param file its name, for messages
 * @throws PogoError MALFORMED
 */
export function parseSafetensorsHeader(json: Uint8Array, fileBytes: number, file = UNNAMED): SafetensorsHeader {
  const header = parseJson(json, file);
  const dataOffset = 8 + json.length;
  const tensors: SafetensorsTensor[] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = readMetadata(value, file);
    else tensors.push(readTensor(name, value, dataOffset, file));
  }
  // Empty tensors share their place with the next one, so they come first among equals.
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataOffset;
  for (const tensor of tensors) {
    if (tensor.offset !== end) {
      malformed(
        file,
        `tensor ${JSON.stringify(tensor.name.slice(0, 80))} to begin at byte ${end - dataOffset}`,
        `byte ${tensor.offset - dataOffset}`,
      );
    }
    end += tensor.bytes;
  }
  if (end !== fileBytes) malformed(file, `a file of ${end} bytes, as its header says`, `${fileBytes} bytes`);
  return { tensors, metadata, dataOffset };
}

function parseJson(json: Uint8Array, file: string): Record<string, unknown> {
  if (json[0] !== 0x7b) malformed(file, 'a header that starts with {', `byte ${json[0]}`);
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
    return parseStrictJson(text) as Record<string, unknown>;
  } catch (cause) {
    return malformed(file, 'a header in JSON', cause instanceof Error ? cause.message.slice(0, 200) : 'other bytes');
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function readMetadata(value: unknown, file: string): ReadonlyMap<string, string> {
  if (!isObject(value)) malformed(file, '__metadata__ to be an object', typeof value);
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string')
      malformed(file, `metadata ${JSON.stringify(key.slice(0, 80))} to be text`, typeof text);
    metadata.set(key, text);
  }
  return metadata;
}

function readTensor(name: string, value: unknown, dataOffset: number, file: string): SafetensorsTensor {
  const shown = JSON.stringify(name.slice(0, 80));
  if (!isObject(value)) malformed(file, `tensor ${shown} to be an object`, typeof value);
  for (const key of Object.keys(value)) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
      malformed(file, `tensor ${shown} to have dtype, shape and data_offsets`, JSON.stringify(key.slice(0, 80)));
    }
  }
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !Object.hasOwn(SAFETENSORS_DTYPES, dtype)) {
    malformed(
      file,
      `tensor ${shown} to have one of the dtypes ${Object.keys(SAFETENSORS_DTYPES).join(', ')}`,
      String(dtype).slice(0, 80),
    );
  }
  if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isCount)) {
    malformed(file, `tensor ${shown} to have a shape of at most ${MAX_RANK} integers`, 'another');
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[0] > offsets[1]) {
    malformed(file, `tensor ${shown} to have data_offsets [begin, end]`, 'others');
  }
  const bytes = offsets[1] - offsets[0];
  // A product that leaves the safe integers cannot equal `bytes`, whatever the rounding of the rest.
  const product = shape.reduce(
    (size: number, axis: number) => size * axis,
    SAFETENSORS_DTYPES[dtype as SafetensorsDtype],
  );
  if (product !== bytes)
    malformed(file, `tensor ${shown} [${shape.join(', ')}] of ${dtype} to have ${product} bytes`, `${bytes}`);
  return { name, dtype: dtype as SafetensorsDtype, shape, offset: dataOffset + offsets[0], bytes };
}

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
}

/**
 * Makes the start of a file whose tensors follow in the given order.
 *
 * @returns the bytes before the data (a multiple of 8, so that tensors are aligned), and where each tensor goes
 */
export function serializeSafetensorsHeader(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = {},
): { readonly bytes: Uint8Array; readonly header: SafetensorsHeader; readonly fileBytes: number } {
  const entries: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) entries.push(['__metadata__', metadata]);
  let end = 0;
  const places = tensors.map(({ name, dtype, shape }) => {
    const bytes = shape.reduce((size, axis) => size * axis, SAFETENSORS_DTYPES[dtype]);
    const place = { name, dtype, shape, offset: end, bytes };
    entries.push([name, { dtype, shape, data_offsets: [end, end + bytes] }]);
    end += bytes;
    return place;
  });
  // Written pair by pair: an object would reorder names that look like integers, and lose `__proto__`.
  const body = entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',');
  const json = new TextEncoder().encode(`{${body}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, 8);
  const dataOffset = bytes.length;
  const header: SafetensorsHeader = {
    tensors: places.map((place) => ({ ...place, offset: dataOffset + place.offset })),
    metadata: new Map(Object.entries(metadata)),
    dataOffset,
  };
  return { bytes, header, fileBytes: dataOffset + end };
}

/** Dtypes that {@link toFp32} reads. */
export const FLOAT_DTYPES = ['F32', 'F16', 'BF16'] as const;
export type FloatDtype = (typeof FLOAT_DTYPES)[number];

/**
 * Values of a tensor as fp32, exactly (fp16 and bf16 are subsets of fp32). Bits are copied as integers, so NaN
 * payloads survive for the caller to refuse.
 *
 * @param bytes little-endian elements; any alignment
 * @param out fp32 [bytes ÷ size of dtype]
 */
export function toFp32(dtype: FloatDtype, bytes: Uint8Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  if (dtype === 'F32') {
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes);
    return;
  }
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, out.length);
  if (dtype === 'BF16') for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  else for (let i = 0; i < halves.length; i++) bits[i] = halfToFloatBits(halves[i]);
}

/** fp32 bits of an fp16 (IEEE 754 binary16): every value is exact. */
export function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (fraction << 13)) >>> 0;
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (fraction << 13)) >>> 0;
  if (fraction === 0) return sign >>> 0;
  // Subnormal: value = fraction · 2^-24, and fp32 has room to normalize it.
  const shift = Math.clz32(fraction) - 21; // leading zeros inside the 10 + 1 bits
  return (sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13)) >>> 0;
}
