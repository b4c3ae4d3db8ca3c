/**
 * The CPU backend: typed, validated kernels over the addon `native/cpu`. Node-only.
 *
 * Every kernel runs synchronously on the calling thread and writes into the caller's arrays, which may be views of
 * SharedArrayBuffers. Instruction sets give the same bits.
 */
import { invariant, PogoError } from '../errors.js';
import { DIFF_CHUNK_BYTES, malformedDiff, patchChunk } from '../reference/diffModel.js';
import { type CpuAddon, loadCpuAddon } from './cpuAddon.js';
import { ShapeCheck } from './cpuCheck.js';
import type { Kernels, LaneKernels, OperationName, WeightPacking } from './ops.js';
import type { Backend, BackendMiss, CpuIsa, IsaName } from './types.js';

/** Instruction sets that a user can force; 'auto': the best that build and machine have. */
export type CpuIsaChoice = 'auto' | CpuIsa;

const NO_SEED = new Uint32Array(0);
const NO_BIAS = new Float32Array(0);
const NOT_PACKED = new Uint8Array(0);
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
};

function packed(a: { readonly packed?: Uint8Array }): Uint8Array {
  return a.packed ?? NOT_PACKED;
}

const STOP = new Uint32Array(4);

/** Applies the chunks; where the kernel stops, the specification says why. */
function patchModel(native: CpuAddon, a: Parameters<Kernels['patchModel']>[0]): void {
  native.patchModel(a.n, a.older, a.patch.subarray(a.start), a.newer, STOP);
  const [readLow, readHigh, madeLow, madeHigh] = STOP as unknown as readonly [number, number, number, number];
  const start = a.start + readLow + 2 ** 32 * readHigh;
  const made = madeLow + 2 ** 32 * madeHigh;
  if (made === a.n && start === a.patch.length) return;
  if (made === a.n) throw malformedDiff(`expected the end, found ${a.patch.length - start} bytes more`, start);
  const older = a.older.subarray(made, Math.min(made + DIFF_CHUNK_BYTES, a.n));
  patchChunk(older, a.patch, start, new Uint8Array(older.length));
  invariant(false, 'patchModel: the kernel refused a chunk that the specification accepts');
}

/** The calls behind the checks: dimensions, inputs, outputs in the order of the addon. */
function nativeKernels(native: CpuAddon): Kernels {
  return {
    fillZero: (a) => {
      a.x.fill(0);
    },
    embed: (a) => native.embed(a.T, a.C, a.context, a.wte.length / a.C, a.tokens, a.wte, a.wpe, a.x),
    normForward: (a) =>
      native.normForward(
        ...[a.T, a.C, a.layer, a.epsilon],
        ...[a.x, a.gain, a.bias, a.codes, a.scales, a.rstd, a.mean],
      ),
    normBackward: (a) =>
      native.normBackward(
        ...[a.T, a.C, a.layer, a.residual, a.accumulate],
        ...[a.dy, a.x, a.gain, a.rstd, a.mean, a.dx, a.dGain, a.dBias],
      ),
    gemm: (a) => native.gemm(a.M, a.N, a.K, false, a.a, a.aScales, a.b, a.bScales, a.y),
    linearQkv: (a) =>
      native.linearHeads(
        ...[a.T, 3 * a.C, a.C, a.C / a.H, 0],
        ...[a.a, a.aScales, a.w, a.wScales, packed(a), a.bias, NO_SEED, a.codes, a.scales],
      ),
    linearResidual: (a) =>
      native.linearResidual(a.T, a.N, a.K, a.a, a.aScales, a.w, a.wScales, packed(a), a.bias, a.x, a.y),
    linearGelu: (a) =>
      native.linearGelu(
        ...[a.T, a.N, a.K, a.a, a.aScales, a.w, a.wScales, packed(a)],
        ...[a.bias, a.codes, a.scales, a.derivative],
      ),
    attentionForward: (a) => native.attentionForward(a.T, a.C, a.H, a.context, a.qkv, a.qkvScales, a.o, a.lambda),
    attentionBackward: (a) =>
      native.attentionBackward(
        ...[a.T, a.C, a.H, a.context, a.t0, a.U],
        ...[a.qkv, a.qkvScales, a.dO, a.dOScales, a.lambda, a.dqkv, a.seedV, a.seedK, a.seedQ],
      ),
    quantizeRows: (a) => native.quantizeRows(a.T, a.N, 0, false, a.x, a.codes, a.scales, NO_BIAS, NO_SEED),
    quantizeGradientRows: (a) =>
      native.quantizeRows(a.T, a.N, a.t0, a.accumulate, a.x, a.codes, a.scales, a.bias, a.seed),
    recode: (a) => native.recode(a.T, a.N, a.t0, a.codes, a.scales, a.out, a.outScales, a.dither ? a.seed : NO_SEED),
    linearInputGradient: (a) => native.linearBf16(a.T, a.N, a.K, a.e, a.eScales, a.wt, a.wtScales, packed(a), a.dx),
    linearHeadsInputGradient: (a) =>
      native.linearHeads(
        ...[a.T, a.K, a.N, a.K / a.H, a.t0],
        ...[a.e, a.eScales, a.wt, a.wtScales, packed(a), NO_BIAS, a.seed, a.codes, a.scales],
      ),
    linearGeluInputGradient: (a) =>
      native.linearGeluGradient(
        ...[a.T, a.N, a.K, a.t0, a.accumulate],
        ...[a.e, a.eScales, a.wt, a.wtScales, packed(a), a.derivative, a.codes, a.scales, a.bias, a.seed],
      ),
    weightGradient: (a) => native.gemm(a.N, a.K, a.T, a.accumulate, a.et, a.etScales, a.xt, a.xtScales, a.dw),
    headForward: (a) =>
      native.headForward(
        ...[a.T, a.C, a.V, a.vocab, a.t0, a.U],
        ...[a.a, a.aScales, a.w, a.wScales, packed(a), a.targets, a.codes, a.eScales, a.loss, a.seed],
      ),
    headLogits: (a) => native.gemm(a.T, a.V, a.C, false, a.a, a.aScales, a.w, a.wScales, a.logits),
    headInputGradient: (a) =>
      native.headInputGradient(
        ...[a.T, a.V, a.C, a.U],
        ...[a.e, a.eScales, a.wt, a.wtScales, packed(a), a.w, a.wScales, a.targets, a.dx],
      ),
    embedBackward: (a) =>
      native.embedBackward(
        ...[a.U, a.C, a.V, a.context],
        ...[a.tokens, a.targets, a.a, a.aScales, a.dx, a.dWte, a.dWpe],
      ),
    unitLoss: (a) => native.unitLoss(a.U, a.loss, a.out),
    quantize4: (a) => native.quantize4(a.rows, a.cols, a.x, a.codes, a.scales, a.seed),
    dequantize4: (a) => native.dequantize4(a.n, a.codes, a.scales, a.x),
    quantizeWeight: (a) => native.quantizeWeight(a.N, a.K, a.theta, a.w, a.wScales, a.wt, a.wtScales),
    commitLeaves: (a) =>
      native.commitLeaves(
        ...[a.n, a.updateEma, a.beta1, a.beta2, a.b1t, a.b2t],
        ...[a.epsilon, a.weightDecay, a.learningRate, a.emaDecay],
        ...[a.theta, a.m, a.v, a.ema, a.codes, a.scales],
      ),
    packModel: (a) => native.packModel(a.n, a.bits, a.x, a.codes, a.scales),
    unpackModel: (a) => native.unpackModel(a.n, a.bits, a.codes, a.scales, a.x),
    diffModel: (a) => native.diffModel(a.n, a.older, a.newer, a.out, a.end),
    patchModel: (a) => patchModel(native, a),
  };
}

