/**
 * Places inside a unit's computation: rows of activations, of errors and of fp32 gradients that exist only while the
 * unit is computed and that no published file holds.
 *
 * A place names an operation of the tape and a row of one of its arrays, counted over the whole unit: the same bytes
 * for any number of micro-batches. Receipts hash what stands there (`src/protocol/receipt.ts`).
 */
import { PogoError } from '../errors.js';
import { type Layout, LEAF_ELEMENTS } from './layout.js';
import type { Recipe } from './recipe.js';
import type { BoundTape, HostArray, Ref, Tape, TapeOperation, TapeWatch } from './tape.js';

/** The part of a recipe that places follow from. */
export type PlaceRecipe = Pick<Recipe, 'family' | 'layers' | 'width' | 'context' | 'sequencesPerUnit' | 'adapter'>;

/** Row `row` of `width` elements in array `argument` after every operation of this kind and name. */
export interface UnitPlace {
  readonly kind: TapeOperation;
  readonly name: string;
  readonly argument: string;
  readonly row: number;
  readonly width: number;
}

/** Where values of one sort may be looked at: `rows` rows of `width` elements. */
export type PlaceRange = Omit<UnitPlace, 'row'> & { readonly rows: number };

/** Activations of the forward pass: what attention and the MLP of each layer add up to, bf16 [tokens, width]. */
export function forwardPlaces(recipe: PlaceRecipe): PlaceRange[] {
  const rows = recipe.sequencesPerUnit * recipe.context;
  const isGemma = recipe.family === 'gemma3';
  return layers(recipe).flatMap((layer) =>
    (isGemma ? ['postNorm1', 'postNorm2'] : ['o', 'proj']).map((part) => ({
      kind: isGemma
        ? ('normResidual' as const)
        : recipe.adapter?.targets.some((target) => target === part) === true
          ? ('addRows' as const)
          : ('linearResidual' as const),
      name: `h${layer}.${part}.forward`,
      argument: 'y',
      rows,
      width: recipe.width,
    })),
  );
}

/** Errors of the backward pass as they leave each layer's norms, bf16 [tokens, width]. */
export function backwardPlaces(recipe: PlaceRecipe): PlaceRange[] {
  const rows = recipe.sequencesPerUnit * recipe.context;
  const names = layers(recipe).flatMap((layer) =>
    ['norm2', 'norm1'].filter((part) => layer > 0 || reaches(recipe, part)).map((part) => `h${layer}.${part}.backward`),
  );
  // Adapters of one layer alone may need no gradient but the head's.
  return (names.length > 0 ? names : ['norm.backward']).map((name) => ({
    kind: 'normBackward' as const,
    name,
    argument: 'dx',
    rows,
    width: recipe.width,
  }));
}

/** Whether the gradient goes through a norm of the lowest layer: with adapters it stops at the first of them. */
function reaches({ adapter }: PlaceRecipe, part: string): boolean {
  if (adapter === undefined) return true;
  const [lowest] = adapter.targets;
  return part === 'norm2' && (lowest === 'qkv' || lowest === 'o');
}

/** Gradients in fp32 before they are rounded to 4 bits, by leaves of 256 elements; a tensor's last row may be shorter. */
export function gradientPlaces(layout: Layout): PlaceRange[] {
  return layout.tensors.map(({ name, size }) => ({
    kind: 'quantize4' as const,
    name: `${name}.gradient`,
    argument: 'x',
    rows: Math.ceil(size / LEAF_ELEMENTS),
    width: LEAF_ELEMENTS,
  }));
}

function layers(recipe: PlaceRecipe): number[] {
  return Array.from({ length: recipe.layers }, (_, i) => i);
}

function bytesOf(array: HostArray, from: number, to: number): Uint8Array {
  const size = array.BYTES_PER_ELEMENT;
  return new Uint8Array(array.buffer, array.byteOffset + from * size, (to - from) * size).slice();
}

/** A range of an operation's array, to be looked at right after it. */
export interface PlaceRead {
  /** Index of the place among those that were asked for. */
  readonly place: number;
  /** Index of the operation in the tape. */
  readonly entry: number;
  readonly argument: string;
  /** Elements [from, to) of the array. */
  readonly from: number;
  readonly to: number;
}

/** Finds places on a tape. @throws PogoError RANGE for a place that the tape does not have */
export function placeReads(tape: Tape, places: readonly UnitPlace[]): PlaceRead[] {
  return places.flatMap(({ kind, name, argument, row, width }, place) => {
    const reads: PlaceRead[] = [];
    let first = 0;
    for (const [entry, { kind: found, name: foundName, args }] of tape.entries.entries()) {
      if (found !== kind || foundName !== name) continue;
      const { length } = (args as unknown as Record<string, Ref<HostArray>>)[argument] as Ref<HostArray>;
      const rows = Math.ceil(length / width);
      if (row >= first && row < first + rows) {
        const from = (row - first) * width;
        reads.push({ place, entry, argument, from, to: Math.min(length, from + width) });
      }
      first += rows;
    }
    if (row < 0 || row >= first) {
      throw new PogoError('RANGE', `${name}: expected a row below ${first} of ${argument}, found ${row}`);
    }
    return reads;
  });
}

/** Values of places, one after the other. */
export function joinPlaces(parts: readonly (Uint8Array | undefined)[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + (part?.length ?? 0), 0));
  let at = 0;
  for (const part of parts) {
    if (part === undefined) continue;
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Reads places while a bound tape runs. */
export class PlaceWatch implements TapeWatch {
  readonly #bound: BoundTape;
  readonly #found: (Uint8Array | undefined)[];
  readonly #reads = new Map<number, PlaceRead[]>();

  /** @throws PogoError RANGE for a place that the tape does not have */
  constructor(tape: Tape, bound: BoundTape, places: readonly UnitPlace[]) {
    this.#bound = bound;
    this.#found = places.map(() => undefined);
    for (const read of placeReads(tape, places)) {
      this.#reads.set(read.entry, [...(this.#reads.get(read.entry) ?? []), read]);
    }
  }

  watches(entry: number): boolean {
    return this.#reads.has(entry);
  }

  after(entry: number): void {
    for (const { place, argument, from, to } of this.#reads.get(entry) ?? []) {
      this.#found[place] = bytesOf(this.#bound.argument(entry, argument), from, to);
    }
  }

  /** The values of all places in their order. */
  get bytes(): Uint8Array {
    return joinPlaces(this.#found);
  }
}
