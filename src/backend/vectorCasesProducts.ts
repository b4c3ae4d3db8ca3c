/** Cases of elementary operations, norms, products, and what follows the sums of a product. */
import {
  type Arguments,
  caseList,
  codes,
  extreme,
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
export const PRODUCT_CASES: readonly VectorCase[] = cases;

// --- elementary ---
add('fillZero', '1000 values', { x: inout(floats(1000)) }, quick);

function embedArguments(T: number, C: number, context: number, vocab: number, edges: boolean): Arguments {
  const table = (n: number): TensorSpec => (edges ? tensor('f32', n, 'edges') : floats(n));
  return {
    tokens: index(T, vocab),
    wte: table(vocab * C),
    wpe: table(context * C),
    x: out('u16', T * C),
    T,
    C,
    context,
  };
}
add('embed', '70 tokens of width 64', embedArguments(70, 64, 32, 40, false), quick);
add('embed', 'edge values', embedArguments(32, 64, 16, 20, true));

// --- norms ---
function normArguments(x: TensorSpec, T: number, C: number, layer: boolean): Arguments {
  return {
    x,
    gain: floats(C, -1, 2),
    bias: layer ? floats(C) : none(),
    codes: out('i8', T * C),
    scales: out('f32', panelCount(C) * T),
    rstd: out('f32', T),
    mean: layer ? out('f32', T) : none(),
    T,
    C,
    layer,
    epsilon: { f32: '3727C5AC' },
  };
}
add('normForward', 'RMS, width 64', normArguments(halves(5 * 64), 5, 64, false), quick);
add('normForward', 'RMS, two panels', normArguments(halves(3 * 1088), 3, 1088, false));
add('normForward', 'layer, width 128', normArguments(halves(5 * 128), 5, 128, true), quick);
add('normForward', 'layer, two panels', normArguments(halves(2 * 1088), 2, 1088, true));
add('normForward', 'rows of zero', normArguments(tensor('u16', 3 * 64, 'zero'), 3, 64, false));
add('normForward', 'a NaN', normArguments(poked(halves(2 * 64), 70, '7FC0'), 2, 64, false), refused);

function normBackwardArguments(
  T: number,
  C: number,
  layer: boolean,
  residual: boolean,
  accumulate: boolean,
): Arguments {
  return {
    dy: halves(T * C, -12),
    x: halves(T * C),
    gain: floats(C, -1, 2),
    rstd: positive(T, -2, 3),
    mean: layer ? floats(T) : none(),
    dx: inout(halves(T * C, -10)),
    dGain: inout(floats(C, -8)),
    dBias: layer ? inout(floats(C, -8)) : none(),
    T,
    C,
    layer,
    residual,
    accumulate,
  };
}
add('normBackward', 'RMS, residual', normBackwardArguments(70, 64, false, true, false), quick);
add('normBackward', 'RMS, last norm, going on', normBackwardArguments(130, 64, false, false, true));
add('normBackward', 'layer, residual, going on', normBackwardArguments(70, 64, true, true, true), quick);
add('normBackward', 'layer, two panels', normBackwardArguments(3, 1088, true, false, false));

// --- products ---
function gemmArguments(M: number, N: number, K: number, make: (n: number) => TensorSpec, e = -10): Arguments {
  const P = panelCount(K);
  return {
    a: make(M * K),
    aScales: scales(P * M, e),
    b: make(N * K),
    bScales: scales(P * N, e),
    y: out('f32', M * N),
    M,
    N,
    K,
  };
}
add('gemm', '17 x 33 x 192', gemmArguments(17, 33, 192, codes), quick);
add('gemm', '3 x 5 x 64', gemmArguments(3, 5, 64, codes));
add('gemm', 'panel of 1023, all ±127', gemmArguments(7, 9, 1023, extreme));
add('gemm', 'panel of 1024, all ±127', gemmArguments(5, 6, 1024, extreme), quick);
add('gemm', 'panels of 1024 and 1', gemmArguments(5, 3, 1025, extreme), quick);
add('gemm', 'three panels', gemmArguments(2, 18, 2112, codes));
add('gemm', 'subnormal results', gemmArguments(4, 4, 64, codes, -73), quick);

function linearArguments(T: number, N: number, K: number, bias: boolean, e = -10): Arguments {
  const P = panelCount(K);
  return {
    a: codes(T * K),
    aScales: scales(P * T, e),
    w: codes(N * K),
    wScales: scales(P * N, e),
    bias: bias ? floats(N) : none(),
  };
}
function qkvArguments(T: number, C: number, H: number, bias: boolean): Arguments {
  return {
    ...linearArguments(T, 3 * C, C, bias),
    codes: out('i8', T * 3 * C),
    scales: out('f32', 3 * H * T),
    T,
    C,
    H,
  };
}
add('linearQkv', '2 heads of 64, bias', qkvArguments(5, 128, 2, true), quick);
add('linearQkv', '2 heads of 32', qkvArguments(3, 64, 2, false));

function residualArguments(T: number, N: number, K: number, bias: boolean): Arguments {
  return { ...linearArguments(T, N, K, bias), x: halves(T * N), y: out('u16', T * N), T, N, K };
}
add('linearResidual', 'bias', residualArguments(5, 64, 256, true), quick);
add('linearResidual', 'two panels', residualArguments(3, 128, 1088, false));

function geluArguments(T: number, N: number, K: number, bias: boolean, e: number): Arguments {
  return {
    ...linearArguments(T, N, K, bias, e),
    codes: out('i8', T * N),
    scales: out('f32', panelCount(N) * T),
    derivative: out('i8', T * N),
    T,
    N,
    K,
  };
}
add('linearGelu', 'bias, |u| about 1', geluArguments(5, 256, 64, true, -9), quick);
add('linearGelu', 'two panels, |u| up to 100', geluArguments(2, 1088, 64, false, -6));

// --- epilogues of sums ---
function headsArguments(T: number, N: number, H: number, bias: boolean, dither: boolean, factor: string): Arguments {
  return {
    sum: floats(T * N),
    bias: bias ? floats(N) : none(),
    codes: out('i8', T * N),
    scales: out('f32', H * T),
    seed: dither ? words() : none('u32'),
    factor: { f32: factor },
    T,
    N,
    H,
    t0: dither ? 1024 : 0,
  };
}
add('quantizeHeads', '3 groups of 64, bias', headsArguments(5, 192, 3, true, false, '3F800000'), quick);
add('quantizeHeads', 'a group of 64, dithered, times 4/3', headsArguments(7, 64, 1, false, true, '3FAAAAAB'), quick);
add('quantizeHeads', '4 groups of 32', headsArguments(3, 128, 4, false, false, '3F800000'));
add('quantizeHeads', 'a group of 256, times 1/8', headsArguments(50, 256, 1, true, true, '3E000000'));
const brokenSum = poked(floats(2 * 64), 70, '7F800000');
add('quantizeHeads', 'an Inf', { ...headsArguments(2, 64, 1, false, false, '3F800000'), sum: brokenSum }, refused);

function addRowsArguments(T: number, N: number, bias: boolean): Arguments {
  return { sum: floats(T * N), bias: bias ? floats(N) : none(), x: halves(T * N), y: out('u16', T * N), T, N };
}
add('addRows', 'bias', addRowsArguments(5, 64, true), quick);
add('addRows', 'two blocks', addRowsArguments(50, 1088, false));

function geluRowsArguments(T: number, N: number, bias: boolean, e: number): Arguments {
  return {
    sum: floats(T * N, e, 3),
    bias: bias ? floats(N) : none(),
    codes: out('i8', T * N),
    scales: out('f32', panelCount(N) * T),
    derivative: out('i8', T * N),
    T,
    N,
  };
}
add('geluRows', 'bias, |u| about 1', geluRowsArguments(5, 256, true, -1), quick);
add('geluRows', 'two panels, |u| up to 100', geluRowsArguments(2, 1088, false, 4));
const steep = poked(floats(2 * 64, -1, 3), 70, '7F000000');
add('geluRows', 'u*u overflows', { ...geluRowsArguments(2, 64, false, -1), sum: steep }, refused);

function roundRowsArguments(sum: TensorSpec, T: number, N: number): Arguments {
  return { sum, y: out('u16', T * N), T, N };
}
add('roundRows', '5 x 64', roundRowsArguments(floats(5 * 64), 5, 64), quick);
add('roundRows', 'edge values', roundRowsArguments(tensor('f32', 16 * 64, 'edges'), 16, 64));

function geluGradientRowsArguments(T: number, N: number, bias: boolean, accumulate: boolean): Arguments {
  return {
    sum: floats(T * N, -12),
    derivative: codes(T * N),
    codes: out('i8', T * N),
    scales: out('f32', panelCount(N) * T),
    bias: bias ? inout(floats(N, -14)) : none(),
    seed: words(),
    T,
    N,
    t0: 1024,
    accumulate,
  };
}
add('geluGradientRows', 'bias', geluGradientRowsArguments(70, 64, true, false), quick);
add('geluGradientRows', 'two panels, going on', geluGradientRowsArguments(67, 1088, true, true));
add('geluGradientRows', 'no bias', geluGradientRowsArguments(3, 128, false, false));
