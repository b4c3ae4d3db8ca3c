/** The ledger's state machine: the life of a claim, its outcomes, money, and what is refused. */
import { describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { LedgerStateType, totalMoney } from '../../src/ledger/state.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { memberOf, slashBond } from '../../src/ledger/stateMoney.js';
import { FinalizedClaimType, GAIN_OFFSET } from '../../src/ledger/stateTypes.js';
import { usefulnessBonus, windowGain } from '../../src/ledger/stateUsefulness.js';
import { buildBatchEvidence } from '../../src/protocol/evidence/build.js';
import { encodeTransaction, ROLE, STAGE, signOrder } from '../../src/protocol/ledgerTypes.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

/** Evidence that a synthetic claim with the lie `batch` is false. */
function batchEvidence(chain: TestChain): Uint8Array {
  const claim = chain.open.claim[0]!;
  const commitments = chain.commitments.get(toHex(chain.open.claimRoot))!;
  return buildBatchEvidence({ claim, recipe: smallRecipe().recipe, commitments }, 1);
}

describe('sums that parameters bound', () => {
  it('a finder gets at most half of a bond, whatever its share is', () => {
    const { state, demo } = new TestChain();
    state.parameters = { ...state.parameters, finderNumerator: 1, finderDenominator: 1 };
    const [liar, finder] = [memberOf(state, demo.miners[0]!.publicKey)!, demo.verifiers[0]!.publicKey];
    expect(slashBond(state, liar, 1001n, finder)).toEqual({ taken: 1001n, burned: 501n });
    // Not more than there is.
    const rest = liar.stake;
    expect(slashBond(state, liar, rest + 1n, finder).taken).toBe(rest);
    expect(liar.stake).toBe(0n);
  });

  it('a claim’s gain is that of its window: ancestors until there are enough steps, and no further', () => {
    const { state } = new TestChain();
    const one = { ...FinalizedClaimType.defaultValue(), steps: 2, heldOutBeforeBits: 0x40000000 };
    state.finalized = [
      { ...one, heldOutAfterBits: 0 }, // 2 nats
      { ...one, heldOutAfterBits: 0x3f800000 }, // 1 nat
    ];
    const nats = (steps: number): number => {
      state.parameters = { ...state.parameters, usefulnessSteps: steps };
      return Number(windowGain(state, 0n, 2)) / 2 ** 32;
    };
    expect([2, 3, 4, 5, 6, 7].map(nats)).toEqual([0, 1, 1, 3, 3, 3]);
  });

  it('a bonus: nothing for no gain or less than a quarter of the median, a share up to it, never more than all', () => {
    const { state } = new TestChain();
    const full = state.parameters.usefulnessBonus;
    const bonuses = (...gains: bigint[]) => gains.map((gain) => usefulnessBonus(state, gain));
    // The first claim has no median.
    expect(bonuses(-1n, 0n, 1n)).toEqual([0n, 0n, full]);
    const windows = [100n, 8n, 1n].map((gain) => gain + GAIN_OFFSET);
    state.finalized = windows.map((windowGain) => ({ ...FinalizedClaimType.defaultValue(), windowGain }));
    expect(bonuses(1n, 2n, 4n, 7n, 8n, 1000n)).toEqual([
      ...[0n, full / 4n, full / 2n, (7n * full) / 8n],
      ...[full, full],
    ]);
  });
});

describe('the life of a claim', () => {
  it('goes from beacon 1 to finalized, pays, and opens the next on its to root', async () => {
    const chain = new TestChain();
    expect(chain.open).toMatchObject({ claimNumber: 0, attempt: 0, stage: STAGE.beaconOne });
    const claim = await chain.toAttesting();
    const miner = chain.keyOf(claim.header.miner);
    const before = chain.balance(miner);
    await chain.attest();
    expect(chain.outcomes()).toEqual(['finalized']);
    const { claimReward, usefulnessBonus, verifierReward } = chain.state.parameters;
    expect(chain.balance(miner) - before).toBe(claimReward + usefulnessBonus);
    expect(chain.balance(chain.demo.verifiers[0]!)).toBe(100n * COIN + verifierReward / 4n);
    expect(chain.open).toMatchObject({ claimNumber: 1, attempt: 0, stage: STAGE.beaconOne });
    expect(equalBytes(chain.open.fromRoot, claim.header.toRoot)).toBe(true);
    expect(totalMoney(chain.state)).toBe(chain.money);
    expect(chain.state.members.every((member) => member.locked === 0n)).toBe(true);
  });

  it('is slashed by evidence: half the bond burned, half to the finder, a fresh attempt on the same state', async () => {
    const chain = new TestChain();
    const claim = await chain.toAttesting('batch');
    const liar = chain.keyOf(claim.header.miner);
    const finder = chain.demo.verifiers[2]!;
    const [stake, balance] = [chain.stake(liar), chain.balance(finder)];
    await chain.attest(chain.demo.verifiers.slice(0, 2));
    await chain.accuse(finder, batchEvidence(chain));
    const { minerBond } = chain.state.parameters;
    expect(chain.outcomes()).toEqual(['slashed']);
    expect(stake - chain.stake(liar)).toBe(minerBond);
    expect(chain.balance(finder) - balance).toBe(minerBond / 2n);
    expect(chain.state.burned).toBe(minerBond / 2n);
    expect(chain.open).toMatchObject({ claimNumber: 0, attempt: 1, stage: STAGE.beaconOne });
    expect(totalMoney(chain.state)).toBe(chain.money);
    // Removed from draws: whoever is drawn from now on is the other one.
    for (let i = 0; i < 4; i += 1) {
      const next = await chain.toAttesting();
      expect(equalBytes(next.header.miner, liar.publicKey)).toBe(false);
      await chain.attest();
    }
  });

  it('gives the bond of a false accusation to the accused', async () => {
    const chain = new TestChain();
    const claim = await chain.toAttesting();
    const miner = chain.keyOf(claim.header.miner);
    const before = chain.balance(miner);
    await chain.accuse(chain.demo.verifiers[0]!, batchEvidence(chain));
    expect(chain.balance(miner) - before).toBe(chain.state.parameters.challengeBond);
    expect(chain.events.some((event) => event.type === 'evidence' && event.verdict === 'false-accusation')).toBe(true);
    await chain.attest();
    expect(chain.outcomes()).toEqual(['finalized']);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('builds on claims that are not finalized, and voids them without penalty when the ancestor falls', async () => {
    const chain = new TestChain({ parameters: { maxOpenClaims: 2 } });
    const first = await chain.toAttesting('batch');
    expect(chain.state.open.map((open) => open.claimNumber)).toEqual([0, 1]);
    const second = await chain.claim();
    expect(equalBytes(second.header.fromRoot, first.header.toRoot)).toBe(true);
    const stakes = chain.demo.miners.map((keys) => chain.stake(keys));
    await chain.accuse(chain.demo.verifiers[0]!, batchEvidence(chain));
    expect(chain.outcomes()).toEqual(['slashed', 'void']);
    const lost = chain.demo.miners.map((keys, i) => stakes[i]! - chain.stake(keys));
    expect(lost.filter((amount) => amount > 0n)).toEqual([chain.state.parameters.minerBond]);
    expect(chain.state.members.every((member) => member.locked === 0n)).toBe(true);
    expect(chain.open).toMatchObject({ claimNumber: 0, attempt: 1 });
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('finalizes in order even when the child is attested first', async () => {
    const chain = new TestChain({ parameters: { maxOpenClaims: 2 } });
    await chain.toAttesting();
    await chain.claim();
    await chain.attest();
    await chain.shares();
    await chain.attest();
    expect(chain.events.filter((event) => event.type === 'outcome').map((event) => event.claimNumber)).toEqual([0, 1]);
  });

  it('a missed turn costs a fee and gets another draw', async () => {
    const chain = new TestChain();
    await chain.shares();
    const miner = chain.keyOf(chain.open.miner);
    const stake = chain.stake(miner);
    await chain.tick();
    expect(stake - chain.stake(miner)).toBe(chain.state.parameters.missedTurnFee);
    expect(chain.open).toMatchObject({ claimNumber: 0, attempt: 1, stage: STAGE.beaconOne });
    expect(totalMoney(chain.state)).toBe(chain.money);
  });

  it('goes on without a committee member that is silent, but not without a third of the stake', async () => {
    const chain = new TestChain();
    await chain.shares(chain.demo.verifiers.slice(0, 1));
    expect(chain.open.stage).toBe(STAGE.beaconOne);
    await chain.tick();
    expect(chain.open).toMatchObject({ claimNumber: 0, attempt: 1 });
    expect(chain.open.committee.length).toBe(3);
    await chain.shares();
    await chain.claim();
    await chain.shares(chain.demo.verifiers.slice(1, 3));
    expect(await refusal(chain.tick())).toMatch(/two thirds/);
  });

  it('draws beacon 2 again without a silent member, under another message', async () => {
    const chain = new TestChain();
    await chain.shares();
    await chain.claim();
    const { parentBeacon } = chain.open;
    await chain.shares(chain.demo.verifiers.slice(0, 1));
    await chain.tick();
    expect(equalBytes(chain.open.parentBeacon, parentBeacon)).toBe(false);
    await chain.shares();
    expect(chain.open.stage).toBe(STAGE.attesting);
    await chain.attest(chain.demo.verifiers.slice(1));
    expect(chain.outcomes()).toEqual(['finalized']);
  });

  it('ejects a verifier that stays silent', async () => {
    const chain = new TestChain({ parameters: { silenceClaims: 2 } });
    for (let i = 0; i < 2; i += 1) {
      await chain.toAttesting();
      await chain.attest(chain.demo.verifiers.slice(1));
      await chain.tick();
    }
    expect(chain.outcomes()).toEqual(['finalized', 'finalized']);
    expect(chain.open.committee.length).toBe(3);
    expect(chain.stake(chain.demo.verifiers[0]!)).toBe(2000n * COIN);
  });

  it('keeps one whose silences are no row', async () => {
    const chain = new TestChain({ parameters: { silenceClaims: 2 } });
    for (const first of [1, 0, 1]) {
      await chain.toAttesting();
      await chain.attest(chain.demo.verifiers.slice(first));
      if (first === 1) await chain.tick();
    }
    expect(chain.outcomes()).toEqual(['finalized', 'finalized', 'finalized']);
    expect(chain.open.committee.length).toBe(4);
  });
});

describe('what is refused changes nothing', () => {
  it('beacon 2 shares before two heights, shares of strangers, second shares', async () => {
    const chain = new TestChain();
    await chain.shares();
    await chain.claim();
    const { beaconIdOf } = await import('../../src/ledger/stateOpen.js');
    const { createBeaconShare } = await import('../../src/protocol/beacon.js');
    const id = beaconIdOf(chain.state, chain.open)!;
    const share = (keys: (typeof chain.keys)[number]): Uint8Array =>
      encodeTransaction('beacon-share', createBeaconShare(nativeBls, keys, id));
    const [verifier] = chain.demo.verifiers;
    expect(await refusal(chain.submit(share(verifier!)))).toMatch(/from height/);
    await chain.tick();
    await chain.submit(share(verifier!));
    expect(await refusal(chain.submit(share(verifier!)))).toMatch(/a second/);
    expect(await refusal(chain.submit(share(chain.demo.miners[0]!)))).toMatch(/committee member/);
  });

  it('claims of another miner, recipe, draw, parent, bond or job', async () => {
    const chain = new TestChain();
    await chain.shares();
    const { claim } = chain.makeClaim();
    const { signClaim } = await import('../../src/protocol/claim.js');
    const miner = chain.keyOf(claim.header.miner);
    const changed = new Uint8Array(32).fill(0xee);
    for (const change of [
      { recipeRoot: changed },
      { draw1: changed },
      { fromRoot: changed },
      { parentClaimRoot: changed },
      { chainId: changed },
      { job: 1 },
      { attempt: 1 },
      { bond: 1n },
      { modelRoot: new Uint8Array(32) },
    ]) {
      const forged = signClaim(nativeBls, miner, { ...claim.header, ...change });
      expect(await refusal(chain.submit(encodeTransaction('claim', forged)))).toMatch(/^(MISMATCH|REJECTED)/);
    }
    const other = chain.demo.miners.find((keys) => keys !== miner)!;
    const stolen = signClaim(nativeBls, other, { ...claim.header, miner: other.publicKey });
    expect(await refusal(chain.submit(encodeTransaction('claim', stolen)))).toMatch(/miner/);
    const unsigned = {
      ...claim,
      signature: signClaim(nativeBls, other, { ...claim.header, miner: other.publicKey }).signature,
    };
    expect(await refusal(chain.submit(encodeTransaction('claim', unsigned)))).toMatch(/signature/);
    await chain.submit(encodeTransaction('claim', claim));
  });

  it('negative attestations without a commitment to evidence, and evidence that nobody committed to', async () => {
    const chain = new TestChain();
    await chain.toAttesting('batch');
    const [verifier] = chain.demo.verifiers;
    expect(await refusal(chain.submit(chain.attestation(verifier!, 'negative')))).toMatch(/commitment/);
    const reveal = { finder: verifier!.publicKey, salt: new Uint8Array(32), evidence: batchEvidence(chain) };
    expect(await refusal(chain.submit(encodeTransaction('evidence', reveal)))).toMatch(/committed/);
  });

  it('a claim of a miner whose stake is bound already, and a negative vote backed by evidence against another claim', async () => {
    const chain = new TestChain({ parameters: { maxOpenClaims: 2 } });
    await chain.shares();
    const { claim } = chain.makeClaim();
    const { members } = chain.state;
    for (const member of members) member.locked = member.stake;
    expect(await refusal(chain.submit(encodeTransaction('claim', claim)))).toMatch(/free stake/);
    for (const member of members) member.locked = 0n;
    await chain.claim();
    await chain.shares();
    await chain.claim();
    const [verifier] = chain.demo.verifiers;
    const [, second] = chain.state.open;
    await chain.submit(chain.commitmentTo(verifier!, Uint8Array.of(1), new Uint8Array(32), second!.claimRoot));
    expect(await refusal(chain.submit(chain.attestation(verifier!, 'negative')))).toMatch(/commitment/);
  });

  it('refused transactions leave the state as it was, and states survive their encoding', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    const root = chain.machine.root(chain.state);
    const height = chain.state.height;
    expect(await refusal(chain.submit(Uint8Array.of(99)))).toMatch(/^MALFORMED/);
    await chain.accuse(chain.demo.verifiers[0]!, Uint8Array.of(1)).catch(() => undefined);
    expect(chain.state.height).toBe(height + 1);
    expect(equalBytes(chain.machine.root(chain.state), root)).toBe(false);
    const decoded = chain.machine.decode(chain.machine.encode(chain.state));
    expect(equalBytes(chain.machine.root(decoded), chain.machine.root(chain.state))).toBe(true);
    expect(LedgerStateType.equals(decoded, chain.state)).toBe(true);
  });

  it('registration without money, twice, or with a wrong proof; new members wait an epoch', async () => {
    const chain = new TestChain();
    const [giver] = chain.demo.miners;
    const fresh = nativeBls.deriveKey(new Uint8Array(32).fill(77), 'verifier', 0);
    const order = (possession: Uint8Array, stake: bigint, nonce = 0): Uint8Array =>
      signOrder(nativeBls, fresh, chain.state.chainId, 'register', { nonce, possession, roles: ROLE.verifier, stake });
    const proof = nativeBls.popProve(fresh);
    expect(await refusal(chain.submit(order(proof, COIN)))).toMatch(/balance/);
    await chain.submit(
      signOrder(nativeBls, giver!, chain.state.chainId, 'transfer', {
        nonce: 0,
        to: fresh.publicKey,
        amount: 50n * COIN,
      }),
    );
    expect(await refusal(chain.submit(order(nativeBls.popProve(giver!), COIN)))).toMatch(/possession/);
    await chain.submit(order(proof, 50n * COIN));
    expect(await refusal(chain.submit(order(proof, 1n, 1)))).toMatch(/without stake/);
    const member = chain.state.members.at(-1)!;
    expect(member.eligibleFrom).toBe(1 + chain.state.parameters.epochClaims);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });
});
