/** Cases of attention, the quantizers of the tape, gradients of linears, and the head. */
import {
  type Arguments,
  caseList,
  codes,
  floats,
  halves,
  index,
  inout,
  none,
  out,
  panelCount,
  poked,
  positive,
  quick,
  refused,
  scales,
  tensor,
  type VectorCase,
  words,
} from './vectorCase.js';
import type { TensorSpec } from './vectorInputs.js';

const { add, cases } = caseList();
export const TAPE_CASES: readonly VectorCase[] = cases;

// --- attention ---
function attentionArguments(T: number, C: number, H: number, context: number, e: number): Arguments {
  return {
    qkv: codes(T * 3 * C),
    qkvScales: scales(3 * H * T, e, 2),
    o: out('u16', T * C),
    lambda: out('f32', H * T),
    T,
    C,
    H,
    context,
  };
}
add('attentionForward', 'two sequences of one block', attentionArguments(128, 64, 1, 64, -7), quick);
add('attentionForward', 'two heads, two blocks', attentionArguments(128, 128, 2, 128, -7));
add('attentionForward', 'heads of 32, three blocks, peaked', attentionArguments(192, 64, 2, 192, -5));
const brokenAttention = attentionArguments(64, 64, 1, 64, -7);
const brokenScales = poked(brokenAttention['qkvScales'] as TensorSpec, 100, '7F800000');
add('attentionForward', 'an infinite key scale', { ...brokenAttention, qkvScales: brokenScales }, refused);

function attentionBackwardArguments(T: number, C: number, H: number, context: number, t0: number): Arguments {
  return {
    qkv: codes(T * 3 * C),
    qkvScales: scales(3 * H * T, -6, 2),
    dO: codes(T * C),
    dOScales: scales(H * T, -16, 2),
    lambda: positive(H * T, 2, 2),
    dqkv: out('u16', T * 3 * C),
    seedV: words(),
    seedK: words(),
    seedQ: words(),
    T,
    C,
    H,
    context,
    t0,
    U: t0 + T,
  };
}
add('attentionBackward', 'two sequences of one block', attentionBackwardArguments(128, 64, 1, 64, 0), quick);
add('attentionBackward', 'two heads, two blocks', attentionBackwardArguments(128, 128, 2, 128, 1024));
add('attentionBackward', 'heads of 32, three blocks', attentionBackwardArguments(192, 64, 2, 192, 0));

// --- quantizers of the tape ---
function rowArguments(x: TensorSpec, T: number, N: number): Arguments {
  return { x, codes: out('i8', T * N), scales: out('f32', panelCount(N) * T), T, N };
}
add('quantizeRows', '5 rows of 192', rowArguments(halves(5 * 192), 5, 192), quick);
add('quantizeRows', 'two panels', rowArguments(halves(3 * 1088), 3, 1088));
add('quantizeRows', 'edge values in rows of 64', rowArguments(tensor('u16', 16 * 64, 'edges'), 16, 64), quick);
add('quantizeRows', 'an Inf', rowArguments(poked(halves(2 * 64), 3, 'FF80'), 2, 64), { ...refused, ...quick });

function gradientRowArguments(x: TensorSpec, T: number, N: number, t0: number, bias: TensorSpec): Arguments {
  return { ...rowArguments(x, T, N), bias, seed: words(), t0, accumulate: t0 > 0 };
}
const gradient = (n: number): TensorSpec => halves(n, -20);
add('quantizeGradientRows', 'bias', gradientRowArguments(gradient(70 * 64), 70, 64, 0, out('f32', 64)), quick);
add(
  'quantizeGradientRows',
  'two panels, second micro-batch',
  gradientRowArguments(gradient(3 * 1088), 3, 1088, 1024, inout(floats(1088, -18))),
);
add(
  'quantizeGradientRows',
  'edge values',
  gradientRowArguments(tensor('u16', 16 * 64, 'edges'), 16, 64, 0, none()),
  quick,
);

function recodeArguments(T: number, N: number, dither: boolean, t0: number, e = -10): Arguments {
  return {
    codes: codes(T * N),
    scales: scales(panelCount(N) * T, e, 6),
    out: out('i8', T * N),
    outScales: out('f32', panelCount(T) * N),
    seed: words(),
    dither,
    T,
    N,
    t0,
  };
}
add('recode', 'nearest, 70 x 20', recodeArguments(70, 20, false, 0), quick);
add('recode', 'dithered, 70 x 20', recodeArguments(70, 20, true, 1024), quick);
add('recode', 'two panels of rows', recodeArguments(1088, 5, true, 0));
add('recode', 'two panels of columns', recodeArguments(6, 1030, false, 0));
add('recode', 'below the smallest absmax', recodeArguments(8, 8, true, 0, -108));

