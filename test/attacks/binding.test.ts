/**
 * T6, T8, T9, T10, U5, C1, H4: what a claim's roots bind. Each check beside a weakened twin that lets the forgery in.
 */
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { toHex } from '../../src/hex.js';
import { type Recipe, recipeRoot, validateRecipe } from '../../src/model/recipe.js';
import { buildClaim, checkChain, checkStepCommitments, signClaim, verifyClaim } from '../../src/protocol/claim.js';
import { encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import { decodeStrict } from '../../src/protocol/ssz.js';
import {
  STATE_VERSION,
  type StateHeader,
  type StepCommitment,
  StepCommitmentType,
  stateRoot,
} from '../../src/protocol/types.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, syntheticClaim, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

const filled = (value: number): Uint8Array => new Uint8Array(32).fill(value);

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
  const honest = syntheticClaim(assignment, keys, steps, 0).commitments;
  const commitments = change(honest);
  const header = buildClaim(assignment, { commitments, modelRoot: filled(7), diffRoot: filled(0) });
  return { header, commitments, from, recipe };
}

describe('T6: junk middle states between honest ends', () => {
  it('fails for every step, where a check of the two ends sees nothing', () => {
    const steps = 6;
    const honest = longClaim(steps, (list) => list);
    expect(checkStepCommitments(honest.header, honest.commitments, honest.from, honest.recipe)).toBeUndefined();
    for (let k = 1; k < steps; k += 1) {
      const junk = longClaim(steps, (list) =>
        list.map((step, i) => (i === k ? { ...step, preStateRoot: filled(k) } : step)),
      );
      const fault = checkStepCommitments(junk.header, junk.commitments, junk.from, junk.recipe);
      expect(fault).toMatchObject({ kind: 'commitments', stepIndex: k });
      // Weakened: only from and to are compared.
      expect(toHex(junk.commitments[0]!.preStateRoot)).toBe(toHex(junk.header.fromRoot));
      expect(toHex(junk.commitments.at(-1)!.postStateRoot)).toBe(toHex(junk.header.toRoot));
    }
  });
});

describe('T8: other hyperparameters, seed or data than the agreed ones', () => {
  const { recipe } = smallRecipe();
  /** One legal change of each field that a miner could profit from. */
  const changes: Readonly<Record<string, Partial<Recipe>>> = {
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
    beta1: { optimizer: { ...recipe.optimizer, beta1Bits: recipe.optimizer.beta1Bits - 1 } },
    beta2: { optimizer: { ...recipe.optimizer, beta2Bits: recipe.optimizer.beta2Bits + 1 } },
    epsilon: { optimizer: { ...recipe.optimizer, epsilonBits: recipe.optimizer.epsilonBits + 1 } },
    weightDecay: { optimizer: { ...recipe.optimizer, weightDecayBits: recipe.optimizer.weightDecayBits + 1 } },
    'one learning rate': {
      learningRateBits: recipe.learningRateBits.map((bits, step) => (step === 1000 ? bits - 1 : bits)),
    },
    'EMA decay': { emaDecayBits: recipe.emaDecayBits - 1 },
    'EMA off': { ema: false },
    text: { data: { ...recipe.data, textRoot: filled(1) } },
    tokens: { data: { ...recipe.data, tokensRoot: filled(1) } },
    tokenizer: { data: { ...recipe.data, tokenizerRoot: filled(1) } },
    'held-out split': { data: { ...recipe.data, heldOutTokens: recipe.data.heldOutTokens + 1 } },
    seed: { start: { kind: 'seed', seed: filled(1) } },
    'start state': { start: { kind: 'root', root: filled(1) } },
    detection: { detection: { ...recipe.detection, targetPpm: recipe.detection.targetPpm - 1 } },
  };

  it.each(Object.keys(changes))('%s: another root, and the ledger refuses the claim', async (name) => {
    const other = validateRecipe({ ...recipe, ...changes[name] });
    expect(toHex(recipeRoot(other))).not.toBe(toHex(recipeRoot(recipe)));
    const chain = new TestChain();
    await chain.shares();
    const { claim } = chain.makeClaim();
    const miner = chain.keyOf(claim.header.miner);
    const forged = signClaim(nativeBls, miner, { ...claim.header, recipeRoot: recipeRoot(other) });
    expect(await refusal(chain.submit(encodeTransaction('claim', forged)))).toMatch(
      /^MISMATCH: claim field recipeRoot/,
    );
    // Weakened: the recipe is taken from the claim.
    const believed = { ...claim.header, recipeRoot: forged.header.recipeRoot };
    expect(await refusal(() => verifyClaim(nativeBls, forged, believed))).toBe('accepted');
  });
});

