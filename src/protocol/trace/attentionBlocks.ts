// exact-arithmetic
/**
 * Blocks of causal attention, as its rules read them (docs/numerics.md §4): which keys a query sees, and where their
 * committed codes stand.
 */
import type { AttentionSizes } from '../../reference/attention.js';
import * as K from '../../reference/constants.js';
import { f32 } from '../../reference/scalars.js';
import type { Reader, Source } from './program.js';

/** Queries or keys of one block. */
export const BLOCK = 64;

/** The attention of one layer: sizes, and the committed codes in the layouts that the rules read. */
export interface AttentionShape extends AttentionSizes {
  /** Codes of q, k, v: i8 [H + 2G, T, h]. */
  readonly heads: Source;
  /** The same, i8 [(H + 2G) · h, T]. */
  readonly transposed: Source;
  /** f32 [H + 2G, T]. */
  readonly scales: Source;
}

/** Blocks that a rule of one layer is there for: with a window only those that a block reaches. */
export function blockCount({ context, window }: AttentionSizes): number {
  const blocks = context / BLOCK;
  return window === 0 ? blocks : Math.min(blocks, window / BLOCK + 1);
}

/** Key block number b of those that queries of `block` read; with a window counted from the first that they see. */
export function keyBlock({ window }: AttentionSizes, block: number, b: number): number {
  return window === 0 ? b : Math.max(0, block - window / BLOCK) + b;
}

/** Query block number b of those that see keys of `block`; with a window counted from the keys' own. */
export function queryBlock({ window }: AttentionSizes, block: number, b: number): number {
  return window === 0 ? b : block + b;
}

/** Whether a query sees a key; both are tokens of one sequence. */
export function sees({ window }: AttentionSizes, query: number, key: number): boolean {
  return key <= query && (window === 0 || key > query - window);
}

/** Queries, keys, values. */
export type Part = 0 | 1 | 2;

/** Inputs 0, 1, 2 of every rule here. */
export const common = (shape: AttentionShape): Source[] => [shape.heads, shape.transposed, shape.scales];

/** Head of a row of qkv that query head `head` reads for a part. */
export const partHead = ({ H, G }: AttentionSizes, part: Part, head: number): number =>
  part === 0 ? head : H + (part - 1) * G + Math.floor(head / (H / G));

/** Codes of `count` tokens of a head. */
export const rowsOf = (
  read: Reader,
  s: AttentionShape,
  part: Part,
  head: number,
  token: number,
  count: number,
): Int8Array => read.i8(0, (partHead(s, part, head) * s.T + token) * s.h, count * s.h);

/** Codes of dimension d over `count` tokens. */
export const columnOf = (
  read: Reader,
  s: AttentionShape,
  part: Part,
  head: number,
  d: number,
  token: number,
  count: number,
): Int8Array => read.i8(1, (partHead(s, part, head) * s.h + d) * s.T + token, count);

/** Scales of `count` tokens of a head. */
export const scalesOf = (
  read: Reader,
  s: AttentionShape,
  part: Part,
  head: number,
  token: number,
  count: number,
): Float32Array => read.f32(2, partHead(s, part, head) * s.T + token, count);

/** a_i. */
export function factorOf(scale: number, scalar: number): number {
  return f32(f32(scale) * f32(K.F32_LOG2E / f32(Math.sqrt(scalar))));
}

/** Place of (head, token) index `row` of [H, T] in its sequence. */
export function place(s: AttentionShape, row: number): { head: number; token: number; start: number; block: number } {
  const token = row % s.T;
  const inside = token % s.context;
  return { head: Math.floor(row / s.T), token, start: token - inside, block: Math.floor(inside / BLOCK) };
}

/** Keys of block `b` that query `token` sees are those from `from` up to `count`; none: both are 0. */
export function keysOf(s: AttentionShape, token: number, b: number): { readonly from: number; readonly count: number } {
  const inside = (token % s.context) - BLOCK * b;
  const count = Math.max(0, Math.min(BLOCK, inside + 1));
  const from = s.window === 0 ? 0 : Math.max(0, inside + 1 - s.window);
  return from < count ? { from, count } : { from: 0, count: 0 };
}

/**
 * Number of the first block in which a query sees a key: 0, or 1 for the last query of a block whose window begins at a
 * block's end.
 */
export function firstNumber(s: AttentionShape, token: number, block: number): number {
  return keysOf(s, token, keyBlock(s, block, 0)).count > 0 ? 0 : 1;
}
