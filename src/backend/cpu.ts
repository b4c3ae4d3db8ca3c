/**
 * The CPU backend: typed, validated kernels over the addon `native/cpu`. Node-only.
 *
 * Every kernel runs synchronously on the calling thread and writes into the caller's arrays, which may be views of
 * SharedArrayBuffers. Instruction sets give the same bits.
 */
import { invariant, PogoError } from '../errors.js';
import { DIFF_CHUNK_BYTES, malformedDiff, patchChunk } from '../reference/diffModel.js';
import { type CpuAddon, loadCpuAddon } from './cpuAddon.js';
import { FUSION_NAMES, FUSIONS, type FusedKernels, type FusionName, fusionFits } from './fusions.js';
import type { CommitTensors, Kernels, LaneKernels, OperationName, WeightPacking } from './ops.js';
import { checkShapes, shapeChecked } from './shapes.js';
import type { Backend, BackendMiss, CpuIsa, IsaName } from './types.js';

/** Instruction sets that a user can force; 'auto': the best that build and machine have. */
export type CpuIsaChoice = 'auto' | CpuIsa;

const NO_SEED = new Uint32Array(0);
const NO_BIAS = new Float32Array(0);
const NOT_PACKED = new Uint8Array(0);
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
    attentionForward: (a) =>
      native.attentionForward(
        ...[a.T, a.H, a.H, a.C / a.H, a.context, 0, a.C / a.H],
        ...[a.qkv, a.qkvScales, a.o, a.lambda],
      ),
    attentionBackward: (a) =>
      native.attentionBackward(
        ...[a.T, a.H, a.H, a.C / a.H, a.context, 0, a.C / a.H, a.t0, a.U],
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
    quantizeHeads: (a) =>
      native.quantizeHeads(a.T, a.N, a.N / a.H, a.t0, a.factor, a.sum, a.bias, a.seed, a.codes, a.scales),
    addRows: (a) => native.addRows(a.T, a.N, a.sum, a.bias, a.x, a.y),
    geluRows: (a) => native.geluRows(a.T, a.N, a.sum, a.bias, a.codes, a.scales, a.derivative),
    roundRows: (a) => native.roundRows(a.T, a.N, a.sum, a.y),
    geluGradientRows: (a) =>
      native.geluGradientRows(
        ...[a.T, a.N, a.t0, a.accumulate],
        ...[a.sum, a.derivative, a.codes, a.scales, a.bias, a.seed],
      ),
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
        ...[a.U, a.C, a.V, a.context, 1],
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
    gainPlusOne: (a) => native.gainPlusOne(a.n, a.gain, a.out),
    embedScaled: (a) => native.embedScaled(a.T, a.C, a.wte.length / a.C, a.scale, a.tokens, a.wte, a.x),
    embedScaledBackward: (a) =>
      native.embedBackward(
        ...[a.U, a.C, a.V, 0, a.scale],
        ...[a.tokens, a.targets, a.a, a.aScales, a.dx, a.dWte, NO_BIAS],
      ),
    linearRows: (a) => native.linearBf16(a.T, a.K, a.N, a.a, a.aScales, a.w, a.wScales, packed(a), a.y),
    normResidual: (a) => native.normResidual(a.T, a.C, a.epsilon, a.x, a.o, a.gain, a.y, a.rstd),
    rotateHeads: (a) =>
      native.rotateHeads(
        ...[a.T, a.H, a.G, a.h, a.context, a.gainQ, a.gainK, a.rope, a.epsilon],
        ...[a.y, a.codes, a.scales, a.rstd],
      ),
    rotateHeadsBackward: (a) =>
      native.rotateHeadsBackward(
        ...[a.T, a.H, a.G, a.h, a.context, a.gainQ, a.gainK, a.rope, a.accumulate],
        ...[a.dqkv, a.y, a.rstd, a.dy, a.dGainQ, a.dGainK],
      ),
    groupedAttentionForward: (a) =>
      native.attentionForward(
        ...[a.T, a.H, a.G, a.h, a.context, a.window, a.scalar],
        ...[a.qkv, a.qkvScales, a.o, a.lambda],
      ),
    groupedAttentionBackward: (a) =>
      native.attentionBackward(
        ...[a.T, a.H, a.G, a.h, a.context, a.window, a.scalar, a.t0, a.U],
        ...[a.qkv, a.qkvScales, a.dO, a.dOScales, a.lambda, a.dqkv, a.seedV, a.seedK, a.seedQ],
      ),
    geglu: (a) => native.geglu(a.T, a.N, a.u, a.codes, a.scales),
    gegluGradient: (a) => native.gegluGradient(a.T, a.N, a.t0, a.dh, a.u, a.codes, a.scales, a.seed),
  };
}

