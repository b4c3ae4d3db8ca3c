/**
 * Outcomes: every claim ends finalized, slashed, rejected, void or missed, and money moves accordingly
 * (docs/protocol.md §8).
 */
import { equalBytes, toHex } from '../hex.js';
import { LOSS_NOT_MEASURED } from '../protocol/attestation.js';
import { nextSteps } from '../protocol/claimSteps.js';
import { CONTEXT, deriveHash } from '../protocol/domains.js';
import { STAGE } from '../protocol/ledgerTypes.js';
import { type AttestationData, AttestationDataType, VERDICT, ZERO_ROOT } from '../protocol/types.js';
import { seatStake } from './stateCommittee.js';
import { dropDisputes, hasDispute } from './stateDisputeQueue.js';
import type { LedgerEvent, Outcome } from './stateEvents.js';
import {
  burnCommitments,
  forfeitCommitments,
  memberOf,
  payReward,
  refundCommitments,
  refundPieces,
  unlock,
} from './stateMoney.js';
import { allOpened, openClaims, receiptOf, votersOf } from './stateOpen.js';
import { jobRecordOf, releaseDelivery } from './stateScope.js';
import {
  FinalizedClaimType,
  GAIN_OFFSET,
  type LedgerState,
  MEMBER_STATUS,
  type OpenClaim,
  RECENT_CLAIMS,
  type Seat,
} from './stateTypes.js';
import { claimGain, usefulnessBonus, windowGain } from './stateUsefulness.js';

/**
 * The votes of a round: the largest group of positives over one and the same message, and the negatives. While receipts
 * are being opened, a positive counts once its receipt is open.
 */
export interface Tally {
  readonly total: bigint;
  readonly stakeFor: bigint;
  readonly stakeAgainst: bigint;
  /** What the largest group signed. */
  readonly agreed: AttestationData | undefined;
  readonly agreeing: readonly Seat[];
  readonly allVoted: boolean;
}

export function tallyOf(open: OpenClaim): Tally {
  const voters = votersOf(open);
  const seatOf = (key: Uint8Array): Seat =>
    voters.find((seat) => equalBytes(seat.publicKey, key)) ?? { publicKey: key, stake: 0n };
  const groups = new Map<string, { data: AttestationData; stake: bigint; seats: Seat[] }>();
  let stakeAgainst = 0n;
  for (const { data, verifier } of open.attestations) {
    if (data.verdict !== VERDICT.positive) {
      stakeAgainst += seatOf(verifier).stake;
      continue;
    }
    if (open.stage === STAGE.revealing && receiptOf(open, verifier)?.opened !== 1) continue;
    const root = toHex(AttestationDataType.hashTreeRoot(data));
    const group = groups.get(root) ?? { data, stake: 0n, seats: [] };
    const seat = seatOf(verifier);
    group.stake += seat.stake;
    group.seats.push(seat);
    groups.set(root, group);
  }
  // Largest stake first; equal stakes by root, so that the order of arrival decides nothing.
  const [best] = [...groups.entries()]
    .sort(([a, x], [b, y]) => (x.stake === y.stake ? (a < b ? -1 : 1) : x.stake > y.stake ? -1 : 1))
    .map(([, group]) => group);
  return {
    total: seatStake(voters),
    stakeFor: best?.stake ?? 0n,
    stakeAgainst,
    agreed: best?.data,
    agreeing: best?.seats ?? [],
    allVoted: open.attestations.length === voters.length,
  };
}

export function hasQuorum(state: LedgerState, tally: Tally): boolean {
  const { quorumNumerator, quorumDenominator } = state.parameters;
  return tally.total > 0n && tally.stakeFor * BigInt(quorumDenominator) >= tally.total * BigInt(quorumNumerator);
}

/**
 * Settles the first open claim as far as it goes, then the next, and opens new ones. Claims settle in order: a child
 * never before its parent.
 *
 * @param deadline a tick says that the round of the *first* claim is over, whoever is missing
 */