// --- gradients of linears ---
function backwardArguments(T: number, N: number, K: number): Arguments {
  const P = panelCount(N);
  return {
    e: codes(T * N),
    eScales: scales(P * T, -20),
    wt: codes(K * N),
    wtScales: scales(P * K),
    T,
    N,
    K,
  };
}
add('linearInputGradient', 'one panel', { ...backwardArguments(5, 192, 64), dx: out('u16', 5 * 64) }, quick);
add('linearInputGradient', 'two panels', { ...backwardArguments(3, 1088, 70), dx: out('u16', 3 * 70) });
add(
  'linearHeadsInputGradient',
  '2 heads of 64',
  {
    ...backwardArguments(5, 128, 128),
    codes: out('i8', 5 * 128),
    scales: out('f32', 2 * 5),
    seed: words(),
    H: 2,
    t0: 64,
  },
  quick,
);
function geluGradientArguments(T: number, N: number, K: number, t0: number, bias: TensorSpec): Arguments {
  return {
    ...backwardArguments(T, N, K),
    derivative: codes(T * K),
    codes: out('i8', T * K),
    scales: out('f32', panelCount(K) * T),
    bias,
    seed: words(),
    t0,
    accumulate: t0 > 0,
  };
}
add('linearGeluInputGradient', 'bias', geluGradientArguments(70, 64, 64, 0, out('f32', 64)), quick);
add(
  'linearGeluInputGradient',
  'two panels, going on',
  geluGradientArguments(3, 64, 1088, 1024, inout(floats(1088, -22))),
);

function weightGradientArguments(N: number, K: number, T: number, accumulate: boolean): Arguments {
  const P = panelCount(T);
  return {
    et: codes(N * T),
    etScales: scales(P * N, -20),
    xt: codes(K * T),
    xtScales: scales(P * K),
    dw: accumulate ? inout(floats(N * K, -16)) : out('f32', N * K),
    N,
    K,
    T,
    accumulate,
  };
}
add('weightGradient', 'one panel', weightGradientArguments(20, 64, 128, false), quick);
add('weightGradient', 'two panels', weightGradientArguments(7, 6, 1088, false));
add('weightGradient', 'going on', weightGradientArguments(6, 64, 64, true), quick);

// --- head ---
function headArguments(T: number, C: number, V: number, vocab: number, e: number, withCodes: boolean): Arguments {
  const P = panelCount(C);
  return {
    a: codes(T * C),
    aScales: scales(P * T, e),
    w: codes(V * C),
    wScales: scales(P * V, e),
    targets: index(T, vocab),
    codes: withCodes ? out('i8', T * V) : none('i8'),
    eScales: withCodes ? out('f32', panelCount(V) * T) : none(),
    loss: out('f32', T),
    seed: words(),
    T,
    C,
    V,
    vocab,
    t0: 64,
    U: 192,
  };
}
add('headForward', '256 entries', headArguments(5, 64, 256, 256, -9, true), quick);
add('headForward', 'two panels, padded', headArguments(3, 64, 1088, 1050, -9, true), quick);
add('headForward', 'peaked', headArguments(3, 64, 128, 100, -5, true));
add('headForward', 'loss only', headArguments(4, 64, 256, 250, -9, false));
const brokenHead = headArguments(2, 64, 64, 64, -9, true);
add(
  'headForward',
  'an infinite scale',
  { ...brokenHead, aScales: poked(brokenHead['aScales'] as TensorSpec, 1, '7F800000') },
  refused,
);
add(
  'headLogits',
  '3 tokens, 128 entries',
  {
    a: codes(3 * 64),
    aScales: scales(3),
    w: codes(128 * 64),
    wScales: scales(128),
    logits: out('f32', 3 * 128),
    T: 3,
    C: 64,
    V: 128,
  },
  quick,
);
function headGradientArguments(T: number, V: number, C: number): Arguments {
  return {
    e: codes(T * V),
    eScales: scales(panelCount(V) * T, -24),
    wt: codes(C * V),
    wtScales: scales(panelCount(V) * C),
    w: codes(V * C),
    wScales: scales(panelCount(C) * V),
    targets: index(T, V),
    dx: out('u16', T * C),
    T,
    V,
    C,
    U: 192,
  };
}
add('headInputGradient', '256 entries', headGradientArguments(5, 256, 64), quick);
add('headInputGradient', 'two panels of entries', headGradientArguments(3, 1088, 64));
add('headInputGradient', 'two panels of width', headGradientArguments(2, 64, 1088));

export function embedBackwardArguments(U: number, C: number, V: number, context: number): Arguments {
  return {
    tokens: index(U, V),
    targets: index(U, V),
    a: codes(U * C),
    aScales: scales(panelCount(C) * U),
    dx: halves(U * C, -14),
    dWte: inout(floats(V * C, -14)),
    dWpe: out('f32', context * C),
    U,
    C,
    V,
    context,
  };
}
add('embedBackward', '128 tokens, 64 entries', embedBackwardArguments(128, 64, 64, 64), quick);
add('embedBackward', 'two panels of width', embedBackwardArguments(64, 1088, 16, 64));
add('unitLoss', '128 tokens', { loss: positive(128, 0, 3), out: out('f32', 1), U: 128 }, quick);
add('unitLoss', '2048 tokens', { loss: positive(2048, 0, 3), out: out('f32', 1), U: 2048 });
