/**
 * Tapes for a device: the operations of `src/model/tape.ts` as a table of numbers over one memory.
 *
 * A word is a double: the operation's number, then its fields in the order of the addon's table. A scalar is one word, an
 * array three (space, byte offset, elements), a list its count and then its arrays.
 */
import { type CudaTable, unavailable } from '../backend/cuda.js';
import type { CudaPlace } from '../backend/cudaAddon.js';
import { PogoError } from '../errors.js';
import { type BufferSpec, BYTES_OF, type DType, type HostArray, type Ref, type Tape } from '../model/tape.js';

/** A range of device memory. */
export interface DeviceRef extends CudaPlace {
  readonly dtype: DType;
  /** Elements. */
  readonly length: number;
}

export type DeviceArgument = number | boolean | DeviceRef | readonly DeviceRef[];

/** An operation on device memory; `name` is the tensor that an error message speaks of. */
export interface DeviceEntry {
  readonly kind: string;
  readonly name: string;
  readonly args: Readonly<Record<string, DeviceArgument>>;
}

/** The elements [start, start + length) of a range. */
export function deviceSlice(ref: DeviceRef, start: number, length: number): DeviceRef {
  if (start < 0 || length < 0 || start + length > ref.length) {
    throw new RangeError(`slice [${start}, ${start + length}) lies outside a range of ${ref.length} elements`);
  }
  return { ...ref, offset: ref.offset + start * BYTES_OF[ref.dtype], length };
}

/** The same bytes as elements of another type. */
export function deviceView(ref: DeviceRef, dtype: DType): DeviceRef {
  return { ...ref, dtype, length: (ref.length * BYTES_OF[ref.dtype]) / BYTES_OF[dtype] };
}

export function byteLength(ref: DeviceRef): number {
  return ref.length * BYTES_OF[ref.dtype];
}

/** The entries of a tape whose buffers lie at given places. */
export function deviceEntries(tape: Tape, buffers: readonly DeviceRef[]): DeviceEntry[] {
  const resolve = (value: unknown): DeviceArgument => {
    if (typeof value === 'number' || typeof value === 'boolean') return value;
    const ref = value as Ref<HostArray>;
    return deviceSlice(buffers[ref.buffer] as DeviceRef, ref.offset, ref.length);
  };
  return tape.entries.map(({ kind, name, args }) => ({
    kind,
    name,
    args: Object.fromEntries(Object.entries(args).map(([field, value]) => [field, resolve(value)])),
  }));
}

/**
 * The table of a list of operations.
 *
 * @throws PogoError ENVIRONMENT for operations without a kernel; INTERNAL where arguments are not those of the table
 */
export function encodeEntries(table: CudaTable, entries: readonly DeviceEntry[]): Float64Array {
  const missing = [...new Set(entries.filter(({ kind }) => !table.has(kind)).map(({ kind }) => kind))];
  if (missing.length > 0) throw unavailable(missing);
  const words: number[] = [];
  for (const { kind, name, args } of entries) {
    const { number, operation } = table.get(kind) as NonNullable<ReturnType<CudaTable['get']>>;
    const wrong = (field: string, expected: string): PogoError =>
      new PogoError(
        'INTERNAL',
        `${name}: ${kind}: expected ${field} to be ${expected}: the addon is of another version`,
      );
    const array = (field: string, type: string, value: DeviceArgument | undefined): void => {
      const ref = value as DeviceRef;
      if (typeof ref !== 'object' || ref.dtype !== type) throw wrong(field, `an array of ${type}`);
      words.push(ref.space, ref.offset, ref.length);
    };
    words.push(number);
    for (const field of operation.fields) {
      const value = args[field.name];
      if (field.kind === 'array') array(field.name, field.type, value);
      else if (field.kind === 'list') {
        if (!Array.isArray(value)) throw wrong(field.name, 'a list');
        words.push(value.length);
        for (const each of value) array(field.name, field.type, each);
      } else {
        const scalar = typeof value === 'boolean' ? Number(value) : value;
        if (typeof scalar !== 'number') throw wrong(field.name, `a ${field.type}`);
        words.push(scalar);
      }
    }
  }
  return Float64Array.from(words);
}

/** What allocations on a device are rounded to. */
export const DEVICE_ALIGNMENT = 256;

/** Places arrays one behind the other. */
export class DeviceLayout {
  readonly #space: 0 | 1;
  #bytes: number;

  constructor(space: 0 | 1, from = 0) {
    this.#space = space;
    this.#bytes = from;
  }

  /** Bytes up to here. */
  get bytes(): number {
    return this.#bytes;
  }

  place(dtype: DType, length: number): DeviceRef {
    const offset = this.#bytes;
    this.#bytes += Math.ceil((length * BYTES_OF[dtype]) / DEVICE_ALIGNMENT) * DEVICE_ALIGNMENT;
    return { space: this.#space, offset, dtype, length };
  }
}

/**
 * Places a tape's buffers: given ones where the caller has them, the lane's own behind each other.
 *
 * @throws PogoError ENVIRONMENT for a buffer that nobody gives
 */
export function placeBuffers(tape: Tape, given: Readonly<Record<string, DeviceRef>>, own: DeviceLayout): DeviceRef[] {
  return tape.buffers.map((spec: BufferSpec) => {
    if (spec.home === 'lane') return own.place(spec.dtype, spec.length);
    const found = given[spec.name];
    if (found === undefined || found.length !== spec.length || found.dtype !== spec.dtype) {
      throw new PogoError(
        'ENVIRONMENT',
        `buffer ${spec.name}: this model cannot be trained on CUDA; use POGO_BACKEND=cpu`,
      );
    }
    return found;
  });
}