export function trySettle(state: LedgerState, events: LedgerEvent[], deadline: boolean): void {
  for (let late = deadline; ; late = false) {
    const open = state.open[0];
    if (open === undefined || open.stage < STAGE.attesting) break;
    // A dispute under way suspends everything about its claim.
    if (hasDispute(state, open.claimRoot)) break;
    const { attestationClock, revealClock } = state.parameters;
    const clock = open.stage === STAGE.attesting ? attestationClock : revealClock;
    const clockOut = state.height >= open.stageHeight + clock;
    const disputed = state.commitments.some((other) => equalBytes(other.claimRoot, open.claimRoot));
    // While evidence is announced the claim waits for it, until the deadline makes the announcement void.
    if (open.stage === STAGE.attesting) {
      if (!clockOut || !(late || (tallyOf(open).allVoted && !disputed))) break;
      open.stage = STAGE.revealing;
      open.stageHeight = state.height;
      if (!allOpened(open)) break;
      continue;
    }
    if (!(allOpened(open) || (clockOut && late))) break;
    // Bytes that somebody asked for are shown first, or their absence settles the claim.
    if (state.pieces.some(({ piece }) => equalBytes(piece.claimRoot, open.claimRoot))) break;
    const tally = tallyOf(open);
    if (hasQuorum(state, tally)) {
      finalize(state, open, tally, events);
      continue;
    }
    countSilence(state, open, events);
    if (open.round + 1 < state.parameters.attestationRounds) {
      nextRound(state, open, events);
      break;
    }
    fall(state, open, 'rejected', events, tally);
    break;
  }
  openClaims(state, events);
}

/** Once more with a new draw: another beacon 2, whose parent is the one before. */
function nextRound(state: LedgerState, open: OpenClaim, events: LedgerEvent[]): void {
  forfeitCommitments(state, open.claimRoot, open.miner);
  open.round += 1;
  open.stage = STAGE.claimed;
  open.stageHeight = state.height;
  open.parentBeacon = open.beacon2;
  open.beacon2 = ZERO_ROOT;
  const event = outcomeEvent(state, open, 'reopened', tallyOf(open));
  open.attestations = [];
  open.receipts = [];
  events.push(event);
}

function finalize(state: LedgerState, open: OpenClaim, tally: Tally, events: LedgerEvent[]): void {
  const { header } = open.claim[0]!;
  const { heldOutBeforeBits, heldOutAfterBits } = tally.agreed!;
  const gain = windowGain(state, claimGain(heldOutBeforeBits, heldOutAfterBits), open.steps);
  forfeitCommitments(state, open.claimRoot, open.miner);
  dropDisputes(state, open.claimRoot);
  holdBond(state, open);
  const reward =
    payReward(state, open.miner, state.parameters.claimReward) +
    payReward(state, open.miner, usefulnessBonus(state, gain));
  payVerifiers(state, tally);
  countSilence(state, open, events);
  const finalized = {
    claimNumber: open.claimNumber,
    attempt: open.attempt,
    claimRoot: open.claimRoot,
    miner: open.miner,
    toRoot: header.toRoot,
    modelRoot: header.modelRoot,
    steps: open.steps,
    beacon1: open.beacon1,
    heldOutBeforeBits,
    heldOutAfterBits,
    windowGain: gain + GAIN_OFFSET,
    height: state.height,
  };
  state.finalized = [...state.finalized, finalized].slice(-RECENT_CLAIMS);
  state.finalizedCount += 1;
  state.stepsDone += open.steps;
  const { stepsPerClaim } = state.job;
  const steps = nextSteps(state.parameters, open.steps, open.trainedHeights);
  if (steps !== stepsPerClaim) state.job = { ...state.job, stepsPerClaim: steps };
  state.historyRoot = deriveHash(CONTEXT.history, state.historyRoot, FinalizedClaimType.hashTreeRoot(finalized));
  remember(state, open);
  state.open.shift();
  events.push({ ...outcomeEvent(state, open, 'finalized', tally), reward });
}

/** The bond is free again; that of an owner's newest claim once another is final, since the owner may still ask for it. */
function holdBond(state: LedgerState, open: OpenClaim): void {
  const record = jobRecordOf(state);
  if (record === undefined) return unlock(memberOf(state, open.miner), open.bond);
  releaseDelivery(state, record);
  record.delivery = [open.claim[0]!];
  record.held = open.bond;
}

/** Keeps what its verifiers can still be accused of, for one epoch of claims. */
function remember(state: LedgerState, open: OpenClaim): void {
  const { claimNumber, attempt, claimRoot, miner, beacon2, receipts, committee } = open;
  const voters = open.attestations
    .filter(({ data }) => data.verdict === VERDICT.positive)
    .map(({ verifier }) => verifier);
  const record = { claimNumber, attempt, claimRoot, miner, beacon2, receipts, voters };
  const { height, parameters } = state;
  const settled = { ...record, height, steps: open.steps, committee: committee.length, convicted: [] };
  const kept = Math.max(1, parameters.epochClaims);
  const all = [...state.settled, settled];
  // Whose verifiers are being disputed is kept until that has ended.
  const stays = ({ claimRoot: root }: { readonly claimRoot: Uint8Array }, i: number): boolean =>
    i >= all.length - kept || hasDispute(state, root);
  for (const old of all.filter((other, i) => !stays(other, i))) burnCommitments(state, old.claimRoot);
  state.settled = all.filter(stays);
}

