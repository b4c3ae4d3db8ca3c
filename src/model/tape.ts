/**
 * The tape: the forward and backward pass of a model as data, written once for all backends.
 *
 * A tape names its buffers and lists operations of {@link Kernels} whose array arguments are references into buffers.
 * A lane allocates the buffers of its machine, binds the references once and then runs the list for every unit.
 */
import type { FusedKernels } from '../backend/fusions.js';
import type { Kernels, OperationName } from '../backend/ops.js';
import { type ArrayType, sharedArray } from '../backend/sharedArrays.js';
import { tapeSteps } from './fusedTape.js';

export type HostArray = Float32Array | Uint16Array | Int8Array | Uint8Array | Uint32Array;

export type DType = 'f32' | 'bf16' | 'i8' | 'u8' | 'u32';

interface DTypeArrays {
  f32: Float32Array;
  bf16: Uint16Array;
  i8: Int8Array;
  u8: Uint8Array;
  u32: Uint32Array;
}

export const BYTES_OF: Readonly<Record<DType, number>> = { f32: 4, bf16: 2, i8: 1, u8: 1, u32: 4 };

/** Where a buffer's memory comes from: a lane's own arena, or given by the caller (shared by lanes, or per unit). */
export type BufferHome = 'lane' | 'given';

export interface BufferSpec {
  readonly name: string;
  readonly dtype: DType;
  /** Elements. */
  readonly length: number;
  readonly home: BufferHome;
}

declare const refType: unique symbol;

/** A range of a buffer, typed by its host array. */
export interface Ref<A extends HostArray> {
  readonly buffer: number;
  readonly offset: number;
  readonly length: number;
  readonly [refType]?: A;
}

type Symbolic<T> = T extends HostArray ? Ref<T> : T;

/** Operations that a tape may hold: those whose arrays are single ranges. */
export type TapeOperation = Exclude<OperationName, 'commitLeaves'>;
type Arguments<K extends TapeOperation> = Parameters<Kernels[K]>[0];
export type SymbolicArguments<K extends TapeOperation> = { [F in keyof Arguments<K>]: Symbolic<Arguments<K>[F]> };

export type TapeEntry = {
  [K in TapeOperation]: { readonly kind: K; readonly name: string; readonly args: SymbolicArguments<K> };
}[TapeOperation];

export interface Tape {
  readonly buffers: readonly BufferSpec[];
  readonly entries: readonly TapeEntry[];
}

/** Collects buffers and operations; `name` of an operation is the tensor that an error message speaks of. */
export class TapeBuilder {
  readonly #buffers: BufferSpec[] = [];
  readonly #entries: TapeEntry[] = [];

