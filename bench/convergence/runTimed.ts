/**
 * Trains an experiment folder as a miner does, by all lanes, from tokens to the state root of every step, and prints
 * held-out losses against the seconds of training: evaluation, set-up and nothing else is outside the clock.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { merkleKernels } from '../../src/backend/merkleAddon.js';
import type { Backend } from '../../src/backend/types.js';
import { bitsToFloat } from '../../src/model/fp32.js';
import { countParameters } from '../../src/model/layout.js';
import { allocateState } from '../../src/model/state.js';
import { allocateWeights, gatherSequences, LossRunner, quantizeWeights } from '../../src/model/unit.js';
import { LanePool } from '../../src/pipeline/lanePool.js';
import { Trainer } from '../../src/pipeline/trainer.js';
import { readExperiment } from '../experiments/runExact.js';
import { shared } from '../harness.js';
import { peakResidentBytes } from '../memory.js';

const HELD_OUT_GROUP = 16;

/** A line of the result: `train` holds the loss that the step was taken with. */
export type TimedLine =
  | { readonly type: 'start'; readonly name: string; readonly threads: number; readonly parameters: number }
  | { readonly type: 'heldOut'; readonly step: number; readonly loss: number; readonly trainSeconds: number }
  | { readonly type: 'end'; readonly peakBytes: number };

/** @param folder of one seed, as bench/experiments/experiment.mjs writes it */
export async function* runTimed(folder: string, backend: Backend, lanes: number): AsyncGenerator<TimedLine> {
  const { spec, plan, tokens, heldOut, batches, initial } = readExperiment(folder);
  const { recipe, layout } = plan;
  const pool = new LanePool({ backend: backend.name, isa: backend.isa, lanes });
  try {
    const state = allocateState(layout, recipe.ema);
    state.theta.set(initial);
    if (recipe.ema) state.ema.set(initial);
    const trainer = new Trainer(plan, pool, merkleKernels(), state);
    await trainer.prepare();
    const draw1 = blake3(new TextEncoder().encode(`experiment/${spec.name}/${spec.seed}`));

    const scratch = shared.f32(layout.length);
    const evaluated = allocateWeights(plan, scratch);
    const losses = new LossRunner(plan, backend.kernels, evaluated, HELD_OUT_GROUP);
    const sequences = gatherSequences(tokens, heldOut, recipe.context);
    const heldOutLoss = (): number => {
      scratch.set(state.theta);
      quantizeWeights(plan, backend.kernels, evaluated);
      return bitsToFloat(losses.lossBits(sequences));
    };

    const name = `exact, ${backend.name}/${backend.isa}`;
    yield { type: 'start', name, threads: lanes, parameters: countParameters(layout, recipe) };
    let seconds = 0;
    yield { type: 'heldOut', step: 0, loss: heldOutLoss(), trainSeconds: 0 };
    let header = trainer.stateRoot();
    await header;
    for (let step = 0; step < spec.steps; step += 1) {
      const start = performance.now();
      const computing = Array.from({ length: recipe.unitsPerStep }, (_, unit) => {
        const from = (step * recipe.unitsPerStep + unit) * recipe.sequencesPerUnit;
        const offsets = batches.slice(from, from + recipe.sequencesPerUnit);
        return trainer.computeUnit({ draw1, unit, tokens: gatherSequences(tokens, offsets, recipe.context) });
      });
      const units = await Promise.all(computing);
      await header;
      await trainer.commit(
        units.map(({ file }) => file),
        true,
      );
      header = trainer.stateRoot();
      const measured = (step + 1) % spec.measureEvery === 0 || step + 1 === spec.steps;
      if (measured) await header;
      seconds += (performance.now() - start) / 1e3;
      if (measured) yield { type: 'heldOut', step: step + 1, loss: heldOutLoss(), trainSeconds: seconds };
    }
    yield { type: 'end', peakBytes: peakResidentBytes() };
  } finally {
    await pool.dispose();
  }
}
