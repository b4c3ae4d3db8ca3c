// exact-arithmetic
/**
 * Rules of the gradient of causal attention (docs/numerics.md §4, attentionBackward), block by block as the forward rules:
 * P and the errors are computed again from committed codes, a tile at a time.
 */
import { ditherColumn, ditherOf, ditherRow } from '../../reference/dither.js';
import { dot } from '../../reference/gemm.js';
import { type GroupDither, quantizeGroup, quantizeGroupUnsigned } from '../../reference/quantize8.js';
import { bf16, exp2c, f32, inverseRoot } from '../../reference/scalars.js';
import { t64 } from '../../reference/sums.js';
import {
  type AttentionShape,
  BLOCK,
  common,
  factorOf,
  keyBlock,
  keysOf,
  partHead,
  place,
  queryBlock,
  rowsOf,
  scalesOf,
  sees,
} from './attentionBlocks.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';

/** What the backward rules read beside {@link AttentionShape}. */
export interface AttentionGradient {
  readonly shape: AttentionShape;
  /** Codes of dO: i8 [H, T, h]. */
  readonly heads: Source;
  /** i8 [H · h, T]. */
  readonly transposed: Source;
  /** f32 [H, T]. */
  readonly scales: Source;
  readonly lambda: Source;
  readonly seedV: () => Uint32Array;
  readonly seedK: () => Uint32Array;
  readonly seedQ: () => Uint32Array;
  /** Tokens of the unit. */
  readonly U: number;
}

/** Inputs 0 … 6 of the backward rules. */
const gradientInputs = (g: AttentionGradient): Source[] => [
  ...common(g.shape),
  g.heads,
  g.transposed,
  g.scales,
  g.lambda,
];

/** P of a tile: `queries` × `keys`, row by query; masked entries +0. */
interface Tile {
  readonly head: number;
  readonly firstQuery: number;
  readonly queries: number;
  readonly firstKey: number;
  readonly keys: number;
}

function probabilities(read: Reader, s: AttentionShape, tile: Tile): Float32Array {
  const { head, firstQuery, queries, firstKey, keys } = tile;
  const q = rowsOf(read, s, 0, head, firstQuery, queries);
  const k = rowsOf(read, s, 1, head, firstKey, keys);
  const sq = scalesOf(read, s, 0, head, firstQuery, queries);
  const sk = scalesOf(read, s, 1, head, firstKey, keys);
  const lambda = read.f32(6, head * s.T + firstQuery, queries);
  const P = new Float32Array(queries * keys);
  for (let r = 0; r < queries; r += 1) {
    const factor = factorOf(sq[r], s.scalar);
    for (let j = 0; j < keys; j += 1) {
      if (!sees(s, firstQuery + r, firstKey + j)) continue;
      const u = f32(dot(q, r * s.h, k, j * s.h, s.h) * sk[j]);
      const z = f32(f32(u * factor) - lambda[r]);
      P[r * keys + j] = exp2c(z > 0 ? 0 : z);
    }
  }
  return P;
}

/** γ of a tile. Masked entries +0. */
function gammas(read: Reader, s: AttentionShape, tile: Tile): Float32Array {
  const { head, firstQuery, queries, firstKey, keys } = tile;
  const dO = read.i8(3, (head * s.T + firstQuery) * s.h, queries * s.h);
  const v = rowsOf(read, s, 2, head, firstKey, keys);
  const sv = scalesOf(read, s, 2, head, firstKey, keys);
  const gamma = new Float32Array(queries * keys);
  for (let r = 0; r < queries; r += 1) {
    for (let j = 0; j < keys; j += 1) {
      if (!sees(s, firstQuery + r, firstKey + j)) continue;
      gamma[r * keys + j] = f32(dot(dO, r * s.h, v, j * s.h, s.h) * sv[j]);
    }
  }
  return gamma;
}

/** x = P·sdo of a tile, in place of P. */
function scaled(read: Reader, s: AttentionShape, tile: Tile, P: Float32Array): Float32Array {
  const sdo = read.f32(5, tile.head * s.T + tile.firstQuery, tile.queries);
  for (let i = 0; i < P.length; i += 1) P[i] = f32(P[i] * sdo[Math.floor(i / tile.keys)]);
  return P;
}

/** e = x·(γ − D) of a tile; masked entries +0. Input 7 is D, f32 [H, T]. */
function errors(read: Reader, s: AttentionShape, tile: Tile): Float32Array {
  const x = scaled(read, s, tile, probabilities(read, s, tile));
  const gamma = gammas(read, s, tile);
  const D = read.f32(7, tile.head * s.T + tile.firstQuery, tile.queries);
  for (let r = 0; r < tile.queries; r += 1) {
    for (let j = 0; j < tile.keys; j += 1) {
      if (!sees(s, tile.firstQuery + r, tile.firstKey + j)) continue;
      const i = r * tile.keys + j;
      x[i] = f32(x[i] * f32(gamma[i] - D[r]));
    }
  }
  return x;
}

