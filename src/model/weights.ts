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
  /** Of an adapter with its padding rows: `rows` and `size` are those of the codes. */
  readonly tensor: TensorSpec;
  /** Elements of θ behind it: fewer than `tensor.size` where rows are padded with +0. */
  readonly elements: number;
  /** Whether it is read from the frozen θ and not from the state's. */
  readonly frozen: boolean;
  /** Whether a product reads it in the form of the backend. */
  readonly packs: boolean;
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
  /** Indices of the places that change with the state. */
  readonly moving: readonly number[];
  /** Elements of the code buffer, one byte each. */
  readonly codesLength: number;
  /** Elements of the scale buffer, four bytes each. */
  readonly scalesLength: number;
  /** @throws RangeError for a tensor that no GEMM reads */
  of(name: string): WeightPlace;
}

interface Source {
  readonly tensor: TensorSpec;
  readonly elements: number;
  readonly frozen: boolean;
  readonly packs: boolean;
}

/**
 * All matrices, and the token table, whose row codes are the tied head.
 *
 * @param model layout of the whole model
 * @param adapters layout of the state where the model is frozen, with the rank's padding
 */
export function weightsLayout(
  model: Layout,
  adapters?: { readonly layout: Layout; readonly rows: number },
): WeightsLayout {
  const adapted = (name: string): boolean =>
    adapters?.layout.tensors.some((tensor) => tensor.name === name.replace(/weight$/, 'lora.a')) === true;
  const sources: Source[] = model.tensors
    .filter((t) => t.kind === 'matrix' || t.name === 'wte')
    .map((tensor) => {
      const frozen = adapters !== undefined;
      return { tensor, elements: tensor.size, frozen, packs: !adapted(tensor.name) };
    });
  for (const tensor of adapters?.layout.tensors ?? []) {
    const rows = adapters?.rows ?? tensor.rows;
    const padded = { ...tensor, rows, size: rows * tensor.cols };
    sources.push({ tensor: padded, elements: tensor.size, frozen: false, packs: false });
  }
  let codes = 0;
  let scales = 0;
  const places = sources.map((source): WeightPlace => {
    const { tensor } = source;
    const rowScales = panels(tensor.cols) * tensor.rows;
    const place = {
      ...source,
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
    moving: places.flatMap((place, i) => (place.frozen ? [] : [i])),
    codesLength: codes,
    scalesLength: scales,
    of(name) {
      const place = byName.get(name);
      if (place === undefined) throw new RangeError(`${name} is no weight of a GEMM`);
      return place;
    },
  };
}
