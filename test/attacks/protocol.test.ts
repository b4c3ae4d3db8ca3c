/**
 * P1–P14: votes, evidence, keys and money. A ledger with synthetic claims; evidence is checked as shipped.
 */
import { bls12_381 } from '@noble/curves/bls12-381.js';
import { blake3 } from '@noble/hashes/blake3.js';
import { expect } from 'vitest';
import { equalBytes, toHex } from '../../src/hex.js';
import { type LedgerState, LedgerStateType, totalMoney } from '../../src/ledger/state.js';
import { AVAILABILITY_HEIGHTS } from '../../src/ledger/stateAvailability.js';
import { committeeOf } from '../../src/ledger/stateCommittee.js';
import { MAX_DISPUTES_PER_CLAIM } from '../../src/ledger/stateDisputeQueue.js';
import { tickFor } from '../../src/ledger/stateDuties.js';
import { evidenceCommitment } from '../../src/ledger/stateEvidence.js';
import { COIN } from '../../src/ledger/stateGenesis.js';
import { slashBond } from '../../src/ledger/stateMoney.js';
import { hasQuorum, tallyOf } from '../../src/ledger/stateSettle.js';
import type { Seat } from '../../src/ledger/stateTypes.js';
import { attestationData, signAttestation } from '../../src/protocol/attestation.js';
import { PIECE } from '../../src/protocol/availability.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { createNobleBls } from '../../src/protocol/blsNoble.js';
import { signClaim } from '../../src/protocol/claim.js';
import { TURN } from '../../src/protocol/dispute/transactions.js';
import { SUBJECT_KIND } from '../../src/protocol/dispute/types.js';
import { deriveHash, u64Bytes } from '../../src/protocol/domains.js';
import { buildBatchEvidence, buildEquivocationEvidence } from '../../src/protocol/evidence/build.js';
import { checkEvidence } from '../../src/protocol/evidence.js';
import { encodeTransaction, ROLE, STAGE, signOrder } from '../../src/protocol/ledgerTypes.js';
import type { ReceiptOpening } from '../../src/protocol/receipt.js';
import { AttestationDataType } from '../../src/protocol/types.js';
import { attack } from '../support/attack.js';
import { refusal } from '../support/refusal.js';
import { nativeBls, TestChain } from '../support/testChain.js';
import { smallRecipe } from '../support/trainedClaim.js';

function batchEvidence(chain: TestChain): Uint8Array {
  const claim = chain.open.claim[0]!;
  const commitments = chain.commitments.get(toHex(chain.open.claimRoot))!;
  return buildBatchEvidence({ claim, recipe: smallRecipe().recipe, commitments }, 1);
}

const TEN = { verifiers: 10 } as const;

/** Four of ten verifiers vote against an honest claim, each with the bond that this costs. */
async function fourLiars(chain: TestChain) {
  const claim = await chain.toAttesting();
  const miner = chain.keyOf(claim.header.miner);
  const stake = chain.stake(miner);
  for (const liar of chain.demo.verifiers.slice(0, 4)) {
    await chain.submit(chain.commitmentTo(liar, Uint8Array.of(1), new Uint8Array(32)));
    await chain.submit(chain.attestation(liar, 'negative'));
  }
  await chain.attest(chain.demo.verifiers.slice(4));
  return { miner, stake };
}

