/**
 * Causal attention, backward: `docs/numerics.md` §4, attentionBackward.
 *
 * The strip of one query block is computed once: probabilities P and their gradients γ. D is summed from these same
 * P and γ, because with dO·o in its place the difference γ − D would lose all digits for peaked heads.
 */
import {
  type AttentionSizes,
  BLOCK,
  firstBlock,
  firstKeyOf,
  type HeadView,
  partOffset,
  partScale,
  plainSizes,
  queryFactor,
  scoreRow,
} from './attention.js';
import { ditherColumn, ditherOf, ditherRows } from './dither.js';
import { dot } from './gemm.js';
import { type GroupDither, quantizeGroup, quantizeGroupUnsigned } from './quantize8.js';
import { bf16, exp2c, f32, inverseRoot } from './scalars.js';
import { t64 } from './sums.js';

interface BackwardArguments {
  qkv: Int8Array;
  qkvScales: Float32Array;
  dO: Int8Array;
  dOScales: Float32Array;
  lambda: Float32Array;
  dqkv: Uint16Array;
  seedV: Uint32Array;
  seedK: Uint32Array;
  seedQ: Uint32Array;
  t0: number;
  U: number;
}

/** One query head of one sequence: f32 accumulators [length, h], row words of the dither per token of the sequence. */
interface Sums {
  readonly start: number;
  readonly length: number;
  /** The first query head of its group: its diagonal blocks begin dK and dV. */
  readonly isFirst: boolean;
  readonly dQ: Float32Array;
  readonly dK: Float32Array;
  readonly dV: Float32Array;
  readonly rowsV: Int32Array;
  readonly rowsK: Int32Array;
  readonly rowsQ: Int32Array;
}

/** Operation `attentionBackward`. dqkv bf16 [T, 3C]. */
export function attentionBackward(a: BackwardArguments & { T: number; C: number; H: number; context: number }): void {
  differentiate(a, plainSizes(a));
}

/** Operation `groupedAttentionBackward`. dqkv bf16 [T, (H + 2G)·h]; dK and dV of a head go on over its query heads. */
export function groupedAttentionBackward(a: BackwardArguments & AttentionSizes): void {
  differentiate(a, a);
}

function differentiate(a: BackwardArguments, sizes: AttentionSizes): void {
  const { T, H, G, h, context, window, scalar } = sizes;
  const root = inverseRoot(scalar);
  for (let start = 0; start < T; start += context) {
    const length = Math.min(context, T - start);
    const firstRow = a.t0 + start;
    let dK = new Float32Array(0);
    let dV = new Float32Array(0);
    for (let head = 0; head < H; head += 1) {
      const view: HeadView = { qkv: a.qkv, scales: a.qkvScales, T, H, G, h, context, window, scalar, head };
      const isFirst = head % (H / G) === 0;
      if (isFirst) {
        dK = new Float32Array(length * h);
        dV = new Float32Array(length * h);
      }
      const sums: Sums = {
        start,
        length,
        isFirst,
        dQ: new Float32Array(length * h),
        dK,
        dV,
        rowsV: ditherRows(a.seedV, firstRow, length),
        rowsK: ditherRows(a.seedK, firstRow, length),
        rowsQ: ditherRows(a.seedQ, firstRow, length),
      };
      for (let query = 0; query < length; query += BLOCK) queryBlock(a, view, sums, query);
      for (let t = 0; t < length; t += 1) {
        const qOffset = partOffset(view, 0, start + t);
        const kOffset = partOffset(view, 1, start + t);
        const vOffset = partOffset(view, 2, start + t);
        for (let d = 0; d < h; d += 1) {
          a.dqkv[qOffset + d] = bf16(f32(sums.dQ[t * h + d] * root));
          a.dqkv[kOffset + d] = bf16(f32(sums.dK[t * h + d] * root));
          a.dqkv[vOffset + d] = bf16(sums.dV[t * h + d]);
        }
      }
    }
  }
}

/** All key blocks of the query block that begins `query` tokens into the sequence. */
function queryBlock(a: BackwardArguments, view: HeadView, sums: Sums, query: number): void {
  const rows = Math.min(BLOCK, sums.length - query);
  const width = (query + BLOCK) | 0;
  const firstKey = firstBlock(view, query);
  const P = new Float32Array(BLOCK * width);
  const gamma = new Float32Array(BLOCK * width);
  const D = new Float32Array(BLOCK);
  const terms = new Float32Array(BLOCK);
  for (let r = 0; r < rows; r += 1) {
    const i = (sums.start + query + r) | 0;
    probabilities(a, view, i, sums.start, (query + r + 1) | 0, P, gamma, (r * width) | 0);
    for (let key = firstKey; key < width; key += BLOCK) {
      for (let j = 0; j < BLOCK; j += 1) terms[j] = f32(P[r * width + key + j] * gamma[r * width + key + j]);
      const sum = t64(terms, 0);
      D[r] = key === firstKey ? sum : f32(D[r] + sum);
    }
  }
  // P becomes x = P·sdo, γ becomes e = x·(γ − D). Masked entries stay +0.
  for (let r = 0; r < rows; r += 1) {
    const sdo = a.dOScales[view.head * view.T + sums.start + query + r];
    for (let j = firstKeyOf(view, query + r); j <= query + r; j += 1) {
      const x = f32(P[r * width + j] * sdo);
      gamma[r * width + j] = f32(x * f32(gamma[r * width + j] - D[r]));
      P[r * width + j] = x;
    }
  }
  for (let key = firstKey; key < width; key += BLOCK) {
    keyGradients(a, view, sums, query, key, rows, P, gamma, width);
    queryGradients(a, view, sums, query, key, rows, gamma, width);
  }
}

