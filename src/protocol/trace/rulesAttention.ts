// exact-arithmetic
/**
 * Rules of causal attention (docs/numerics.md §4, attentionForward and attentionBackward), block by block: every block of
 * 64 keys (or queries) has its statistics, codes and running sums committed, so that no check reads more than one block.
 */
import * as K from '../../reference/constants.js';
import { ditherColumn, ditherOf, ditherRow } from '../../reference/dither.js';
import { dot } from '../../reference/gemm.js';
import { type GroupDither, quantizeGroup, quantizeGroupUnsigned } from '../../reference/quantize8.js';
import { bf16, exp2, exp2c, f32, inverseRoot, log2 } from '../../reference/scalars.js';
import { t64 } from '../../reference/sums.js';
import { type Reader, type Rule, rowGroups, type Source, single } from './program.js';

/** Queries or keys of one block. */
export const BLOCK = 64;

/** Sizes of attention (docs/numerics.md §4). */
export interface AttentionSizes {
  readonly T: number;
  readonly H: number;
  /** Heads of keys and of values. */
  readonly G: number;
  /** Head size. */
  readonly h: number;
  readonly context: number;
  /** Keys that a query sees; 0: all. */
  readonly window: number;
  /** Scores are divided by its root. */
  readonly scalar: number;
}

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
function keyBlock({ window }: AttentionSizes, block: number, b: number): number {
  return window === 0 ? b : Math.max(0, block - window / BLOCK) + b;
}

/** Query block number b of those that see keys of `block`; with a window counted from the keys' own. */
function queryBlock({ window }: AttentionSizes, block: number, b: number): number {
  return window === 0 ? b : block + b;
}

/** Whether a query sees a key; both are tokens of one sequence. */
function sees({ window }: AttentionSizes, query: number, key: number): boolean {
  return key <= query && (window === 0 || key > query - window);
}

type Part = 0 | 1 | 2;

/** Inputs 0, 1, 2 of every rule here. */
const common = (shape: AttentionShape): Source[] => [shape.heads, shape.transposed, shape.scales];

/** Head of a row of qkv that query head `head` reads for a part. */
const partHead = ({ H, G }: AttentionSizes, part: Part, head: number): number =>
  part === 0 ? head : H + (part - 1) * G + Math.floor(head / (H / G));

const rowsOf = (read: Reader, s: AttentionShape, part: Part, head: number, token: number, count: number): Int8Array =>
  read.i8(0, (partHead(s, part, head) * s.T + token) * s.h, count * s.h);

const columnOf = (
  read: Reader,
  s: AttentionShape,
  part: Part,
  head: number,
  d: number,
  token: number,
  count: number,
): Int8Array => read.i8(1, (partHead(s, part, head) * s.h + d) * s.T + token, count);

const scalesOf = (
  read: Reader,
  s: AttentionShape,
  part: Part,
  head: number,
  token: number,
  count: number,
): Float32Array => read.f32(2, partHead(s, part, head) * s.T + token, count);

/** a_i. */
function factorOf(scale: number, scalar: number): number {
  return f32(f32(scale) * f32(K.F32_LOG2E / f32(Math.sqrt(scalar))));
}

/** Place of (head, token) index `row` of [H, T] in its sequence. */
function place(s: AttentionShape, row: number): { head: number; token: number; start: number; block: number } {
  const token = row % s.T;
  const inside = token % s.context;
  return { head: Math.floor(row / s.T), token, start: token - inside, block: Math.floor(inside / BLOCK) };
}

/** Keys of block `b` that query `token` sees are those from `from` up to `count`; none: both are 0. */
function keysOf(s: AttentionShape, token: number, b: number): { readonly from: number; readonly count: number } {
  const inside = (token % s.context) - BLOCK * b;
  const count = Math.max(0, Math.min(BLOCK, inside + 1));
  const from = s.window === 0 ? 0 : Math.max(0, inside + 1 - s.window);
  return from < count ? { from, count } : { from: 0, count: 0 };
}

