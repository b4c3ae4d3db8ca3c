/** Laws of the protocol: money, honesty, detection, signatures, draws. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { equalBytes, fromHex, toHex } from '../../src/hex.js';
import { totalMoney } from '../../src/ledger/state.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { aggregateAttestations, signAttestation, verifyAggregatedAttestation } from '../../src/protocol/attestation.js';
import { createNobleBls } from '../../src/protocol/blsNoble.js';
import { committeeDetection, detectionProbability, samplesForDetection } from '../../src/protocol/detection.js';
import { deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { drawBatch, drawHeldOut, drawMiner, drawUnits } from '../../src/protocol/draws.js';
import { buildBatchEvidence } from '../../src/protocol/evidence/build.js';
import { STAGE, signOrder } from '../../src/protocol/ledgerTypes.js';
import { openCommitment, proveCommitment } from '../../src/protocol/listProof.js';
import { StepCommitmentListType, VERDICT } from '../../src/protocol/types.js';
import { seededRandom } from '../support/random.js';
import { nativeBls, syntheticClaim, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

/** Runs random actions of honest and dishonest members on a chain; refused ones change nothing. */
async function randomRun(seed: number, actions: number): Promise<{ chain: TestChain; liars: Set<string> }> {
  const random = seededRandom(seed);
  const chain = new TestChain({ parameters: { maxOpenClaims: 1 + (seed % 2) } });
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const liars = new Set<string>();
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof PogoError)) throw error;
    }
    expect(totalMoney(chain.state)).toBe(chain.money);
  };
  for (let i = 0; i < actions; i += 1) {
    const dice = random();
    if (dice < 0.35) await attempt(() => chain.shares());
    else if (dice < 0.55) {
      const training = chain.state.open.find((open) => open.stage === STAGE.training);
      const lie = random() < 0.3 ? 'batch' : '';
      if (training !== undefined && lie !== '') liars.add(toHex(training.miner));
      if (training !== undefined) await attempt(() => chain.claim(lie));
    } else if (dice < 0.8) {
      if (chain.state.open.some((open) => open.stage === STAGE.attesting)) {
        await attempt(() => chain.vote(pick(chain.demo.verifiers)));
        await attempt(() => chain.reveal());
      }
    } else if (dice < 0.9) {
      const [claim] = chain.state.open[0]?.claim ?? [];
      const commitments = chain.commitments.get(toHex(chain.state.open[0]?.claimRoot ?? new Uint8Array(32)));
      if (claim !== undefined && commitments !== undefined) {
        const evidence = buildBatchEvidence({ claim, recipe: smallRecipe().recipe, commitments }, 1);
        await attempt(() => chain.accuse(pick(chain.demo.verifiers), evidence));
      }
    } else if (dice < 0.95) {
      const from = pick(chain.keys);
      const order = {
        nonce: chain.nonceOf(from),
        to: pick(chain.keys).publicKey,
        amount: BigInt(Math.floor(random() * 2e11)),
      };
      await attempt(async () => {
        await chain.submit(signOrder(nativeBls, from, chain.state.chainId, 'transfer', order));
        chain.usedNonce(from);
      });
    } else if (chain.state.open.length > 0) await attempt(() => chain.tick());
  }
  return { chain, liars };
}

describe('money and honesty on random chains', () => {
  it('no sequence of actions makes or loses money, and only liars are slashed', async () => {
    for (let seed = 0; seed < 8; seed += 1) {
      const { chain, liars } = await randomRun(seed, 50);
      const { missedTurnFee } = chain.state.parameters;
      for (const verifier of chain.demo.verifiers) expect(chain.stake(verifier)).toBe(2000n * COIN);
      for (const miner of chain.demo.miners) {
        const missed = chain.events.filter(
          (event) => event.type === 'outcome' && event.outcome === 'missed' && equalBytes(event.miner, miner.publicKey),
        ).length;
        const lost = 5000n * COIN - chain.stake(miner);
        // An honest miner pays for the turns that it missed, and nothing else.
        if (!liars.has(toHex(miner.publicKey))) expect(lost).toBe(BigInt(missed) * missedTurnFee);
      }
    }
  });

  it('the same blocks give the same state on another machine, from any state between', async () => {
    const first = new TestChain();
    const second = new TestChain();
    const blocks: Uint8Array[] = [];
    const submit = first.submit.bind(first);
    first.submit = async (transaction) => {
      const events = await submit(transaction);
      blocks.push(transaction);
      return events;
    };
    await first.toAttesting();
    await first.attest();
    await first.toAttesting();
    for (const transaction of blocks) {
      second.state = second.machine.decode(second.machine.encode(second.state));
      await second.submit(transaction);
    }
    expect(toHex(second.machine.root(second.state))).toBe(toHex(first.machine.root(first.state)));
  });
});

