/**
 * Token and position embeddings and their gradients, and the loss of a unit: `docs/numerics.md` §4.
 */
import { PANEL } from './quantize8.js';
import { bf16, bf16Row, f32, inverse } from './scalars.js';
import { RowScatter, rowSum } from './sums.js';

/** Operation `embed`: x[t,c] = bf16(wte[token,c] + wpe[t mod context,c]). */
export function embed(a: {
  tokens: Uint32Array;
  wte: Float32Array;
  wpe: Float32Array;
  x: Uint16Array;
  T: number;
  C: number;
  context: number;
}): void {
  const { C } = a;
  for (let t = 0; t < a.T; t += 1) {
    const tokenOffset = a.tokens[t] * C;
    const positionOffset = (t % a.context) * C;
    for (let c = 0; c < C; c += 1) a.x[t * C + c] = bf16(f32(a.wte[tokenOffset + c] + a.wpe[positionOffset + c]));
  }
}

/** Operation `embedScaled`: x[t,c] = bf16(wte[token,c] · scale). */
export function embedScaled(a: {
  tokens: Uint32Array;
  wte: Float32Array;
  x: Uint16Array;
  T: number;
  C: number;
  scale: number;
}): void {
  const { C } = a;
  for (let t = 0; t < a.T; t += 1) {
    const tokenOffset = a.tokens[t] * C;
    for (let c = 0; c < C; c += 1) a.x[t * C + c] = bf16(f32(a.wte[tokenOffset + c] * a.scale));
  }
}

interface TableArguments {
  tokens: Uint32Array;
  targets: Uint32Array;
  a: Int8Array;
  aScales: Float32Array;
  dx: Uint16Array;
  dWte: Float32Array;
  U: number;
  C: number;
  V: number;
}

/** dWte becomes (dense − S1) + S2, the terms of S2 times `scale`. `row` sees each token's dx. */
function tableGradient(a: TableArguments, scale: number, row: (t: number, dx: Float32Array) => void): void {
  const { U, C, V } = a;
  const inverseTokens = inverse(U);
  const targetSums = new RowScatter(V, C);
  const tokenSums = new RowScatter(V, C);
  const terms = new Float32Array(C);
  for (let t = 0; t < U; t += 1) {
    for (let c = 0; c < C; c += 1) {
      const codeScale = a.aScales[Math.floor(c / PANEL) * U + t];
      terms[c] = f32(f32(a.a[t * C + c] * codeScale) * inverseTokens);
    }
    targetSums.add(a.targets[t], terms);
    bf16Row(a.dx, t * C, C, terms);
    row(t, terms);
    for (let c = 0; c < C; c += 1) terms[c] = f32(terms[c] * scale);
    tokenSums.add(a.tokens[t], terms);
  }
  for (let i = 0; i < V * C; i += 1) a.dWte[i] = f32(f32(a.dWte[i] - targetSums.sums[i]) + tokenSums.sums[i]);
}

/**
 * Operation `embedBackward`, for a whole unit. dWte holds the head's dense part on entry and becomes
 * (dense − S1) + S2; dWpe becomes the sums over positions.
 */
export function embedBackward(a: TableArguments & { dWpe: Float32Array; context: number }): void {
  const positionSums = new RowScatter(a.context, a.C);
  // A factor of 1 changes no bit.
  tableGradient(a, 1, (t, dx) => positionSums.add(t % a.context, dx));
  a.dWpe.set(positionSums.sums);
}

/** Operation `embedScaledBackward`: the same without positions, through the factor of `embedScaled`. */
export function embedScaledBackward(a: TableArguments & { scale: number }): void {
  tableGradient(a, a.scale, () => {});
}

/** Operation `unitLoss`: rowsum(loss) × 1/U. */
export function unitLoss(a: { loss: Float32Array; out: Float32Array; U: number }): void {
  a.out[0] = f32(rowSum(a.loss, 0, a.U) * inverse(a.U));
}
