/**
 * The orders of float sums: `docs/numerics.md` §1.11. Nothing else adds floats in an order of its own.
 */
import { f32 } from './scalars.js';

const pairs = new Float32Array(32);

/** Sum of x[start … start + 63]: pairs, then halves 16, 8, 4, 2, 1. */
export function t64(x: Float32Array, start: number): number {
  for (let i = 0; i < 32; i += 1) pairs[i] = f32(x[start + 2 * i] + x[start + 2 * i + 1]);
  for (let s = 16; s >= 1; s >>= 1) {
    for (let i = 0; i < s; i += 1) pairs[i] = f32(pairs[i] + pairs[i + s]);
  }
  return pairs[0];
}

const tail = new Float32Array(64);

/** T64 of each block of 64, blocks added ascending, starting from the first. A short last block is filled with +0. */
export function rowSum(x: Float32Array, start: number, count: number): number {
  let sum = 0;
  for (let block = 0; block < count; block += 64) {
    let value: number;
    if (block + 64 <= count) {
      value = t64(x, start + block);
    } else {
      tail.fill(0);
      tail.set(x.subarray(start + block, start + count));
      value = t64(tail, 0);
    }
    sum = block === 0 ? value : f32(sum + value);
  }
  return sum;
}

/**
 * Column sums of an f32 [rows, cols]: sequential inside blocks of 64 rows, then across blocks ascending.
 * @param accumulate goes on from `out` instead of starting from the first block
 */
export function colSum(x: Float32Array, rows: number, cols: number, out: Float32Array, accumulate: boolean): void {
  const block = new Float32Array(cols);
  for (let first = 0; first < rows; first += 64) {
    const end = Math.min(rows, first + 64);
    block.set(x.subarray(first * cols, (first + 1) * cols));
    for (let t = first + 1; t < end; t += 1) {
      const rowOffset = t * cols;
      for (let n = 0; n < cols; n += 1) block[n] = f32(block[n] + x[rowOffset + n]);
    }
    if (first === 0 && !accumulate) out.set(block);
    else for (let n = 0; n < cols; n += 1) out[n] = f32(out[n] + block[n]);
  }
}

/**
 * Adds rows of terms into chosen rows of a table, in order; a row's sum starts from its first term.
 * Rows without a term are +0.
 */
export class RowScatter {
  /** f32 [rows, cols]. */
  readonly sums: Float32Array;
  readonly #seen: Uint8Array;
  readonly #cols: number;

  constructor(rows: number, cols: number) {
    this.sums = new Float32Array(rows * cols);
    this.#seen = new Uint8Array(rows);
    this.#cols = cols;
  }

  add(row: number, terms: Float32Array): void {
    const rowOffset = row * this.#cols;
    if (this.#seen[row] === 0) {
      this.#seen[row] = 1;
      this.sums.set(terms, rowOffset);
      return;
    }
    for (let c = 0; c < this.#cols; c += 1) this.sums[rowOffset + c] = f32(this.sums[rowOffset + c] + terms[c]);
  }
}
