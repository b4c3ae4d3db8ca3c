/** Receipts, beacon fines and accusations of verifiers on the ledger. */
import { describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { totalMoney } from '../../src/ledger/state.js';
import { rechecksOf } from '../../src/ledger/stateDuties.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { beaconFine } from '../../src/ledger/stateMoney.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { buildBatchEvidence } from '../../src/protocol/evidence/build.js';
import { checkEvidence, type Verdict } from '../../src/protocol/evidence.js';
import { encodeTransaction, STAGE, signOrder } from '../../src/protocol/ledgerTypes.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, TestChain, type TestChainOptions } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

/** A chain whose checker says what the first byte of the evidence says: 1 guilty, else a false accusation. */
function accusingChain(options: TestChainOptions = {}): { chain: TestChain; accuse(target: KeyPair): void } {
  let verdict: Verdict | undefined;
  const chain = new TestChain({
    ...options,
    checkEvidence: async (bytes) => ({ ...verdict!, verdict: bytes[0] === 1 ? 'guilty' : 'false-accusation' }),
  });
  const accuse = (target: KeyPair): void => {
    verdict = guiltOf(chain, target, 'receipt');
  };
  return { chain, accuse };
}

/** What a checker says of a verifier of the newest settled claim. */
function guiltOf(chain: TestChain, accused: KeyPair, kind: 'receipt' | 'held-out'): Verdict {
  const { claimRoot, claimNumber, attempt } = chain.state.settled.at(-1)!;
  const { chainId } = chain.state;
  const against = { against: 'verifier', accused: accused.publicKey, job: 0, claimNumber, attempt } as const;
  return { verdict: 'guilty', kind, chainId, claimRoot, ...against, reason: 'told by the test' };
}

async function accuseAs(chain: TestChain, finder: KeyPair, evidence: Uint8Array): Promise<void> {
  const claim = chain.state.settled.at(-1)!;
  const salt = new Uint8Array(32);
  await chain.submit(chain.commitmentTo(finder, evidence, salt, claim.claimRoot));
  chain.usedNonce(finder);
  await chain.submit(encodeTransaction('evidence', { finder: finder.publicKey, salt, evidence }));
}

describe('receipts on the ledger', () => {
  it('a positive vote needs a commitment before it and counts only once that is opened', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    const [first, second, ...others] = chain.demo.verifiers;
    expect(await refusal(chain.submit(chain.attestation(first!)))).toMatch(/commitment to a receipt/);
    for (const keys of chain.demo.verifiers) await chain.vote(keys);
    expect(chain.open.stage).toBe(STAGE.revealing);
    // Two of four open: half the stake is no quorum, whatever was voted.
    await chain.reveal([first!, second!]);
    expect(chain.outcomes()).toEqual([]);
    await chain.submit(encodeTransaction('tick', tickOf(chain)));
    expect(chain.outcomes()).toEqual(['reopened']);
    expect(chain.balance(others[0]!)).toBe(100n * COIN);
    const silent = chain.state.members.filter((member) => member.silence === 1);
    expect(silent.map((member) => member.publicKey.join()).sort()).toEqual(
      [first!, second!].map((keys) => keys.publicKey.join()).sort(),
    );
  });

  it('refuses a second commitment, another’s opening, another opening, and one before the votes are over', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    const [first, second] = chain.demo.verifiers;
    await chain.vote(first!);
    expect(await refusal(chain.submit(chain.receipt(first!)))).toMatch(/a second/);
    const reveal = (keys: KeyPair, opening = chain.opening(keys, chain.open)): Promise<unknown> =>
      chain.submit(
        encodeTransaction('receipt-reveal', { claimRoot: chain.open.claimRoot, verifier: keys.publicKey, opening }),
      );
    expect(await refusal(reveal(first!))).toMatch(/votes are over/);
    for (const keys of chain.demo.verifiers.slice(1)) await chain.vote(keys);
    expect(await refusal(reveal(first!, chain.opening(second!, chain.open)))).toMatch(/was committed to/);
    const changed = { ...chain.opening(first!, chain.open), parts: [new Uint8Array(32)] };
    expect(await refusal(reveal(first!, changed))).toMatch(/was committed to/);
    await reveal(first!);
    expect(await refusal(reveal(first!))).toMatch(/found it open/);
  });

  it('draws one foreign receipt for each verifier once all are open', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    await chain.attest();
    const targets = chain.demo.verifiers.flatMap((keys) => rechecksOf(chain.state, keys.publicKey));
    expect(targets.length).toBe(4);
    expect(new Set(targets.map((target) => target.verifier.join())).size).toBe(4);
    expect(chain.state.settled.length).toBe(1);
  });
});

