/**
 * Integer weights: the int8 codes of every tensor that a GEMM reads, in both orientations, made from θ once a step and
 * shared by all lanes. Where each lies in the two shared buffers is derived from the layout.
 */
import type { Layout, TensorSpec } from './layout.js';

/** Elements contracted under one scale (`docs/numerics.md` §2.2). */
export const PANEL = 1024;

export function panels(elements: number): number {
  return Math.ceil(elements / PANEL);
}

/** Offsets of one weight's four arrays, in elements of the buffers `weightCodes` (i8) and `weightScales` (f32). */
export interface WeightPlace {
  readonly tensor: TensorSpec;
  /** Row codes [rows, cols]. */
  readonly codes: number;
  /** Scales [panels(cols), rows]. */
  readonly scales: number;
  /** Recoded transpose [cols, rows]. */
  readonly transposed: number;
  /** Scales [panels(rows), cols]. */
  readonly transposedScales: number;
}

export interface WeightsLayout {
  readonly places: readonly WeightPlace[];
  /** Elements of the code buffer, one byte each. */
  readonly codesLength: number;
  /** Elements of the scale buffer, four bytes each. */
  readonly scalesLength: number;
  /** @throws RangeError for a tensor that no GEMM reads */
  of(name: string): WeightPlace;
}

/** All matrices, and the token table, whose row codes are the tied head. */
export function weightsLayout(layout: Layout): WeightsLayout {
  let codes = 0;
  let scales = 0;
  const places = layout.tensors
    .filter((t) => t.kind === 'matrix' || t.name === 'wte')
    .map((tensor): WeightPlace => {
      const rowScales = panels(tensor.cols) * tensor.rows;
      const place = {
        tensor,
        codes,
        scales,
        transposed: codes + tensor.size,
        transposedScales: scales + rowScales,
      };
      codes += 2 * tensor.size;
      scales += rowScales + panels(tensor.rows) * tensor.cols;
      return place;
    });
  const byName = new Map(places.map((p) => [p.tensor.name, p]));
  return {
    places,
    codesLength: codes,
    scalesLength: scales,
    of(name) {
      const place = byName.get(name);
      if (place === undefined) throw new RangeError(`${name} is no weight of a GEMM`);
      return place;
    },
  };
}
