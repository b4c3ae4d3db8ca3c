/** Cases of the operations of the family gemma3. */
import {
  type Arguments,
  caseList,
  codes,
  floats,
  halves,
  index,
  inout,
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
import { embedBackwardArguments } from './vectorCasesTape.js';
import type { TensorSpec } from './vectorInputs.js';

const { add, cases } = caseList();
export const GEMMA_CASES: readonly VectorCase[] = cases;

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