describe('positive votes for a claim that falls before the reveals', () => {
  it('pay nothing and cost nothing; the miner pays its bond, half of it is burned, whoever the finder is', async () => {
    const chain = new TestChain();
    const claim = await chain.toAttesting('batch');
    const liar = chain.keyOf(claim.header.miner);
    const bystander = chain.demo.miners.find((keys) => keys !== liar)!;
    // The best a ring can do: all verifiers vote for the lie, and one of them is the finder.
    const [finder, ...voters] = chain.demo.verifiers;
    const held = (keys: KeyPair) => ({ balance: chain.balance(keys), stake: chain.stake(keys) });
    const before = new Map([...chain.keys].map((keys) => [keys, held(keys)]));
    for (const keys of voters) await chain.vote(keys);
    const { claimRoot, claimNumber } = chain.open;
    const opening = chain.opening(voters[0]!, chain.open);
    const [commitments, recipe] = [chain.commitments.get(toHex(claimRoot))!, smallRecipe().recipe];
    await chain.accuse(finder!, buildBatchEvidence({ claim, recipe, commitments }, 1));
    expect(chain.outcomes()).toEqual(['slashed']);
    const { minerBond } = chain.state.parameters;
    for (const keys of [...voters, bystander]) expect(held(keys)).toEqual(before.get(keys));
    expect(held(liar)).toEqual({ ...before.get(liar)!, stake: before.get(liar)!.stake - minerBond });
    expect(held(finder!)).toEqual({ ...before.get(finder!)!, balance: before.get(finder!)!.balance + minerBond / 2n });
    expect(chain.state.burned).toBe(minerBond / 2n);
    expect(totalMoney(chain.state)).toBe(chain.money);
    // Nobody's draw is opened any more, so nobody is looked at again, and the next attempt draws anew.
    const reveal = { claimRoot, verifier: voters[0]!.publicKey, opening };
    expect(await refusal(chain.submit(encodeTransaction('receipt-reveal', reveal)))).toMatch(/claim/);
    const settled = chain.state.settled.at(-1)!;
    expect(settled.voters.length).toBe(voters.length);
    expect(settled.receipts.every(({ opened }) => opened === 0)).toBe(true);
    expect(chain.demo.verifiers.flatMap((keys) => rechecksOf(chain.state, keys.publicKey))).toEqual([]);
    expect(chain.open).toMatchObject({ claimNumber, attempt: 1, stage: STAGE.beaconOne });
    expect(chain.state.members.map(({ silence }) => silence)).toEqual(chain.keys.map(() => 0));
  });

  it('what such a vote says by itself is still accusable: a proof takes the least stake of a verifier', async () => {
    let verdict: Verdict | undefined;
    const chain = new TestChain({
      checkEvidence: async (bytes) => (bytes.length > 1 ? checkEvidence(bytes, { bls: nativeBls }) : verdict!),
    });
    const claim = await chain.toAttesting('batch');
    const [voter, finder] = chain.demo.verifiers;
    await chain.vote(voter!);
    const [commitments, recipe] = [chain.commitments.get(toHex(chain.open.claimRoot))!, smallRecipe().recipe];
    await chain.accuse(finder!, buildBatchEvidence({ claim, recipe, commitments }, 1));
    verdict = guiltOf(chain, voter!, 'held-out');
    const stake = chain.stake(voter!);
    await accuseAs(chain, finder!, Uint8Array.of(1));
    expect(stake - chain.stake(voter!)).toBe(chain.state.parameters.verifierStake);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });
});

