/** What every move of a dispute needs: the claim it is about, whose turn it is, and what becomes of it when it ends. */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import type { Dispute } from '../protocol/dispute/transactions.js';
import type { SignedClaim } from '../protocol/types.js';
import { closeDispute, disputedClaimOf } from './stateDisputeQueue.js';
import type { LedgerEvent } from './stateEvents.js';
import { convict, convictVerifier } from './stateEvidence.js';
import { rejected, requireRule } from './stateMoney.js';
import { receiptOf } from './stateOpen.js';
import { trySettle } from './stateSettle.js';
import type { LedgerState, OpenClaim } from './stateTypes.js';

type Change = Extract<LedgerEvent, { type: 'dispute' }>['change'];

/** Tells what happened to a dispute. */
export function pushChange(
  state: LedgerState,
  dispute: Dispute,
  change: Change,
  reason: string,
  events: LedgerEvent[],
): void {
  const { claimNumber, attempt } = claimOf(state, dispute).header;
  const { id, claimRoot, challenger, accused } = dispute;
  events.push({ type: 'dispute', claimNumber, attempt, dispute: id, claimRoot, challenger, accused, change, reason });
}

/** The open claim behind a root. @throws PogoError REJECTED when its window is over */
export function disputedClaim(state: LedgerState, claimRoot: Uint8Array): OpenClaim {
  const open = state.open.find((other) => other.claim.length === 1 && equalBytes(other.claimRoot, claimRoot));
  if (open === undefined) throw rejected(`expected an open claim, found ${toHex(claimRoot)}: its window is over`);
  return open;
}

/** The signed claim that a dispute is about, open or settled. @throws PogoError REJECTED when its window is over */
export function claimOf(state: LedgerState, dispute: Pick<Dispute, 'claimRoot' | 'claim'>): SignedClaim {
  return disputedClaimOf(state, dispute) ?? disputedClaim(state, dispute.claimRoot).claim[0]!;
}

/** A dispute at one of these turns. @throws PogoError REJECTED */
export function disputeAt(state: LedgerState, id: number, turns: readonly number[]): Dispute {
  const dispute = state.disputes.find((other) => other.id === id);
  if (dispute === undefined) throw rejected(`expected an open dispute, found ${id}`);
  requireRule(turns.includes(dispute.turn), `dispute ${id}: expected another move, found one out of turn`);
  return dispute;
}

/** The receipt of who is accused over a settled claim; undefined for a miner. */
export function accusedReceipt(
  { settled }: LedgerState,
  { claimRoot, accused }: Pick<Dispute, 'claimRoot' | 'accused'>,
): ReturnType<typeof receiptOf> {
  const claim = settled.find((other) => equalBytes(other.claimRoot, claimRoot));
  return claim === undefined ? undefined : receiptOf(claim, accused);
}

/** {@link disputeAt}, moved by its challenger. */
export function challengerTurn(state: LedgerState, id: number, sender: Uint8Array, turns: readonly number[]): Dispute {
  const dispute = disputeAt(state, id, turns);
  requireRule(equalBytes(dispute.challenger, sender), `dispute ${id}: expected a move of its challenger`);
  return dispute;
}

/** Runs a check whose failure refuses the transaction. @throws PogoError REJECTED */
export function judge<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    // Ranges and shapes that break below are, seen from here, a malformed proof.
    if (error instanceof PogoError) throw rejected(error.message);
    throw error;
  }
}

/** The accused is convicted: of its claim, or of its vote. */
export function winByConviction(state: LedgerState, dispute: Dispute, reason: string, events: LedgerEvent[]): void {
  pushChange(state, dispute, 'convicted', reason, events);
  if (dispute.claim.length === 1) return convictVerifier(state, dispute, events);
  const open = disputedClaim(state, dispute.claimRoot);
  // The claim falls, and with it all its disputes: their bonds go back.
  convict(state, open, dispute.challenger, events);
}

/** A lost dispute pays the accused, and clears the claim of nothing else. */
export function lose(state: LedgerState, dispute: Dispute, reason: string, events: LedgerEvent[]): void {
  pushChange(state, dispute, 'lost', reason, events);
  closeDispute(state, dispute, dispute.accused);
  trySettle(state, events, false);
}