describe('detection', () => {
  it('agrees with drawing, within 4 sigma', () => {
    for (const [population, bad, samples] of [
      [40, 4, 10],
      [40, 20, 3],
      [320, 3, 100],
    ] as const) {
      const trials = 3000;
      let found = 0;
      for (let i = 0; i < trials; i += 1) {
        const units = drawUnits(deriveHash('detection', u64Bytes(i)), population / 2, 2, samples);
        if (units.some(({ stepIndex, unit }) => 2 * stepIndex + unit < bad)) found += 1;
      }
      const p = detectionProbability(population, bad, samples);
      expect(Math.abs(found / trials - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / trials));
    }
  });

  it('is what the published tables say', () => {
    // Far populations tend to 1 − (1 − f)^k: 460 samples for 1 % at 99 %; one half is found by 2 in 75 %.
    expect(samplesForDetection(10_000_000, 10_000, 990_000)).toBe(459);
    expect(detectionProbability(1_000_000, 500_000, 2)).toBeCloseTo(0.75, 5);
    expect(detectionProbability(1_000_000, 10_000, 300)).toBeCloseTo(0.951, 3);
    // `moby`: 10 of 40 units by each of four verifiers.
    expect(samplesForDetection(40, 100_000, 990_000, 4)).toBe(10);
  });

  it('grows with samples, and the count asked for is the smallest that suffices', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.integer({ min: 0, max: 999_999 }),
        fc.integer({ min: 1, max: 6 }),
        (population, fraction, target, verifiers) => {
          const bad = Math.max(1, Math.ceil((population * fraction) / 1e6));
          const samples = samplesForDetection(population, fraction, target, verifiers);
          expect(committeeDetection(population, bad, samples, verifiers)).toBeGreaterThanOrEqual(target / 1e6);
          if (samples > 0)
            expect(committeeDetection(population, bad, samples - 1, verifiers)).toBeLessThan(target / 1e6);
        },
      ),
    );
  });
});

describe('signatures', () => {
  const noble = createNobleBls();

  it('native and TypeScript agree on keys, signatures and verdicts', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 16, maxLength: 64 }),
        fc.integer({ min: 0, max: 1000 }),
        fc.uint8Array({ maxLength: 64 }),
        fc.integer({ min: 0, max: 767 }),
        (seed, index, message, bit) => {
          const keys = nativeBls.deriveKey(seed, 'miner', index);
          expect(noble.deriveKey(seed, 'miner', index)).toEqual(keys);
          const signature = nativeBls.sign(keys.secret, message);
          expect(noble.sign(keys.secret, message)).toEqual(signature);
          const flipped = signature.slice();
          flipped[bit >> 3]! ^= 1 << (bit & 7);
          for (const bls of [nativeBls, noble]) {
            expect(bls.verify(keys.publicKey, message, signature)).toBe(true);
            expect(bls.verify(keys.publicKey, message, flipped)).toBe(false);
          }
        },
      ),
      { numRuns: 8 },
    );
  });

  it('EIP-2333 test case 0: the master key', () => {
    const seed = fromHex(
      'c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c81b2f001698e7463b04',
    );
    const expected = 6083874454709270928345386274498605044986640685124978867557563392430687146096n;
    for (const bls of [nativeBls, noble]) expect(BigInt(`0x${toHex(bls.deriveMasterSecret(seed))}`)).toBe(expected);
  });

  it('infinity, foreign lengths and empty lists are nobody’s', () => {
    const infinityKey = new Uint8Array(48);
    const infinitySignature = new Uint8Array(96);
    infinityKey[0] = 0xc0;
    infinitySignature[0] = 0xc0;
    for (const bls of [nativeBls, noble]) {
      expect(bls.verify(infinityKey, new Uint8Array(32), infinitySignature)).toBe(false);
      expect(bls.verifyAggregate([], new Uint8Array(32), infinitySignature)).toBe(false);
      expect(bls.verifyAggregate([infinityKey], new Uint8Array(32), infinitySignature)).toBe(false);
      expect(bls.verify(new Uint8Array(47), new Uint8Array(0), new Uint8Array(96))).toBe(false);
      expect(() => bls.aggregate([])).toThrow(PogoError);
      expect(() => bls.aggregate([infinitySignature])).toThrow(PogoError);
    }
  });

  it('equal attestations aggregate whatever their order, and a participant cannot be added', () => {
    const claim = { chainId: new Uint8Array(32), claimRoot: new Uint8Array(32).fill(1), beacon2: new Uint8Array(32) };
    const keys = Array.from({ length: 5 }, (_, i) => nativeBls.deriveKey(new Uint8Array(32).fill(9), 'verifier', i));
    const votes = keys.map((pair, i) => {
      const verdict = i === 4 ? ('negative' as const) : ('positive' as const);
      const content = { ...claim, verdict, heldOutBeforeBits: 1, heldOutAfterBits: 2 };
      return signAttestation(nativeBls, pair, content);
    });
    const forward = aggregateAttestations(nativeBls, votes);
    const backward = aggregateAttestations(nativeBls, [...votes].reverse().concat(votes[0]!));
    expect(backward).toEqual(forward);
    const committee = keys.map((pair) => pair.publicKey);
    const positive = forward.find((aggregate) => aggregate.data.verdict === VERDICT.positive)!;
    expect(verifyAggregatedAttestation(nativeBls, positive, claim, committee).length).toBe(4);
    const padded = { ...positive, participants: [...committee].sort((a, b) => (toHex(a) < toHex(b) ? -1 : 1)) };
    expect(() => verifyAggregatedAttestation(nativeBls, padded, claim, committee)).toThrow(/aggregate signature/);
    const twice = { ...positive, participants: [positive.participants[0]!, ...positive.participants] };
    expect(() => verifyAggregatedAttestation(nativeBls, twice, claim, committee)).toThrow(/ascending/);
    expect(() => verifyAggregatedAttestation(nativeBls, positive, claim, committee.slice(1))).toThrow(/committee/);
  });
});