/** Calls of several operations in one pass; the tensors between them stay behind. */
function nativeFusions(native: CpuAddon): Required<FusedKernels> {
  return {
    weightGradient4: (g, q) =>
      native.weightGradient4(g.N, g.K, g.T, g.et, g.etScales, g.xt, g.xtScales, q.codes, q.scales, q.seed),
    attentionForwardRows: (a, q) =>
      native.attentionForwardRows(
        ...[a.T, a.H, a.H, a.C / a.H, a.context, 0, a.C / a.H],
        ...[a.qkv, a.qkvScales, a.lambda, q.codes, q.scales],
      ),
    groupedAttentionForwardRows: (a, q) =>
      native.attentionForwardRows(
        ...[a.T, a.H, a.G, a.h, a.context, a.window, a.scalar],
        ...[a.qkv, a.qkvScales, a.lambda, q.codes, q.scales],
      ),
    attentionBackwardRows: (a, q) =>
      native.attentionBackwardRows(
        ...[a.T, a.H, a.H, a.C / a.H, a.context, 0, a.C / a.H, a.t0, a.U, q.accumulate],
        ...[a.qkv, a.qkvScales, a.dO, a.dOScales, a.lambda, a.seedV, a.seedK, a.seedQ],
        ...[q.codes, q.scales, q.bias, q.seed],
      ),
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

function commitTensors(native: CpuAddon, isa: string): CommitTensors {
  return (a, leaves, weightDecays) => {
    checkShapes('commitLeaves', a);
    const all = leaves.reduce((sum, count) => sum + count, 0);
    invariant(256 * all === a.n && leaves.length === weightDecays.length, 'commitTensors: leaves of other tensors');
    try {
      native.setIsa(isa);
      native.commitTensors(
        ...[a.n, a.updateEma, a.beta1, a.beta2, a.b1t, a.b2t],
        ...[a.epsilon, leaves, weightDecays, a.learningRate, a.emaDecay],
        ...[a.theta, a.m, a.v, a.ema, a.codes, a.scales],
      );
    } catch (error) {
      throw translated('commitLeaves', error);
    }
  };
}

function guarded(native: CpuAddon, isa: string): LaneKernels {
  const kernels = nativeKernels(native);
  const checked = shapeChecked((operation, a) => {
    try {
      // Several backends of one thread share the addon's choice of kernels.
      native.setIsa(isa);
      kernels[operation](a);
    } catch (error) {
      throw translated(operation, error);
    }
  });
  return {
    ...checked,
    packing: packing(native, isa),
    fused: guardedFusions(native, isa),
    commitTensors: commitTensors(native, isa),
  };
}

/** Fusions behind the checks of their parts. An error is told as the last part's. */
function guardedFusions(native: CpuAddon, isa: string): FusedKernels {
  const fusions = nativeFusions(native);
  const guardedOne = (name: FusionName): ((...parts: readonly object[]) => void) => {
    const kinds: readonly OperationName[] = FUSIONS[name].parts;
    const run = fusions[name] as (...parts: readonly object[]) => void;
    return (...parts) => {
      kinds.forEach((kind, i) => {
        checkShapes(kind, parts[i] as object);
      });
      invariant(fusionFits(name, parts), `${name}: operations that it does not join`);
      try {
        native.setIsa(isa);
        run(...parts);
      } catch (error) {
        throw translated(kinds.at(-1) as OperationName, error);
      }
    };
  };
  return Object.fromEntries(FUSION_NAMES.map((name) => [name, guardedOne(name)]));
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