/** f32 [H, T]: D after key block `b`. */
export function differenceRule(g: AttentionGradient, previous: Source | undefined, b: number): Rule {
  const s = g.shape;
  return {
    kind: 'attention.difference',
    inputs: [...gradientInputs(g), ...(previous === undefined ? [] : [previous])],
    span: single,
    compute(read, start, out) {
      const { head, token, start: sequence, block } = place(s, start);
      const keys = keyBlock(s, block, b);
      if (keys > block) {
        out[0] = read.f32(7, start, 1)[0];
        return;
      }
      const firstKey = sequence + BLOCK * keys;
      const tile = { head, firstQuery: token, queries: 1, firstKey, keys: keysOf(s, token, keys).count };
      const P = probabilities(read, s, tile);
      const gamma = gammas(read, s, tile);
      const terms = new Float32Array(BLOCK);
      for (let j = 0; j < tile.keys; j += 1) terms[j] = f32(P[j] * gamma[j]);
      const sum = t64(terms, 0);
      out[0] = b === 0 ? sum : f32(read.f32(7, start, 1)[0] + sum);
    },
  };
}

/** The tile of key `row` of [H, T] and query block number `b`; undefined where those queries do not see the key's block. */
function keyTile(s: AttentionShape, row: number, b: number): Tile | undefined {
  const { head, token, start, block } = place(s, row);
  const queries = queryBlock(s, block, b);
  if (queries < block || queries >= s.context / BLOCK) return undefined;
  return { head, firstQuery: start + BLOCK * queries, queries: BLOCK, firstKey: token, keys: 1 };
}

function valueCodes(read: Reader, g: AttentionGradient, row: number, b: number): { codes: Uint8Array; scale: number } {
  const s = g.shape;
  const codes = new Uint8Array(BLOCK);
  const tile = keyTile(s, row, b);
  if (tile === undefined) return { codes, scale: 0 };
  const x = scaled(read, s, tile, probabilities(read, s, tile));
  const seed = g.seedV();
  const word = ditherColumn(seed, tile.head * g.U + tile.firstKey);
  const deltas = new Float32Array(BLOCK);
  for (let r = 0; r < BLOCK; r += 1) deltas[r] = ditherOf(word, ditherRow(seed, tile.firstQuery + r));
  const where = `row ${row}, query block ${b}`;
  return { codes, scale: quantizeGroupUnsigned(x, BLOCK, codes, deltas, 'attention dV', where) };
}

function keyCodes(read: Reader, g: AttentionGradient, row: number, b: number): { codes: Int8Array; scale: number } {
  const s = g.shape;
  const codes = new Int8Array(BLOCK);
  const tile = keyTile(s, row, b);
  if (tile === undefined) return { codes, scale: 0 };
  const e = errors(read, s, tile);
  const sq = scalesOf(read, s, 0, tile.head, tile.firstQuery, BLOCK);
  const seed = g.seedK();
  const columns = new Int32Array(BLOCK);
  for (let r = 0; r < BLOCK; r += 1) {
    e[r] = f32(e[r] * sq[r]);
    columns[r] = ditherRow(seed, tile.firstQuery + r);
  }
  const dither: GroupDither = { columns, first: 0, row: ditherColumn(seed, tile.head * g.U + tile.firstKey) };
  const where = (): string => `row ${row}, query block ${b}`;
  return { codes, scale: quantizeGroup(e, 0, BLOCK, codes, 0, dither, 'attention dK', where) };
}

function queryCodes(read: Reader, g: AttentionGradient, row: number, b: number): { codes: Int8Array; scale: number } {
  const s = g.shape;
  const codes = new Int8Array(BLOCK);
  const { head, token, start, block } = place(s, row);
  const keys = keyBlock(s, block, b);
  const { count } = keysOf(s, token, keys);
  if (count === 0) return { codes, scale: 0 };
  const firstKey = start + BLOCK * keys;
  const e = new Float32Array(BLOCK);
  e.set(errors(read, s, { head, firstQuery: token, queries: 1, firstKey, keys: count }));
  const sk = scalesOf(read, s, 1, head, firstKey, count);
  const seed = g.seedQ();
  const columns = new Int32Array(BLOCK);
  for (let j = 0; j < BLOCK; j += 1) {
    if (j < count) e[j] = f32(e[j] * sk[j]);
    columns[j] = ditherColumn(seed, head * g.U + firstKey + j);
  }
  const dither: GroupDither = { columns, first: 0, row: ditherRow(seed, token) };
  const where = (): string => `row ${row}, key block ${b}`;
  return { codes, scale: quantizeGroup(e, 0, BLOCK, codes, 0, dither, 'attention dQ', where) };
}

const GRADIENT = { V: valueCodes, K: keyCodes, Q: queryCodes } as const;
/** Which of the three gradients. */
export type GradientPart = keyof typeof GRADIENT;

function groupInputs(g: AttentionGradient, part: GradientPart, difference: Source): Source[] {
  return part === 'V' ? gradientInputs(g) : [...gradientInputs(g), difference];
}