attack(
  {
    id: 'P1',
    attack: 'four of ten verifiers vote against an honest miner',
    gain: 'a competitor’s bond',
    defence: 'votes never slash: only evidence does, and an accusation has a bond',
    file: 'src/ledger/stateEvidence.ts',
    stoppedBy: 'reopened, stake untouched, the liars’ bonds paid to the accused',
    harm: 'slashed by votes',
  },
  {
    real: async () => {
      const chain = new TestChain(TEN);
      const { miner, stake } = await fourLiars(chain);
      await chain.tick();
      const untouched = chain.stake(miner) === stake;
      const paid = chain.balance(miner) === 100n * COIN + 4n * chain.state.parameters.challengeBond;
      expect(totalMoney(chain.state)).toBe(chain.money);
      return untouched && paid
        ? `${chain.outcomes().join()}, stake untouched, the liars’ bonds paid to the accused`
        : `${chain.outcomes().join()}, ${stake} became ${chain.stake(miner)}`;
    },
    // A rule that slashes at a third of negative stake.
    twin: async () => {
      const chain = new TestChain(TEN);
      const { miner, stake } = await fourLiars(chain);
      const tally = tallyOf(chain.open);
      const state = LedgerStateType.clone(chain.state);
      const member = state.members.find((other) => equalBytes(other.publicKey, miner.publicKey))!;
      if (3n * tally.stakeAgainst >= tally.total) {
        slashBond(state, member, chain.open.bond, chain.demo.verifiers[0]!.publicKey);
      }
      return member.stake < stake ? 'slashed by votes' : 'untouched';
    },
  },
);

attack(
  {
    id: 'P2',
    attack: 'the penalty hits the whistle-blower',
    gain: 'nobody dares to prove a lie against a majority',
    defence: 'a proof that holds pays its finder, whatever the votes say',
    file: 'src/ledger/stateEvidence.ts',
    stoppedBy: 'slashed, the finder is paid and keeps its stake',
    harm: 'the finder is punished for its minority',
  },
  {
    real: async () => {
      const chain = new TestChain();
      await chain.toAttesting('batch');
      const [finder, ...others] = chain.demo.verifiers;
      await chain.attest(others.slice(0, 2));
      const before = chain.balance(finder!);
      await chain.accuse(finder!, batchEvidence(chain));
      const paid = chain.balance(finder!) > before && chain.stake(finder!) === 2000n * COIN;
      return `${chain.outcomes().join()}, ${paid ? 'the finder is paid and keeps its stake' : 'the finder is not paid'}`;
    },
    // A rule that takes the bond of whoever votes with the minority.
    twin: async () => {
      const chain = new TestChain();
      await chain.toAttesting('batch');
      const [finder, ...others] = chain.demo.verifiers;
      await chain.attest(others.slice(0, 2));
      await chain.submit(chain.commitmentTo(finder!, batchEvidence(chain), new Uint8Array(32)));
      await chain.submit(chain.attestation(finder!, 'negative'));
      const tally = tallyOf(chain.open);
      return tally.stakeAgainst < tally.stakeFor ? 'the finder is punished for its minority' : 'the finder is paid';
    },
  },
);

/** Half of the stake for, a tenth against, the rest silent. */
async function split(chain: TestChain): Promise<void> {
  await chain.attest(chain.demo.verifiers.slice(0, 5));
  const liar = chain.demo.verifiers[9]!;
  await chain.submit(chain.commitmentTo(liar, Uint8Array.of(1), new Uint8Array(32)));
  chain.usedNonce(liar);
  await chain.submit(chain.attestation(liar, 'negative'));
  await chain.tick();
}

attack(
  {
    id: 'P3',
    attack: 'votes that reach neither threshold',
    gain: 'a chain that stands still, or a claim that stays open for ever',
    defence: 'a default outcome: once more with a new draw, then rejected without penalty',
    file: 'src/ledger/stateSettle.ts',
    stoppedBy: 'reopened, rejected, finalized',
    harm: 'reopened, reopened, reopened, reopened, reopened',
  },
  {
    real: async () => {
      const chain = new TestChain(TEN);
      const claim = await chain.toAttesting();
      const stake = chain.stake(chain.keyOf(claim.header.miner));
      const firstDraw = chain.open.beacon2;
      await split(chain);
      await chain.shares();
      expect(chain.open).toMatchObject({ stage: STAGE.attesting, round: 1 });
      expect(equalBytes(chain.open.beacon2, firstDraw)).toBe(false);
      await split(chain);
      expect(chain.stake(chain.keyOf(claim.header.miner))).toBe(stake);
      expect(chain.open).toMatchObject({ claimNumber: 0, attempt: 1 });
      await chain.toAttesting();
      await chain.attest();
      return chain.outcomes().join(', ');
    },
    twin: async () => {
      const chain = new TestChain({ ...TEN, parameters: { attestationRounds: 1_000_000, silenceClaims: 1_000_000 } });
      await chain.toAttesting();
      for (let round = 0; round < 5; round += 1) {
        await split(chain);
        await chain.shares();
      }
      expect(chain.state.finalizedCount).toBe(0);
      return chain.outcomes().join(', ');
    },
  },
);

