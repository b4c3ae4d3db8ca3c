/**
 * R1–R5: randomness that the prover could choose, foresee or bias.
 */
import { describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { beaconIdOf } from '../../src/ledger/stateOpen.js';
import { createBeaconShare } from '../../src/protocol/beacon.js';
import { buildClaim } from '../../src/protocol/claim.js';
import { detectionProbability } from '../../src/protocol/detection.js';
import { CONTEXT, deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { batchDigest, draw1, drawBatch, drawUnits, signDraw } from '../../src/protocol/draws.js';
import { encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import { RandomStream } from '../../src/protocol/randomStream.js';
import { claimRoot } from '../../src/protocol/types.js';
import { attack } from '../support/attack.js';
import { chiSquareSigmas } from '../support/chiSquare.js';
import { sourceFiles, wordsOf } from '../support/importGraph.js';
import { refusal } from '../support/refusal.js';
import { changedUnits, type Lie } from '../support/stage.js';
import { stageAttack } from '../support/stageAttack.js';
import { useStage } from '../support/stageFixture.js';
import { nativeBls, syntheticClaim, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

const stage = useStage();

/** A draw under which every sequence of the first step lies in the first quarter of the data. */
function favourableDraw(): Uint8Array {
  const { recipe } = smallRecipe();
  for (let salt = 0; ; salt += 1) {
    const draw = draw1(deriveHash('salt', u64Bytes(salt)), recipe.data.textRoot, 0);
    if (drawBatch(draw, 0, recipe).every((offset) => offset < 370)) return draw;
  }
}

attack(
  {
    id: 'R1',
    attack: 'a seed, salt or timestamp is ground until the batch is favourable',
    gain: 'training on easy or poisoned sequences of the miner’s choice',
    defence: 'draw 1 follows from beacon 1, which is fixed before the miner is known; one draw for a turn',
    file: 'src/protocol/claim.ts',
    stoppedBy: 'refused MISMATCH: claim field draw1',
    harm: 'finalized',
  },
  {
    real: async () => {
      const outcomes: string[] = [];
      for (let salt = 0; salt < 8; salt += 1) {
        outcomes.push((await stage().play({ draw1: deriveHash('salt', u64Bytes(salt)) })).outcome);
      }
      return [...outcomes, (await stage().play({ draw1: favourableDraw() })).outcome];
    },
    // The draw is taken from the claim.
    twin: async () => (await stage().play({ draw1: favourableDraw() }, { believes: ['draw1'] })).outcome,
    also: {
      'a second claim of the turn is refused': async () => {
        const chain = new TestChain();
        await chain.shares();
        const { claim } = chain.makeClaim();
        await chain.submit(encodeTransaction('claim', claim));
        expect(await refusal(chain.submit(encodeTransaction('claim', claim)))).toMatch(/^REJECTED/);
      },
    },
  },
);

/** One unit is false; its bytes can be varied at will, and with them the claim root. */
function falseUnit(variant: number): Lie {
  return {
    committer: changedUnits(
      (file) => {
        const at = file.findIndex((byte, i) => i >= 16 * variant && (byte & 15) >= 1 && (byte & 15) <= 7);
        file[at] = file[at]! - 1;
      },
      (step, unit) => step === 0 && unit === 1,
    ),
  };
}

attack(
  {
    id: 'R2',
    attack: 'the challenges are foreseen, or ground through one’s own claim',
    gain: 'false units where no verifier will look',
    defence: 'beacon 2 is collected two heights after the claim; each verifier’s own signature over it draws',
    file: 'src/ledger/stateClaims.ts',
    stoppedBy: 'REJECTED: expected shares of beacon 2 from height',
    harm: 'finalized',
  },
  {
    real: async () => {
      const chain = new TestChain();
      await chain.shares();
      await chain.claim();
      const id = beaconIdOf(chain.state, chain.open)!;
      const early = chain.demo.verifiers.map((keys) => createBeaconShare(nativeBls, keys, id));
      return Promise.all(early.map((share) => refusal(chain.submit(encodeTransaction('beacon-share', share)))));
    },
    // The units that are checked follow from the claim root: the miner varies the claim until they miss its lie.
    twin: async () => {
      const { stepsPerClaim, unitsPerStep } = stage().recipe;
      for (let variant = 0; variant < 32; variant += 1) {
        const chain = stage().chain();
        await chain.shares();
        const { header } = await stage().mine(chain, stage().start, falseUnit(variant));
        const drawn = drawUnits(claimRoot(header), stepsPerClaim, unitsPerStep, 2);
        if (drawn.some(({ stepIndex, unit }) => stepIndex === 0 && unit === 1)) continue;
        const ending = await stage().play(falseUnit(variant), {
          rules: { drawn: ({ mined }) => drawUnits(claimRoot(mined.header), stepsPerClaim, unitsPerStep, 2) },
        });
        return ending.outcome;
      }
      return 'no variant was found';
    },
    also: {
      'a claim chosen for the draw of its root is caught as often as any other': grindingIsWorthless,
      'whoever lacks one share cannot compute the beacon': async () => {
        const chain = new TestChain();
        await chain.shares(chain.demo.verifiers.slice(3));
        expect(equalBytes(chain.open.beacon1, new Uint8Array(32))).toBe(true);
        const share = createBeaconShare(nativeBls, chain.demo.verifiers[3]!, beaconIdOf(chain.state, chain.open)!);
        const forged = { ...share, signature: nativeBls.sign(chain.demo.verifiers[3]!.secret, u64Bytes(1)) };
        expect(await refusal(chain.submit(encodeTransaction('beacon-share', forged)))).toMatch(/wrong one/);
        await chain.submit(encodeTransaction('beacon-share', share));
        expect(equalBytes(chain.open.beacon1, new Uint8Array(32))).toBe(false);
      },
      'a genesis without the delay is refused': () => {
        expect(() => new TestChain({ parameters: { beaconTwoDelay: 0 } })).toThrow(/beaconTwoDelay/);
      },
    },
  },
);

/** Claims whose root-derived challenges would miss the lies, against draws by a signature over a later beacon. */
function grindingIsWorthless(): void {
  const [steps, unitsPerStep, samples, forgedSteps] = [20, 2, 10, 2];
  const isForged = (unit: { stepIndex: number }): boolean => unit.stepIndex < forgedSteps;
  const chain = new TestChain();
  const assignment = {
    chainId: chain.state.chainId,
    job: 0,
    claimNumber: 0,
    attempt: 0,
    parentClaimRoot: new Uint8Array(32),
    recipeRoot: new Uint8Array(32),
    miner: chain.demo.miners[0]!.publicKey,
    fromRoot: new Uint8Array(32),
    draw1: new Uint8Array(32),
    bond: 1n,
  };
  const [commitment] = syntheticClaim(assignment, chain.demo.miners[0]!, 1, 0).commitments;
  const variant = (i: number): Uint8Array => {
    const result = {
      commitments: [commitment!],
      modelRoot: new Uint8Array(32),
      diffRoot: deriveHash('d', u64Bytes(i)),
    };
    return claimRoot(buildClaim(assignment, result));
  };
  const chosen = Array.from({ length: 300 }, (_, i) => variant(i)).filter(
    (root) => !drawUnits(root, steps, unitsPerStep, samples).some(isForged),
  );
  expect(chosen.length).toBeGreaterThan(0);
  const verifier = nativeBls.deriveKey(new Uint8Array(32).fill(2), 'verifier', 0);
  const beacon2 = deriveHash('later', new Uint8Array(32));
  const caught = chosen.filter((root) =>
    drawUnits(signDraw(nativeBls, verifier, beacon2, root), steps, unitsPerStep, samples).some(isForged),
  );
  const expected = detectionProbability(steps * unitsPerStep, forgedSteps * unitsPerStep, samples);
  const sigma = Math.sqrt((expected * (1 - expected)) / chosen.length);
  expect(Math.abs(caught.length / chosen.length - expected)).toBeLessThan(4 * sigma);
}

/** A · B · x against C · x: what a probabilistic check of a product compares. */
function freivaldsHolds(a: number[][], b: number[][], c: number[][], x: number[]): boolean {
  const times = (matrix: number[][], vector: number[]): number[] =>
    matrix.map((row) => row.reduce((sum, value, i) => sum + value * vector[i]!, 0));
  return times(a, times(b, x)).join() === times(c, x).join();
}

attack(
  {
    id: 'R3',
    attack: 'a matrix whose row sums are right passes a fixed Freivalds vector',
    gain: 'a forged product in place of the real one',
    defence: 'no probabilistic check of products exists: a product is recomputed and compared',
    file: 'src/protocol/evidence/unit.ts',
    stoppedBy: 'no file of the source speaks of Freivalds',
    harm: 'the forged product passes',
    showing: 'no such surface',
  },
  {
    real: () => {
      const found = sourceFiles('.').filter((file) => wordsOf(file).some((word) => /freivalds/i.test(word)));
      return found.length === 0 ? 'no file of the source speaks of Freivalds' : found;
    },
    twin: () => {
      const [a, b] = [
        [
          [1, 2],
          [3, 4],
        ],
        [
          [5, 6],
          [7, 8],
        ],
      ];
      const forged = [
        [19 + 9, 22 - 9],
        [43 - 5, 50 + 5],
      ];
      return freivaldsHolds(a, b, forged, [1, 1]) && !freivaldsHolds(a, b, forged, [1, 2])
        ? 'the forged product passes'
        : 'caught';
    },
  },
);

const theirOffsets: number[][] = [];
stageAttack(
  stage,
  {
    id: 'R4',
    attack: 'the honest sequences in a hostile order',
    gain: 'the model is steered by nothing but the order of its data',
    defence: 'the digest of a batch covers its order, which is that of draw 1',
    file: 'src/protocol/draws.ts',
    stoppedBy: 'slashed by evidence batch',
    harm: 'finalized',
  },
  {
    lies: () => [
      {
        committer: {
          offsets: (step, drawn) => {
            theirOffsets[step] = [...drawn].reverse();
            return theirOffsets[step]!;
          },
        },
      },
    ],
    // The same sequences in any order are one batch.
    rules: ({ recipe, tokens }) => ({
      batch: ({ mined }, i) => {
        const sorted = (offsets: readonly number[]): string => [...offsets].sort((a, b) => a - b).join();
        const honest = drawBatch(mined.header.draw1, mined.list[i]!.step, recipe);
        return sorted(honest) === sorted(theirOffsets[i]!);
      },
      unitTokens: (_context, i, unit) => {
        const at = theirOffsets[i]![unit]!;
        return Uint32Array.from(tokens.subarray(at, at + recipe.context + 1));
      },
    }),
    also: {
      'a permuted batch has another digest': () => {
        const offsets = drawBatch(new Uint8Array(32), 0, smallRecipe().recipe);
        expect(toHex(batchDigest([...offsets].reverse()))).not.toBe(toHex(batchDigest(offsets)));
      },
    },
  },
);

const BOUND = 200;
/** Counts of `draws` values below {@link BOUND}. */
function counts(next: () => number, draws: number): number[] {
  const found = new Array<number>(BOUND).fill(0);
  for (let i = 0; i < draws; i += 1) found[next()]! += 1;
  return found;
}

attack(
  {
    id: 'R5',
    attack: 'a biased draw: remainders, or the same unit twice',
    gain: 'units that are checked less often than the formula says',
    defence: 'rejection sampling without replacement',
    file: 'src/protocol/randomStream.ts',
    stoppedBy: 'uniform by chi-square, within 4 sigma',
    harm: 'biased by more than 100 sigma',
    showing: 'simulation',
  },
  {
    real: () => {
      const stream = new RandomStream(CONTEXT.batch, new Uint8Array(32));
      const sigmas = chiSquareSigmas(counts(() => stream.below(BOUND), 40_000));
      return Math.abs(sigmas) < 4 ? 'uniform by chi-square, within 4 sigma' : `${sigmas} sigma`;
    },
    // The remainder of one byte prefers 0 … 55 two to one.
    twin: () => {
      const stream = new RandomStream(CONTEXT.batch, new Uint8Array(32));
      const sigmas = chiSquareSigmas(counts(() => Number(stream.next() & 255n) % BOUND, 40_000));
      return sigmas > 100 ? 'biased by more than 100 sigma' : `${sigmas} sigma`;
    },
  },
);

describe('R5: units of a verifier', () => {
  it('every unit is drawn equally often, none twice; drawing with replacement repeats', () => {
    const [steps, unitsPerStep, samples] = [20, 2, 10];
    const perUnit = new Array<number>(steps * unitsPerStep).fill(0);
    let repeated = 0;
    for (let i = 0; i < 4000; i += 1) {
      const seed = deriveHash('seed', u64Bytes(i));
      const units = drawUnits(seed, steps, unitsPerStep, samples).map(
        (unit) => unit.stepIndex * unitsPerStep + unit.unit,
      );
      expect(new Set(units).size).toBe(samples);
      for (const unit of units) perUnit[unit]! += 1;
      // Weakened: with replacement.
      const twin = new RandomStream(CONTEXT.unitDraw, seed);
      const drawn = Array.from({ length: samples }, () => twin.below(steps * unitsPerStep));
      if (new Set(drawn).size < samples) repeated += 1;
    }
    // Without replacement counts vary less than chi-square expects: well below, never above.
    expect(chiSquareSigmas(perUnit)).toBeLessThan(4);
    expect(repeated).toBeGreaterThan(2000);
  });
});
