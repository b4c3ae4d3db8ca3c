/**
 * Bytes and integer operations of every pass of a unit, counted from the tape: what a pass must at least read and write
 * (each operand once), and the multiplications and additions of its int8 products.
 */

import type { FusedKernels } from '../backend/fusions.js';
import { hiddenTensors, tapeSteps } from './fusedTape.js';
import { BYTES_OF, type HostArray, type Ref, type Tape, type TapeEntry } from './tape.js';

export interface PassCost {
  /** Bytes read plus bytes written. */
  readonly bytes: number;
  /** A multiplication or an addition of an int8 product each. */
  readonly operations: number;
}

/** Products of the causal attention: two forward (scores, mix), five backward (scores, dP, dV, dK, dQ). */
const ATTENTION_PRODUCTS = {
  attentionForward: 2,
  attentionBackward: 5,
  groupedAttentionForward: 2,
  groupedAttentionBackward: 5,
} as const;

/** Operations of a causal product over all heads: a row of 64-blocks reads (context + 64)/2 keys on average. */
export function attentionOperations(tokens: number, width: number, context: number, products: number): number {
  return (tokens * products * 2 * width * (context + 64)) / 2;
}

/** The same with a window: a block of queries reads its own block, half of it live, and the window ÷ 64 before it. */
function windowOperations(tokens: number, width: number, context: number, window: number, products: number): number {
  const blocks = context / 64;
  const reach = window === 0 ? blocks : window / 64;
  let pairs = 0;
  for (let block = 0; block < blocks; block += 1) pairs += 1 + 2 * Math.min(block, reach);
  return (tokens * products * 2 * width * 32 * pairs) / blocks;
}

function operationsOf(entry: TapeEntry): number {
  switch (entry.kind) {
    case 'linearQkv':
      return 2 * entry.args.T * 3 * entry.args.C * entry.args.C;
    case 'gemm':
      return 2 * entry.args.M * entry.args.N * entry.args.K;
    case 'linearResidual':
    case 'linearRows':
    case 'linearGelu':
    case 'linearInputGradient':
    case 'linearHeadsInputGradient':
    case 'linearGeluInputGradient':
    case 'weightGradient':
      return 2 * entry.args.T * entry.args.N * entry.args.K;
    case 'headForward':
    case 'headLogits':
    case 'headInputGradient':
      return 2 * entry.args.T * entry.args.C * entry.args.V;
    case 'attentionForward':
    case 'attentionBackward': {
      const { T, C, context } = entry.args;
      return attentionOperations(T, C, context, ATTENTION_PRODUCTS[entry.kind]);
    }
    case 'groupedAttentionForward':
    case 'groupedAttentionBackward': {
      const { T, H, h, context, window } = entry.args;
      return windowOperations(T, H * h, context, window, ATTENTION_PRODUCTS[entry.kind]);
    }
    default:
      return 0;
  }
}

/** Arguments that are read and written in place; the others are either. */
function isUpdated(entry: TapeEntry, name: string): boolean {
  switch (entry.kind) {
    case 'normBackward':
      return (name === 'dx' && entry.args.residual) || (entry.args.accumulate && /^d(Gain|Bias)$/.test(name));
    case 'rotateHeadsBackward':
      return entry.args.accumulate && /^dGain/.test(name);
    case 'weightGradient':
      return name === 'dw' && entry.args.accumulate;
    case 'quantizeGradientRows':
    case 'linearGeluInputGradient':
      return name === 'bias' && entry.args.accumulate;
    default:
      return false;
  }
}

/** Elements of a table of which a pass touches only some rows; undefined where it touches the whole argument. */
function touched(entry: TapeEntry, name: string): number | undefined {
  switch (entry.kind) {
    case 'embed':
      return name === 'wte' || name === 'wpe' ? entry.args.T * entry.args.C : undefined;
    case 'embedScaled':
      return name === 'wte' ? entry.args.T * entry.args.C : undefined;
    case 'headInputGradient':
      return name === 'w' ? entry.args.T * entry.args.C : undefined;
    case 'embedBackward':
    case 'embedScaledBackward':
      // A row per target and per token, read and written.
      return name === 'dWte' ? 4 * entry.args.U * entry.args.C : undefined;
    default:
      return undefined;
  }
}

function isRef(value: unknown): value is Ref<HostArray> {
  return typeof value === 'object' && value !== null && 'buffer' in value;
}

/** What one entry of the tape costs. */
export function passCost(tape: Tape, entry: TapeEntry): PassCost {
  let bytes = 0;
  for (const [name, value] of Object.entries(entry.args)) {
    if (!isRef(value)) continue;
    const elements = touched(entry, name);
    const size = BYTES_OF[(tape.buffers[value.buffer] as Tape['buffers'][number]).dtype];
    if (elements === undefined) bytes += size * value.length * (isUpdated(entry, name) ? 2 : 1);
    else bytes += size * Math.min(elements, 2 * value.length);
  }
  return { bytes, operations: operationsOf(entry) };
}

export interface Pass extends PassCost {
  /** Name without the layer; of several operations in one pass the first's. */
  readonly name: string;
  readonly kinds: readonly string[];
  /** Times that it runs. */
  readonly calls: number;
}

/** Name of a pass for an entry of the tape: all layers together. */
export function passName(entryName: string): string {
  return entryName.replace(/^h\d+\./, '');
}

/** The passes of a tape under a backend with these fusions, the layers summed, in order of their first entry. */
export function passesOf(tape: Tape, fused: FusedKernels = {}): Pass[] {
  const passes = new Map<string, Pass>();
  for (const step of tapeSteps(tape, fused)) {
    const entries = step.entries.map((i) => tape.entries[i] as TapeEntry);
    const name = passName((entries[0] as TapeEntry).name);
    const known = passes.get(name) ?? { name, kinds: [], calls: 0, bytes: 0, operations: 0 };
    const costs = entries.map((entry) => passCost(tape, entry));
    const sum = (field: keyof PassCost): number => costs.reduce((total, cost) => total + cost[field], known[field]);
    // What stays in the pass was counted as written by one part and as read by another.
    const saved = hiddenTensors(tape, step).reduce((bytes, { buffer, length }) => {
      return bytes + 2 * BYTES_OF[(tape.buffers[buffer] as Tape['buffers'][number]).dtype] * length;
    }, 0);
    passes.set(name, {
      name,
      kinds: [...new Set([...known.kinds, ...entries.map(({ kind }) => kind)])],
      calls: known.calls + 1,
      bytes: sum('bytes') - saved,
      operations: sum('operations'),
    });
  }
  return [...passes.values()];
}