/** A claim whose model nobody can get; `asks`: one verifier asks the miner for it. */
async function withheld(asks: boolean): Promise<TestChain> {
  const chain = new TestChain();
  await chain.toAttesting();
  const [asker] = chain.demo.verifiers;
  const { modelRoot } = chain.open.claim[0]!.header;
  const piece = { claimRoot: chain.open.claimRoot, kind: PIECE.model, root: modelRoot, index: 0 };
  if (asks) {
    const order = { nonce: chain.nonceOf(asker!), piece, proof: { step: [], unit: 0 } };
    await chain.submit(signOrder(nativeBls, asker!, chain.state.chainId, 'challenge-piece', order));
  }
  // A committee that does not look for the bytes.
  await chain.attest();
  if (!asks) return chain;
  for (let i = 0; i < AVAILABILITY_HEIGHTS; i += 1) await chain.submit(tickFor(chain.open));
  await chain.submit(encodeTransaction('piece-silence', piece));
  return chain;
}

attack(
  {
    id: 'P4',
    attack: 'data is withheld in the window of challenges',
    gain: 'a claim that nobody can check, and a model that nobody can go on from',
    defence: 'a prepaid challenge names a piece; silence that the ledger recorded loses the bond',
    file: 'src/ledger/stateAvailability.ts',
    stoppedBy: 'slashed',
    harm: 'finalized',
  },
  {
    real: async () => (await withheld(true)).outcomes(),
    twin: async () => (await withheld(false)).outcomes(),
    also: {
      'what the ledger takes is the whole bond, and nothing before the clock is out': async () => {
        const chain = await withheld(true);
        expect(chain.state.burned).toBe(chain.state.parameters.minerBond / 2n);
        expect(totalMoney(chain.state)).toBe(chain.money);
      },
    },
  },
);

/** Two of four verifiers open their receipts in time. */
async function halfRevealed(): Promise<TestChain> {
  const chain = new TestChain();
  await chain.toAttesting();
  for (const keys of chain.demo.verifiers) await chain.vote(keys);
  await chain.reveal(chain.demo.verifiers.slice(2));
  return chain;
}

/** An opening as a transaction. */
function revealOf(chain: TestChain, keys: KeyPair, opening: ReceiptOpening): Uint8Array {
  return encodeTransaction('receipt-reveal', { claimRoot: chain.open.claimRoot, verifier: keys.publicKey, opening });
}

attack(
  {
    id: 'P5',
    attack: 'a reveal that comes late or in part, with the network to blame',
    gain: 'a claim held open for as long as it pays; a receipt that is made after the others are seen',
    defence: 'deadlines in heights, ended by a tick; an opening is the committed one whole, or none',
    file: 'src/ledger/stateReceipts.ts',
    stoppedBy: 'refused',
    harm: 'open, with every vote given',
  },
  {
    real: async () => {
      const chain = await halfRevealed();
      const [, , late] = chain.demo.verifiers;
      const opening = chain.opening(late!, chain.open);
      const partly = { ...opening, parts: opening.parts.slice(1) };
      const part = await refusal(chain.submit(revealOf(chain, late!, partly)));
      const inTime = revealOf(chain, late!, opening);
      await chain.submit(tickFor(chain.open));
      expect(chain.outcomes()).toEqual(['reopened']);
      const after = await refusal(chain.submit(inTime));
      return [part, after].map((ending) => (ending === 'accepted' ? ending : `refused ${ending}`));
    },
    // Nothing ends the wait.
    twin: async () => {
      const chain = await halfRevealed();
      const { attestations } = chain.open;
      return attestations.length === 4 && chain.outcomes().length === 0 ? 'open, with every vote given' : 'settled';
    },
  },
);

