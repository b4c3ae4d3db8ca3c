/**
 * Runs a program: every operation in order, the root of every output. Outputs live until their last reader is done, so
 * memory is that of the arrays that are alive together, not of the whole trace.
 */
import { PogoError } from '../../errors.js';
import type { LongBytes } from '../../merkle/tree.js';
import { canonicalNaN, readerOver, typedView } from './arrays.js';
import {
  ELEMENT_BYTES,
  type ElementArray,
  type ElementType,
  type FastKernels,
  type Operation,
  outputBytes,
  type Program,
  type Reader,
  type Rule,
  type Source,
} from './program.js';

export interface RunOptions {
  /** Bytes of the externals, in the program's order; aligned to their elements. */
  readonly externals: readonly LongBytes[];
  /** BLAKE3 of bytes. */
  readonly hash: (bytes: Uint8Array) => Uint8Array;
  /** A backend's kernels, where speed is wanted. */
  readonly kernels?: FastKernels;
  /** Sees every output while it is alive; the bytes must be copied to be kept. */
  readonly onOutput?: (index: number, bytes: Uint8Array) => void;
  /** Ends after this operation. */
  readonly last?: number;
  /** Only rules, never their fast forms: for the test that compares both. */
  readonly rulesOnly?: boolean;
}

/** Where the numerics end: an operation that meets an Inf or NaN. */
export interface ProgramEnd {
  readonly operation: number;
  /** First element of the span that threw. */
  readonly element: number;
}

export interface RunResult {
  /** Roots of the outputs that were made. */
  readonly roots: readonly Uint8Array[];
  /** Undefined when all operations ran. */
  readonly end: ProgramEnd | undefined;
}

/** A reader over `bytesOf(input)`, whole arrays. */
function wholeReader(inputs: readonly Source[], bytesOf: (source: Source) => LongBytes): Reader {
  return readerOver(inputs, (source, start, count) => bytesOf(source).subarray(start, start + count));
}

/** @returns for each operation the last one that reads it (itself, for a result) */
function lastReaders(program: Program): Int32Array {
  const last = new Int32Array(program.operations.length);
  program.operations.forEach((operation, index) => {
    last[index] = index;
    for (const { kind, index: from } of operation.rule.inputs) if (kind === 'operation') last[from] = index;
  });
  return last;
}

/** @throws PogoError SHAPE for externals of other lengths than the program's */
export function runProgram(program: Program, options: RunOptions): RunResult {
  checkExternals(program, options.externals);
  const { operations } = program;
  const last = lastReaders(program);
  const alive = new Map<number, Uint8Array>();
  const bytesOf = ({ kind, index }: Source): LongBytes =>
    kind === 'external' ? (options.externals[index] as LongBytes) : (alive.get(index) as Uint8Array);
  const roots: Uint8Array[] = [];
  const stop = Math.min(operations.length - 1, options.last ?? operations.length - 1);
  for (let index = 0; index <= stop; index += 1) {
    const operation = operations[index] as Operation;
    const bytes = new Uint8Array(outputBytes(operation));
    alive.set(index, bytes);
    const failed = runOperation(operation, bytes, wholeReader(operation.rule.inputs, bytesOf), bytesOf, options);
    if (failed !== undefined) return { roots, end: { operation: index, element: failed } };
    canonicalNaN(operation.type, bytes);
    options.onOutput?.(index, bytes);
    roots.push(options.hash(bytes));
    for (const made of [...alive.keys()]) if ((last[made] as number) <= index) alive.delete(made);
  }
  return { roots, end: undefined };
}

function checkExternals(program: Program, externals: readonly LongBytes[]): void {
  program.externals.forEach(({ name, bytes }, i) => {
    const found = externals[i]?.length;
    if (found !== bytes) throw new PogoError('SHAPE', `${name}: expected ${bytes} bytes, found ${found ?? 'none'}`);
  });
}

/** @returns the first element of the span that met an Inf or NaN */
function runOperation(
  { type, length, rule }: Operation,
  bytes: Uint8Array,
  read: Reader,
  bytesOf: (source: Source) => LongBytes,
  options: RunOptions,
): number | undefined {
  const out = typedView(type, bytes) as ElementArray;
  if (options.rulesOnly !== true && runWhole(rule, out, read, bytesOf, options.kernels)) return undefined;
  for (let start = 0; start < length; ) {
    const [, end] = rule.span(start);
    try {
      rule.compute(read, start, out.subarray(start, end));
    } catch (error) {
      if (isNonFinite(error)) return start;
      throw error;
    }
    start = end;
  }
  return undefined;
}

/** @returns false where a rule has no fast form, or the form met an Inf or NaN: the rule itself finds the element */
function runWhole(
  rule: Rule,
  out: ElementArray,
  read: Reader,
  bytesOf: (source: Source) => LongBytes,
  kernels: FastKernels | undefined,
): boolean {
  if (rule.whole === undefined) return false;
  const length = (input: number, as: ElementType): number => {
    const source = rule.inputs[input] as Source;
    return bytesOf(source).length / ELEMENT_BYTES[as] - source.offset;
  };
  try {
    rule.whole({ read, kernels, length }, out);
    return true;
  } catch (error) {
    if (isNonFinite(error)) return false;
    throw error;
  }
}

const isNonFinite = (error: unknown): boolean => error instanceof PogoError && error.code === 'NON_FINITE';
