/**
 * Programs: what a trace is made of (docs/disputes.md §2).
 *
 * A program is the list of all operations between committed inputs and committed outputs, cut so small that one element
 * of any of them can be recomputed from a few kilobytes. It follows from the recipe alone; whatever a backend fuses, the
 * numbers between are these. Every operation has one output, an array of contiguous bytes, and one rule. The rule is
 * the only definition: the runner calls it for all elements, the checker of a proof for one, with other readers.
 */

import { PogoError } from '../../errors.js';

export const ELEMENT_BYTES = { f32: 4, u16: 2, i8: 1, u8: 1, u32: 4, i32: 4 } as const;
/** `u16` also holds bf16 bit patterns. */
export type ElementType = keyof typeof ELEMENT_BYTES;

export interface ElementArrays {
  f32: Float32Array;
  u16: Uint16Array;
  i8: Int8Array;
  u8: Uint8Array;
  u32: Uint32Array;
  i32: Int32Array;
}
export type ElementArray = ElementArrays[ElementType];

/** A committed input of a program: a blob with a name that the program's maker knows the root of. */
export interface ExternalSpec {
  readonly name: string;
  readonly bytes: number;
}

/** What a rule reads: the output of an operation or an external, from element `offset` on. */
export interface Source {
  readonly kind: 'operation' | 'external';
  readonly index: number;
  /** Elements that are skipped, in units of the type that is read. */
  readonly offset: number;
}

/**
 * How a rule gets at its inputs: `input` is an index into `Rule.inputs`, `start` and `count` are elements. The arrays
 * must not be written to.
 */
export type Reader = {
  readonly [T in ElementType]: (input: number, start: number, count: number) => ElementArrays[T];
};

export interface Rule {
  /** Names the formula; docs/disputes.md §3 has one line for each. */
  readonly kind: string;
  readonly inputs: readonly Source[];
  /** Elements [start, end) that are computed together, around `element`. */
  span(element: number): readonly [start: number, end: number];
  /**
   * Computes elements [start, start + out.length), which are one span.
   *
   * @throws PogoError NON_FINITE where the numerics do not go on: then the whole unit is the null unit
   */
  compute(read: Reader, start: number, out: ElementArray): void;
  /** All elements at once, for speed. The same bits as {@link compute}, and NON_FINITE where it has that. */
  whole?(inputs: WholeInputs, out: ElementArray): void;
}

/** Whole inputs, typed by the caller. */
export interface WholeInputs {
  readonly read: Reader;
  /** Elements of input `input` from its offset to its end. */
  length(input: number, type: ElementType): number;
  /** Fast kernels, where there are some. */
  readonly kernels: FastKernels | undefined;
}

/** The operation of a backend that a runner may use instead of a rule; `Kernels` of the backends has it. */
export interface FastKernels {
  weightGradient(a: {
    et: Int8Array;
    etScales: Float32Array;
    xt: Int8Array;
    xtScales: Float32Array;
    dw: Float32Array;
    N: number;
    K: number;
    T: number;
    accumulate: boolean;
  }): void;
}

export interface Operation {
  readonly name: string;
  readonly type: ElementType;
  /** Elements of the output. */
  readonly length: number;
  readonly rule: Rule;
}

/** An output that the accused committed to before anybody asked. */
export interface Result {
  readonly name: string;
  readonly operation: number;
}

export interface Program {
  readonly externals: readonly ExternalSpec[];
  readonly operations: readonly Operation[];
  /** Operations whose outputs are bound by the claim. */
  readonly results: readonly Result[];
  /** Length of the last result where the accused states it, as the end of its trace: that of a diff follows from its bytes. */
  readonly statedBytes?: number;
  /** Of a unit: where each tensor's gradient stands in f32, by `TENSOR.gradient`; some begin inside an output. */
  readonly gradients?: ReadonlyMap<string, Source>;
}

export function outputBytes(operation: Pick<Operation, 'type' | 'length'>): number {
  return operation.length * ELEMENT_BYTES[operation.type];
}

/** The same source, `elements` further on. */
export function at(source: Source, elements: number): Source {
  return { ...source, offset: source.offset + elements };
}

/** Rows of `columns` elements, cut into groups of `group`: the group around an element. */
export function rowGroups(columns: number, group: number): Rule['span'] {
  return (element) => {
    const column = element % columns;
    const start = element - (column % group);
    return [start, Math.min(start + group, element - column + columns)];
  };
}

/** Every element by itself. */
export const single: Rule['span'] = (element) => [element, element + 1];

export class ProgramBuilder {
  /** Before the names of the operations that are added: of parts that a program has several times. */
  prefix = '';
  readonly #externals: ExternalSpec[] = [];
  readonly #operations: Operation[] = [];
  readonly #results: Result[] = [];

  external(name: string, bytes: number): Source {
    this.#externals.push({ name, bytes });
    return { kind: 'external', index: this.#externals.length - 1, offset: 0 };
  }

  /** The source that the next operation's output will be: for rules that read what they wrote before. */
  next(): Source {
    return { kind: 'operation', index: this.#operations.length, offset: 0 };
  }

  add(name: string, type: ElementType, length: number, rule: Rule): Source {
    const source = this.next();
    this.#operations.push({ name: `${this.prefix}${name}`, type, length, rule });
    return source;
  }

  result(name: string, source: Source): void {
    this.#results.push({ name, operation: source.index });
  }

  build(): Program {
    return { externals: this.#externals, operations: this.#operations, results: this.#results };
  }
}

/** Operations of the largest program: its list of roots is 32 MiB. */
export const MAX_OPERATIONS = 1 << 20;

/** @throws PogoError RANGE for a program that would have more than {@link MAX_OPERATIONS} operations */
export function requireSmallProgram(operations: number): void {
  if (operations > MAX_OPERATIONS) {
    throw new PogoError('RANGE', `expected a trace of at most ${MAX_OPERATIONS} operations, found ${operations}`);
  }
}