attack(
  {
    id: 'P6',
    attack: 'signed messages are sent again: here, on another chain, as another kind',
    gain: 'double rewards, double payments, votes that were meant for something else',
    defence: 'domain, chain id and turn in every signed object; a nonce in every order',
    file: 'src/protocol/domains.ts',
    stoppedBy: 'refused each time',
    harm: 'paid twice',
  },
  {
    real: async () => {
      const refusals = await replays();
      return refusals.every((message) => message !== 'accepted') ? 'refused each time' : refusals;
    },
    // A chain that forgets nonces.
    twin: async () => {
      const chain = new TestChain();
      const [giver, taker] = chain.demo.miners;
      const transfer = transferOf(chain, giver!, taker!);
      const before = chain.balance(taker!);
      await chain.submit(transfer);
      chain.state = { ...chain.state, accounts: chain.state.accounts.map((account) => ({ ...account, nonce: 0 })) };
      await chain.submit(transfer);
      return chain.balance(taker!) - before === 2n * COIN ? 'paid twice' : 'paid once';
    },
  },
);

function transferOf(chain: TestChain, giver: KeyPair, taker: KeyPair): Uint8Array {
  const order = { nonce: 0, to: taker.publicKey, amount: COIN };
  return signOrder(nativeBls, giver, chain.state.chainId, 'transfer', order);
}

async function replays(): Promise<string[]> {
  const chain = new TestChain();
  const claim = await chain.toAttesting();
  const [verifier, other] = chain.demo.verifiers;
  const vote = chain.attestation(verifier!);
  await chain.submit(chain.receipt(verifier!));
  await chain.submit(vote);
  await chain.submit(chain.receipt(other!));
  const [giver, taker] = chain.demo.miners;
  const transfer = transferOf(chain, giver!, taker!);
  await chain.submit(transfer);
  const { open } = chain;
  const content = {
    chainId: chain.state.chainId,
    claimRoot: open.claimRoot,
    beacon2: open.beacon2,
    verdict: 'positive',
    heldOutBeforeBits: 0,
    heldOutAfterBits: 0,
  } as const;
  const good = signAttestation(nativeBls, other!, content);
  const otherChain = signAttestation(nativeBls, other!, { ...content, chainId: new Uint8Array(32) });
  // The same fields signed under the draw’s domain instead of the attestation’s.
  const data = { ...attestationData(content), domain: new TextEncoder().encode('UDR1') };
  const signature = nativeBls.sign(other!.secret, AttestationDataType.hashTreeRoot(data));
  const otherRound = signAttestation(nativeBls, other!, { ...content, beacon2: new Uint8Array(32) });
  const attempts = [
    vote,
    encodeTransaction('claim', claim),
    transfer,
    encodeTransaction('attestation', otherChain),
    encodeTransaction('attestation', { ...good, data, signature }),
    encodeTransaction('attestation', otherRound),
  ];
  const refusals: string[] = [];
  for (const attempt of attempts) refusals.push(await refusal(chain.submit(attempt)));
  await chain.submit(encodeTransaction('attestation', good));
  return refusals;
}

async function equivocate(chain: TestChain): Promise<Uint8Array> {
  const claim = await chain.toAttesting();
  const miner = chain.keyOf(claim.header.miner);
  const second = signClaim(nativeBls, miner, { ...claim.header, diffRoot: new Uint8Array(32).fill(1) });
  return buildEquivocationEvidence(second, claim, smallRecipe().recipe);
}

