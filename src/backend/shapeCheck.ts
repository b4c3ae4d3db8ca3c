/**
 * Checks of the arguments of native kernels: dimensions and lengths, never elements.
 */
import { PogoError } from '../errors.js';

/** Number of panels of 1024 of an axis. */
export function panels(k: number): number {
  return Math.ceil(k / 1024);
}

/** Throws SHAPE errors that name the operation and the argument. */
export class ShapeCheck {
  readonly operation: string;

  constructor(operation: string) {
    this.operation = operation;
  }

  fail(argument: string, expected: string, found: string | number): never {
    throw new PogoError(
      'SHAPE',
      `${this.operation}: expected ${argument} ${expected}, found ${found}; pass arrays and dimensions of one tape`,
      { operation: this.operation, argument },
    );
  }

  /** A positive integer. */
  dimension(argument: string, value: number): void {
    if (!Number.isSafeInteger(value) || value < 1) this.fail(argument, 'to be a positive integer', value);
  }

  /** A positive multiple of `of`. */
  multiple(argument: string, value: number, of: number): void {
    this.dimension(argument, value);
    if (value % of !== 0) this.fail(argument, `to be a multiple of ${of} (${nearest(value, of)} would do)`, value);
  }

  /** An index of a first token. */
  offset(argument: string, value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) this.fail(argument, 'to be a non-negative integer', value);
  }

  /** An array of exactly `length` elements. */
  length(argument: string, array: ArrayLike<unknown>, length: number): void {
    if (array.length !== length) this.fail(argument, `to have ${length} elements`, array.length);
  }

  /** An array of `length` elements or none. */
  optional(argument: string, array: ArrayLike<unknown>, length: number): void {
    if (array.length !== 0) this.length(argument, array, length);
  }

  atLeast(argument: string, array: ArrayLike<unknown>, length: number): void {
    if (array.length < length) this.fail(argument, `to have at least ${length} elements`, array.length);
  }

  /** Codes [rows, cols] with scales [panels(cols), rows]. */
  codes(
    argument: string,
    codes: ArrayLike<number>,
    scales: ArrayLike<number>,
    rows: number,
    cols: number,
    scaleArgument = `${argument}Scales`,
  ): void {
    this.length(argument, codes, rows * cols);
    this.length(scaleArgument, scales, panels(cols) * rows);
  }

  seed(argument: string, seed: Uint32Array): void {
    this.length(argument, seed, 4);
  }
}

/** The multiple of `of` nearest to a value that is none: what an error proposes. */
function nearest(value: number, of: number): number {
  return Math.max(of, Math.round(value / of) * of);
}
