/**
 * Random arguments for the parts of every fusion: those of its operations, with one array where they share a tensor.
 */
import type { FusionName, FusionParts } from '../../src/backend/fusions.js';
import type { Arguments } from './kernelArguments.js';

type Make = { [F in FusionName]: (a: Arguments) => FusionParts<F> };

const panels = (k: number): number => Math.ceil(k / 1024);
const outF = (n: number): Float32Array => new Float32Array(n).fill(-99);

const out16 = (n: number): Uint16Array => new Uint16Array(n).fill(999);
const out8 = (n: number): Int8Array => new Int8Array(n).fill(99);

/** Shape of attention: heads, their size, and tokens of one or several sequences; a width that is a multiple of 64. */
function attention(a: Arguments) {
  const [h, context] = [a.r.pick([32, 64, 128, 256]), 64 * a.r.between(1, 3)];
  const H = h === 32 ? 2 * a.r.between(1, 2) : a.r.between(1, 2);
  const T = context * a.r.between(1, 2);
  return { h, H, T, context, C: h * H };
}

/** Fresh legal arguments of each fusion's parts. */
export const MAKE_FUSION: Make = {
  weightGradient4: (a) => {
    const [N, K, T] = [a.r.between(1, 70), a.r.pick([64, 128, 320]), a.contracted()];
    const dw = outF(N * K);
    const leaves = Math.ceil((N * K) / 256);
    return [
      {
        et: a.codes(N * T, T),
        etScales: a.scales(panels(T) * N),
        xt: a.codes(K * T, T),
        xtScales: a.scales(panels(T) * K),
        dw,
        N,
        K,
        T,
        accumulate: false,
      },
      {
        x: dw,
        codes: new Uint8Array(leaves * 128).fill(7),
        scales: new Uint16Array(leaves * 4).fill(999),
        seed: a.seed(),
        rows: N,
        cols: K,
      },
    ];
  },
  attentionForwardRows: (a) => {
    const { H, T, context, C } = attention(a);
    const o = out16(T * C);
    return [
      {
        qkv: a.codes(3 * T * C, C),
        qkvScales: a.scales(3 * H * T, a.r.pick([-9, -7, -5])),
        o,
        lambda: outF(H * T),
        T,
        C,
        H,
        context,
      },
      { x: o, codes: out8(T * C), scales: outF(panels(C) * T), T, N: C },
    ];
  },
  groupedAttentionForwardRows: (a) => {
    const { h, H, T, context, C } = attention(a);
    const G = a.r.pick([1, H]);
    const o = out16(T * C);
    return [
      {
        qkv: a.codes(T * (H + 2 * G) * h, h),
        qkvScales: a.scales((H + 2 * G) * T, -7),
        o,
        lambda: outF(H * T),
        T,
        H,
        G,
        h,
        context,
        window: a.r.pick([0, 64, 128]),
        scalar: h,
      },
      { x: o, codes: out8(T * C), scales: outF(panels(C) * T), T, N: C },
    ];
  },
  attentionBackwardRows: (a) => {
    const { H, T, context, C } = attention(a);
    const dqkv = out16(3 * T * C);
    const t0 = context * a.r.between(0, 2);
    return [
      {
        qkv: a.codes(3 * T * C, C),
        qkvScales: a.scales(3 * H * T, -7),
        dO: a.codes(T * C, C),
        dOScales: a.scales(H * T, -20),
        lambda: a.calm(H * T, 2, 2),
        dqkv,
        seedV: a.seed(),
        seedK: a.seed(),
        seedQ: a.seed(),
        T,
        C,
        H,
        context,
        t0,
        U: t0 + T,
      },
      {
        x: dqkv,
        codes: out8(3 * T * C),
        scales: outF(panels(3 * C) * T),
        bias: a.bias(3 * C),
        seed: a.seed(),
        T,
        N: 3 * C,
        t0,
        accumulate: a.r.flag(),
      },
    ];
  },
};
