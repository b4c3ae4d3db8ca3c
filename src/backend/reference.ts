/**
 * The reference backend: the executable specification as kernels. Slow, without Node imports, the last fallback.
 */
import { commitLeaves } from '../reference/adamw.js';
import { attentionForward, groupedAttentionForward } from '../reference/attention.js';
import { attentionBackward, groupedAttentionBackward } from '../reference/attentionBackward.js';
import { diffModel, patchModel } from '../reference/diffModel.js';
import { embed, embedBackward, embedScaled, embedScaledBackward, unitLoss } from '../reference/embedding.js';
import { addRows, geluGradientRows, geluRows, quantizeHeads, roundRows } from '../reference/epilogues.js';
import { gemm, weightGradient } from '../reference/gemm.js';
import {
  gainPlusOne,
  geglu,
  gegluGradient,
  linearRows,
  normResidual,
  rotateHeads,
  rotateHeadsBackward,
} from '../reference/gemma.js';
import { dequantize4, quantize4 } from '../reference/gradient4.js';
import { headForward, headInputGradient, headLogits } from '../reference/head.js';
import {
  linearGelu,
  linearGeluInputGradient,
  linearHeadsInputGradient,
  linearInputGradient,
  linearQkv,
  linearResidual,
} from '../reference/linear.js';
import { packModel, quantizeWeight, unpackModel } from '../reference/model4.js';
import { normBackward, normForward } from '../reference/norm.js';
import { quantizeGradientRows, quantizeRows } from '../reference/quantize8.js';
import { recode } from '../reference/recode.js';
import type { Kernels } from './ops.js';
import type { Backend, BackendMiss } from './types.js';

/** Every operation of the registry, by the specification. */
export const referenceKernels: Kernels = {
  fillZero: (a) => {
    a.x.fill(0);
  },
  embed,
  normForward,
  normBackward,
  gemm,
  linearQkv,
  linearResidual,
  linearGelu,
  attentionForward,
  attentionBackward,
  quantizeRows,
  quantizeGradientRows,
  recode,
  linearInputGradient,
  linearHeadsInputGradient,
  linearGeluInputGradient,
  weightGradient,
  quantizeHeads,
  addRows,
  geluRows,
  roundRows,
  geluGradientRows,
  headForward,
  headLogits,
  headInputGradient,
  embedBackward,
  unitLoss,
  quantize4,
  dequantize4,
  quantizeWeight,
  commitLeaves,
  packModel,
  unpackModel,
  diffModel,
  patchModel,
  gainPlusOne,
  embedScaled,
  embedScaledBackward,
  linearRows,
  normResidual,
  rotateHeads,
  rotateHeadsBackward,
  groupedAttentionForward,
  groupedAttentionBackward,
  geglu,
  gegluGradient,
};

/** Wraps each kernel so that its calls are counted: a forced backend that was never called must not pass a test. */
function counted(kernels: Kernels, count: () => void): Kernels {
  const wrapped = Object.entries(kernels).map(([name, kernel]) => [
    name,
    (argument: never): void => {
      count();
      (kernel as (a: never) => void)(argument);
    },
  ]);
  return Object.fromEntries(wrapped) as Kernels;
}

/** @param misses backends that come earlier in the order and were not taken, with their reasons */
export function openReferenceBackend(misses: readonly BackendMiss[] = []): Backend {
  let calls = 0;
  const kernels = counted(referenceKernels, () => {
    calls += 1;
  });
  return { name: 'reference', isa: 'typescript', features: [], kernels, misses, kernelCalls: () => calls };
}
