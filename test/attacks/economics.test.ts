/**
 * P1, P2, P3, P6, P7, P8, P12, P13, P14: votes, evidence, keys and money. Each rule beside a weakened twin that shows
 * the harm.
 */
import { bls12_381 } from '@noble/curves/bls12-381.js';
import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { type LedgerState, LedgerStateType, totalMoney } from '../../src/ledger/state.js';
import { evidenceCommitment } from '../../src/ledger/stateEvidence.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { slashBond } from '../../src/ledger/stateMoney.js';
import { hasQuorum, tallyOf } from '../../src/ledger/stateSettle.js';
import { attestationData, signAttestation } from '../../src/protocol/attestation.js';
import { createNobleBls } from '../../src/protocol/blsNoble.js';
import { signClaim } from '../../src/protocol/claim.js';
import { signDraw } from '../../src/protocol/draws.js';
import { buildBatchEvidence, buildEquivocationEvidence } from '../../src/protocol/evidence/build.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import { encodeTransaction, ROLE, STAGE, signOrder } from '../../src/protocol/ledgerTypes.js';
import { AttestationDataType } from '../../src/protocol/types.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

function batchEvidence(chain: TestChain): Uint8Array {
  const claim = chain.open.claim[0]!;
  const commitments = chain.commitments.get(toHex(chain.open.claimRoot))!;
  return buildBatchEvidence({ claim, recipe: smallRecipe().recipe, commitments }, 1);
}

const TEN = { verifiers: 10 } as const;

describe('P1: 40 % liars cannot slash an honest miner', () => {
  it('negative votes move no stake; a rule that slashes at one third of negative votes does', async () => {
    const chain = new TestChain(TEN);
    const claim = await chain.toAttesting();
    const miner = chain.keyOf(claim.header.miner);
    const stake = chain.stake(miner);
    const liars = chain.demo.verifiers.slice(0, 4);
    for (const liar of liars) {
      await chain.submit(chain.commitmentTo(liar, Uint8Array.of(1), new Uint8Array(32)));
      await chain.submit(chain.attestation(liar, 'negative'));
    }
    await chain.attest(chain.demo.verifiers.slice(4));
    const tally = tallyOf(chain.open);
    // Weakened: slash at a third of negative stake.
    expect(3n * tally.stakeAgainst >= tally.total).toBe(true);
    await chain.tick();
    // 60 % is no quorum: another round, in which the liars have lost their bonds to the accused.
    expect(chain.outcomes()).toEqual(['reopened']);
    expect(chain.stake(miner)).toBe(stake);
    expect(chain.balance(miner)).toBe(100n * COIN + 4n * chain.state.parameters.challengeBond);
    expect(totalMoney(chain.state)).toBe(chain.money);
  });
});

describe('P2: the penalty does not hit the whistle-blower', () => {
  it('a valid proof pays the accuser, even against a positive majority', async () => {
    const chain = new TestChain();
    await chain.toAttesting('batch');
    const [finder, ...others] = chain.demo.verifiers;
    await chain.attest(others.slice(0, 2));
    const before = chain.balance(finder!);
    await chain.accuse(finder!, batchEvidence(chain));
    expect(chain.balance(finder!) > before).toBe(true);
    expect(chain.stake(finder!)).toBe(2000n * COIN);
  });
});

