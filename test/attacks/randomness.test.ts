/**
 * R1, R2, R5: randomness that the prover could choose, foresee or bias. Each real check beside its weakened twin.
 */
import { describe, expect, it } from 'vitest';
import { equalBytes } from '../../src/hex.js';
import { buildClaim, verifyClaim } from '../../src/protocol/claim.js';
import { detectionProbability } from '../../src/protocol/detection.js';
import { CONTEXT, deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { draw1, drawBatch, drawUnits, signDraw } from '../../src/protocol/draws.js';
import { encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import { RandomStream } from '../../src/protocol/randomStream.js';
import { claimRoot } from '../../src/protocol/types.js';
import { chiSquareSigmas } from '../support/chiSquare.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, syntheticClaim, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

describe('R1: grinding a salt for favourable batches', () => {
  const { recipe } = smallRecipe();
  /** What the miner wants: every sequence of its first step out of the first quarter of the data. */
  const isFavourable = (draw: Uint8Array): boolean => drawBatch(draw, 0, recipe).every((offset) => offset < 370);

  it('only the draw of beacon 1 is accepted; with a draw of the miner’s choice the grinding pays', async () => {
    const chain = new TestChain();
    await chain.shares();
    const { claim } = chain.makeClaim();
    const miner = chain.keyOf(claim.header.miner);
    const assignment = { ...claim.header };
    const salts = Array.from({ length: 64 }, (_, i) => draw1(deriveHash('salt', u64Bytes(i)), recipe.data.textRoot, 0));
    const favourable = salts.filter(isFavourable);
    expect(favourable.length).toBeGreaterThan(0);
    for (const draw of salts) {
      const forged = syntheticClaim({ ...assignment, draw1: draw }, miner, 2, 0).claim;
      expect(await refusal(chain.submit(encodeTransaction('claim', forged)))).toMatch(/^MISMATCH: claim field draw1/);
    }
    // Weakened: the check takes the draw from the claim. Now a favourable batch goes through.
    const [draw] = favourable;
    const forged = syntheticClaim({ ...assignment, draw1: draw! }, miner, 2, 0).claim;
    expect(await refusal(() => verifyClaim(nativeBls, forged, { ...assignment, draw1: forged.header.draw1 }))).toBe(
      'accepted',
    );
    // And the honest claim is accepted, once.
    await chain.submit(encodeTransaction('claim', claim));
    expect(await refusal(chain.submit(encodeTransaction('claim', claim)))).toMatch(/^REJECTED/);
  });
});

describe('R2: foreseeing which units are checked', () => {
  const [steps, unitsPerStep, samples, forgedSteps] = [20, 2, 10, 2];
  const isForged = (unit: { stepIndex: number }): boolean => unit.stepIndex < forgedSteps;

  /** A cheater's claims: the same forged log under another diff root each time, which costs nothing to change. */
  function variants(count: number) {
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
    return Array.from({ length: count }, (_, i) =>
      claimRoot(
        buildClaim(assignment, {
          commitments: [commitment!],
          modelRoot: new Uint8Array(32),
          diffRoot: deriveHash('diff', u64Bytes(i)),
        }),
      ),
    );
  }

  it('a draw from the verifier’s signature over a later beacon cannot be ground; one from the claim root can', () => {
    const roots = variants(300);
    const verifier = nativeBls.deriveKey(new Uint8Array(32).fill(2), 'verifier', 0);
    // Weakened: challenges follow from what the prover publishes. It picks a claim whose challenges miss its lies.
    const escapes = (root: Uint8Array): boolean => !drawUnits(root, steps, unitsPerStep, samples).some(isForged);
    const chosen = roots.filter(escapes);
    expect(chosen.length).toBeGreaterThan(0);
    // Real: the choice made by that foresight is worth nothing; detection stays at the formula.
    const beacon2 = deriveHash('later', new Uint8Array(32));
    const caught = chosen.filter((root) => {
      const signature = signDraw(nativeBls, verifier, beacon2, root);
      return drawUnits(signature, steps, unitsPerStep, samples).some(isForged);
    });
    const expected = detectionProbability(steps * unitsPerStep, forgedSteps * unitsPerStep, samples);
    const sigma = Math.sqrt((expected * (1 - expected)) / chosen.length);
    expect(Math.abs(caught.length / chosen.length - expected)).toBeLessThan(4 * sigma);
  });

  it('shares of beacon 2 are refused until two heights after the claim, so nobody has it when it is made', async () => {
    const chain = new TestChain();
    await chain.shares();
    await chain.claim();
    const { beaconIdOf } = await import('../../src/ledger/stateOpen.js');
    const { createBeaconShare } = await import('../../src/protocol/beacon.js');
    const id = beaconIdOf(chain.state, chain.open)!;
    const share = encodeTransaction('beacon-share', createBeaconShare(nativeBls, chain.demo.verifiers[0]!, id));
    expect(await refusal(chain.submit(share))).toMatch(/^REJECTED: expected shares of beacon 2 from height/);
    // Weakened: no delay. The genesis of such a chain is refused.
    expect(() => new TestChain({ parameters: { beaconTwoDelay: 0 } })).toThrow(/beaconTwoDelay/);
  });

  it('whoever lacks one share cannot compute the beacon, and one member’s other signature is refused', async () => {
    const chain = new TestChain();
    await chain.shares(chain.demo.verifiers.slice(3));
    expect(equalBytes(chain.open.beacon1, new Uint8Array(32))).toBe(true);
    const { beaconIdOf } = await import('../../src/ledger/stateOpen.js');
    const { createBeaconShare } = await import('../../src/protocol/beacon.js');
    const share = createBeaconShare(nativeBls, chain.demo.verifiers[3]!, beaconIdOf(chain.state, chain.open)!);
    const forged = { ...share, signature: nativeBls.sign(chain.demo.verifiers[3]!.secret, u64Bytes(1)) };
    expect(await refusal(chain.submit(encodeTransaction('beacon-share', forged)))).toMatch(/wrong one/);
    await chain.submit(encodeTransaction('beacon-share', share));
    expect(equalBytes(chain.open.beacon1, new Uint8Array(32))).toBe(false);
  });
});

describe('R5: biased sampling', () => {
  const bound = 200;

  /** Counts of `draws` values below `bound`. */
  function counts(next: () => number, draws: number): number[] {
    const found = new Array<number>(bound).fill(0);
    for (let i = 0; i < draws; i += 1) found[next()]! += 1;
    return found;
  }

  it('rejection is uniform by chi-square; a remainder of a byte is not', () => {
    const stream = new RandomStream(CONTEXT.batch, new Uint8Array(32));
    expect(Math.abs(chiSquareSigmas(counts(() => stream.below(bound), 40_000)))).toBeLessThan(4);
    // Weakened: the remainder of one byte prefers 0…55 two to one.
    const twin = new RandomStream(CONTEXT.batch, new Uint8Array(32));
    expect(chiSquareSigmas(counts(() => Number(twin.next() & 255n) % bound, 40_000))).toBeGreaterThan(100);
  });

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

  it('the order of a batch is the draw’s: a permuted batch has another digest', () => {
    const { recipe } = smallRecipe();
    const offsets = drawBatch(new Uint8Array(32), 0, recipe);
    expect(new Set(offsets).size).toBeGreaterThan(1);
    expect(drawBatch(new Uint8Array(32), 1, recipe)).not.toEqual(offsets);
  });
});