  buffer<D extends DType>(name: string, dtype: D, length: number, home: BufferHome = 'lane'): Ref<DTypeArrays[D]> {
    this.#buffers.push({ name, dtype, length, home });
    return { buffer: this.#buffers.length - 1, offset: 0, length };
  }

  push<K extends TapeOperation>(kind: K, name: string, args: SymbolicArguments<K>): void {
    this.#entries.push({ kind, name, args } as unknown as TapeEntry);
  }

  build(): Tape {
    return { buffers: this.#buffers, entries: this.#entries };
  }
}

/** The elements [start, start + length) of a reference. */
export function slice<A extends HostArray>(ref: Ref<A>, start: number, length: number): Ref<A> {
  if (start < 0 || length < 0 || start + length > ref.length) {
    throw new RangeError(`slice [${start}, ${start + length}) lies outside a reference of ${ref.length} elements`);
  }
  return { buffer: ref.buffer, offset: ref.offset + start, length };
}

/** An empty reference of the same buffer: the argument of an option that is not used. */
export function none<A extends HostArray>(ref: Ref<A>): Ref<A> {
  return slice(ref, 0, 0);
}

const ARRAY_OF = {
  f32: Float32Array,
  bf16: Uint16Array,
  i8: Int8Array,
  u8: Uint8Array,
  u32: Uint32Array,
} as const;

function laneArray({ dtype, length }: BufferSpec): HostArray {
  const type: ArrayType<HostArray> = ARRAY_OF[dtype];
  return sharedArray(type, length);
}

/** Bytes that a lane allocates for a tape. */
export function laneBytes(tape: Tape): number {
  let bytes = 0;
  for (const b of tape.buffers) if (b.home === 'lane') bytes += b.length * BYTES_OF[b.dtype];
  return bytes;
}

/** Looks at values while a bound tape runs. */
export interface TapeWatch {
  /** Whether anything is looked at after this entry: its step then runs entry by entry. */
  watches(entry: number): boolean;
  /** Called after an entry that is watched. */
  after(entry: number): void;
}

/** Kernels, and the operations that they can run in one pass. */
export type TapeKernels = Kernels & { readonly fused?: FusedKernels };

/** Entries that run together: `run` all of them at once. */
interface BoundStep {
  readonly entries: readonly number[];
  readonly run: () => void;
}

/** A tape bound to memory: ready to run on host kernels. */
export class BoundTape {
  readonly #calls: readonly (() => void)[];
  readonly #steps: readonly BoundStep[];
  readonly #arguments: readonly Readonly<Record<string, unknown>>[];
  readonly #names: readonly string[];
  readonly #arrays: readonly HostArray[];
  readonly #specs: readonly BufferSpec[];

  /**
   * @param given arrays of the buffers whose home is 'given', by name; lengths must match
   * @param packed the packed form of the weight whose codes begin at an element of the buffer `weightCodes`, if any
   */
  constructor(
    tape: Tape,
    kernels: TapeKernels,
    given: Readonly<Record<string, HostArray>>,
    packed: (codes: number) => Uint8Array | undefined = () => undefined,
  ) {
    this.#specs = tape.buffers;
    this.#arrays = tape.buffers.map((spec) => {
      if (spec.home === 'lane') return laneArray(spec);
      const array = given[spec.name];
      if (array === undefined || array.length !== spec.length) {
        throw new RangeError(`buffer ${spec.name}: expected ${spec.length} elements, found ${array?.length ?? 'none'}`);
      }
      return array;
    });
    const resolve = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null) return value;
      const ref = value as Ref<HostArray>;
      return (this.#arrays[ref.buffer] as HostArray).subarray(ref.offset, ref.offset + ref.length);
    };
    this.#names = tape.entries.map((e) => e.name);
    this.#arguments = tape.entries.map((entry) => {
      const args = Object.fromEntries(Object.entries(entry.args).map(([k, v]) => [k, resolve(v)]));
      const { wt, w } = entry.args as { wt?: Ref<Int8Array>; w?: Ref<Int8Array> };
      const weight = wt ?? w;
      if (weight !== undefined && this.#specs[weight.buffer]?.name === 'weightCodes') {
        const form = packed(weight.offset);
        if (form !== undefined) args['packed'] = form;
      }
      return args;
    });
    this.#calls = tape.entries.map((entry, i) => {
      const args = this.#arguments[i] as object;
      const kernel = kernels[entry.kind] as (a: object) => void;
      return () => kernel.call(kernels, args);
    });
    this.#steps = tapeSteps(tape, kernels.fused).map(({ entries, fusion }) => {
      const parts = entries.map((i) => this.#arguments[i] as object);
      const fused = fusion && (kernels.fused?.[fusion] as ((...parts: object[]) => void) | undefined);
      const run = fused === undefined ? (this.#calls[entries[0] as number] as () => void) : () => fused(...parts);
      return { entries, run };
    });
  }

  /** The array that an argument of an operation was bound to. @throws RangeError where there is none */
  argument(entry: number, name: string): HostArray {
    const value = this.#arguments[entry]?.[name];
    if (!ArrayBuffer.isView(value)) throw new RangeError(`operation ${entry} has no array ${name}`);
    return value as HostArray;
  }

  /** Runs every operation. An error of a kernel gets the operation's name in front; of several in one pass the first's. */
  run(watch?: TapeWatch): void {
    for (const { entries, run } of this.#steps) {
      if (entries.length === 1 || watch === undefined || !entries.some((entry) => watch.watches(entry))) {
        this.#named(entries[0] as number, run);
        if (watch?.watches(entries[0] as number) === true) watch.after(entries[0] as number);
        continue;
      }
      for (const entry of entries) {
        this.#named(entry, this.#calls[entry] as () => void);
        if (watch.watches(entry)) watch.after(entry);
      }
    }
  }

  #named(entry: number, run: () => void): void {
    try {
      run();
    } catch (error) {
      if (error instanceof Error) error.message = `${this.#names[entry]}: ${error.message}`;
      throw error;
    }
  }

  /** Runs with a clock: milliseconds by the name of a step's first operation, for profiles. */
  profile(clock: () => number): Map<string, number> {
    const times = new Map<string, number>();
    for (const { entries, run } of this.#steps) {
      const start = clock();
      run();
      const name = this.#names[entries[0] as number] as string;
      times.set(name, (times.get(name) ?? 0) + clock() - start);
    }
    return times;
  }

  array(name: string): HostArray {
    const index = this.#specs.findIndex((s) => s.name === name);
    if (index < 0) throw new RangeError(`no buffer ${name}`);
    return this.#arrays[index] as HostArray;
  }
}
