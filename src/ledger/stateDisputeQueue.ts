/**
 * Disputes of a claim: which are under way, which wait, and what becomes of them when their claim is settled. At most
 * `1 + extraDisputes` are under way against one claim; the others wait, the highest bond first.
 */
import { equalBytes } from '../hex.js';
import { type Dispute, type TraceRecord, TURN } from '../protocol/dispute/transactions.js';
import { type DisputeSubject, DisputeSubjectType } from '../protocol/dispute/types.js';
import type { SignedClaim } from '../protocol/types.js';
import { accountOf } from './stateMoney.js';
import { scopesOf } from './stateScope.js';
import type { LedgerState } from './stateTypes.js';

/** Disputes of one claim that may exist at once, those under way included. */
export const MAX_DISPUTES_PER_CLAIM = 64;

export function disputesOf(state: LedgerState, claimRoot: Uint8Array): Dispute[] {
  return state.disputes.filter((dispute) => equalBytes(dispute.claimRoot, claimRoot));
}

/** The signed claim that a dispute is about. */
export function disputedClaimOf(
  state: LedgerState,
  { claimRoot, claim }: Pick<Dispute, 'claimRoot' | 'claim'>,
): SignedClaim | undefined {
  if (claim.length === 1) return claim[0];
  return scopesOf(state)
    .flatMap(({ open }) => open)
    .find((open) => equalBytes(open.claimRoot, claimRoot))?.claim[0];
}

/** Whether a claim is disputed, by `challenger` or by anybody. */
export function hasDispute(state: LedgerState, claimRoot: Uint8Array, challenger?: Uint8Array): boolean {
  return disputesOf(state, claimRoot).some(
    (dispute) => challenger === undefined || equalBytes(dispute.challenger, challenger),
  );
}

export function sameSubject(a: DisputeSubject, b: DisputeSubject): boolean {
  return DisputeSubjectType.equals(a, b);
}

/** The published trace of a subject. */
export function traceFor(
  state: LedgerState,
  { claimRoot, subject, accused }: Pick<Dispute, 'claimRoot' | 'subject' | 'accused'>,
): TraceRecord | undefined {
  return state.traces.find(
    ({ trace: { statement } }) =>
      equalBytes(statement.claimRoot, claimRoot) &&
      equalBytes(statement.accused, accused) &&
      sameSubject(statement.subject, subject),
  );
}

/** Gives the next turn of a dispute. */
export function setTurn(state: LedgerState, dispute: Dispute, turn: number): void {
  dispute.turn = turn;
  dispute.turnHeight = state.height;
  dispute.sequence += 1;
}

/** Starts waiting disputes of a claim while there is room. A trace that was published serves them all. */
export function startWaiting(state: LedgerState, claimRoot: Uint8Array): void {
  for (;;) {
    const all = disputesOf(state, claimRoot);
    const waiting = all.filter(({ turn }) => turn === TURN.queued);
    if (waiting.length === 0 || all.length - waiting.length > state.parameters.extraDisputes) return;
    const next = waiting.reduce((best, dispute) => (dispute.bond > best.bond ? dispute : best));
    setTurn(state, next, traceFor(state, next) === undefined ? TURN.trace : TURN.name);
  }
}

/** Takes a dispute off the list and pays its bond to `to`. */
export function closeDispute(state: LedgerState, dispute: Dispute, to: Uint8Array): void {
  state.disputes = state.disputes.filter(({ id }) => id !== dispute.id);
  accountOf(state, to).balance += dispute.bond;
  startWaiting(state, dispute.claimRoot);
}

/** A settled claim has no disputes: all bonds go back, its traces are forgotten. */
export function dropDisputes(state: LedgerState, claimRoot: Uint8Array): void {
  for (const dispute of disputesOf(state, claimRoot)) accountOf(state, dispute.challenger).balance += dispute.bond;
  state.disputes = state.disputes.filter((dispute) => !equalBytes(dispute.claimRoot, claimRoot));
  state.traces = state.traces.filter(({ trace }) => !equalBytes(trace.statement.claimRoot, claimRoot));
}

/** A verifier that is convicted of a claim has no disputes over it: their bonds go back. */
export function dropDisputesOf(state: LedgerState, claimRoot: Uint8Array, accused: Uint8Array): void {
  const ofAccused = (dispute: Dispute): boolean =>
    equalBytes(dispute.claimRoot, claimRoot) && equalBytes(dispute.accused, accused);
  for (const { challenger, bond } of state.disputes.filter(ofAccused)) accountOf(state, challenger).balance += bond;
  state.disputes = state.disputes.filter((dispute) => !ofAccused(dispute));
  state.traces = state.traces.filter(
    ({ trace: { statement } }) =>
      !(equalBytes(statement.claimRoot, claimRoot) && equalBytes(statement.accused, accused)),
  );
}

/**
 * Gives every turn against a claim its whole clock again: for who ends what kept the accused from answering, such as an
 * availability challenge of an ancestor.
 */
export function restartTurns(state: LedgerState, claimRoot: Uint8Array): void {
  for (const dispute of disputesOf(state, claimRoot)) dispute.turnHeight = state.height;
}