attack(
  {
    id: 'P7',
    attack: 'two claims for one turn',
    gain: 'the better of two results, or two halves of a network with different ones',
    defence: 'two signatures for one turn are evidence',
    file: 'src/protocol/evidence/equivocation.ts',
    stoppedBy: 'slashed',
    harm: 'finalized',
  },
  {
    real: async () => {
      const chain = new TestChain();
      await chain.accuse(chain.demo.verifiers[0]!, await equivocate(chain));
      return chain.outcomes();
    },
    // A checker that overlooks them.
    twin: async () => {
      const chain = new TestChain({
        checkEvidence: async (bytes) => ({
          ...(await checkEvidence(bytes, { bls: nativeBls })),
          verdict: 'false-accusation',
        }),
      });
      await chain.accuse(chain.demo.verifiers[0]!, await equivocate(chain));
      await chain.attest();
      return chain.outcomes();
    },
  },
);

/** The accused orders to unbond or withdraw. */
function leave(chain: TestChain, liar: KeyPair, kind: 'unbond' | 'withdraw', nonce: number): Promise<unknown> {
  return chain.submit(signOrder(nativeBls, liar, chain.state.chainId, kind, { nonce }));
}

attack(
  {
    id: 'P8',
    attack: 'the stake leaves before the evidence arrives',
    gain: 'a lie that costs nothing',
    defence: 'stake stays until all claims that were open at unbonding are settled',
    file: 'src/ledger/stateMembers.ts',
    stoppedBy: 'REJECTED',
    harm: 'the liar leaves whole',
  },
  {
    real: async () => {
      const chain = new TestChain({ parameters: { unbondingClock: 0 } });
      const claim = await chain.toAttesting('batch');
      const liar = chain.keyOf(claim.header.miner);
      await leave(chain, liar, 'unbond', 0);
      const early = await refusal(leave(chain, liar, 'withdraw', 1));
      expect(early).toMatch(/settled first/);
      await chain.accuse(chain.demo.verifiers[0]!, batchEvidence(chain));
      expect(chain.outcomes()).toContain('slashed');
      return early;
    },
    // Neither the lock nor the claim is remembered.
    twin: async () => {
      const chain = new TestChain({ parameters: { unbondingClock: 0 } });
      const claim = await chain.toAttesting('batch');
      const liar = chain.keyOf(claim.header.miner);
      await leave(chain, liar, 'unbond', 0);
      const forgetful: LedgerState = LedgerStateType.clone(chain.state);
      for (const member of forgetful.members) Object.assign(member, { locked: 0n, unbondClaim: 0 });
      chain.state = forgetful;
      await leave(chain, liar, 'withdraw', 1);
      return chain.stake(liar) === 0n ? 'the liar leaves whole' : 'the liar stays';
    },
  },
);

/** Votes of a quarter of the stake, split into some keys, in committees of eight; per mille of all votes. */
function votesOfSybils(identities: number, draw: typeof committeeOf): number {
  // A withheld share is cheap here, so that small stakes may draw.
  const cheap = { minerBond: 1n, claimReward: 1n, usefulnessBonus: 1n };
  const chain = new TestChain({ verifiers: 1, parameters: { committeeSize: 8, verifierStake: 1n, ...cheap } });
  const unit = 300n * COIN;
  const member = (i: number, stake: bigint) => ({
    ...chain.state.members.find(({ roles }) => (roles & ROLE.verifier) !== 0)!,
    publicKey: blake3(u64Bytes(i), { dkLen: 48 }),
    stake,
  });
  const honest = Array.from({ length: 30 }, (_, i) => member(i, 20n * unit));
  const sybils = Array.from({ length: identities }, (_, i) => member(1000 + i, (200n * unit) / BigInt(identities)));
  const state: LedgerState = { ...chain.state, members: [...honest, ...sybils] };
  const isSybil = new Set(sybils.map(({ publicKey }) => toHex(publicKey)));
  let share = 0;
  for (let i = 0; i < DRAWS; i += 1) {
    const committee = draw(state, i, 0, deriveHash('P9', u64Bytes(i)));
    const votes = (seats: readonly Seat[]): number => seats.reduce((sum, { stake }) => sum + Number(stake), 0);
    share += votes(committee.filter(({ publicKey }) => isSybil.has(toHex(publicKey)))) / votes(committee);
  }
  return Math.round((1000 * share) / DRAWS);
}
const DRAWS = 1000;

