/**
 * How a backend runs a tape: operation by operation, and where it can several in one pass.
 *
 * The tape stays as it is: what an operation is called, and the values that receipts and disputes look at, are those of its
 * entries. A step that somebody looks into runs entry by entry.
 */
import {
  FUSION_NAMES,
  FUSIONS,
  type FusedKernels,
  type Fusion,
  type FusionName,
  fusionFits,
} from '../backend/fusions.js';
import type { HostArray, Ref, Tape, TapeEntry } from './tape.js';

/** Entries of the tape that run together, in order; `fusion` absent: a single entry. */
export interface TapeStep {
  readonly entries: readonly number[];
  readonly fusion?: FusionName;
}

/** Tensors between the parts of a step: they are neither written nor read where the step runs as a fusion. */
export function hiddenTensors(tape: Tape, { entries, fusion }: TapeStep): Ref<HostArray>[] {
  if (fusion === undefined) return [];
  return FUSIONS[fusion].hidden.map(({ of, from }) => argument(tape.entries[entries[of] as number] as TapeEntry, from));
}

function argument(entry: TapeEntry, name: string): Ref<HostArray> {
  return (entry.args as unknown as Record<string, Ref<HostArray>>)[name] as Ref<HostArray>;
}

function isSame(a: Ref<HostArray>, b: Ref<HostArray>): boolean {
  return a.buffer === b.buffer && a.offset === b.offset && a.length === b.length;
}

function references(entry: TapeEntry): [string, Ref<HostArray>][] {
  return Object.entries(entry.args).filter(
    (field): field is [string, Ref<HostArray>] => typeof field[1] === 'object' && field[1] !== null,
  );
}

/** Whether an entry writes all of an argument without reading it; only those that matter here are known. */
function overwrites(entry: TapeEntry, name: string): boolean {
  switch (entry.kind) {
    case 'weightGradient':
      return name === 'dw' && !entry.args.accumulate;
    case 'embedBackward':
      return name === 'dWpe';
    case 'attentionForward':
    case 'groupedAttentionForward':
      return name === 'o';
    case 'attentionBackward':
      return name === 'dqkv';
    default:
      return false;
  }
}

/** Whether an entry from `first` on reads any of the tensor before it was overwritten. */
function isReadLater(tape: Tape, tensor: Ref<HostArray>, first: number): boolean {
  let { offset: start } = tensor;
  let end = start + tensor.length;
  for (let i = first; i < tape.entries.length && start < end; i += 1) {
    const entry = tape.entries[i] as TapeEntry;
    const written: Ref<HostArray>[] = [];
    for (const [name, ref] of references(entry)) {
      if (ref.buffer !== tensor.buffer || ref.offset >= end || ref.offset + ref.length <= start) continue;
      if (!overwrites(entry, name)) return true;
      written.push(ref);
    }
    for (const ref of written) {
      if (ref.offset <= start) start = Math.max(start, ref.offset + ref.length);
      else end = Math.min(end, ref.offset + ref.length >= end ? ref.offset : end);
    }
  }
  return false;
}

function fits(tape: Tape, fusion: FusionName, first: number): boolean {
  const { parts, hidden }: Fusion = FUSIONS[fusion];
  const entries = tape.entries.slice(first, first + parts.length);
  if (parts.some((kind, i) => entries[i]?.kind !== kind)) return false;
  const of = (part: number, name: string) => argument(entries[part] as TapeEntry, name);
  const args = entries.map((entry) => entry.args);
  return (
    hidden.every((link) => isSame(of(link.of, link.from), of(link.into, link.to))) &&
    fusionFits(fusion, args) &&
    hidden.every((link) => !isReadLater(tape, of(link.of, link.from), first + parts.length))
  );
}

/** The steps of a tape under a backend that has these fusions. Every entry is in one step; the order is the tape's. */
export function tapeSteps(tape: Tape, fused: FusedKernels = {}): TapeStep[] {
  const names = FUSION_NAMES.filter((name) => fused[name] !== undefined);
  const steps: TapeStep[] = [];
  for (let i = 0; i < tape.entries.length; ) {
    const fusion = names.find((name) => fits(tape, name, i));
    const count = fusion === undefined ? 1 : FUSIONS[fusion].parts.length;
    const entries = Array.from({ length: count }, (_, part) => i + part);
    steps.push(fusion === undefined ? { entries } : { entries, fusion });
    i += count;
  }
  return steps;
}