describe('P3: no dead zone between the thresholds', () => {
  const split = async (chain: TestChain): Promise<void> => {
    await chain.attest(chain.demo.verifiers.slice(0, 5));
    const liar = chain.demo.verifiers[9]!;
    await chain.submit(chain.commitmentTo(liar, Uint8Array.of(1), new Uint8Array(32)));
    chain.usedNonce(liar);
    await chain.submit(chain.attestation(liar, 'negative'));
    await chain.tick();
  };

  it('50 % for and 10 % against: once more with a new draw, then rejected without penalty, and the chain goes on', async () => {
    const chain = new TestChain(TEN);
    const claim = await chain.toAttesting();
    const stake = chain.stake(chain.keyOf(claim.header.miner));
    const firstDraw = chain.open.beacon2;
    await split(chain);
    await chain.shares();
    expect(chain.open).toMatchObject({ stage: STAGE.attesting, round: 1 });
    expect(equalBytes(chain.open.beacon2, firstDraw)).toBe(false);
    await split(chain);
    expect(chain.outcomes()).toEqual(['reopened', 'rejected']);
    expect(chain.stake(chain.keyOf(claim.header.miner))).toBe(stake);
    expect(chain.open).toMatchObject({ claimNumber: 0, attempt: 1 });
    await chain.toAttesting();
    await chain.attest();
    expect(chain.outcomes().at(-1)).toBe('finalized');
  });

  it('without a default outcome the same split never ends', async () => {
    const chain = new TestChain({ ...TEN, parameters: { attestationRounds: 1_000_000, silenceClaims: 1_000_000 } });
    await chain.toAttesting();
    for (let round = 0; round < 5; round += 1) {
      await split(chain);
      await chain.shares();
    }
    expect(chain.outcomes().every((outcome) => outcome === 'reopened')).toBe(true);
    expect(chain.state.finalizedCount).toBe(0);
  });
});

describe('P6: replay of signed messages', () => {
  it('a second copy of an attestation, claim or order is refused; without nonces the order pays twice', async () => {
    const chain = new TestChain();
    const claim = await chain.toAttesting();
    const [first] = chain.demo.verifiers;
    const vote = chain.attestation(first!);
    await chain.submit(vote);
    expect(await refusal(chain.submit(vote))).toMatch(/a second/);
    expect(await refusal(chain.submit(encodeTransaction('claim', claim)))).toMatch(/^REJECTED/);
    const [giver, taker] = chain.demo.miners;
    const transfer = signOrder(nativeBls, giver!, chain.state.chainId, 'transfer', {
      nonce: 0,
      to: taker!.publicKey,
      amount: COIN,
    });
    await chain.submit(transfer);
    expect(await refusal(chain.submit(transfer))).toMatch(/nonce/);
    const balance = chain.balance(taker!);
    // Weakened: a chain that forgets nonces.
    chain.state = { ...chain.state, accounts: chain.state.accounts.map((account) => ({ ...account, nonce: 0 })) };
    await chain.submit(transfer);
    expect(chain.balance(taker!) - balance).toBe(COIN);
  });

  it('a vote of an earlier attempt, of another chain or in another domain counts nowhere', async () => {
    const chain = new TestChain();
    await chain.toAttesting();
    const [verifier] = chain.demo.verifiers;
    const open = chain.open;
    const draw = signDraw(nativeBls, verifier!, open.beacon2, open.claimRoot);
    const content = {
      chainId: chain.state.chainId,
      claimRoot: open.claimRoot,
      verdict: 'positive',
      heldOutBeforeBits: 0,
      heldOutAfterBits: 0,
    } as const;
    const good = signAttestation(nativeBls, verifier!, content, draw);
    const otherChain = signAttestation(nativeBls, verifier!, { ...content, chainId: new Uint8Array(32) }, draw);
    expect(await refusal(chain.submit(encodeTransaction('attestation', otherChain)))).toMatch(/^MISMATCH/);
    // The same fields signed under the draw's domain instead of the attestation's.
    const data = { ...attestationData(content), domain: Uint8Array.of(0x55, 0x44, 0x52, 0x31) };
    const signature = nativeBls.sign(verifier!.secret, AttestationDataType.hashTreeRoot(data));
    const otherDomain = { ...good, data, signature };
    expect(await refusal(chain.submit(encodeTransaction('attestation', otherDomain)))).toMatch(/^MALFORMED/);
    const otherDraw = { ...good, drawSignature: signDraw(nativeBls, verifier!, new Uint8Array(32), open.claimRoot) };
    expect(await refusal(chain.submit(encodeTransaction('attestation', otherDraw)))).toMatch(/draw signature/);
    await chain.submit(encodeTransaction('attestation', good));
  });
});

