/** Who may be drawn: committees of verifiers, and miners. */
import { compareBytes } from '../protocol/beacon.js';
import { CONTEXT, u64Bytes } from '../protocol/domains.js';
import { drawMiner } from '../protocol/draws.js';
import { ROLE } from '../protocol/ledgerTypes.js';
import { RandomStream } from '../protocol/randomStream.js';
import { beaconFine } from './stateMoney.js';
import { membersOfScope } from './stateScope.js';
import { type LedgerState, MEMBER_STATUS, type Member, type Seat } from './stateTypes.js';

function isEligible(member: Member, role: number, sequence: number): boolean {
  return member.status === MEMBER_STATUS.active && (member.roles & role) !== 0 && member.eligibleFrom <= sequence;
}

/**
 * The committee of a claim: all eligible verifiers, in key order, each with its stake; where there are more than
 * `committeeSize`, that many tickets are drawn by stake, with replacement, from the parent beacon, which was public
 * before the claim was opened, and a member's weight is that of its tickets.
 *
 * Tickets are alike, so the expected share of the votes is the share of the stake, however it is split into keys. With
 * one seat a member and votes by stake the stake would count twice: a quarter of it had more than half of the votes.
 */
export function committeeOf(
  state: Pick<LedgerState, 'parameters' | 'members'>,
  claimNumber: number,
  attempt: number,
  parentBeacon: Uint8Array,
  sequence = claimNumber,
): Seat[] {
  const { committeeSize, verifierStake } = state.parameters;
  // Whoever draws beacons can pay for a share that it keeps.
  const fine = beaconFine(state.parameters);
  const candidates = state.members
    .filter((member) => isEligible(member, ROLE.verifier, sequence) && member.stake >= verifierStake)
    .filter((member) => member.stake >= fine && member.stake > 0n)
    .map(({ publicKey, stake }) => ({ publicKey, stake }))
    .sort((a, b) => compareBytes(a.publicKey, b.publicKey));
  if (candidates.length <= committeeSize) return candidates;
  const stream = new RandomStream(CONTEXT.committee, parentBeacon, u64Bytes(claimNumber), u64Bytes(attempt));
  const total = seatStake(candidates);
  const weight = total / BigInt(committeeSize);
  const tickets = candidates.map(() => 0n);
  for (let i = 0; i < committeeSize; i += 1) {
    let ticket = stream.belowBig(total);
    const index = candidates.findIndex(({ stake }) => {
      if (ticket < stake) return true;
      ticket -= stake;
      return false;
    });
    tickets[index] = tickets[index]! + 1n;
  }
  return candidates
    .map(({ publicKey }, i) => ({ publicKey, stake: tickets[i]! * weight }))
    .filter(({ stake }) => stake > 0n);
}

/** Miners that may be drawn for a claim: their free stake covers the bond. */
export function minerCandidates(state: LedgerState, sequence: number): Member[] {
  const { minerBond } = state.parameters;
  return membersOfScope(state).filter(
    (member) =>
      isEligible(member, ROLE.miner, sequence) && member.stake > 0n && member.stake - member.locked >= minerBond,
  );
}

/** The stake-weighted draw of a claim's miner. */
export function minerOf(state: LedgerState, sequence: number, beacon1: Uint8Array): Uint8Array | undefined {
  return drawMiner(beacon1, minerCandidates(state, sequence));
}

/**
 * Lets those who wait for their first epoch take part at once when nobody else can: a chain whose members all left
 * would otherwise stand still for ever, since epochs are counted in claims.
 */
export function admitWaiting(state: LedgerState, role: number, sequence: number): void {
  for (const member of membersOfScope(state)) {
    if (member.status === MEMBER_STATUS.active && (member.roles & role) !== 0 && member.eligibleFrom > sequence) {
      member.eligibleFrom = sequence;
    }
  }
}

export function seatStake(seats: readonly Seat[]): bigint {
  return seats.reduce((sum, seat) => sum + seat.stake, 0n);
}