describe('T9: uncommitted parts of the state', () => {
  it('every field of the state moves its root; a root over θ alone misses the rest', () => {
    const root = toHex(stateRoot(HEADER));
    for (const field of Object.keys(HEADER) as (keyof StateHeader)[]) {
      const value = HEADER[field];
      const changed = { ...HEADER, [field]: typeof value === 'number' ? value + 1 : filled(0xaa) };
      expect([field, toHex(stateRoot(changed))]).not.toEqual([field, root]);
      const weak = (header: StateHeader): string => toHex(header.thetaRoot);
      if (field !== 'thetaRoot') expect(weak(changed)).toBe(weak(HEADER));
    }
  });
});

describe('T10: a stale or foreign checkpoint as the start', () => {
  it('a claim starts where the last one ended; a ledger that believes the claim takes any start', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    await chain.attest();
    await chain.shares();
    const { claim } = chain.makeClaim();
    const miner = chain.keyOf(claim.header.miner);
    for (const fromRoot of [chain.state.job.startStateRoot, filled(0xbb)]) {
      const forged = syntheticClaim({ ...claim.header, fromRoot }, miner, 2, 2).claim;
      expect(await refusal(chain.submit(encodeTransaction('claim', forged)))).toMatch(/field fromRoot/);
      expect(await refusal(() => verifyClaim(nativeBls, forged, { ...claim.header, fromRoot }))).toBe('accepted');
    }
    await chain.submit(encodeTransaction('claim', claim));
  });
});

describe('U5: no work, full pay', () => {
  it('a claim of no or fewer steps is a fault of its commitments; without the count it would pass', () => {
    const { header, commitments, recipe } = longClaim(4, (list) => list);
    expect(() => longClaim(4, () => [])).toThrow(/at least one step/);
    const short = { ...header, toRoot: commitments[1]!.postStateRoot };
    expect(checkChain(short, commitments.slice(0, 2), 0, recipe)).toMatchObject({ kind: 'commitments' });
    const lenient = { ...recipe, minStepsPerClaim: 1 };
    expect(checkChain(short, commitments.slice(0, 2), 0, lenient)).toBeUndefined();
  });
});

describe('C1: another miner’s work under one’s own key', () => {
  it('only the drawn miner can claim, and a replacement gets a fresh draw', async () => {
    const chain = new TestChain();
    await chain.shares();
    const { claim } = chain.makeClaim();
    const thief = chain.demo.miners.find((keys) => keys !== chain.keyOf(claim.header.miner))!;
    const copied = signClaim(nativeBls, thief, { ...claim.header, miner: thief.publicKey });
    expect(await refusal(chain.submit(encodeTransaction('claim', copied)))).toMatch(/field miner/);
    // Weakened: whoever signs is the miner.
    const believed = { ...claim.header, miner: thief.publicKey };
    expect(await refusal(() => verifyClaim(nativeBls, copied, believed))).toBe('accepted');
    const draw = chain.open.draw1;
    await chain.tick();
    await chain.shares();
    expect(toHex(chain.open.draw1)).not.toBe(toHex(draw));
  });
});

const rootOf = (commitment: StepCommitment): string => toHex(StepCommitmentType.hashTreeRoot(commitment));

function decodeOrUndefined(bytes: Uint8Array): StepCommitment | undefined {
  try {
    return decodeStrict(StepCommitmentType, bytes);
  } catch (error) {
    if (error instanceof PogoError) return undefined;
    throw error;
  }
}

describe('H4: encodings that decode to the same object', () => {
  it('a second encoding is malformed; a lenient decoder takes it', () => {
    const commitment: StepCommitment = {
      step: 1,
      preStateRoot: filled(1),
      batchDigest: filled(2),
      unitRoots: [filled(3), filled(4)],
      unitLosses: [1, 2],
      postStateRoot: filled(5),
    };
    const bytes = StepCommitmentType.serialize(commitment);
    expect(StepCommitmentType.equals(decodeStrict(StepCommitmentType, bytes), commitment)).toBe(true);
    // A counter above 2^53 that a double rounds: two encodings, one value in JavaScript.
    const rounded = bytes.slice();
    rounded.set([1, 0, 0, 0, 0, 0, 0x20, 0], 0);
    expect(StepCommitmentType.deserialize(rounded).step).toBe(2 ** 53);
    expect(() => decodeStrict(StepCommitmentType, rounded)).toThrow(/canonical/);
    for (let length = 0; length < bytes.length; length += 1) {
      // A cut object is refused, or it is another object with another root; never the same one.
      const cut = decodeOrUndefined(bytes.subarray(0, length));
      if (cut !== undefined) expect(rootOf(cut)).not.toBe(rootOf(commitment));
    }
    const long = new Uint8Array(bytes.length + 1);
    long.set(bytes);
    expect(() => decodeStrict(StepCommitmentType, long)).toThrow(PogoError);
  });
});
