/**
 * The head of a tape, the same in every family: tied to the token table, its loss, and the gradient of its input.
 */
import { PURPOSE } from '../backend/ops.js';
import type { Bf16, Codes, F32, Gpt, I8, U32 } from './gptForward.js';
import { none, slice } from './tape.js';

const vocabularyRows = (g: Gpt): number => g.layout.byName('wte').rows;

export interface HeadBuffers {
  /** Codes of the final norm [T, C]. */
  readonly norm: Codes;
  /** Softmax codes [T, V] and their scales. */
  readonly error: { readonly e: I8; readonly eScales: F32 };
  /** Gradient of the final norm's output [T, C]. */
  readonly dx: Bf16;
  /** Losses of the unit [U]. */
  readonly loss: F32;
}

/** Losses of a micro-batch of T tokens from t0 on, its softmax codes, and the gradient of the head's input. */
export function trainingHead(
  g: Gpt,
  { norm, error, dx, loss }: HeadBuffers,
  seed: (weight: 'wte', purpose: number) => U32,
  T: number,
  t0: number,
  U: number,
): void {
  const { width: C, vocab } = g.recipe;
  const V = vocabularyRows(g);
  const targets = slice(g.targets, t0, T);
  g.b.push('headForward', 'head.forward', {
    a: norm.codes,
    aScales: norm.scales,
    ...g.w('wte'),
    targets,
    codes: error.e,
    eScales: error.eScales,
    loss: slice(loss, t0, T),
    seed: seed('wte', PURPOSE.probabilities),
    T,
    C,
    V,
    vocab,
    t0,
    U,
  });
  const operands = { ...error, ...g.wt('wte'), ...g.w('wte') };
  g.b.push('headInputGradient', 'head.inputGradient', { ...operands, targets, dx, T, V, C, U });
}

/** The head of an evaluation of T tokens: their losses, or with `logits` all their logits. */
export function evaluationHead(g: Gpt, norm: Codes, loss: F32, T: number, logits: boolean): void {
  const { width: C, vocab } = g.recipe;
  const V = vocabularyRows(g);
  const operands = { a: norm.codes, aScales: norm.scales, ...g.w('wte') };
  if (logits) {
    g.b.push('headLogits', 'head.logits', { ...operands, logits: g.b.buffer('logits', 'f32', T * V), T, C, V });
    return;
  }
  g.b.push('headForward', 'head.forward', {
    ...operands,
    targets: g.targets,
    codes: none(norm.codes),
    eScales: none(norm.scales),
    loss,
    seed: g.noSeed,
    T,
    C,
    V,
    vocab,
    t0: 0,
    U: T,
  });
}