/** One seat a member, drawn by stake, and votes by stake on top. */
function twiceByStake(...[state, ...draw]: Parameters<typeof committeeOf>): Seat[] {
  return committeeOf(state, ...draw).map(({ publicKey }) => ({
    publicKey,
    stake: state.members.find((member) => equalBytes(member.publicKey, publicKey))!.stake,
  }));
}

attack(
  {
    id: 'P9',
    attack: 'many identities, or weight by past work, to take over committees',
    gain: 'more than a third of the votes for less than a third of the stake',
    defence: 'tickets drawn by stake, all of one weight; past work gives none',
    file: 'src/ledger/stateCommittee.ts',
    stoppedBy: 'a quarter of the stake has a quarter of the votes, in 1, 20 or 200 keys',
    harm: 'a quarter of the stake has more than a third of the votes',
    showing: 'simulation',
    open: 'no cap on the stake of one party: who holds a third of the stake holds a third of the votes',
  },
  {
    real: () => {
      const shares = [1, 20, 200].map((identities) => votesOfSybils(identities, committeeOf));
      // The share of eight tickets varies by 0.15 a draw: 4 sigma of the mean are 20 per mille.
      return shares.every((share) => Math.abs(share - 250) <= 20)
        ? 'a quarter of the stake has a quarter of the votes, in 1, 20 or 200 keys'
        : shares.join();
    },
    twin: () =>
      3 * votesOfSybils(1, twiceByStake) > 1000
        ? 'a quarter of the stake has more than a third of the votes'
        : 'less than a third',
  },
);

const CHALLENGERS = MAX_DISPUTES_PER_CLAIM + 6;

/** Everybody opens a dispute over one claim with the least bond. @returns the chain, and the refusals */
async function flood(extraDisputes: number): Promise<{ chain: TestChain; refusals: string[] }> {
  const parameters = { committeeSize: 4, extraDisputes, disputeClock: 0 };
  const chain = new TestChain({ verifiers: CHALLENGERS, parameters });
  await chain.toAttesting();
  const { claimRoot } = chain.open;
  const refusals: string[] = [];
  for (const [i, keys] of chain.demo.verifiers.entries()) {
    const subject = { kind: SUBJECT_KIND.unit, stepIndex: i % 2, unit: 0 };
    const order = { nonce: 0, claimRoot, subject, bond: chain.state.parameters.challengeBond };
    const transaction = signOrder(nativeBls, keys, chain.state.chainId, 'open-dispute', order);
    const ending = await refusal(chain.submit(transaction));
    if (ending !== 'accepted') refusals.push(ending);
  }
  return { chain, refusals };
}

const underWay = (chain: TestChain): number => chain.state.disputes.filter(({ turn }) => turn !== TURN.queued).length;