/** P and γ of query i against those of the first `count` keys of its sequence that it sees; the rest of the row is +0. */
function probabilities(
  a: BackwardArguments,
  view: HeadView,
  i: number,
  sequenceStart: number,
  count: number,
  P: Float32Array,
  gamma: Float32Array,
  rowStart: number,
): void {
  const factor = queryFactor(view, i);
  const lambda = a.lambda[view.head * view.T + i];
  const dOOffset = ((i * view.H + view.head) * view.h) | 0;
  const from = firstKeyOf(view, count - 1);
  scoreRow(view, i, sequenceStart, count, P.subarray(rowStart, rowStart + count));
  P.fill(0, rowStart, rowStart + from);
  for (let j = from; j < count; j += 1) {
    const z = f32(f32(P[rowStart + j] * factor) - lambda);
    P[rowStart + j] = exp2c(z > 0 ? 0 : z);
    const acc = dot(a.dO, dOOffset, view.qkv, partOffset(view, 2, sequenceStart + j), view.h);
    gamma[rowStart + j] = f32(acc * partScale(view, 2, sequenceStart + j));
  }
}

const column = new Float32Array(BLOCK);
const deltas = new Float32Array(BLOCK);
const words = new Int32Array(BLOCK);
const unsignedCodes = new Uint8Array(BLOCK);
const signedCodes = new Int8Array(BLOCK);

/** dV and dK of one tile: groups are (key, query block), dithered per query. */
function keyGradients(
  a: BackwardArguments,
  view: HeadView,
  sums: Sums,
  query: number,
  key: number,
  rows: number,
  x: Float32Array,
  e: Float32Array,
  width: number,
): void {
  const { h, head } = view;
  const keys = Math.min(BLOCK, sums.length - key);
  const isFirst = key === query && sums.isFirst;
  const firstQuery = (sums.start + query) | 0;
  for (let j = 0; j < keys; j += 1) {
    const token = (a.t0 + sums.start + key + j) | 0;
    const n = (head * a.U + token) | 0;
    const where = `head ${head}, key ${sums.start + key + j}, queries from ${firstQuery}`;
    const sumOffset = (key + j) * h;

    const wordV = ditherColumn(a.seedV, n);
    for (let r = 0; r < rows; r += 1) {
      column[r] = x[r * width + key + j];
      deltas[r] = ditherOf(wordV, sums.rowsV[query + r]);
    }
    const scaleV = quantizeGroupUnsigned(column, rows, unsignedCodes, deltas, 'attentionBackward dV', where);
    for (let d = 0; d < h; d += 1) {
      let acc = 0;
      for (let r = 0; r < rows; r += 1) {
        acc = (acc + Math.imul(unsignedCodes[r], a.dO[((firstQuery + r) * view.H + head) * h + d])) | 0;
      }
      const term = f32(acc * scaleV);
      sums.dV[sumOffset + d] = isFirst ? term : f32(sums.dV[sumOffset + d] + term);
    }

    // The column word is the group's own, the row words differ: the roles of the two are exchanged in the xor.
    for (let r = 0; r < rows; r += 1) {
      column[r] = f32(e[r * width + key + j] * partScale(view, 0, firstQuery + r));
      words[r] = sums.rowsK[query + r];
    }
    const dither: GroupDither = { columns: words, first: 0, row: ditherColumn(a.seedK, n) };
    const scaleK = quantizeGroup(column, 0, rows, signedCodes, 0, dither, 'attentionBackward dK', () => where);
    for (let d = 0; d < h; d += 1) {
      let acc = 0;
      for (let r = 0; r < rows; r += 1) {
        acc = (acc + Math.imul(signedCodes[r], view.qkv[partOffset(view, 0, firstQuery + r) + d])) | 0;
      }
      const term = f32(acc * scaleK);
      sums.dK[sumOffset + d] = isFirst ? term : f32(sums.dK[sumOffset + d] + term);
    }
  }
}

/** dQ of one tile: groups are (query, key block), dithered per key. */
function queryGradients(
  a: BackwardArguments,
  view: HeadView,
  sums: Sums,
  query: number,
  key: number,
  rows: number,
  e: Float32Array,
  width: number,
): void {
  const { h, head } = view;
  const keys = Math.min(BLOCK, sums.length - key);
  const firstKey = (sums.start + key) | 0;
  for (let j = 0; j < keys; j += 1) words[j] = ditherColumn(a.seedQ, (head * a.U + a.t0 + firstKey + j) | 0);
  for (let r = 0; r < rows; r += 1) {
    for (let j = 0; j < keys; j += 1) column[j] = f32(e[r * width + key + j] * partScale(view, 1, firstKey + j));
    const dither: GroupDither = { columns: words, first: 0, row: sums.rowsQ[query + r] };
    const where = (): string => `head ${head}, query ${sums.start + query + r}, keys from ${firstKey}`;
    const scale = quantizeGroup(column, 0, keys, signedCodes, 0, dither, 'attentionBackward dQ', where);
    const sumOffset = (query + r) * h;
    for (let d = 0; d < h; d += 1) {
      let acc = 0;
      for (let j = 0; j < keys; j += 1) {
        acc = (acc + Math.imul(signedCodes[j], view.qkv[partOffset(view, 1, firstKey + j) + d])) | 0;
      }
      const term = f32(acc * scale);
      sums.dQ[sumOffset + d] = key === firstBlock(view, query) ? term : f32(sums.dQ[sumOffset + d] + term);
    }
  }
}
