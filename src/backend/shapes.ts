/**
 * Shapes of every operation as `ops.ts` states them, checked before native code sees an array. All native backends use it.
 */
import { DIFF_CHUNK_BYTES } from '../reference/diffModel.js';
import type { Kernels, OperationName } from './ops.js';
import { ShapeCheck } from './shapeCheck.js';

const HEAD_SIZES = [32, 64, 128, 256];

type Check = { [K in OperationName]: (a: Parameters<Kernels[K]>[0], c: ShapeCheck) => void };

function headShape(c: ShapeCheck, C: number, H: number): void {
  c.multiple('C', C, 64);
  c.dimension('H', H);
  if (!HEAD_SIZES.includes(C / H)) c.fail('C / H', `to be a head size of ${HEAD_SIZES.join(', ')}`, C / H);
}

function attentionShape(c: ShapeCheck, a: { T: number; C: number; H: number; context: number }): void {
  headShape(c, a.C, a.H);
  c.multiple('context', a.context, 64);
  c.multiple('T', a.T, a.context);
}

/** Heads of the family gemma3. @returns elements of a row of heads */
function groupedShape(c: ShapeCheck, a: { T: number; H: number; G: number; h: number }): number {
  c.dimension('T', a.T);
  c.dimension('G', a.G);
  c.multiple('H', a.H, a.G);
  if (!HEAD_SIZES.includes(a.h)) c.fail('h', `to be a head size of ${HEAD_SIZES.join(', ')}`, a.h);
  return (a.H + 2 * a.G) * a.h;
}

function windowedShape(
  c: ShapeCheck,
  a: { T: number; H: number; G: number; h: number; context: number; window: number; scalar: number },
): number {
  const N = groupedShape(c, a);
  c.multiple('context', a.context, 64);
  c.multiple('T', a.T, a.context);
  if (a.window !== 0) c.multiple('window', a.window, 64);
  c.dimension('scalar', a.scalar);
  return N;
}

function rotationShape(
  c: ShapeCheck,
  a: {
    T: number;
    H: number;
    G: number;
    h: number;
    context: number;
    gainQ: Float32Array;
    gainK: Float32Array;
    rope: Float32Array;
    rstd: Float32Array;
  },
): number {
  const N = groupedShape(c, a);
  c.dimension('context', a.context);
  c.length('gainQ', a.gainQ, a.h);
  c.length('gainK', a.gainK, a.h);
  c.length('rope', a.rope, a.context * a.h);
  c.length('rstd', a.rstd, (a.H + a.G) * a.T);
  return N;
}

function sumShape(c: ShapeCheck, a: { sum: Float32Array; T: number; N: number }): void {
  c.dimension('T', a.T);
  c.multiple('N', a.N, 64);
  c.length('sum', a.sum, a.T * a.N);
}