/** The verifiers of the quorum share their reward by stake; what division leaves stays in the pool. */
function payVerifiers(state: LedgerState, tally: Tally): void {
  if (tally.stakeFor === 0n) return;
  for (const { publicKey, stake } of tally.agreeing) {
    payReward(state, publicKey, (state.parameters.verifierReward * stake) / tally.stakeFor);
  }
}

/** Counts a settled round in which a seat stayed silent, or kept its receipt closed; too many in a row eject. */
function countSilence(state: LedgerState, open: OpenClaim, events: LedgerEvent[]): void {
  for (const seat of votersOf(open)) {
    const member = memberOf(state, seat.publicKey);
    if (member === undefined) continue;
    const voted = open.attestations.some(
      ({ data, verifier }) =>
        equalBytes(verifier, seat.publicKey) &&
        (data.verdict !== VERDICT.positive || receiptOf(open, verifier)?.opened === 1),
    );
    member.silence = voted ? 0 : member.silence + 1;
    if (member.silence >= state.parameters.silenceClaims && member.status === MEMBER_STATUS.active) {
      eject(state, member.publicKey, events);
    }
  }
}

/** Takes a member out of all draws. Its stake stays its own. */
export function eject(state: LedgerState, key: Uint8Array, events: LedgerEvent[]): void {
  const member = memberOf(state, key);
  if (member === undefined || member.status !== MEMBER_STATUS.active) return;
  member.status = MEMBER_STATUS.ejected;
  events.push({ type: 'member', publicKey: key, change: 'ejected' });
}

/**
 * A claim falls: it and all that build on it leave the ledger, bonds are free again (the caller has taken what is
 * slashed), and its number is opened anew with a fresh attempt, so with fresh beacons and another draw.
 */
export function fall(
  state: LedgerState,
  open: OpenClaim,
  outcome: 'slashed' | 'rejected' | 'missed',
  events: LedgerEvent[],
  tally: Tally = tallyOf(open),
  taken: { readonly taken: bigint; readonly burned: bigint } = { taken: 0n, burned: 0n },
): void {
  if (open.claim.length === 1) remember(state, open);
  const at = state.open.indexOf(open);
  const descendants = state.open.slice(at + 1);
  state.open = state.open.slice(0, at);
  state.falls += 1;
  if (outcome === 'rejected') forfeitCommitments(state, open.claimRoot, open.miner);
  else refundCommitments(state, open.claimRoot);
  refundPieces(state, open.claimRoot);
  if (open.claim.length === 1 && outcome !== 'slashed') unlock(memberOf(state, open.miner), open.bond);
  events.push({ ...outcomeEvent(state, open, outcome, tally), slashed: taken.taken, burned: taken.burned });
  dropDisputes(state, open.claimRoot);
  for (const child of descendants) {
    dropDisputes(state, child.claimRoot);
    refundCommitments(state, child.claimRoot);
    refundPieces(state, child.claimRoot);
    if (child.claim.length === 1) unlock(memberOf(state, child.miner), child.bond);
    events.push(outcomeEvent(state, child, 'void', tallyOf(child)));
  }
  openClaims(state, events);
}

function outcomeEvent(
  state: LedgerState,
  open: OpenClaim,
  outcome: Outcome,
  tally: Tally,
): Extract<LedgerEvent, { type: 'outcome' }> {
  return {
    type: 'outcome',
    claimNumber: open.claimNumber,
    attempt: open.attempt,
    outcome,
    claimRoot: open.claimRoot,
    miner: open.miner,
    stakeFor: tally.stakeFor,
    stakeAgainst: tally.stakeAgainst,
    slashed: 0n,
    burned: 0n,
    reward: 0n,
    heldOutBeforeBits: tally.agreed?.heldOutBeforeBits ?? LOSS_NOT_MEASURED,
    heldOutAfterBits: tally.agreed?.heldOutAfterBits ?? LOSS_NOT_MEASURED,
    height: state.height,
  };
}