/** An error of the addon as ours: NON_FINITE names the operation and the tensor. */
function translated(operation: OperationName, error: unknown): PogoError {
  if (error instanceof Error && 'code' in error && error.code === 'NON_FINITE') {
    const tensor = error.message;
    return new PogoError(
      'NON_FINITE',
      `${operation}: expected finite values in ${tensor}, found an Inf or NaN; lower the learning rate or check the input`,
      { operation, tensor },
      error,
    );
  }
  if (error instanceof TypeError || error instanceof RangeError) {
    return new PogoError('SHAPE', `${operation}: ${error.message}`, { operation }, error);
  }
  return PogoError.from(error);
}

/** The form of a right operand under an instruction set; its length is checked natively wherever it is used. */
function packing(native: CpuAddon, isa: string): WeightPacking {
  return {
    bytes(rows, cols) {
      native.setIsa(isa);
      return native.packedBytes(rows, cols);
    },
    pack({ codes, rows, cols, packed: out }) {
      native.setIsa(isa);
      native.packCodes(rows, cols, codes, out);
    },
  };
}

function guarded(native: CpuAddon, isa: string): LaneKernels {
  const kernels = nativeKernels(native);
  const entries = (Object.keys(CHECK) as OperationName[]).map((operation) => {
    const check = CHECK[operation] as (a: unknown, c: ShapeCheck) => void;
    const kernel = kernels[operation] as (a: unknown) => void;
    const shapes = new ShapeCheck(operation);
    const call = (a: unknown): void => {
      check(a, shapes);
      try {
        // Several backends of one thread share the addon's choice of kernels.
        native.setIsa(isa);
        kernel(a);
      } catch (error) {
        throw translated(operation, error);
      }
    };
    return [operation, call];
  });
  return { ...(Object.fromEntries(entries) as Kernels), packing: packing(native, isa) };
}

/**
 * Opens the CPU kernels.
 * @param isa instruction set to force, or 'auto' for the best of this machine
 * @param misses backends that come earlier in the order and were not taken
 * @throws PogoError ENVIRONMENT if the addon is not built, or machine or build lack the instruction set
 */
export function openCpuBackend(isa: CpuIsaChoice = 'auto', misses: readonly BackendMiss[] = []): Backend {
  const loaded = loadCpuAddon();
  if (loaded.addon === undefined) {
    throw new PogoError('ENVIRONMENT', `expected the CPU addon, found: ${loaded.reason}; run ${loaded.fix}`, {
      backend: 'cpu',
      reason: loaded.reason,
      fix: loaded.fix,
    });
  }
  const { addon } = loaded;
  let chosen: string;
  try {
    chosen = addon.setIsa(isa);
  } catch (error) {
    const { isas } = addon.describe();
    const usable = Object.keys(isas).filter((name) => isas[name]!.reason === '');
    const reason = error instanceof Error ? error.message : String(error);
    const fix = `set POGO_ISA to one of auto, ${usable.join(', ')}`;
    throw new PogoError('ENVIRONMENT', `expected kernels for ${isa}, found: ${reason}; ${fix}`, {
      backend: 'cpu',
      isa,
      reason,
      fix,
    });
  }
  return {
    name: 'cpu',
    isa: chosen as IsaName,
    features: addon.describe().features,
    kernels: guarded(addon, chosen),
    misses,
    kernelCalls: () => addon.describe().isas[chosen]?.calls ?? 0,
  };
}
