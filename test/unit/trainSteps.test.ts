/** Training that fails: the step that was finished before is recorded, and nothing after the caller knows. */
import { expect, it } from 'vitest';
import { START_SCALARS } from '../../src/model/state.js';
import type { ModelPlan } from '../../src/model/unit.js';
import type { Trainer } from '../../src/pipeline/trainer.js';
import { trainSteps } from '../../src/pipeline/trainSteps.js';
import { smallRecipe } from '../support/trainedClaim.js';

it('records the finished step before it ends with the error of the next one', async () => {
  const { recipe, tokenFile } = smallRecipe();
  const happened: string[] = [];
  let step = 0;
  const trainer: Pick<Trainer, 'computeUnit' | 'commit' | 'stateRoot' | 'vectorsChanged'> & {
    readonly plan: Pick<ModelPlan, 'recipe'>;
    readonly scalars: Trainer['scalars'];
  } = {
    plan: { recipe },
    get scalars() {
      return { ...START_SCALARS, step };
    },
    vectorsChanged: () => undefined,
    async computeUnit() {
      if (step > 0) throw new Error('no more units');
      return {
        file: new Uint8Array(4),
        root: new Uint8Array(32),
        lossBits: 0,
        observed: new Uint8Array(0),
        group: 0,
        ms: 0,
      };
    },
    async commit() {
      step += 1;
    },
    async stateRoot() {
      // The hash of a state takes longer than the failure of the next unit.
      if (step > 0) await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
      return new Uint8Array(32);
    },
  };
  const training = trainSteps({
    trainer: trainer as unknown as Trainer,
    draw1: new Uint8Array(32),
    tokens: new Uint16Array(tokenFile.buffer),
    untilStep: 3,
    record: ({ commitment }) => void happened.push(`step ${commitment.step}`),
  });
  happened.push(
    await training.then(
      () => 'no error',
      (error: Error) => error.message,
    ),
  );
  expect(happened).toEqual(['step 0', 'no more units']);
});