attack(
  {
    id: 'P10',
    attack: 'disputes are flooded, or stalled move by move',
    gain: 'an honest miner that must answer without end, or a claim that never settles',
    defence: 'a bond for each dispute, one a challenger, few at once, a bounded queue, a clock for every move',
    file: 'src/ledger/stateDisputeOpen.ts',
    stoppedBy: 'REJECTED',
    harm: '64 disputes at once',
  },
  {
    real: async () => {
      const { chain, refusals } = await flood(0);
      expect(refusals.length).toBe(CHALLENGERS - MAX_DISPUTES_PER_CLAIM);
      expect(underWay(chain)).toBe(1);
      expect(totalMoney(chain.state)).toBe(chain.money);
      return refusals;
    },
    // As many at once as there are challengers.
    twin: async () => `${underWay((await flood(1000)).chain)} disputes at once`,
    also: {
      'who does not move in time loses; here the accused, whose turn it is first': async () => {
        const { chain } = await flood(0);
        const [first] = chain.state.disputes.filter(({ turn }) => turn !== TURN.queued);
        const tick = { dispute: first!.id, sequence: first!.sequence };
        await chain.submit(encodeTransaction('dispute-tick', tick));
        expect(chain.outcomes()).toEqual(['slashed']);
        expect(chain.state.disputes).toEqual([]);
        expect(totalMoney(chain.state)).toBe(chain.money);
      },
    },
  },
);

attack(
  {
    id: 'P11',
    attack: 'all verifiers of a claim are in league with its miner',
    gain: 'a false claim with every vote for it',
    defence: 'anybody with a bond can prove a lie while the claim is open, in the committee or not',
    file: 'src/ledger/stateEvidence.ts',
    stoppedBy: 'slashed',
    harm: 'finalized',
    showing: 'argument',
    open: 'one honest party must hold the data and act while the claim is open',
  },
  {
    real: async () => {
      const chain = new TestChain();
      await chain.toAttesting('batch');
      const outsider = chain.demo.miners.find((keys) => !equalBytes(keys.publicKey, chain.open.miner))!;
      const evidence = batchEvidence(chain);
      const salt = new Uint8Array(32).fill(1);
      await chain.submit(chain.commitmentTo(outsider, evidence, salt));
      await chain.attest();
      await chain.submit(encodeTransaction('evidence', { finder: outsider.publicKey, salt, evidence }));
      return chain.outcomes();
    },
    // Only the committee may accuse.
    twin: async () => {
      const chain = new TestChain();
      await chain.toAttesting('batch');
      await chain.attest();
      return chain.outcomes();
    },
  },
);

attack(
  {
    id: 'P12',
    attack: 'a fraud proof is copied before it counts',
    gain: 'the finder’s reward without the finding',
    defence: 'finders commit to hash, key and salt first, and reveal at a later height',
    file: 'src/ledger/stateEvidence.ts',
    stoppedBy: 'REJECTED',
    harm: 'one commitment for whoever shows it',
  },
  {
    real: async () => {
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
      const stolen = await refusal(
        chain.submit(encodeTransaction('evidence', { finder: thief!.publicKey, salt, evidence })),
      );
      const before = chain.balance(finder!);
      await chain.submit(encodeTransaction('evidence', { finder: finder!.publicKey, salt, evidence }));
      expect(chain.balance(finder!) > before).toBe(true);
      return stolen;
    },
    // The hash of the evidence alone.
    twin: async () => {
      const chain = new TestChain();
      await chain.toAttesting('batch');
      const evidence = batchEvidence(chain);
      const weak = (shown: Uint8Array, _finder: Uint8Array): string => toHex(blake3(shown));
      const [finder, thief] = chain.demo.verifiers;
      return weak(evidence, thief!.publicKey) === weak(evidence, finder!.publicKey)
        ? 'one commitment for whoever shows it'
        : 'two commitments';
    },
    also: {
      'a commitment and its reveal in one block do not count': async () => {
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
      },
    },
  },
);

/** A key made so that its sum with the victim’s is the attacker’s. */
function rogue(victim: KeyPair) {
  const attacker = nativeBls.deriveKey(new Uint8Array(32).fill(66), 'verifier', 0);
  const G1 = bls12_381.G1.Point;
  const publicKey = G1.fromBytes(attacker.publicKey).subtract(G1.fromBytes(victim.publicKey)).toBytes(true);
  return { attacker, publicKey };
}

