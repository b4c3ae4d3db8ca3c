/**
 * Backward passes of linear layers on a tape: error codes in both orientations, weight gradients. The buffers are shared
 * by all layers.
 */
import { PURPOSE } from '../backend/ops.js';
import type { Bf16, Codes, F32, Gpt, I8 } from './gptForward.js';
import type { Gradients } from './gptGradients.js';
import { slice } from './tape.js';
import { panels } from './weights.js';

export class LinearBackward {
  /** Error codes of either orientation in turn, so their scales have room for both. */
  readonly e: Codes;
  readonly et: Codes;
  readonly xt: Codes;

  /**
   * @param T tokens of a micro-batch
   * @param widest largest number of outputs of a layer, the head's vocabulary included
   * @param deepest largest number of inputs
   */
  constructor(
    readonly g: Gpt,
    readonly gradients: Gradients,
    readonly T: number,
    widest: number,
    deepest: number,
  ) {
    const scales = Math.max(panels(widest) * T, panels(T) * widest);
    const errorBuffer = (name: string): Codes => ({
      codes: g.b.buffer(`${name}.codes`, 'i8', T * widest),
      scales: g.b.buffer(`${name}.scales`, 'f32', scales),
    });
    this.e = errorBuffer('error');
    this.et = errorBuffer('errorTransposed');
    this.xt = g.codes('inputTransposed', deepest, T);
  }

  /** The error codes of a layer with N outputs. */
  error(N: number): { e: I8; eScales: F32 } {
    return { e: slice(this.e.codes, 0, this.T * N), eScales: slice(this.e.scales, 0, panels(N) * this.T) };
  }

  /** dW of a weight [N,K] from the error codes in `from` ([T,N], by default `e`) and the input codes `input`. */
  weightGradient(name: string, input: Codes, N: number, K: number, t0: number, from = this.error(N)): void {
    const { T, gradients } = this;
    const { b } = this.g;
    // The transposed codes go where the codes are not.
    const into = from.e.buffer === this.e.codes.buffer ? this.et : this.e;
    const errorT = { et: slice(into.codes, 0, N * T), etScales: slice(into.scales, 0, panels(T) * N) };
    const inputT = { xt: slice(this.xt.codes, 0, K * T), xtScales: slice(this.xt.scales, 0, panels(T) * K) };
    const seed = gradients.seed(name, PURPOSE.errorRecode);
    b.push('recode', `${name}.recodeError`, {
      codes: from.e,
      scales: from.eScales,
      out: errorT.et,
      outScales: errorT.etScales,
      seed,
      dither: true,
      T,
      N,
      t0,
    });
    b.push('recode', `${name}.recodeInput`, {
      ...input,
      out: inputT.xt,
      outScales: inputT.xtScales,
      seed: this.g.noSeed,
      dither: false,
      T,
      N: K,
      t0,
    });
    const dw = gradients.of(name);
    b.push('weightGradient', `${name}.gradient`, { ...errorT, ...inputT, dw, N, K, T, accumulate: t0 > 0 });
  }

  /** Error codes of a layer with N outputs from the gradient x [T,N] of what it gave. */
  errorRows(name: string, x: Bf16, N: number, t0: number): void {
    const { T, gradients } = this;
    const { recipe } = this.g;
    const bias = recipe.bias ? gradients.of(`${name}.bias`) : this.g.noBias;
    const seed = gradients.seed(`${name}.weight`, PURPOSE.errorRows);
    const { e: codes, eScales: scales } = this.error(N);
    const row = { x, codes, scales, bias, seed, T, N, t0, accumulate: t0 > 0 };
    this.g.b.push('quantizeGradientRows', `${name}.error`, row);
    if (recipe.bias) gradients.done(`${name}.bias`);
  }
}
