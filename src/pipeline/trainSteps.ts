/**
 * Training the steps of a claim: batches from draw 1, units by the lanes, commits, commitments.
 *
 * Everything a miner commits passes through {@link Committer}: the honest one returns what was computed. A step is
 * handed to `record` (units synced, then the commitment) before the step after the next starts, so a crash costs at
 * most one step of training.
 */

import type { TokenSequence } from '../model/tokens.js';
import { gatherSequences } from '../model/unit.js';
import { batchDigest, drawBatch, unitOffsets } from '../protocol/draws.js';
import type { StepCommitment } from '../protocol/types.js';
import type { ComputedUnit, Trainer } from './trainer.js';

/** What a miner may decide about the bytes that it commits. All methods are optional; absent ones are honest. */
export interface Committer {
  /** Offsets that are trained on and whose digest is committed. */
  offsets?(step: number, drawn: readonly number[]): number[];
  /** The unit that is committed; `compute` does the work. */
  unit?(step: number, unit: number, compute: () => Promise<ComputedUnit>): Promise<ComputedUnit>;
  /** Called after the commit pass and before the state is hashed. */
  state?(step: number, trainer: Trainer): Promise<void> | void;
  /** The root of the state after a step that is committed. */
  root?(step: number, root: Uint8Array): Uint8Array;
  /** The packed model at the claim's end, before it is hashed. */
  model?(file: Uint8Array): void;
  /** The diff to the parent's model that is committed; a first claim has none. */
  diff?(file: Uint8Array | undefined): Uint8Array | undefined;
}

export interface TrainedStep {
  readonly commitment: StepCommitment;
  readonly units: readonly ComputedUnit[];
  /** Mean of the unit losses for people; the committed bits are in the commitment. */
  readonly loss: number;
  readonly ms: number;
}

export interface TrainStepsOptions {
  readonly trainer: Trainer;
  readonly draw1: Uint8Array;
  readonly tokens: TokenSequence;
  /** Trains from the trainer's current step up to this one. */
  readonly untilStep: number;
  readonly committer?: Committer;
  readonly signal?: AbortSignal;
  /** Makes a step durable. Units are valid until it returns. */
  record(step: TrainedStep): void;
}

/** @returns commitments of the trained steps, in order */
export async function trainSteps(options: TrainStepsOptions): Promise<StepCommitment[]> {
  const { trainer, committer = {} } = options;
  const commitments: StepCommitment[] = [];
  let preStateRoot = await trainer.stateRoot();
  let clock = performance.now();
  // The record of a step waits for its post-state root, which the lanes hash while they compute the next units.
  let pending: Promise<void> | undefined;

  try {
    while (trainer.scalars.step < options.untilStep) {
      const { step } = trainer.scalars;
      const { digest, units } = await computeStep(options, step);
      await pending;
      // A committer may have put other bytes in a unit's place.
      const computed = committer.unit === undefined;
      await trainer.commit(
        units.map((u) => u.file),
        computed,
      );
      if (committer.state !== undefined) {
        await committer.state(step, trainer);
        trainer.vectorsChanged();
      }
      const header = trainer.stateRoot();
      pending = (async () => {
        const root = await header;
        const postStateRoot = committer.root?.(step, root) ?? root;
        const commitment: StepCommitment = {
          step,
          preStateRoot,
          batchDigest: digest,
          unitRoots: units.map((u) => u.root),
          unitLosses: units.map((u) => u.lossBits),
          postStateRoot,
        };
        preStateRoot = postStateRoot;
        commitments.push(commitment);
        const now = performance.now();
        options.record({ commitment, units, loss: meanLoss(commitment.unitLosses), ms: now - clock });
        clock = now;
      })();
      // An error of the record must not be unhandled while the next units are computed.
      pending.catch(() => undefined);
    }
    await pending;
  } finally {
    // However this ends, nothing is recorded after it: the caller gives up its log and the folder's lock then.
    await pending?.catch(() => undefined);
  }
  return commitments;
}

async function computeStep(
  options: TrainStepsOptions,
  step: number,
): Promise<{ digest: Uint8Array; units: ComputedUnit[] }> {
  const { trainer, draw1, committer = {} } = options;
  const { recipe } = trainer.plan;
  const drawn = drawBatch(draw1, step, recipe);
  const offsets = committer.offsets?.(step, drawn) ?? drawn;
  const computing = Array.from({ length: recipe.unitsPerStep }, (_, unit) => {
    const compute = (): Promise<ComputedUnit> => {
      const at = unitOffsets(offsets, unit, recipe);
      return trainer.computeUnit({ draw1, unit, tokens: gatherSequences(options.tokens, at, recipe.context) });
    };
    return committer.unit?.(step, unit, compute) ?? compute();
  });
  return { digest: batchDigest(offsets), units: await Promise.all(computing) };
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

function meanLoss(bits: readonly number[]): number {
  let sum = 0;
  for (const b of bits) {
    BITS[0] = b;
    sum += FLOAT[0] as number;
  }
  return sum / bits.length;
}