attack(
  {
    id: 'P13',
    attack: 'a rogue key that signs for its victim in an aggregate',
    gain: 'votes of verifiers who never voted',
    defence: 'proof of possession of every key, at registration and in genesis',
    file: 'src/protocol/bls.ts',
    stoppedBy: 'REJECTED',
    harm: 'the victim seems to have signed',
    open: 'rotation of keys: a member with a stolen key can only unbond and register another',
  },
  {
    real: async () => {
      const chain = new TestChain();
      const { attacker, publicKey } = rogue(chain.demo.verifiers[0]!);
      const keys = { secret: attacker.secret, publicKey };
      const order = { nonce: 0, possession: nativeBls.popProve(attacker), roles: ROLE.verifier, stake: 1n };
      for (const bls of [nativeBls, createNobleBls()]) {
        expect(bls.popVerify(publicKey, bls.popProve(attacker))).toBe(false);
      }
      return refusal(chain.submit(signOrder(nativeBls, keys, chain.state.chainId, 'register', order)));
    },
    // An aggregate over keys that nobody proved.
    twin: () => {
      const chain = new TestChain();
      const [victim] = chain.demo.verifiers;
      const { attacker, publicKey } = rogue(victim!);
      const message = AttestationDataType.hashTreeRoot(
        attestationData({
          chainId: chain.state.chainId,
          claimRoot: new Uint8Array(32),
          beacon2: new Uint8Array(32),
          verdict: 'positive',
          heldOutBeforeBits: 0,
          heldOutAfterBits: 0,
        }),
      );
      const forged = nativeBls.sign(attacker.secret, message);
      return [nativeBls, createNobleBls()].map((bls) =>
        bls.verifyAggregate([victim!.publicKey, publicKey], message, forged)
          ? 'the victim seems to have signed'
          : 'refused',
      );
    },
  },
);

attack(
  {
    id: 'P14',
    attack: 'rounding and overflow of money',
    gain: 'units out of nothing, or units that vanish',
    defence: 'integers of 64 bits; what is not paid is burned and counted; the sum of all money never changes',
    file: 'src/ledger/stateMoney.ts',
    stoppedBy: 'no unit made or lost',
    harm: 'a unit lost by two halves, another by doubles',
  },
  {
    real: async () => {
      const odd = new TestChain({ minerStake: 3001n * COIN, parameters: { minerBond: 1001n } });
      const state = LedgerStateType.clone(odd.state);
      const before = totalMoney(state);
      const { taken, burned } = slashBond(state, state.members[0]!, 1001n, odd.demo.verifiers[0]!.publicKey);
      expect([taken, burned]).toEqual([1001n, 501n]);
      const big = 2n ** 60n + 1n;
      const chain = new TestChain({ minerStake: big, verifierStake: 2n * big, parameters: { claimReward: big } });
      await chain.toAttesting();
      await chain.attest();
      expect(chain.state.rewardPool).toBe(0n);
      const conserved = totalMoney(state) === before && totalMoney(chain.state) === chain.money;
      return conserved ? 'no unit made or lost' : 'the sum of all money changed';
    },
    twin: () => {
      const big = 2n ** 60n + 1n;
      const halves = 1001n / 2n + 1001n / 2n < 1001n;
      const doubles = BigInt(Number(big)) < big;
      return halves && doubles ? 'a unit lost by two halves, another by doubles' : 'no unit lost';
    },
    also: {
      'a quorum is two thirds of the stake exactly, in integers': async () => {
        const chain = new TestChain({ verifiers: 3 });
        await chain.toAttesting();
        await chain.attest(chain.demo.verifiers.slice(0, 2));
        expect(hasQuorum(chain.state, tallyOf(chain.open))).toBe(true);
        const short = { ...tallyOf(chain.open), stakeFor: tallyOf(chain.open).stakeFor - 1n };
        expect(hasQuorum(chain.state, short)).toBe(false);
      },
    },
  },
);
