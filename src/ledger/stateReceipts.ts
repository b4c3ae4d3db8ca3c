/**
 * Receipts on the ledger: committed to before the votes are over, opened after them (docs/protocol.md §7). A positive
 * vote counts only beside an opened receipt.
 */
import { equalBytes, toHex } from '../hex.js';
import type { Bls } from '../protocol/bls.js';
import { STAGE, type TransactionBody } from '../protocol/ledgerTypes.js';
import {
  drawRecheck,
  type Recheck,
  type SignedReceipt,
  verifyReceiptOpening,
  verifySignedReceipt,
} from '../protocol/receipt.js';
import type { LedgerEvent } from './stateEvents.js';
import { rejected, requireRule } from './stateMoney.js';
import { receiptOf, votersOf } from './stateOpen.js';
import { trySettle } from './stateSettle.js';
import type { LedgerState, OpenClaim, SettledClaim } from './stateTypes.js';

const NO_SIGNATURE = new Uint8Array(96);

function openClaimBy(state: LedgerState, claimRoot: Uint8Array): OpenClaim | undefined {
  return state.open.find((open) => open.claim.length === 1 && equalBytes(open.claimRoot, claimRoot));
}

export function applyReceipt(state: LedgerState, bls: Bls, receipt: SignedReceipt, events: LedgerEvent[]): void {
  const { message, verifier } = receipt;
  const open = openClaimBy(state, message.claimRoot);
  if (open === undefined || open.stage !== STAGE.attesting) {
    throw rejected(`expected a receipt for a claim that is being attested, found ${toHex(message.claimRoot)}`);
  }
  const seat = votersOf(open).some((member) => equalBytes(member.publicKey, verifier));
  requireRule(seat, `expected a receipt of a committee member, found ${toHex(verifier)}`);
  requireRule(
    receiptOf(open, verifier) === undefined,
    `expected one receipt of ${toHex(verifier)} in a round, found a second`,
  );
  const { chainId } = state;
  const { claimRoot, beacon2, committee } = open;
  verifySignedReceipt(bls, receipt, { chainId, claimRoot, beacon2, committee: committee.length });
  open.receipts.push({ verifier, commitment: message.commitment, opened: 0, drawSignature: NO_SIGNATURE });
  const { claimNumber, attempt, round } = open;
  events.push({ type: 'receipt', claimNumber, attempt, claimRoot, round, receipt });
}

export function applyReceiptReveal(
  state: LedgerState,
  bls: Bls,
  { claimRoot, verifier, opening }: TransactionBody<'receipt-reveal'>,
  events: LedgerEvent[],
): void {
  const open = openClaimBy(state, claimRoot);
  if (open === undefined || open.stage !== STAGE.revealing) {
    throw rejected(`expected an opening for a claim whose votes are over, found ${toHex(claimRoot)}`);
  }
  const record = receiptOf(open, verifier);
  if (record === undefined) throw rejected(`expected a receipt of ${toHex(verifier)} to open, found none`);
  requireRule(record.opened === 0, `expected a closed receipt of ${toHex(verifier)}, found it open`);
  const { beacon2 } = open;
  verifyReceiptOpening(bls, { message: { ...record, beacon2, claimRoot }, verifier }, opening);
  record.opened = 1;
  record.drawSignature = opening.drawSignature;
  const { claimNumber, attempt, round } = open;
  events.push({ type: 'receipt-opened', claimNumber, attempt, claimRoot, round, verifier, opening });
  trySettle(state, events, false);
}

/** The foreign receipt that a verifier is drawn to look at. */
export function recheckOf({ claimRoot, receipts }: SettledClaim, verifier: Uint8Array): Recheck | undefined {
  return drawRecheck(
    claimRoot,
    receipts.filter((receipt) => receipt.opened === 1),
    verifier,
  );
}