/** Shapes of every operation, as `ops.ts` states them. */
const CHECK: Check = {
  fillZero() {},
  embed(a, c) {
    c.dimension('T', a.T);
    c.multiple('C', a.C, 64);
    c.dimension('context', a.context);
    c.length('tokens', a.tokens, a.T);
    c.multiple('wte.length', a.wte.length, a.C);
    c.length('wpe', a.wpe, a.context * a.C);
    c.length('x', a.x, a.T * a.C);
  },
  normForward(a, c) {
    c.dimension('T', a.T);
    c.multiple('C', a.C, 64);
    c.length('x', a.x, a.T * a.C);
    c.length('gain', a.gain, a.C);
    c.length('bias', a.bias, a.layer ? a.C : 0);
    c.codes('codes', a.codes, a.scales, a.T, a.C, 'scales');
    c.length('rstd', a.rstd, a.T);
    c.length('mean', a.mean, a.layer ? a.T : 0);
  },
  normBackward(a, c) {
    c.dimension('T', a.T);
    c.multiple('C', a.C, 64);
    c.length('dy', a.dy, a.T * a.C);
    c.length('x', a.x, a.T * a.C);
    c.length('gain', a.gain, a.C);
    c.length('rstd', a.rstd, a.T);
    c.length('mean', a.mean, a.layer ? a.T : 0);
    c.length('dx', a.dx, a.T * a.C);
    c.length('dGain', a.dGain, a.C);
    c.length('dBias', a.dBias, a.layer ? a.C : 0);
  },
  gemm(a, c) {
    for (const name of ['M', 'N', 'K'] as const) c.dimension(name, a[name]);
    c.codes('a', a.a, a.aScales, a.M, a.K);
    c.codes('b', a.b, a.bScales, a.N, a.K);
    c.length('y', a.y, a.M * a.N);
  },
  linearQkv(a, c) {
    c.dimension('T', a.T);
    headShape(c, a.C, a.H);
    c.codes('a', a.a, a.aScales, a.T, a.C);
    c.codes('w', a.w, a.wScales, 3 * a.C, a.C);
    c.optional('bias', a.bias, 3 * a.C);
    c.length('codes', a.codes, 3 * a.T * a.C);
    c.length('scales', a.scales, 3 * a.H * a.T);
  },
  linearResidual(a, c) {
    c.dimension('T', a.T);
    c.multiple('N', a.N, 64);
    c.dimension('K', a.K);
    c.codes('a', a.a, a.aScales, a.T, a.K);
    c.codes('w', a.w, a.wScales, a.N, a.K);
    c.optional('bias', a.bias, a.N);
    c.length('x', a.x, a.T * a.N);
    c.length('y', a.y, a.T * a.N);
  },
  linearGelu(a, c) {
    c.dimension('T', a.T);
    c.multiple('N', a.N, 64);
    c.dimension('K', a.K);
    c.codes('a', a.a, a.aScales, a.T, a.K);
    c.codes('w', a.w, a.wScales, a.N, a.K);
    c.optional('bias', a.bias, a.N);
    c.codes('codes', a.codes, a.scales, a.T, a.N, 'scales');
    c.length('derivative', a.derivative, a.T * a.N);
  },
  attentionForward(a, c) {
    attentionShape(c, a);
    c.length('qkv', a.qkv, 3 * a.T * a.C);
    c.length('qkvScales', a.qkvScales, 3 * a.H * a.T);
    c.length('o', a.o, a.T * a.C);
    c.length('lambda', a.lambda, a.H * a.T);
  },
  attentionBackward(a, c) {
    attentionShape(c, a);
    c.offset('t0', a.t0);
    c.dimension('U', a.U);
    c.length('qkv', a.qkv, 3 * a.T * a.C);
    c.length('qkvScales', a.qkvScales, 3 * a.H * a.T);
    c.length('dO', a.dO, a.T * a.C);
    c.length('dOScales', a.dOScales, a.H * a.T);
    c.length('lambda', a.lambda, a.H * a.T);
    c.length('dqkv', a.dqkv, 3 * a.T * a.C);
    for (const name of ['seedV', 'seedK', 'seedQ'] as const) c.seed(name, a[name]);
  },
  quantizeRows(a, c) {
    c.dimension('T', a.T);
    c.multiple('N', a.N, 64);
    c.length('x', a.x, a.T * a.N);
    c.codes('codes', a.codes, a.scales, a.T, a.N, 'scales');
  },
  quantizeGradientRows(a, c) {
    CHECK.quantizeRows(a, c);
    c.optional('bias', a.bias, a.N);
    c.seed('seed', a.seed);
    c.offset('t0', a.t0);
  },
  recode(a, c) {
    c.dimension('T', a.T);
    c.dimension('N', a.N);
    c.offset('t0', a.t0);
    c.codes('codes', a.codes, a.scales, a.T, a.N, 'scales');
    c.codes('out', a.out, a.outScales, a.N, a.T);
    if (a.dither) c.seed('seed', a.seed);
  },
  linearInputGradient(a, c) {
    for (const name of ['T', 'N', 'K'] as const) c.dimension(name, a[name]);
    c.codes('e', a.e, a.eScales, a.T, a.N);
    c.codes('wt', a.wt, a.wtScales, a.K, a.N);
    c.length('dx', a.dx, a.T * a.K);
  },
  linearHeadsInputGradient(a, c) {
    c.dimension('T', a.T);
    c.dimension('N', a.N);
    headShape(c, a.K, a.H);
    c.offset('t0', a.t0);
    c.codes('e', a.e, a.eScales, a.T, a.N);
    c.codes('wt', a.wt, a.wtScales, a.K, a.N);
    c.length('codes', a.codes, a.T * a.K);
    c.length('scales', a.scales, a.H * a.T);
    c.seed('seed', a.seed);
  },
  linearGeluInputGradient(a, c) {
    c.dimension('T', a.T);
    c.dimension('N', a.N);
    c.multiple('K', a.K, 64);
    c.offset('t0', a.t0);
    c.codes('e', a.e, a.eScales, a.T, a.N);
    c.codes('wt', a.wt, a.wtScales, a.K, a.N);
    c.length('derivative', a.derivative, a.T * a.K);
    c.codes('codes', a.codes, a.scales, a.T, a.K, 'scales');
    c.optional('bias', a.bias, a.K);
    c.seed('seed', a.seed);
  },
  weightGradient(a, c) {
    for (const name of ['N', 'K', 'T'] as const) c.dimension(name, a[name]);
    c.codes('et', a.et, a.etScales, a.N, a.T);
    c.codes('xt', a.xt, a.xtScales, a.K, a.T);
    c.length('dw', a.dw, a.N * a.K);
  },
  quantizeHeads(a, c) {
    c.dimension('T', a.T);
    headShape(c, a.N, a.H);
    c.offset('t0', a.t0);
    c.length('sum', a.sum, a.T * a.N);
    c.optional('bias', a.bias, a.N);
    c.length('codes', a.codes, a.T * a.N);
    c.length('scales', a.scales, a.H * a.T);
    if (a.seed.length > 0) c.seed('seed', a.seed);
  },
  addRows(a, c) {
    sumShape(c, a);
    c.optional('bias', a.bias, a.N);
    c.length('x', a.x, a.T * a.N);
    c.length('y', a.y, a.T * a.N);
  },
  geluRows(a, c) {
    sumShape(c, a);
    c.optional('bias', a.bias, a.N);
    c.codes('codes', a.codes, a.scales, a.T, a.N, 'scales');
    c.length('derivative', a.derivative, a.T * a.N);
  },
  roundRows(a, c) {
    sumShape(c, a);
    c.length('y', a.y, a.T * a.N);
  },
  geluGradientRows(a, c) {
    sumShape(c, a);
    c.offset('t0', a.t0);
    c.length('derivative', a.derivative, a.T * a.N);
    c.codes('codes', a.codes, a.scales, a.T, a.N, 'scales');
    c.optional('bias', a.bias, a.N);
    c.seed('seed', a.seed);
  },
  headForward(a, c) {
    c.dimension('T', a.T);
    c.dimension('C', a.C);
    c.multiple('V', a.V, 64);
    c.dimension('vocab', a.vocab);
    if (a.vocab > a.V || Math.ceil(a.vocab / 1024) !== Math.ceil(a.V / 1024)) {
      c.fail('vocab', `to be at most V = ${a.V} and to reach its last panel of 1024`, a.vocab);
    }
    c.offset('t0', a.t0);
    c.dimension('U', a.U);
    c.codes('a', a.a, a.aScales, a.T, a.C);
    c.codes('w', a.w, a.wScales, a.V, a.C);
    c.length('targets', a.targets, a.T);
    c.length('loss', a.loss, a.T);
    if (a.codes.length === 0) return;
    c.codes('codes', a.codes, a.eScales, a.T, a.V, 'eScales');
    c.seed('seed', a.seed);
  },
  headLogits(a, c) {
    for (const name of ['T', 'C', 'V'] as const) c.dimension(name, a[name]);
    c.codes('a', a.a, a.aScales, a.T, a.C);
    c.codes('w', a.w, a.wScales, a.V, a.C);
    c.length('logits', a.logits, a.T * a.V);
  },
  headInputGradient(a, c) {
    c.dimension('T', a.T);
    c.dimension('V', a.V);
    c.multiple('C', a.C, 64);
    c.dimension('U', a.U);
    c.codes('e', a.e, a.eScales, a.T, a.V);
    c.codes('wt', a.wt, a.wtScales, a.C, a.V);
    c.codes('w', a.w, a.wScales, a.V, a.C);
    c.length('targets', a.targets, a.T);
    c.length('dx', a.dx, a.T * a.C);
  },
  embedBackward(a, c) {
    c.dimension('U', a.U);
    c.multiple('C', a.C, 64);
    c.dimension('V', a.V);
    c.dimension('context', a.context);
    c.length('tokens', a.tokens, a.U);
    c.length('targets', a.targets, a.U);
    c.codes('a', a.a, a.aScales, a.U, a.C);
    c.length('dx', a.dx, a.U * a.C);
    c.length('dWte', a.dWte, a.V * a.C);
    c.length('dWpe', a.dWpe, a.context * a.C);
  },
  unitLoss(a, c) {
    c.multiple('U', a.U, 64);
    c.length('loss', a.loss, a.U);
    c.atLeast('out', a.out, 1);
  },
  quantize4(a, c) {
    c.dimension('rows', a.rows);
    if (a.rows > 1) c.multiple('cols', a.cols, 64);
    else c.dimension('cols', a.cols);
    const size = a.rows * a.cols;
    c.length('x', a.x, size);
    c.atLeast('codes', a.codes, Math.ceil(size / 2));
    c.atLeast('scales', a.scales, Math.ceil(size / 64));
    c.seed('seed', a.seed);
  },
  dequantize4(a, c) {
    c.multiple('n', a.n, 64);
    c.length('codes', a.codes, a.n / 2);
    c.length('scales', a.scales, a.n / 64);
    c.length('x', a.x, a.n);
  },
  quantizeWeight(a, c) {
    c.dimension('N', a.N);
    c.multiple('K', a.K, 64);
    c.length('theta', a.theta, a.N * a.K);
    c.codes('w', a.w, a.wScales, a.N, a.K);
    c.codes('wt', a.wt, a.wtScales, a.K, a.N);
  },
  commitLeaves(a, c) {
    c.multiple('n', a.n, 256);
    for (const name of ['theta', 'm', 'v'] as const) c.length(name, a[name], a.n);
    if (a.updateEma) c.length('ema', a.ema, a.n);
    c.dimension('codes.length', a.codes.length);
    c.length('scales', a.scales, a.codes.length);
    a.codes.forEach((codes, unit) => {
      c.length(`codes[${unit}]`, codes, a.n / 2);
      c.length(`scales[${unit}]`, a.scales[unit]!, a.n / 64);
    });
  },
  packModel(a, c) {
    c.dimension('n', a.n);
    if (a.bits !== 4 && a.bits !== 8) c.fail('bits', 'to be 4 or 8', a.bits);
    c.length('x', a.x, a.n);
    c.length('codes', a.codes, a.bits === 4 ? Math.ceil(a.n / 2) : a.n);
    c.length('scales', a.scales, Math.ceil(a.n / 64));
  },
  unpackModel(a, c) {
    CHECK.packModel(a, c);
  },
  diffModel(a, c) {
    c.dimension('n', a.n);
    c.length('older', a.older, a.n);
    c.length('newer', a.newer, a.n);
    c.atLeast('out', a.out, a.n + Math.ceil(a.n / DIFF_CHUNK_BYTES));
    c.atLeast('end', a.end, 2);
  },
  patchModel(a, c) {
    c.dimension('n', a.n);
    c.length('older', a.older, a.n);
    c.length('newer', a.newer, a.n);
    c.atLeast('patch', a.patch, a.start);
  },
  gainPlusOne(a, c) {
    c.dimension('n', a.n);
    c.length('gain', a.gain, a.n);
    c.length('out', a.out, a.n);
  },
  embedScaled(a, c) {
    c.dimension('T', a.T);
    c.multiple('C', a.C, 64);
    c.length('tokens', a.tokens, a.T);
    c.multiple('wte.length', a.wte.length, a.C);
    c.length('x', a.x, a.T * a.C);
  },
  embedScaledBackward(a, c) {
    c.dimension('U', a.U);
    c.multiple('C', a.C, 64);
    c.dimension('V', a.V);
    c.length('tokens', a.tokens, a.U);
    c.length('targets', a.targets, a.U);
    c.codes('a', a.a, a.aScales, a.U, a.C);
    c.length('dx', a.dx, a.U * a.C);
    c.length('dWte', a.dWte, a.V * a.C);
  },
  linearRows(a, c) {
    for (const name of ['T', 'N', 'K'] as const) c.dimension(name, a[name]);
    c.codes('a', a.a, a.aScales, a.T, a.K);
    c.codes('w', a.w, a.wScales, a.N, a.K);
    c.length('y', a.y, a.T * a.N);
  },
  normResidual(a, c) {
    c.dimension('T', a.T);
    c.multiple('C', a.C, 64);
    for (const name of ['x', 'o', 'y'] as const) c.length(name, a[name], a.T * a.C);
    c.length('gain', a.gain, a.C);
    c.length('rstd', a.rstd, a.T);
  },
  rotateHeads(a, c) {
    const N = rotationShape(c, a);
    c.length('y', a.y, a.T * N);
    c.length('codes', a.codes, a.T * N);
    c.length('scales', a.scales, (a.H + 2 * a.G) * a.T);
  },
  rotateHeadsBackward(a, c) {
    const N = rotationShape(c, a);
    for (const name of ['dqkv', 'y', 'dy'] as const) c.length(name, a[name], a.T * N);
    c.length('dGainQ', a.dGainQ, a.h);
    c.length('dGainK', a.dGainK, a.h);
  },
  groupedAttentionForward(a, c) {
    const N = windowedShape(c, a);
    c.length('qkv', a.qkv, a.T * N);
    c.length('qkvScales', a.qkvScales, (a.H + 2 * a.G) * a.T);
    c.length('o', a.o, a.T * a.H * a.h);
    c.length('lambda', a.lambda, a.H * a.T);
  },
  groupedAttentionBackward(a, c) {
    const N = windowedShape(c, a);
    c.offset('t0', a.t0);
    c.dimension('U', a.U);
    c.length('qkv', a.qkv, a.T * N);
    c.length('qkvScales', a.qkvScales, (a.H + 2 * a.G) * a.T);
    c.length('dO', a.dO, a.T * a.H * a.h);
    c.length('dOScales', a.dOScales, a.H * a.T);
    c.length('lambda', a.lambda, a.H * a.T);
    c.length('dqkv', a.dqkv, a.T * N);
    for (const name of ['seedV', 'seedK', 'seedQ'] as const) c.seed(name, a[name]);
  },
  geglu(a, c) {
    c.dimension('T', a.T);
    c.multiple('N', a.N, 64);
    c.length('u', a.u, 2 * a.T * a.N);
    c.codes('codes', a.codes, a.scales, a.T, a.N, 'scales');
  },
  gegluGradient(a, c) {
    c.dimension('T', a.T);
    c.multiple('N', a.N, 64);
    c.offset('t0', a.t0);
    c.length('dh', a.dh, a.T * a.N);
    c.length('u', a.u, 2 * a.T * a.N);
    c.codes('codes', a.codes, a.scales, a.T, 2 * a.N, 'scales');
    c.seed('seed', a.seed);
  },
};

/** Checks the shapes of one operation's arguments. @throws PogoError SHAPE */
export function checkShapes(operation: OperationName, a: object): void {
  (CHECK[operation] as (a: object, c: ShapeCheck) => void)(a, new ShapeCheck(operation));
}

/**
 * Puts the check of its shapes before every kernel.
 *
 * @param call runs a kernel whose arguments have passed
 */
export function shapeChecked<A = never>(call: (operation: OperationName, a: A) => void): Kernels {
  const entries = (Object.keys(CHECK) as OperationName[]).map((operation) => {
    const check = CHECK[operation] as (a: unknown, c: ShapeCheck) => void;
    const shapes = new ShapeCheck(operation);
    return [
      operation,
      (a: A): void => {
        check(a, shapes);
        call(operation, a);
      },
    ];
  });
  return Object.fromEntries(entries) as Kernels;
}
