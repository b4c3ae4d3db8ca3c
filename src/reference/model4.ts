/**
 * Codes of weights: row codes for the lanes (`quantizeWeight`) and the packed 4-bit model (`packModel`),
 * `docs/numerics.md` §2.2 and §2.6.
 */
import { GROUP4, nibbleAt, packNibbles, quantizeBlock } from './codes4.js';
import * as K from './constants.js';
import { PANEL, quantizeGroups } from './quantize8.js';
import { recode } from './recode.js';
import { bf16Value, f32 } from './scalars.js';

/** Operation `quantizeWeight`: row codes of θ [N, K], nearest, and their recode [K, N]. */
export function quantizeWeight(a: {
  theta: Float32Array;
  w: Int8Array;
  wScales: Float32Array;
  wt: Int8Array;
  wtScales: Float32Array;
  N: number;
  K: number;
}): void {
  quantizeGroups(a.theta, a.N, a.K, PANEL, a.w, a.wScales, undefined, 'quantizeWeight');
  recode({
    codes: a.w,
    scales: a.wScales,
    out: a.wt,
    outScales: a.wtScales,
    seed: new Uint32Array(4),
    dither: false,
    T: a.N,
    N: a.K,
    t0: 0,
  });
}

/** Operation `packModel`: nearest, blocks of 64 of the flat tensor; 4 bit in nibbles, or 8 bit in two's complement. */
export function packModel(a: {
  x: Float32Array;
  codes: Uint8Array;
  scales: Uint16Array;
  n: number;
  bits: 4 | 8;
}): void {
  const inverseC = a.bits === 4 ? K.F32_Q4_R : K.F32_MODEL8_R;
  const codes = new Int8Array(GROUP4);
  for (let start = 0; start < a.n; start += GROUP4) {
    const count = Math.min(GROUP4, a.n - start);
    a.scales[start >>> 6] = quantizeBlock(a.x, start, count, inverseC, undefined, codes, 'packModel');
    if (a.bits === 4) packNibbles(codes, count, a.codes, start);
    else for (let i = 0; i < count; i += 1) a.codes[start + i] = codes[i] & 255;
  }
}

/** Operation `unpackModel`: float(code) × scale, exact. */
export function unpackModel(a: {
  codes: Uint8Array;
  scales: Uint16Array;
  x: Float32Array;
  n: number;
  bits: 4 | 8;
}): void {
  for (let i = 0; i < a.n; i += 1) {
    const code = a.bits === 4 ? nibbleAt(a.codes, i) : (a.codes[i] << 24) >> 24;
    a.x[i] = f32(code * bf16Value(a.scales[i >>> 6]));
  }
}