describe('accusing a verifier', () => {
  it('a proof takes the least stake of a verifier, half to the finder, once for a claim', async () => {
    const { chain, accuse } = accusingChain();
    await chain.toAttesting();
    await chain.attest();
    const [lazy, finder, late] = chain.demo.verifiers;
    // Without this accusation the lazy verifier was paid like everybody, and its receipt was never looked at.
    const { verifierStake, verifierReward } = chain.state.parameters;
    expect(chain.balance(lazy!)).toBe(100n * COIN + verifierReward / 4n);
    accuse(lazy!);
    const [stake, balance] = [chain.stake(lazy!), chain.balance(finder!)];
    await accuseAs(chain, finder!, Uint8Array.of(1));
    expect(stake - chain.stake(lazy!)).toBe(verifierStake);
    expect(chain.balance(finder!) - balance).toBe(verifierStake / 2n);
    expect(chain.state.burned).toBe(verifierStake / 2n);
    expect(await refusal(accuseAs(chain, late!, Uint8Array.of(1, 2)))).toMatch(/one conviction/);
    expect(totalMoney(chain.state)).toBe(chain.money);
    expect(chain.outcomes()).toEqual(['finalized']);
  });

  it('a false accusation pays the accused, and one never made is burned with its claim’s epoch', async () => {
    const { chain, accuse } = accusingChain({ parameters: { epochClaims: 1 } });
    await chain.toAttesting();
    await chain.attest();
    const [honest, finder, other] = chain.demo.verifiers;
    accuse(honest!);
    const [balance, stake] = [chain.balance(honest!), chain.stake(honest!)];
    await accuseAs(chain, finder!, Uint8Array.of(0));
    expect(chain.balance(honest!) - balance).toBe(chain.state.parameters.challengeBond);
    expect(chain.stake(honest!)).toBe(stake);
    await chain.submit(
      chain.commitmentTo(other!, Uint8Array.of(9), new Uint8Array(32), chain.state.settled[0]!.claimRoot),
    );
    await chain.toAttesting();
    await chain.attest();
    expect(chain.state.burned).toBe(chain.state.parameters.challengeBond);
    expect(chain.state.commitments).toEqual([]);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('a voter’s stake stays until its vote can no longer be accused', async () => {
    const chain = new TestChain({ parameters: { unbondingClock: 0, epochClaims: 2 }, verifiers: 5 });
    await chain.toAttesting();
    await chain.attest();
    const [leaver, ...others] = chain.demo.verifiers;
    const order = async (kind: 'unbond' | 'withdraw'): Promise<unknown> => {
      const transaction = signOrder(nativeBls, leaver!, chain.state.chainId, kind, { nonce: chain.nonceOf(leaver!) });
      const result = await chain.submit(transaction);
      chain.usedNonce(leaver!);
      return result;
    };
    await order('unbond');
    await chain.toAttesting();
    await chain.attest(others);
    await chain.tick();
    expect(await refusal(order('withdraw'))).toMatch(/can still be accused/);
    for (let i = 0; i < 2; i += 1) {
      await chain.toAttesting();
      await chain.attest(others);
      if (chain.state.settled.at(-1)!.claimNumber < 2 + i) await chain.tick();
    }
    await order('withdraw');
    expect(chain.stake(leaver!)).toBe(0n);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });
});

describe('withheld beacon shares', () => {
  it('cost bond and rewards of a claim; w withholders see at most w + 1 beacons of one claim', async () => {
    const chain = new TestChain({ verifiers: 10 });
    const withholders = chain.demo.verifiers.slice(0, 3);
    const fine = beaconFine(chain.state.parameters);
    const { minerBond, claimReward, usefulnessBonus } = chain.state.parameters;
    expect(fine).toBe(minerBond + claimReward + usefulnessBonus);
    const seen: string[] = [];
    // Each withholder knows the beacon as the last one to give its share, dislikes it, and keeps it.
    for (const [i, keys] of withholders.entries()) {
      await chain.shares([keys]);
      seen.push(`withheld by ${i}`);
      await chain.tick();
      expect(chain.stake(keys)).toBe(2000n * COIN - fine);
      expect(chain.open).toMatchObject({ claimNumber: 0, attempt: i + 1 });
    }
    await chain.shares(withholders);
    expect(chain.open.stage).toBe(STAGE.training);
    expect(seen.length + 1).toBe(withholders.length + 1);
    expect(chain.state.burned).toBe(3n * fine);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('nobody is fined while less than two thirds of the epoch’s stake is there, however often the draw repeats', async () => {
    const chain = new TestChain({ verifiers: 9 });
    await chain.shares(chain.demo.verifiers.slice(0, 3));
    await chain.tick();
    expect(chain.open.committee.length).toBe(6);
    // Five of the six that are left are more than two thirds of six, and less than two thirds of nine.
    await chain.shares(chain.demo.verifiers.slice(3, 4));
    const burned = chain.state.burned;
    expect(await refusal(chain.tick())).toMatch(/two thirds of the epoch/);
    expect(chain.state.burned).toBe(burned);
  });

  it('who cannot pay the fine draws no beacons', () => {
    const chain = new TestChain({ verifiers: 4, parameters: { minerBond: 1950n * COIN } });
    expect(chain.state.open).toEqual([]);
    expect(equalBytes(chain.state.chainId, chain.demo.genesis.salt)).toBe(false);
  });
});

function tickOf(chain: TestChain) {
  const { claimNumber, attempt, stage, ticks } = chain.open;
  return { claimNumber, attempt, stage, sequence: ticks };
}