/** u8 (V) or i8 [H, T, 64]: codes of one gradient over block `b` of queries (V, K) or keys (Q). */
export function gradientCodesRule(g: AttentionGradient, part: GradientPart, difference: Source, b: number): Rule {
  return {
    kind: `attention.d${part}.codes`,
    inputs: groupInputs(g, part, difference),
    span: rowGroups(BLOCK, BLOCK),
    compute(read, start, out) {
      (out as Int8Array | Uint8Array).set(GRADIENT[part](read, g, Math.floor(start / BLOCK), b).codes);
    },
  };
}

/** f32 [H, T]: their scales. */
export function gradientScalesRule(g: AttentionGradient, part: GradientPart, difference: Source, b: number): Rule {
  return {
    kind: `attention.d${part}.scales`,
    inputs: groupInputs(g, part, difference),
    span: single,
    compute(read, start, out) {
      out[0] = GRADIENT[part](read, g, start, b).scale;
    },
  };
}

/** f32 [T, H·h]: dQ after key block number `b`; it ends with the query's own block. */
export function querySumRule(
  g: AttentionGradient,
  codes: Source,
  scales: Source,
  previous: Source | undefined,
  b: number,
): Rule {
  const s = g.shape;
  const columns = s.H * s.h;
  return {
    kind: 'attention.dQ.sum',
    inputs: [s.transposed, codes, scales, ...(previous === undefined ? [] : [previous])],
    span: single,
    compute(read, start, out) {
      const column = start % columns;
      const head = Math.floor(column / s.h);
      const row = head * s.T + Math.floor(start / columns);
      const { start: sequence, block } = place(s, row);
      const keys = keyBlock(s, block, b);
      if (keys > block) {
        out[0] = read.f32(3, start, 1)[0];
        return;
      }
      const operandRow = partHead(s, 1, head) * s.h + (column % s.h);
      const other = read.i8(0, operandRow * s.T + sequence + BLOCK * keys, BLOCK);
      const term = f32(dot(read.i8(1, row * BLOCK, BLOCK), 0, other, 0, BLOCK) * read.f32(2, row, 1)[0]);
      out[0] = b === 0 ? term : f32(read.f32(3, start, 1)[0] + term);
    },
  };
}

/**
 * f32 [T, G·h]: dV or dK after query block number `b` of the query heads that are number `member` of their groups. The
 * sum of a key begins with its own block of the first member; before that it is +0.
 */
export function keySumRule(
  g: AttentionGradient,
  part: 'V' | 'K',
  codes: Source,
  scales: Source,
  previous: Source | undefined,
  { member, b }: { readonly member: number; readonly b: number },
): Rule {
  const s = g.shape;
  const columns = s.G * s.h;
  const operand = part === 'V' ? g.transposed : s.transposed;
  return {
    kind: `attention.d${part}.sum`,
    inputs: [operand, codes, scales, ...(previous === undefined ? [] : [previous])],
    span: single,
    compute(read, start, out) {
      const column = start % columns;
      const head = Math.floor(column / s.h) * (s.H / s.G) + member;
      const row = head * s.T + Math.floor(start / columns);
      const { start: sequence, block } = place(s, row);
      const queries = queryBlock(s, block, b);
      if (queries < block || queries >= s.context / BLOCK) {
        out[0] = queries < block && member === 0 ? 0 : read.f32(3, start, 1)[0];
        return;
      }
      // Rows of the transposed codes of dO or q.
      const operandRow = head * s.h + (column % s.h);
      const other = read.i8(0, operandRow * s.T + sequence + BLOCK * queries, BLOCK);
      const own = part === 'V' ? read.u8(1, row * BLOCK, BLOCK) : read.i8(1, row * BLOCK, BLOCK);
      const term = f32(dot(own, 0, other, 0, BLOCK) * read.f32(2, row, 1)[0]);
      const isFirst = queries === block && member === 0;
      out[0] = isFirst ? term : f32(read.f32(3, start, 1)[0] + term);
    },
  };
}

/** bf16 [T, (H + 2G)·h]: dq, dk, dv side by side. */
export function attentionGradientRule(shape: AttentionShape, dQ: Source, dK: Source, dV: Source): Rule {
  const { H, G, h } = shape;
  const columns = (H + 2 * G) * h;
  return {
    kind: 'attention.gradient',
    inputs: [dQ, dK, dV],
    span: rowGroups(columns, h),
    compute(read, start, out) {
      const head = Math.floor((start % columns) / h);
      const row = Math.floor(start / columns);
      const part = head < H ? 0 : head < H + G ? 1 : 2;
      const [heads, own] = part === 0 ? [H, head] : [G, head - H - (part - 1) * G];
      const sums = read.f32(part, (row * heads + own) * h, out.length);
      const root = inverseRoot(shape.scalar);
      for (let i = 0; i < out.length; i += 1) out[i] = bf16(part === 2 ? sums[i] : f32(sums[i] * root));
    },
  };
}
