/**
 * U1–U5: work that is no training, and results that only look useful.
 */

import { equalBytes } from '../../src/hex.js';
import { EMBEDDED_PARAMETERS } from '../../src/ledger/stateGenesis.js';
import { bitsToFloat } from '../../src/model/fp32.js';
import { restore, type Snapshot, snapshot } from '../../src/node/checkClaim.js';
import { HeldOutLoss } from '../../src/node/heldOutLoss.js';
import { trainSteps } from '../../src/pipeline/trainSteps.js';
import { deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { drawBatch } from '../../src/protocol/draws.js';
import { StepCommitmentListType } from '../../src/protocol/types.js';
import { attack } from '../support/attack.js';
import { seededBytes, seededRandom } from '../support/random.js';
import { changedUnits, type Lie } from '../support/stage.js';
import { stageAttack } from '../support/stageAttack.js';
import { useStage } from '../support/stageFixture.js';
import { codesOf, writeCodes } from '../support/unitCodes.js';

const stage = useStage();

const randomTokens = Uint16Array.from(seededBytes(2048, 77));

stageAttack(
  stage,
  {
    id: 'U1',
    attack: 'random operands as “work”',
    gain: 'pay for products that no model needs',
    defence: 'the operands of a unit are the committed weights and the drawn batch of the recipe’s data',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: () => [{ tokens: randomTokens }],
    // The work is checked on the operands that the miner names.
    rules: ({ recipe }) => ({
      unitTokens: ({ mined }, i, unit) => {
        const at = drawBatch(mined.header.draw1, mined.list[i]!.step, recipe)[unit]!;
        return Uint32Array.from(randomTokens.subarray(at, at + recipe.context + 1));
      },
    }),
  },
);

/** The real scales, and the real codes of every group in another order: no test of a distribution tells them apart. */
function shuffled(file: Uint8Array, step: number, unit: number): void {
  const { layout } = stage().plan;
  const codes = codesOf(layout, file);
  const random = seededRandom(1 + 2 * step + unit);
  for (let group = 0; group < codes.length; group += 64) {
    for (let i = 63; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      const kept = codes[group + i]!;
      codes[group + i] = codes[group + j]!;
      codes[group + j] = kept;
    }
  }
  writeCodes(layout, file, codes);
}

function histogram(codes: Int8Array): string {
  const counts = new Array<number>(16).fill(0);
  for (const code of codes) counts[code + 8]! += 1;
  return counts.join();
}

stageAttack(
  stage,
  {
    id: 'U2',
    attack: 'inputs shaped so that a test of their distribution passes',
    gain: 'as U1, past a statistical test',
    defence: 'bytes are compared, not distributions',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: () => [{ committer: changedUnits(shuffled) }],
    rules: ({ plan: { layout } }) => ({
      unit: (committed, computed) => histogram(codesOf(layout, committed)) === histogram(codesOf(layout, computed)),
    }),
  },
);

stageAttack(
  stage,
  {
    id: 'U3',
    attack: 'a flattering loss is reported',
    gain: 'looks like a better miner; a bonus where the reported loss counts',
    defence: 'the loss of a unit is recomputed with it; held-out losses are the verifiers’, on a later draw',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence loss',
    harm: 'finalized',
  },
  {
    lies: () => [
      {
        committer: {
          // Halving an fp32 value takes one from its exponent.
          unit: async (_step, _unit, compute) => {
            const real = await compute();
            return { ...real, lossBits: real.lossBits - 0x00800000 };
          },
        },
      },
    ],
    rules: () => ({ loss: () => true }),
  },
);

/** A model trained elsewhere: twelve steps on batches of its owner’s choice. */
async function trainedOutside(): Promise<Snapshot> {
  const { trainer, tokens, start } = stage();
  await restore(trainer, start);
  await trainSteps({
    trainer,
    draw1: deriveHash('outside', u64Bytes(0)),
    tokens,
    untilStep: 12,
    record: () => undefined,
  });
  trainer.state.ema.set(trainer.state.theta);
  return snapshot(trainer);
}

stageAttack(
  stage,
  {
    id: 'U4',
    attack: 'a better model is brought in from outside',
    gain: 'pay for gradient work that was not done here',
    defence: 'a state must follow from its committed units; a loss proves no work',
    file: 'src/protocol/evidence/stateRoot.ts',
    stoppedBy: 'slashed by evidence state-root',
    harm: 'finalized',
  },
  {
    lies: async () => {
      const { vectors } = await trainedOutside();
      return [
        {
          committer: {
            state: async (step, trainer) => {
              if (step !== 1) return;
              trainer.state.theta.set(vectors.theta);
              trainer.state.ema.set(vectors.ema);
              await trainer.prepare();
            },
          },
        },
      ];
    },
    // The last state is believed when its model has the lower loss.
    rules: ({ recipe, tokens }) => ({
      state: async ({ trainer, mined }, root, i) => {
        if (i < recipe.stepsPerClaim) return equalBytes(await trainer.stateRoot(), root);
        const heldOut = new HeldOutLoss(trainer, tokens, [1600, 1700, 1800]);
        const own = bitsToFloat(await heldOut.of((await trainer.packModel()).slice()));
        const theirs = bitsToFloat(await heldOut.of(mined.model));
        await restore(trainer, mined.states.at(-1)!.saved);
        return theirs < own;
      },
    }),
  },
);

/** A claim of no step at all: from and to state are one. */
const nothing: Lie = {
  list: () => [],
  steps: 1,
  committer: { model: (file) => file.set(startModel()) },
  header: (header) => ({ ...header, toRoot: header.fromRoot, listRoot: StepCommitmentListType.hashTreeRoot([]) }),
};
let packedStart: Uint8Array | undefined;
function startModel(): Uint8Array {
  if (packedStart === undefined) throw new Error('packed before it is needed');
  return packedStart;
}

attack(
  {
    id: 'U5',
    attack: 'a claim of no steps, or of too few, paid in full',
    gain: 'the reward without the work',
    defence: 'the number of steps is the recipe’s',
    file: 'src/protocol/claim.ts',
    stoppedBy: 'slashed by evidence commitments',
    harm: 'finalized, and paid in full',
  },
  {
    real: async () => {
      await packStart();
      return [(await stage().play(nothing)).outcome, (await stage().play({ steps: 1 })).outcome];
    },
    twin: async () => {
      await packStart();
      const { outcome, chain, mined } = await stage().play(nothing, { rules: { list: () => true } });
      const balance = chain.balance(chain.keyOf(mined.header.miner));
      const paid = balance - chain.demo.genesis.accounts[0]!.balance >= EMBEDDED_PARAMETERS.claimReward;
      return paid ? `${outcome}, and paid in full` : outcome;
    },
  },
);

async function packStart(): Promise<void> {
  await restore(stage().trainer, stage().start);
  packedStart = (await stage().trainer.packModel()).slice();
}
