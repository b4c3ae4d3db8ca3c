/**
 * Random arguments for the parts of every fusion: those of its operations, with one array where they share a tensor.
 */
import type { FusionName, FusionParts } from '../../src/backend/fusions.js';
import type { Arguments } from './kernelArguments.js';

type Make = { [F in FusionName]: (a: Arguments) => FusionParts<F> };

const panels = (k: number): number => Math.ceil(k / 1024);
const outF = (n: number): Float32Array => new Float32Array(n).fill(-99);

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
};