describe('P7: two claims for one turn', () => {
  async function equivocate(chain: TestChain): Promise<Uint8Array> {
    const claim = await chain.toAttesting();
    const miner = chain.keyOf(claim.header.miner);
    const second = signClaim(nativeBls, miner, { ...claim.header, diffRoot: new Uint8Array(32).fill(1) });
    return buildEquivocationEvidence(second, claim, smallRecipe().recipe);
  }

  it('two signatures are a proof, and slash', async () => {
    const chain = new TestChain();
    await chain.accuse(chain.demo.verifiers[0]!, await equivocate(chain));
    expect(chain.outcomes()).toEqual(['slashed']);
  });

  it('a checker that overlooks them lets the claim be finalized', async () => {
    const chain = new TestChain({
      checkEvidence: async (bytes) => ({
        ...(await checkEvidence(bytes, { bls: nativeBls })),
        verdict: 'false-accusation',
      }),
    });
    await chain.accuse(chain.demo.verifiers[0]!, await equivocate(chain));
    await chain.attest();
    expect(chain.outcomes()).toEqual(['finalized']);
  });
});

describe('P8: leaving before the evidence arrives', () => {
  const leave = (chain: TestChain, kind: 'unbond' | 'withdraw', nonce: number): Promise<unknown> => {
    const liar = chain.keyOf(chain.open.miner);
    return chain.submit(signOrder(nativeBls, liar, chain.state.chainId, kind, { nonce }));
  };

  it('stake stays until all claims of its time are settled; without that rule the liar leaves whole', async () => {
    const chain = new TestChain({ parameters: { unbondingClock: 0 } });
    const claim = await chain.toAttesting('batch');
    const liar = chain.keyOf(claim.header.miner);
    await leave(chain, 'unbond', 0);
    expect(await refusal(leave(chain, 'withdraw', 1))).toMatch(/settled first/);
    const honest: LedgerState = chain.state;
    // Weakened: neither the lock nor the claim is remembered.
    const forget = (state: LedgerState): LedgerState => {
      const copy = LedgerStateType.clone(state);
      for (const member of copy.members) Object.assign(member, { locked: 0n, unbondClaim: 0 });
      return copy;
    };
    chain.state = forget(honest);
    await leave(chain, 'withdraw', 1);
    expect(chain.stake(liar)).toBe(0n);
    chain.state = honest;
    await chain.accuse(chain.demo.verifiers[0]!, batchEvidence(chain));
    expect(chain.outcomes()).toContain('slashed');
  });
});

describe('P12: front-running a fraud proof', () => {
  it('a copied reveal and a copied commitment earn nothing; a commitment that names no finder would', async () => {
    const chain = new TestChain();
    await chain.toAttesting('batch');
    const evidence = batchEvidence(chain);
    const [finder, thief] = chain.demo.verifiers;
    const salt = new Uint8Array(32).fill(4);
    await chain.submit(chain.commitmentTo(finder!, evidence, salt));
    // The thief copies the commitment that it sees, then the reveal that it sees.
    const copied = signOrder(nativeBls, thief!, chain.state.chainId, 'commit-evidence', {
      nonce: 0,
      claimRoot: chain.open.claimRoot,
      commitment: evidenceCommitment(evidence, finder!.publicKey, salt),
    });
    await chain.submit(copied);
    const stolen = encodeTransaction('evidence', { finder: thief!.publicKey, salt, evidence });
    expect(await refusal(chain.submit(stolen))).toMatch(/committed/);
    const before = chain.balance(finder!);
    await chain.submit(encodeTransaction('evidence', { finder: finder!.publicKey, salt, evidence }));
    expect(chain.balance(finder!) > before).toBe(true);
    // Weakened: the hash of the evidence alone is the same whoever shows it.
    const weak = (shown: Uint8Array, _finder: Uint8Array): string => toHex(blake3(shown));
    expect(weak(evidence, thief!.publicKey)).toBe(weak(evidence, finder!.publicKey));
  });

  it('a commitment and its reveal in one block do not count', async () => {
    const chain = new TestChain();
    await chain.toAttesting('batch');
    const evidence = batchEvidence(chain);
    const [finder] = chain.demo.verifiers;
    const salt = new Uint8Array(32);
    const both = [
      chain.commitmentTo(finder!, evidence, salt),
      encodeTransaction('evidence', { finder: finder!.publicKey, salt, evidence }),
    ];
    const block = { height: chain.state.height + 1, transactions: both };
    expect(await refusal(chain.machine.apply(chain.state, block))).toMatch(/later height/);
  });
});

