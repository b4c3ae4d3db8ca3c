/**
 * Handovers on the ledger: it checks that what a verifier signs for is the committee that it drew, and carries the
 * signature. Nothing depends on it here; files of origin take it out of the log.
 */
import { equalBytes, toHex } from '../hex.js';
import type { Bls } from '../protocol/bls.js';
import { handoverMessage } from '../protocol/handover.js';
import { type Order, ROLE } from '../protocol/ledgerTypes.js';
import { memberOf, requireRule } from './stateMoney.js';
import { openClaimOf } from './stateOpen.js';
import { scopeOfJob } from './stateScope.js';
import { type LedgerState, SeatsType } from './stateTypes.js';

/** @throws PogoError REJECTED for another committee than the ledger drew, or a signature that would spoil an aggregate */
export function applyHandOver(state: LedgerState, bls: Bls, order: Order<'hand-over'>): void {
  const { sender, job, claimNumber, attempt, committeeRoot, voucher } = order;
  const member = memberOf(state, sender);
  requireRule(
    member !== undefined && (member.roles & ROLE.verifier) !== 0,
    `expected a handover by a verifier, found ${toHex(sender)}`,
  );
  const open = openClaimOf(scopeOfJob(state, job), claimNumber);
  requireRule(
    open !== undefined && open.attempt === attempt,
    `expected a handover to an open claim, found claim ${claimNumber}, attempt ${attempt}`,
  );
  const drawn = SeatsType.hashTreeRoot(open.committee);
  requireRule(
    equalBytes(drawn, committeeRoot),
    `expected committee ${toHex(drawn)} of claim ${claimNumber}, found ${toHex(committeeRoot)}`,
  );
  const message = handoverMessage({ chainId: state.chainId, job, claimNumber, attempt, committeeRoot });
  requireRule(
    bls.verify(sender, message, voucher),
    `expected the voucher of ${toHex(sender)}, found another signature`,
  );
}
