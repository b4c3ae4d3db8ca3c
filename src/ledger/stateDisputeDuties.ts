/** What a key has to do in disputes: whose turn it is, read from the state. */
import { equalBytes } from '../hex.js';
import { type Dispute, TURN } from '../protocol/dispute/transactions.js';
import { encodeTransaction } from '../protocol/ledgerTypes.js';
import type { SignedClaim } from '../protocol/types.js';
import { disputedClaimOf } from './stateDisputeQueue.js';
import type { LedgerState } from './stateTypes.js';

/** A turn of a dispute, for the side that has it. */
export interface DisputeDuty {
  readonly side: 'accused' | 'challenger';
  readonly dispute: Dispute;
  readonly claim: SignedClaim;
}

/** Which side has the turn; undefined while the dispute waits for its place. */
export function turnOf({ turn }: Pick<Dispute, 'turn'>): DisputeDuty['side'] | undefined {
  if (turn === TURN.trace || turn === TURN.open) return 'accused';
  return turn === TURN.name || turn === TURN.contest ? 'challenger' : undefined;
}

/** Turns of a key, in the order in which the disputes were opened. */
export function disputeDutiesOf(state: LedgerState, publicKey: Uint8Array): DisputeDuty[] {
  return state.disputes.flatMap((dispute): DisputeDuty[] => {
    const side = turnOf(dispute);
    const claim = disputedClaimOf(state, dispute);
    if (side === undefined || claim === undefined || !equalBytes(dispute[side], publicKey)) return [];
    return [{ side, dispute, claim }];
  });
}

/** Ends the present turn of a dispute, as a transaction: what a sequencer writes for who does not go on. */
export function disputeTick({ id, sequence }: Pick<Dispute, 'id' | 'sequence'>): Uint8Array {
  return encodeTransaction('dispute-tick', { dispute: id, sequence });
}