describe('P13: keys whose possession is not proven', () => {
  it('a rogue key signs for its victim where possession is not asked for; registration asks for it', async () => {
    const chain = new TestChain();
    const [victim] = chain.demo.verifiers;
    const attacker = nativeBls.deriveKey(new Uint8Array(32).fill(66), 'verifier', 0);
    const G1 = bls12_381.G1.Point;
    const rogue = G1.fromBytes(attacker.publicKey).subtract(G1.fromBytes(victim!.publicKey)).toBytes(true);
    const message = AttestationDataType.hashTreeRoot(
      attestationData({
        chainId: chain.state.chainId,
        claimRoot: new Uint8Array(32),
        verdict: 'positive',
        heldOutBeforeBits: 0,
        heldOutAfterBits: 0,
      }),
    );
    const forged = nativeBls.sign(attacker.secret, message);
    // Weakened: an aggregate over keys that nobody proved. The victim never signed.
    for (const bls of [nativeBls, createNobleBls()]) {
      expect(bls.verifyAggregate([victim!.publicKey, rogue], message, forged)).toBe(true);
      expect(bls.popVerify(rogue, bls.popProve(attacker))).toBe(false);
    }
    const keys = { secret: attacker.secret, publicKey: rogue };
    const register = signOrder(nativeBls, keys, chain.state.chainId, 'register', {
      nonce: 0,
      possession: nativeBls.popProve(attacker),
      roles: ROLE.verifier,
      stake: 1n,
    });
    expect(await refusal(chain.submit(register))).toMatch(/^REJECTED/);
  });
});

describe('P14: rounding and overflow of money', () => {
  it('an odd bond is split without losing a unit; two halves rounded down lose one', () => {
    const chain = new TestChain({ minerStake: 3001n * COIN, parameters: { minerBond: 1001n } });
    const state = LedgerStateType.clone(chain.state);
    const before = totalMoney(state);
    const { taken, burned } = slashBond(state, state.members[0]!, 1001n, chain.demo.verifiers[0]!.publicKey);
    expect(totalMoney(state)).toBe(before);
    expect([taken, burned]).toEqual([1001n, 501n]);
    // Weakened: burn a half, pay a half.
    expect(1001n / 2n + 1001n / 2n).toBe(1000n);
  });

  it('rewards never exceed the pool, and money beyond 2^53 stays exact', async () => {
    const big = 2n ** 60n + 1n;
    const chain = new TestChain({ minerStake: big, parameters: { claimReward: big } });
    await chain.toAttesting();
    await chain.attest();
    expect(totalMoney(chain.state)).toBe(chain.money);
    expect(chain.state.rewardPool).toBe(0n);
    // Weakened: the same sum in doubles.
    expect(BigInt(Number(big))).not.toBe(big);
  });

  it('a quorum is two thirds of the stake exactly, in integers', async () => {
    const chain = new TestChain({ verifiers: 3 });
    await chain.toAttesting();
    await chain.attest(chain.demo.verifiers.slice(0, 2));
    expect(hasQuorum(chain.state, tallyOf(chain.open))).toBe(true);
    const short = { ...tallyOf(chain.open), stakeFor: tallyOf(chain.open).stakeFor - 1n };
    expect(hasQuorum(chain.state, short)).toBe(false);
  });
});