describe('draws', () => {
  it('stay inside their part of the token file: batches never touch what is held out', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.integer({ min: 0, max: 1e9 }), (seed, step) => {
        const { recipe } = smallRecipe();
        const { tokens, heldOutTokens } = recipe.data;
        for (const offset of drawBatch(seed, step, recipe)) {
          expect(offset + recipe.context).toBeLessThan(tokens - heldOutTokens);
        }
        const heldOut = drawHeldOut(seed, seed, recipe);
        expect(new Set(heldOut).size).toBe(64);
        for (const offset of heldOut) {
          expect(offset).toBeGreaterThanOrEqual(tokens - heldOutTokens);
          expect(offset + recipe.context).toBeLessThan(tokens);
        }
      }),
      { numRuns: 30 },
    );
  });

  it('draw miners in proportion to stake, whatever the order of the list', () => {
    const candidates = [1n, 2n, 7n].map((stake, i) => ({ publicKey: new Uint8Array(48).fill(i + 1), stake }));
    const counts = [0, 0, 0];
    for (let i = 0; i < 4000; i += 1) {
      const beacon = deriveHash('miner', u64Bytes(i));
      const drawn = drawMiner(beacon, candidates)!;
      expect(drawMiner(beacon, [...candidates].reverse())).toEqual(drawn);
      counts[drawn[0]! - 1]! += 1;
    }
    for (const [i, share] of [0.1, 0.2, 0.7].entries()) {
      expect(Math.abs(counts[i]! / 4000 - share)).toBeLessThan(4 * Math.sqrt((share * (1 - share)) / 4000));
    }
  });
});

describe('proofs of step commitments', () => {
  it('lead from every element to the list’s root, and from no other place', () => {
    const keys = nativeBls.deriveKey(new Uint8Array(32), 'miner', 0);
    const assignment = {
      chainId: new Uint8Array(32),
      job: 0,
      claimNumber: 0,
      attempt: 0,
      parentClaimRoot: new Uint8Array(32),
      recipeRoot: new Uint8Array(32),
      miner: keys.publicKey,
      fromRoot: new Uint8Array(32),
      draw1: new Uint8Array(32),
      bond: 0n,
    };
    for (const steps of [1, 2, 5]) {
      const list = syntheticClaim(assignment, keys, steps, 0).commitments;
      const root = StepCommitmentListType.hashTreeRoot(list);
      for (let i = 0; i < steps; i += 1) {
        const proven = proveCommitment(list, i);
        expect(openCommitment(root, proven)).toEqual({ commitment: list[i], steps });
        expect(() => openCommitment(root, { ...proven, index: i + 1 })).toThrow(/another root/);
        expect(() => openCommitment(root, { ...proven, index: i + 2 ** 17 })).toThrow(/another root/);
      }
    }
  });
});
