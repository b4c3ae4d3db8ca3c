/**
 * The cases of the known-answer vectors: shapes and fill rules, without the answers (`vectorData.ts`).
 *
 * Shapes lie at the borders: panels of 1023, 1024, 1025 elements, a second panel, a short last block of 64, codes of
 * ±127 throughout, groups of zeros, subnormals, huge values. Short, so that every process can check its kernels at start.
 */
import type { OperationName } from './ops.js';
import { BORDER_CASES } from './vectorBorders.js';
import type { ArgumentSpec, TensorSpec } from './vectorInputs.js';

/** One call of one operation. */
export interface VectorCase {
  readonly operation: OperationName;
  readonly name: string;
  /** Part of the short check at start-up. */
  readonly quick: boolean;
  readonly args: Readonly<Record<string, ArgumentSpec>>;
  /** The operation must refuse the input with this error code. */
  readonly throws?: 'NON_FINITE' | 'MALFORMED';
}

type Arguments = Record<string, ArgumentSpec>;

function tensor(dtype: TensorSpec['dtype'], length: number, fill: TensorSpec['fill'], more: Partial<TensorSpec> = {}) {
  return { dtype, length, fill, ...more } satisfies TensorSpec;
}

const codes = (length: number): TensorSpec => tensor('i8', length, 'codes');
const extreme = (length: number): TensorSpec => tensor('i8', length, 'extreme');
const scales = (length: number, e = -10, span = 3): TensorSpec => tensor('f32', length, 'positive', { e, span });
const floats = (length: number, e = -8, span = 12): TensorSpec => tensor('f32', length, 'values', { e, span });
const positive = (length: number, e = -4, span = 4): TensorSpec => tensor('f32', length, 'positive', { e, span });
const halves = (length: number, e = -8, span = 12): TensorSpec => tensor('u16', length, 'values', { e, span });
const index = (length: number, limit: number): TensorSpec => tensor('u32', length, 'index', { limit });
const words = (): TensorSpec => tensor('u32', 4, 'words');
const nibbles = (length: number): TensorSpec => tensor('u8', length, 'nibbles');
const none = (dtype: TensorSpec['dtype'] = 'f32'): TensorSpec => ({ dtype, length: 0, fill: 'zero' });
const out = (dtype: TensorSpec['dtype'], length: number): TensorSpec => ({ dtype, length, fill: 'zero', out: true });
/** An array that the operation changes in place. */
const inout = (spec: TensorSpec): TensorSpec => ({ ...spec, out: true });
const poked = (spec: TensorSpec, at: number, bits: string): TensorSpec => ({ ...spec, poke: [[at, bits]] });
const panelCount = (k: number): number => Math.ceil(k / 1024);

const cases: VectorCase[] = [];

/** FNV-1a of a text: a case keeps its inputs when others are added. */
function textHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Gives every array of a case a seed of its own. */
function add(operation: OperationName, name: string, args: Arguments, more: Partial<VectorCase> = {}): void {
  let seed = textHash(`${operation}: ${name}`);
  const seeded = (spec: TensorSpec): TensorSpec => {
    seed = (seed + 1) >>> 0;
    return { ...spec, seed };
  };
  const entries = Object.entries(args).map(([key, spec]): [string, ArgumentSpec] => {
    if (typeof spec !== 'object' || 'f32' in spec) return [key, spec];
    return [key, 'list' in spec ? { list: spec.list.map(seeded) } : seeded(spec)];
  });
  cases.push({ operation, name, quick: false, args: Object.fromEntries(entries), ...more });
}

const quick = { quick: true } as const;
const refused = { throws: 'NON_FINITE' } as const;
const malformed = { throws: 'MALFORMED' } as const;

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

