/** Exact held-out losses of packed 4-bit models on given sequences. */

import { referenceKernels } from '../backend/reference.js';
import { unpackModel } from '../model/state.js';
import type { TokenSequence } from '../model/tokens.js';
import { gatherSequences } from '../model/unit.js';
import type { Trainer } from '../pipeline/trainer.js';

export class HeldOutLoss {
  readonly #trainer: Trainer;
  readonly #sequences: Uint32Array;

  /** @param offsets of the sequences in the token file */
  constructor(trainer: Trainer, tokens: TokenSequence, offsets: readonly number[]) {
    this.#trainer = trainer;
    this.#sequences = gatherSequences(tokens, offsets, trainer.plan.recipe.context);
  }

  /** @returns fp32 bits of the mean loss in nats per token */
  async of(model: Uint8Array): Promise<number> {
    const { evaluator, plan, pool } = this.#trainer;
    unpackModel(plan, pool.kernels, model, evaluator.theta);
    await evaluator.prepare();
    const loss = await evaluator.losses(this.#sequences);
    const out = new Float32Array(1);
    referenceKernels.unitLoss({ loss, out, U: loss.length });
    return new Uint32Array(out.buffer)[0] as number;
  }
}