/**
 * Number of the first block in which a query sees a key: 0, or 1 for the last query of a block whose window begins at a
 * block's end.
 */
function firstNumber(s: AttentionShape, token: number, block: number): number {
  return keysOf(s, token, keyBlock(s, block, 0)).count > 0 ? 0 : 1;
}

interface ForwardBlock {
  /** Maximum of the scores; 0 where the block is masked altogether, as are the rest. */
  readonly m: number;
  readonly l: number;
  readonly scale: number;
  readonly codes: Uint8Array;
}

function forwardBlock(read: Reader, s: AttentionShape, row: number, b: number): ForwardBlock {
  const codes = new Uint8Array(BLOCK);
  const { head, token, start, block } = place(s, row);
  const keys = keyBlock(s, block, b);
  const { from, count } = keysOf(s, token, keys);
  if (count === 0) return { m: 0, l: 0, scale: 0, codes };
  const firstKey = start + BLOCK * keys;
  const q = rowsOf(read, s, 0, head, token, 1);
  const k = rowsOf(read, s, 1, head, firstKey, count);
  const sk = scalesOf(read, s, 1, head, firstKey, count);
  const sv = scalesOf(read, s, 2, head, firstKey, count);
  const factor = factorOf(scalesOf(read, s, 0, head, token, 1)[0], s.scalar);
  const u = new Float32Array(count);
  for (let j = 0; j < count; j += 1) u[j] = f32(dot(q, 0, k, j * s.h, s.h) * sk[j]);
  let m = u[from];
  for (let j = from + 1; j < count; j += 1) m = u[j] > m ? u[j] : m;
  m = f32(m + 0);
  const p = new Float32Array(BLOCK);
  const x = new Float32Array(BLOCK);
  for (let j = from; j < count; j += 1) {
    p[j] = exp2c(f32(f32(u[j] - m) * factor));
    x[j] = f32(p[j] * sv[j]);
  }
  const scale = quantizeGroupUnsigned(x, BLOCK, codes, undefined, 'attention', `row ${row}, block ${b}`);
  return { m, l: t64(p, 0), scale, codes };
}

/** f32 [H, T, 3]: maximum, sum and code scale of key block number `b` for each query. */
export function statisticsRule(shape: AttentionShape, b: number): Rule {
  return {
    kind: 'attention.statistics',
    inputs: common(shape),
    span: rowGroups(3, 3),
    compute(read, start, out) {
      const { m, l, scale } = forwardBlock(read, shape, Math.floor(start / 3), b);
      out[0] = m;
      out[1] = l;
      out[2] = scale;
    },
  };
}

/** u8 [H, T, 64]: codes of p·sv over key block `b`. */
export function probabilityCodesRule(shape: AttentionShape, b: number): Rule {
  return {
    kind: 'attention.codes',
    inputs: common(shape),
    span: rowGroups(BLOCK, BLOCK),
    compute(read, start, out) {
      (out as Uint8Array).set(forwardBlock(read, shape, Math.floor(start / BLOCK), b).codes);
    },
  };
}

/** α and w of a block: what the sums before it, and its own, are multiplied with. */
function weights(M: number, m: number, factor: number): { next: number; alpha: number; weight: number } {
  const next = m > M ? m : M;
  return { next, alpha: exp2(f32(f32(M - next) * factor)), weight: exp2(f32(f32(m - next) * factor)) };
}

