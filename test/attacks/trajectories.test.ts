/**
 * T1–T12: trajectories that look like training and are not. A lie of the miner, the shipped check that convicts it, and
 * the twin of a verifier that is content with less.
 */
import { expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { type Recipe, recipeRoot, validateRecipe } from '../../src/model/recipe.js';
import { restore, type Snapshot, snapshot } from '../../src/node/checkClaim.js';
import { buildClaim, checkStepCommitments } from '../../src/protocol/claim.js';
import { detectionProbability } from '../../src/protocol/detection.js';
import { deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { drawUnits } from '../../src/protocol/draws.js';
import { STATE_VERSION, type StateHeader, type StepCommitment, stateRoot } from '../../src/protocol/types.js';
import { attack } from '../support/attack.js';
import { changedUnits, type Lie, type RuleContext, type Rules } from '../support/stage.js';
import { stageAttack } from '../support/stageAttack.js';
import { useStage } from '../support/stageFixture.js';
import { nativeBls, syntheticClaim } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';
import { codesOf, norm, valuesOf, writeCodes } from '../support/unitCodes.js';

const stage = useStage();

const filled = (value: number): Uint8Array => new Uint8Array(32).fill(value);
/** Steps and units of a claim of the small recipe. */
const [STEPS, UNITS] = [2, 2];

function largestDistance(a: Float32Array, b: Float32Array): number {
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
}

/** A state that is near enough is believed, and the check goes on from it: what schemes with a tolerance do. */
const within =
  (bound: number): Rules['state'] =>
  async ({ trainer, mined }, root, stepIndex) => {
    if (equalBytes(await trainer.stateRoot(), root)) return true;
    const theirs = stepIndex === 0 ? mined.start : mined.states[stepIndex - 1]!;
    if (largestDistance(theirs.saved.vectors.theta, trainer.state.theta) > bound) return false;
    await restore(trainer, theirs.saved);
    return true;
  };

/** The control of everything below: honest work passes both verifiers. */
it('an honest claim is finalized, by the shipped check and by the one written out', async () => {
  expect((await stage().play()).outcome).toBe('finalized');
  expect((await stage().play({}, { rules: {} })).outcome).toBe('finalized');
});

stageAttack(
  stage,
  {
    id: 'T1',
    attack: 'inputs crafted so that chosen checkpoints follow from one another',
    gain: 'pay for a trajectory that costs less than training on the assigned data',
    defence: 'batches of draw 1, their digest committed, compared exactly',
    file: 'src/protocol/evidence/batch.ts',
    stoppedBy: 'slashed by evidence batch',
    harm: 'finalized',
  },
  {
    lies: () => [{ committer: { offsets: (_step, drawn) => drawn.map((_, i) => 100 + i) } }],
    // The batch is whatever the miner says that it was.
    rules: ({ recipe, tokens }) => ({
      batch: () => true,
      unitTokens: (_context, _step, unit) => tokens.slice(100 + unit, 100 + unit + recipe.context + 1) as never,
    }),
  },
);

const flipCode: Lie = {
  committer: changedUnits(
    (file) => {
      const at = file.findIndex((byte) => (byte & 15) >= 1 && (byte & 15) <= 7);
      file[at] = file[at]! - 1;
    },
    (step, unit) => step === 1 && unit === 1,
  ),
};
const codesWithin =
  (bound: number): Rules['unit'] =>
  (committed, computed, { trainer }) => {
    const theirs = codesOf(trainer.plan.layout, committed);
    return codesOf(trainer.plan.layout, computed).every((code, i) => Math.abs(code - theirs[i]!) <= bound);
  };

stageAttack(
  stage,
  {
    id: 'T2',
    attack: 'one code of one unit changed by one: any small noise passes a tolerance',
    gain: 'any number of unearned updates, each too small for the tolerance',
    defence: 'equality of bytes',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  { lies: () => [flipCode], rules: () => ({ unit: codesWithin(1) }) },
);

let before: Float32Array | undefined;
stageAttack(
  stage,
  {
    id: 'T3',
    attack: 'a learning rate near zero between forged points',
    gain: 'states that stay where they are wanted, with honest gradients beside them',
    defence: 'the recipe’s learning rate in the recomputed step, state roots compared exactly',
    file: 'src/protocol/evidence/stateRoot.ts',
    stoppedBy: 'slashed by evidence state-root',
    harm: 'finalized',
  },
  {
    lies: () => [
      {
        committer: {
          unit: (step, unit, compute) => {
            if (step === 0 && unit === 0) before = stage().trainer.state.theta.slice();
            return compute();
          },
          state: async (step, trainer) => {
            if (step !== 0) return;
            const { theta } = trainer.state;
            theta.forEach((value, i) => {
              theta[i] = before![i]! + (value - before![i]!) / 1024;
            });
            await trainer.prepare();
          },
        },
      },
    ],
    rules: () => ({ state: within(0.01) }),
  },
);

/** Units of the step whose update is larger: what a "top Q" verifier looks at. */
function largestUpdates({ mined, trainer }: RuleContext): { stepIndex: number; unit: number }[] {
  const size = (stepIndex: number): number =>
    mined.list[stepIndex]!.unitRoots.reduce(
      (sum, root) => sum + norm(valuesOf(trainer.plan.layout, mined.blobs.get(toHex(root))!)),
      0,
    );
  const largest = size(0) >= size(1) ? 0 : 1;
  return [0, 1].map((unit) => ({ stepIndex: largest, unit }));
}

stageAttack(
  stage,
  {
    id: 'T4',
    attack: 'honest where the updates are largest, invented where nobody looks',
    gain: 'pay for steps that were not computed, when the rule of the draw is known',
    defence: 'units drawn uniformly, by a signature over randomness later than the claim',
    file: 'src/protocol/draws.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    // The forged step keeps the gradient's direction at a sixteenth of its size.
    lies: () => [
      {
        committer: changedUnits(
          (file) => {
            const { layout } = stage().plan;
            const scales = new Uint16Array(file.buffer, file.byteOffset + layout.length / 2);
            scales.forEach((bits, i) => {
              if (bits !== 0) scales[i] = Math.max(1, bits - (4 << 7));
            });
          },
          (step) => step === 0,
        ),
      },
    ],
    rules: () => ({ drawn: (context) => largestUpdates(context) }),
  },
);

stageAttack(
  stage,
  {
    id: 'T5',
    attack: 'a straight line from the start to a stolen final model',
    gain: 'somebody else’s model sold as one’s own training',
    defence: 'every step committed and chained, each state the result of its committed units',
    file: 'src/node/checkClaim.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  {
    lies: async () => {
      const stolen = (await stage().mine(await readyChain(), stage().start, {})).states.at(-1)!.saved.vectors.theta;
      const { theta: first } = stage().start.vectors;
      return [
        {
          committer: {
            ...changedUnits((file) => file.fill(0)),
            state: async (step, trainer) => {
              const part = (step + 1) / STEPS;
              trainer.state.theta.forEach((_, i) => {
                trainer.state.theta[i] = first[i]! + part * (stolen[i]! - first[i]!);
              });
              await trainer.prepare();
            },
          },
        },
      ];
    },
    // Instead of the replay: neighbours must lie near one another, which points on a line do.
    rules: () => ({ unit: () => true, loss: () => true, state: within(0.05) }),
  },
);

async function readyChain() {
  const chain = stage().chain();
  await chain.shares();
  return chain;
}

const HEADER: StateHeader = {
  version: STATE_VERSION,
  recipeRoot: filled(1),
  step: 8,
  tokens: 1024,
  beta1Power: 0x3f000000,
  beta2Power: 0x3f100000,
  thetaRoot: filled(2),
  mRoot: filled(3),
  vRoot: filled(4),
  emaRoot: filled(5),
};

/** A claim over a chain of `steps` commitments whose from state is {@link HEADER} under a longer recipe. */
function longClaim(steps: number, change: (list: StepCommitment[]) => StepCommitment[]) {
  const recipe = smallRecipe({ stepsPerClaim: steps, minStepsPerClaim: steps, maxStepsPerClaim: steps }).recipe;
  const from = { ...HEADER, recipeRoot: recipeRoot(recipe), step: 0, tokens: 0 };
  const keys = nativeBls.deriveKey(filled(9), 'miner', 0);
  const assignment = {
    chainId: filled(1),
    job: 0,
    claimNumber: 0,
    attempt: 0,
    parentClaimRoot: filled(0),
    recipeRoot: recipeRoot(recipe),
    miner: keys.publicKey,
    fromRoot: stateRoot(from),
    draw1: filled(6),
    bond: 1n,
  };
  const commitments = change(syntheticClaim(assignment, keys, steps, 0).commitments);
  const header = buildClaim(assignment, { commitments, modelRoot: filled(7), diffRoot: filled(0) });
  return { header, commitments, from, recipe };
}

stageAttack(
  stage,
  {
    id: 'T6',
    attack: 'junk states in the middle, honest ends: the neighbour that a challenge asks for is invented',
    gain: 'a challenge of a middle step is answered with anything',
    defence: 'each step binds the state before, the batch, the units and the state after; the chain is checked',
    file: 'src/protocol/claim.ts',
    stoppedBy: 'slashed by evidence commitments',
    harm: 'finalized',
  },
  {
    lies: () => [{ list: (list) => list.map((step, i) => (i === 1 ? { ...step, preStateRoot: filled(7) } : step)) }],
    rules: () => ({
      // Only the two ends are committed.
      list: ({ mined }) => equalBytes(mined.list[0]!.preStateRoot, mined.header.fromRoot),
      state: async ({ trainer }, root, i) => i === 1 || equalBytes(await trainer.stateRoot(), root),
    }),
    also: {
      'a chain that is whole around a junk state is convicted as a state': async () => {
        const lie: Lie = {
          list: ([a, b]) => [
            { ...a!, postStateRoot: filled(7) },
            { ...b!, preStateRoot: filled(7) },
          ],
        };
        expect((await stage().play(lie)).outcome).toBe('slashed by evidence state-root');
      },
      'every middle step of a longer claim': () => {
        const honest = longClaim(6, (list) => list);
        expect(checkStepCommitments(honest.header, honest.commitments, honest.from, honest.recipe)).toBeUndefined();
        for (let k = 1; k < 6; k += 1) {
          const junk = longClaim(6, (list) =>
            list.map((step, i) => (i === k ? { ...step, preStateRoot: filled(k) } : step)),
          );
          const fault = checkStepCommitments(junk.header, junk.commitments, junk.from, junk.recipe);
          expect(fault).toMatchObject({ kind: 'commitments', stepIndex: k });
        }
      },
    },
  },
);

const CHEATERS = 2000;
/** How many of the cheaters, each with its own false units, a verifier meets; the units are the first `bad` of a shuffle. */
function caught(population: number, bad: number, samples: number, foreseen: boolean): number {
  let found = 0;
  for (let i = 0; i < CHEATERS; i += 1) {
    const seed = deriveHash('T7', u64Bytes(i));
    const drawn = drawUnits(seed, population / UNITS, UNITS, samples).map((unit) => unit.stepIndex * UNITS + unit.unit);
    const lies = drawUnits(deriveHash('T7 lies', u64Bytes(i)), population / UNITS, UNITS, bad);
    const chosen = lies.map((unit) => unit.stepIndex * UNITS + unit.unit);
    // Weakened: the cheater knows the draw and lies elsewhere.
    const elsewhere = Array.from({ length: population }, (_, unit) => unit).filter((unit) => !drawn.includes(unit));
    const false_ = foreseen ? elsewhere.slice(0, bad) : chosen;
    if (false_.some((unit) => drawn.includes(unit))) found += 1;
  }
  return found / CHEATERS;
}

attack(
  {
    id: 'T7',
    attack: 'a few units are skipped and the draw is hoped to miss them',
    gain: 'the work of the skipped units',
    defence: 'the number of samples follows from the detection that the recipe states',
    file: 'src/protocol/detection.ts',
    stoppedBy: 'found as often as the formula says, within 3 sigma',
    harm: 'never found',
    showing: 'simulation',
  },
  {
    real: () =>
      [4, 2, 1].map((bad) => {
        const [population, samples] = [40, 10];
        const expected = detectionProbability(population, bad, samples);
        const sigma = Math.sqrt((expected * (1 - expected)) / CHEATERS);
        const rate = caught(population, bad, samples, false);
        return Math.abs(rate - expected) <= 3 * sigma
          ? 'found as often as the formula says, within 3 sigma'
          : `found ${rate}, expected ${expected}`;
      }),
    twin: () => (caught(40, 4, 10, true) === 0 ? 'never found' : 'found'),
    also: {
      'twenty cheaters who really train, one false unit of four each, two drawn': async () => {
        let found = 0;
        for (let i = 0; i < 20; i += 1) {
          const lie: Lie = {
            committer: changedUnits(
              (file) => {
                file[0] = file[0]! === 0x11 ? 0x12 : 0x11;
              },
              (step, unit) => 2 * step + unit === i % 4,
            ),
          };
          const { outcome } = await stage().play(lie, { samples: 2, chain: { seed: new Uint8Array(32).fill(i + 1) } });
          expect(['finalized', 'slashed by evidence unit']).toContain(outcome);
          if (outcome !== 'finalized') found += 1;
        }
        // Expected 10; sigma is the root of 20 · 1/2 · 1/2.
        expect(Math.abs(found - 20 * detectionProbability(4, 1, 2))).toBeLessThanOrEqual(3 * Math.sqrt(5));
      },
    },
  },
);

/** One legal change of each field of a recipe that a miner could profit from. */
function recipeChanges(recipe: Recipe): Readonly<Record<string, Partial<Recipe>>> {
  const { optimizer, data } = recipe;
  return {
    name: { name: 'other' },
    layers: { layers: 2 },
    width: { width: 128, heads: 2 },
    hidden: { hidden: 128 },
    vocab: { vocab: 50_257, tokenizer: 'gpt2' },
    context: { context: 128 },
    norm: { norm: 'layer' },
    bias: { bias: !recipe.bias },
    normEpsilonBits: { normEpsilonBits: recipe.normEpsilonBits + 1 },
    sequencesPerUnit: { sequencesPerUnit: 2 },
    unitsPerStep: { unitsPerStep: 3 },
    stepsPerClaim: { stepsPerClaim: 1, minStepsPerClaim: 1 },
    beta1: { optimizer: { ...optimizer, beta1Bits: optimizer.beta1Bits - 1 } },
    beta2: { optimizer: { ...optimizer, beta2Bits: optimizer.beta2Bits + 1 } },
    epsilon: { optimizer: { ...optimizer, epsilonBits: optimizer.epsilonBits + 1 } },
    weightDecay: { optimizer: { ...optimizer, weightDecayBits: optimizer.weightDecayBits + 1 } },
    'one learning rate': { learningRateBits: recipe.learningRateBits.map((bits, i) => (i === 1000 ? bits - 1 : bits)) },
    'EMA decay': { emaDecayBits: recipe.emaDecayBits - 1 },
    'EMA off': { ema: false },
    text: { data: { ...data, textRoot: filled(1) } },
    tokens: { data: { ...data, tokensRoot: filled(1) } },
    tokenizer: { data: { ...data, tokenizerRoot: filled(1) } },
    'held-out split': { data: { ...data, heldOutTokens: data.heldOutTokens + 1 } },
    seed: { start: { kind: 'seed', seed: filled(1) } },
    'start state': { start: { kind: 'root', root: filled(1) } },
    detection: { detection: { ...recipe.detection, targetPpm: recipe.detection.targetPpm - 1 } },
  };
}

attack(
  {
    id: 'T8',
    attack: 'other hyperparameters, seed or data than the agreed ones',
    gain: 'a cheaper run reported as the agreed one',
    defence: 'the recipe’s root is in the claim and in every state header; the ledger compares it',
    file: 'src/protocol/claim.ts',
    stoppedBy: 'refused MISMATCH: claim field recipeRoot',
    harm: 'finalized',
  },
  {
    real: async () => {
      const { recipe } = stage();
      const outcomes: string[] = [];
      for (const [name, change] of Object.entries(recipeChanges(recipe))) {
        const other = recipeRoot(validateRecipe({ ...recipe, ...change }));
        expect([name, toHex(other)]).not.toEqual([name, toHex(recipeRoot(recipe))]);
        const { outcome } = await stage().play({ header: (header) => ({ ...header, recipeRoot: other }) });
        outcomes.push(outcome);
      }
      return outcomes;
    },
    // A run at other learning rates, checked by the recipe that it names itself.
    twin: async () => {
      const { recipe } = stage();
      const slower = validateRecipe({ ...recipe, learningRateBits: recipe.learningRateBits.map((bits) => bits - 1) });
      return (await stage().play({ recipe: slower }, { believes: ['recipeRoot', 'fromRoot'] })).outcome;
    },
  },
);

stageAttack(
  stage,
  {
    id: 'T9',
    attack: 'a moment of the optimizer is changed where only the weights are committed',
    gain: 'later updates are steered without a trace in the weights',
    defence: 'the state root covers θ, m, v, EMA and every scalar',
    file: 'src/protocol/types.ts',
    stoppedBy: 'slashed by evidence state-root',
    harm: 'finalized',
  },
  {
    lies: () => {
      const change = (name: 'm' | 'v' | 'ema'): Lie => ({
        committer: {
          state: (step, { state }) => {
            if (step === 1) state[name][300] = Math.fround(state[name][300]! + 0.5);
          },
        },
      });
      return [change('m'), change('v'), change('ema')];
    },
    rules: () => ({
      // The root that is compared is that of θ alone.
      state: async ({ trainer, mined }, _root, i) => {
        const theirs = i === 0 ? mined.start : mined.states[i - 1]!;
        const same = equalBytes((await trainer.header()).thetaRoot, theirs.header.thetaRoot);
        await restore(trainer, theirs.saved);
        return same;
      },
    }),
    also: {
      'every field of the header moves the root': () => {
        const root = toHex(stateRoot(HEADER));
        for (const field of Object.keys(HEADER) as (keyof StateHeader)[]) {
          const value = HEADER[field];
          const changed = { ...HEADER, [field]: typeof value === 'number' ? value + 1 : filled(0xaa) };
          expect([field, toHex(stateRoot(changed))]).not.toEqual([field, root]);
        }
      },
    },
  },
);

attack(
  {
    id: 'T10',
    attack: 'a second claim that starts from an old or foreign checkpoint',
    gain: 'the same work is paid twice, or a run is spliced from two',
    defence: 'a claim’s from state is the last to state',
    file: 'src/protocol/claim.ts',
    stoppedBy: 'refused MISMATCH: claim field fromRoot',
    harm: 'finalized',
  },
  {
    real: async () => {
      const { chain, mined } = await stage().play();
      const { saved } = mined.states.at(-1)!;
      const stale = await stage().playOn(chain, saved, { from: stage().start });
      const foreign: Snapshot = await otherStart();
      const spliced = await stage().playOn(chain, saved, { from: foreign });
      return [stale.outcome, spliced.outcome];
    },
    twin: async () => {
      const { chain, mined } = await stage().play();
      const { saved } = mined.states.at(-1)!;
      return (await stage().playOn(chain, saved, { from: stage().start }, { believes: ['fromRoot'] })).outcome;
    },
    also: {
      'a claim that starts where the last one ended is finalized': async () => {
        const { chain, mined } = await stage().play();
        expect((await stage().playOn(chain, mined.states.at(-1)!.saved)).outcome).toBe('finalized');
      },
    },
  },
);

/** The state of a run with another batch. */
async function otherStart(): Promise<Snapshot> {
  const lie: Lie = { committer: { offsets: (_step, drawn) => drawn.map(() => 7) } };
  await stage().mine(await readyChain(), stage().start, lie);
  return snapshot(stage().trainer);
}

/** Random codes beside the real scales: looks like a gradient. */
const invent: Lie = {
  committer: changedUnits((file, step, unit) => {
    const { layout } = stage().plan;
    const codes = codesOf(layout, file);
    const random = deriveHash('T11', u64Bytes(2 * step + unit));
    writeCodes(
      layout,
      file,
      codes.map((_, i) => (random[i % 32]! % 15) - 7),
    );
  }),
};

stageAttack(
  stage,
  {
    id: 'T11',
    attack: 'an invented gradient with the right update from it',
    gain: 'no forward or backward pass is computed, and every state follows from the log',
    defence: 'drawn units are recomputed from the weights and the batch',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'slashed by evidence unit',
    harm: 'finalized',
  },
  { lies: () => [invent], rules: () => ({ unit: () => true }) },
);

stageAttack(
  stage,
  {
    id: 'T12',
    attack: 'random weights whose 4-bit model is quantized correctly',
    gain: 'a consistent model is taken as proof of training',
    defence: 'the state must follow from the units; its 4-bit form proves nothing by itself',
    file: 'src/protocol/evidence/stateRoot.ts',
    stoppedBy: 'slashed by evidence state-root',
    harm: 'finalized',
  },
  {
    lies: () => [
      {
        committer: {
          state: async (step, trainer) => {
            if (step !== 1) return;
            for (const vector of [trainer.state.theta, trainer.state.ema]) {
              vector.forEach((value, i) => {
                vector[i] = value === 0 ? 0 : Math.fround(Math.sin(i) / 8);
              });
            }
            await trainer.prepare();
          },
        },
      },
    ],
    // The last state is taken as it is; that the model is its quantization is still compared.
    rules: () => ({
      state: async ({ trainer, mined }, root, i) => {
        if (i < STEPS) return equalBytes(await trainer.stateRoot(), root);
        await restore(trainer, mined.states.at(-1)!.saved);
        return true;
      },
    }),
  },
);