function embedBackwardArguments(U: number, C: number, V: number, context: number): Arguments {
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

// --- 4-bit gradients, weights, commit pass, model ---
function quantize4Arguments(x: TensorSpec, rows: number, cols: number): Arguments {
  const leaves = Math.ceil((rows * cols) / 256);
  return {
    x,
    codes: out('u8', leaves * 128),
    scales: out('u16', leaves * 4),
    seed: words(),
    rows,
    cols,
  };
}
add('quantize4', '4 rows of 192', quantize4Arguments(floats(4 * 192, -20), 4, 192), quick);
add('quantize4', 'vector of 64, padded leaf', quantize4Arguments(floats(64, -20), 1, 64));
add('quantize4', 'edge values', quantize4Arguments(tensor('f32', 16 * 64, 'edges'), 16, 64), quick);
add('quantize4', 'a NaN', quantize4Arguments(poked(floats(256), 200, '7FC00000'), 1, 256), refused);
add(
  'dequantize4',
  '512 values',
  { codes: nibbles(256), scales: tensor('u16', 8, 'positive', { e: -12, span: 6 }), x: out('f32', 512), n: 512 },
  quick,
);

function weightArguments(theta: TensorSpec, N: number, K: number): Arguments {
  return {
    theta,
    w: out('i8', N * K),
    wScales: out('f32', panelCount(K) * N),
    wt: out('i8', N * K),
    wtScales: out('f32', panelCount(N) * K),
    N,
    K,
  };
}
add('quantizeWeight', '192 x 64', weightArguments(floats(192 * 64), 192, 64), quick);
add('quantizeWeight', 'two panels of rows', weightArguments(floats(1088 * 64), 1088, 64));
add('quantizeWeight', 'two panels of columns', weightArguments(floats(64 * 1088), 64, 1088));
add('quantizeWeight', 'edge values', weightArguments(tensor('f32', 64 * 64, 'edges'), 64, 64));

function commitArguments(
  leaves: number,
  units: number,
  decay: boolean,
  updateEma: boolean,
  e = { m: -12, v: -24, g: -12 },
): Arguments {
  const n = leaves * 256;
  const unitList = Array.from({ length: units }, (_, i) => i);
  return {
    theta: inout(floats(n)),
    m: inout(floats(n, e.m)),
    v: inout(positive(n, e.v)),
    ema: updateEma ? inout(floats(n)) : none(),
    codes: { list: unitList.map(() => nibbles(n / 2)) },
    scales: { list: unitList.map(() => tensor('u16', n / 64, 'positive', { e: e.g, span: 3 })) },
    n,
    beta1: { f32: '3F666666' },
    beta2: { f32: '3F733333' },
    b1t: { f32: '3F3A9FBE' },
    b2t: { f32: '3F5B851F' },
    epsilon: { f32: '322BCC77' },
    weightDecay: { f32: decay ? '3DCCCCCD' : '00000000' },
    learningRate: { f32: '3B449BA6' },
    emaDecay: { f32: '3F29D2F2' },
    updateEma,
  };
}
add('commitLeaves', '2 units, decay, average', commitArguments(4, 2, true, true), quick);
add('commitLeaves', '16 units', commitArguments(2, 16, false, false));
add('commitLeaves', 'values that are flushed', commitArguments(2, 2, true, false, { m: -64, v: -112, g: -51 }), quick);
const fresh = commitArguments(2, 2, true, true);
add('commitLeaves', 'first step', { ...fresh, m: out('f32', 512), v: out('f32', 512) });
add(
  'commitLeaves',
  'clipped leaves',
  { ...commitArguments(2, 2, true, true), v: inout(positive(512, -60)), b2t: { f32: '3ECCCCCD' } },
  quick,
);
add('commitLeaves', 'nothing but zeros', {
  ...commitArguments(1, 1, true, true),
  m: out('f32', 256),
  v: out('f32', 256),
  codes: { list: [{ dtype: 'u8', length: 128, fill: 'zero' }] },
  scales: { list: [{ dtype: 'u16', length: 4, fill: 'zero' }] },
});

for (const bits of [4, 8] as const) {
  const bytes = (n: number): number => (bits === 4 ? n / 2 : n);
  const pack = (x: TensorSpec, n: number): Arguments => ({
    x,
    codes: out('u8', bytes(n)),
    scales: out('u16', n / 64),
    n,
    bits,
  });
  add('packModel', `${bits} bit`, pack(floats(512), 512), quick);
  add('packModel', `${bits} bit, edge values`, pack(tensor('f32', 1024, 'edges'), 1024));
  const packed = bits === 4 ? nibbles(256) : tensor('u8', 512, 'index', { limit: 128 });
  const planes = { codes: packed, scales: tensor('u16', 8, 'positive', { e: -12, span: 6 }) };
  add('unpackModel', `${bits} bit`, { ...planes, x: out('f32', 512), n: 512, bits }, quick);
}

// --- Differences of packed models ---
const bytes = (length: number, fill: TensorSpec['fill'], limit = 256): TensorSpec =>
  tensor('u8', length, fill, { limit });

function diffArguments(older: TensorSpec, newer: TensorSpec): Arguments {
  const n = older.length;
  return { older, newer, out: out('u8', n + Math.ceil(n / 16384)), end: out('u32', 2), n };
}
add('diffModel', 'few differences', diffArguments(bytes(1000, 'zero'), bytes(1000, 'index', 3)), quick);
add('diffModel', 'mostly differences', diffArguments(bytes(321, 'nibbles'), bytes(321, 'index')), quick);
add('diffModel', 'none', diffArguments(bytes(64, 'zero'), bytes(64, 'zero')));
add('diffModel', 'two chunks', diffArguments(bytes(16384 + 37, 'zero'), bytes(16384 + 37, 'index', 2)));

function patchArguments(older: TensorSpec, patch: TensorSpec): Arguments {
  return { older, patch, newer: out('u8', older.length), start: 3, n: older.length };
}
/** A tag at byte 3, where the chunk starts, and its data by a rule; the last byte is poked where only a nibble is left. */
function chunk(tag: string, length: number, fill: TensorSpec['fill'], last?: string): TensorSpec {
  const poke: [number, string][] = [[3, tag]];
  if (last !== undefined) poke.push([3 + length, last]);
  return { ...bytes(4 + length, fill), poke };
}
add('patchModel', 'equal', patchArguments(bytes(100, 'index'), chunk('00', 0, 'zero')));
add('patchModel', 'raw', patchArguments(bytes(100, 'index'), chunk('02', 100, 'extreme')), quick);
add('patchModel', 'raw, cut', patchArguments(bytes(100, 'index'), chunk('02', 99, 'extreme')), malformed);
// 25 bytes of bitmap; what the rule puts there has 115 ones in the first case and 93 in the second.
add('patchModel', 'sparse', patchArguments(bytes(100, 'index'), chunk('01', 83, 'extreme', '07')), quick);
add('patchModel', 'a zero value', patchArguments(bytes(100, 'index'), chunk('01', 72, 'nibbles', '05')), malformed);

// --- The family gemma3 ---
add('gainPlusOne', '100 gains', { gain: floats(100), out: out('f32', 100), n: 100 }, quick);
add(
  'embedScaled',
  '70 tokens of width 64',
  {
    tokens: index(70, 40),
    wte: floats(40 * 64),
    x: out('u16', 70 * 64),
    T: 70,
    C: 64,
    scale: { f32: '42080000' },
  },
  quick,
);
function scaledBackwardArguments(U: number, C: number, V: number): Arguments {
  const { dWpe: _dWpe, context: _context, ...table } = embedBackwardArguments(U, C, V, 64);
  return { ...table, scale: { f32: '42080000' } };
}
add('embedScaledBackward', '128 tokens, 40 entries', scaledBackwardArguments(128, 64, 40), quick);
add('embedScaledBackward', 'two panels of width', scaledBackwardArguments(64, 1088, 16));
function linearRowsArguments(T: number, N: number, K: number): Arguments {
  const P = panelCount(K);
  return {
    a: codes(T * K),
    aScales: scales(P * T),
    w: codes(N * K),
    wScales: scales(P * N),
    y: out('u16', T * N),
    T,
    N,
    K,
  };
}
add('linearRows', '5 x 96 x 64', linearRowsArguments(5, 96, 64), quick);
add('linearRows', 'two panels', linearRowsArguments(3, 70, 1030));
function normResidualArguments(o: TensorSpec, T: number, C: number): Arguments {
  return {
    x: halves(T * C),
    o,
    gain: floats(C, -1, 2),
    y: out('u16', T * C),
    rstd: out('f32', T),
    T,
    C,
    epsilon: { f32: '358637BD' },
  };
}
add('normResidual', 'width 128', normResidualArguments(halves(5 * 128), 5, 128), quick);
add('normResidual', 'two panels', normResidualArguments(halves(2 * 1088), 2, 1088));
add('normResidual', 'rows of zero', normResidualArguments(tensor('u16', 3 * 64, 'zero'), 3, 64));

function rotation(T: number, H: number, G: number, h: number, context: number): Arguments {
  return {
    gainQ: floats(h, -1, 2),
    gainK: floats(h, -1, 2),
    rope: floats(context * h, -3, 3),
    T,
    H,
    G,
    h,
    context,
  };
}
function rotateArguments(T: number, H: number, G: number, h: number, context: number): Arguments {
  const N = (H + 2 * G) * h;
  return {
    ...rotation(T, H, G, h, context),
    y: halves(T * N),
    codes: out('i8', T * N),
    scales: out('f32', (H + 2 * G) * T),
    rstd: out('f32', (H + G) * T),
    epsilon: { f32: '358637BD' },
  };
}
add('rotateHeads', 'heads of 32', rotateArguments(70, 4, 2, 32, 64), quick);
add('rotateHeads', 'heads of 256', rotateArguments(5, 2, 1, 256, 3));
const brokenHeads = rotateArguments(3, 1, 1, 64, 64);
add('rotateHeads', 'a NaN', { ...brokenHeads, y: poked(halves(3 * 192), 300, '7FC0') }, refused);
function rotateBackwardArguments(T: number, H: number, G: number, h: number, accumulate: boolean): Arguments {
  const N = (H + 2 * G) * h;
  return {
    ...rotation(T, H, G, h, 64),
    dqkv: halves(T * N, -14),
    y: halves(T * N),
    rstd: positive((H + G) * T, -2, 3),
    dy: out('u16', T * N),
    dGainQ: inout(floats(h, -8)),
    dGainK: inout(floats(h, -8)),
    accumulate,
  };
}
add('rotateHeadsBackward', 'heads of 32', rotateBackwardArguments(70, 4, 2, 32, false), quick);
add('rotateHeadsBackward', 'heads of 128, going on', rotateBackwardArguments(66, 2, 1, 128, true));

function windowArguments(
  T: number,
  [H, G, h]: readonly [number, number, number],
  context: number,
  window: number,
): Arguments {
  const N = (H + 2 * G) * h;
  return {
    qkv: codes(T * N),
    qkvScales: scales((H + 2 * G) * T, -8),
    T,
    H,
    G,
    h,
    context,
    window,
    scalar: 168,
  };
}
function groupedForward(...shape: Parameters<typeof windowArguments>): Arguments {
  const [T, [H, , h]] = shape;
  return { ...windowArguments(...shape), o: out('u16', T * H * h), lambda: out('f32', H * T) };
}
function groupedBackward(...shape: Parameters<typeof windowArguments>): Arguments {
  const [T, [H, G, h]] = shape;
  return {
    ...windowArguments(...shape),
    dO: codes(T * H * h),
    dOScales: scales(H * T, -24),
    lambda: floats(H * T, 2, 2),
    dqkv: out('u16', T * (H + 2 * G) * h),
    seedV: words(),
    seedK: words(),
    seedQ: words(),
    t0: 64,
    U: 512,
  };
}
add('groupedAttentionForward', 'two heads on one, window of 64', groupedForward(192, [2, 1, 32], 192, 64), quick);
add('groupedAttentionForward', 'all keys, heads of 256', groupedForward(128, [2, 1, 256], 128, 0));
add('groupedAttentionForward', 'window of 128, two sequences', groupedForward(512, [3, 1, 64], 256, 128));
add('groupedAttentionBackward', 'two heads on one, window of 64', groupedBackward(192, [2, 1, 32], 192, 64), quick);
add('groupedAttentionBackward', 'all keys, heads of 256', groupedBackward(64, [2, 1, 256], 64, 0));
add('groupedAttentionBackward', 'window of 128, two sequences', groupedBackward(512, [3, 1, 64], 256, 128));

function gegluArguments(u: TensorSpec, T: number, N: number): Arguments {
  return { u, codes: out('i8', T * N), scales: out('f32', panelCount(N) * T), T, N };
}
add('geglu', '5 tokens of 128', gegluArguments(halves(5 * 256, -3, 5), 5, 128), quick);
add('geglu', 'two panels', gegluArguments(halves(2 * 2176, -3, 5), 2, 1088));
add('geglu', 'a NaN', gegluArguments(poked(halves(2 * 128), 200, '7FC0'), 2, 64), refused);
function gegluGradientArguments(u: TensorSpec, T: number, N: number): Arguments {
  return {
    dh: halves(T * N, -14),
    u,
    codes: out('i8', 2 * T * N),
    scales: out('f32', panelCount(2 * N) * T),
    seed: words(),
    T,
    N,
    t0: 64,
  };
}
add('gegluGradient', '5 tokens of 128', gegluGradientArguments(halves(5 * 256, -3, 5), 5, 128), quick);
add('gegluGradient', 'two panels', gegluGradientArguments(halves(2 * 1152, -3, 5), 2, 576));
add('gegluGradient', 'gates beyond 2^64', gegluGradientArguments(halves(2 * 128, 70, 4), 2, 64), refused);

/** Every case. An operation without one fails the registry's test. */
export const VECTOR_CASES: readonly VectorCase[] = [...cases, ...BORDER_CASES];