/** f32 [H, T, 2]: maximum and sum after key block `b`. */
export function runningRule(shape: AttentionShape, statistics: Source, previous: Source | undefined, b: number): Rule {
  return {
    kind: 'attention.running',
    inputs: [...common(shape), statistics, ...(previous === undefined ? [] : [previous])],
    span: rowGroups(2, 2),
    compute(read, start, out) {
      const row = Math.floor(start / 2);
      const { head, token, block } = place(shape, row);
      if (keyBlock(shape, block, b) > block) {
        (out as Float32Array).set(read.f32(4, start, 2));
        return;
      }
      // Before its first block a query has zeros, as that block has for it.
      const [m, l] = read.f32(3, 3 * row, 2);
      if (b <= firstNumber(shape, token, block)) {
        out[0] = m;
        out[1] = l;
        return;
      }
      const [M, before] = read.f32(4, start, 2);
      const factor = factorOf(scalesOf(read, shape, 0, head, token, 1)[0], shape.scalar);
      const { next, alpha, weight } = weights(M, m, factor);
      out[0] = next;
      out[1] = f32(f32(before * alpha) + f32(l * weight));
    },
  };
}

/** f32 [T, H·h]: the mix of values after key block `b`, not yet divided by the sum. */
export function mixRule(
  shape: AttentionShape,
  statistics: Source,
  codes: Source,
  previous: { readonly running: Source; readonly mix: Source } | undefined,
  b: number,
): Rule {
  const columns = shape.H * shape.h;
  return {
    kind: 'attention.mix',
    inputs: [...common(shape), statistics, codes, ...(previous === undefined ? [] : [previous.running, previous.mix])],
    span: single,
    compute(read, start, out) {
      const token = Math.floor(start / columns);
      const column = start % columns;
      const head = Math.floor(column / shape.h);
      const row = head * shape.T + token;
      const { start: sequence, block } = place(shape, row);
      const keys = keyBlock(shape, block, b);
      const { count } = keysOf(shape, token, keys);
      if (count === 0) {
        out[0] = b === 0 ? 0 : read.f32(6, start, 1)[0];
        return;
      }
      const weightsOfKeys = read.u8(4, row * BLOCK, count);
      const v = columnOf(read, shape, 2, head, column % shape.h, sequence + BLOCK * keys, count);
      const [m, , scale] = read.f32(3, 3 * row, 3);
      const mixed = f32(dot(weightsOfKeys, 0, v, 0, count) * scale);
      const first = firstNumber(shape, token, block);
      if (b === first) {
        // Who begins late adds to +0.
        out[0] = first === 0 ? mixed : f32(mixed + 0);
        return;
      }
      const factor = factorOf(scalesOf(read, shape, 0, head, token, 1)[0], shape.scalar);
      const { alpha, weight } = weights(read.f32(5, 2 * row, 1)[0], m, factor);
      out[0] = f32(f32(read.f32(6, start, 1)[0] * alpha) + f32(mixed * weight));
    },
  };
}

/** bf16 [T, H·h]: the mix over the sum. */
export function attentionOutputRule(shape: AttentionShape, running: Source, mix: Source): Rule {
  const columns = shape.H * shape.h;
  return {
    kind: 'attention.output',
    inputs: [running, mix],
    span: rowGroups(columns, shape.h),
    compute(read, start, out) {
      const head = Math.floor((start % columns) / shape.h);
      const row = head * shape.T + Math.floor(start / columns);
      const normalizer = f32(1 / read.f32(0, 2 * row + 1, 1)[0]);
      const sums = read.f32(1, start, out.length);
      for (let i = 0; i < out.length; i += 1) out[i] = bf16(f32(sums[i] * normalizer));
    },
  };
}

/** f32 [H, T]: Λ. */
export function lambdaRule(shape: AttentionShape, running: Source): Rule {
  return {
    kind: 'attention.lambda',
    inputs: [...common(shape), running],
    span: single,
    compute(read, start, out) {
      const { head, token } = place(shape, start);
      const [M, l] = read.f32(3, 2 * start, 2);
      const factor = factorOf(scalesOf(read, shape, 0, head, token, 1)[0], shape.scalar);
      out[0] = f32(f32(M * factor) + log2(l));
    },
  };
}

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
