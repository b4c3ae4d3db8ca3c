/**
 * A number of the cost analysis and what it rests on: nothing is shown without that.
 *
 * - *measured*: a line of a committed bench result.
 * - *counted*: follows from a recipe's layout and tape alone; exact.
 * - *derived*: a formula over measured and counted numbers.
 * - *assumed*: an input of whoever asks (prices, hardware that was not measured), or somebody else's published figure.
 */

export type Basis = 'measured' | 'counted' | 'derived' | 'assumed';

export interface Figure {
  readonly value: number;
  readonly unit: string;
  readonly basis: Basis;
  /** The line, the formula or the publication. */
  readonly source: string;
}

export function figure(value: number, unit: string, basis: Basis, source: string): Figure {
  return { value, unit, basis, source };
}
