/** Proofs that end a dispute: about one element of the accused's trace, or about its receipt under that trace. */
import { equalBytes } from '../hex.js';
import type { Bls } from '../protocol/bls.js';
import { checkElementProof, checkWitnessedProof } from '../protocol/dispute/elementProof.js';
import { checkReceiptProof } from '../protocol/dispute/receiptProof.js';
import { type Dispute, TURN } from '../protocol/dispute/transactions.js';
import {
  type ElementProof,
  ElementProofType,
  needsWitness,
  ReceiptProofType,
  WitnessedProofType,
} from '../protocol/dispute/types.js';
import type { TransactionBody } from '../protocol/ledgerTypes.js';
import { decodeStrict } from '../protocol/ssz.js';
import { sameSubject } from './stateDisputeQueue.js';
import { accusedReceipt, disputeAt, judge, lose, winByConviction } from './stateDisputeTurn.js';
import type { LedgerEvent } from './stateEvents.js';
import { requireRule } from './stateMoney.js';
import type { LedgerState } from './stateTypes.js';

/** One element computed again convicts the accused, or loses the dispute. */
export function proveElement(
  state: LedgerState,
  bls: Bls,
  { dispute: id, proof: bytes }: TransactionBody<'prove-element'>,
  events: LedgerEvent[],
): void {
  const dispute = disputeAt(state, id, [TURN.name, TURN.contest]);
  const witnessed = needsWitness(dispute.subject.kind) ? decodeStrict(WitnessedProofType, bytes) : undefined;
  const proof = witnessed?.proof ?? decodeStrict(ElementProofType, bytes);
  requireRule(isAbout(state, dispute, proof), `dispute ${id}: expected a proof about its subject, found another`);
  const finding = judge(() =>
    witnessed === undefined ? checkElementProof(bls, proof) : checkWitnessedProof(bls, witnessed),
  );
  if (finding === undefined) return lose(state, dispute, 'the element is right', events);
  winByConviction(state, dispute, finding, events);
}

/** A verifier's own trace of what it was drawn for, against its receipt. */
export function proveReceipt(
  state: LedgerState,
  bls: Bls,
  { dispute: id, proof: bytes }: TransactionBody<'prove-receipt'>,
  events: LedgerEvent[],
): void {
  const dispute = disputeAt(state, id, [TURN.name, TURN.contest]);
  const file = decodeStrict(ReceiptProofType, bytes);
  const committed = accusedReceipt(state, dispute)?.commitment;
  requireRule(
    committed !== undefined &&
      equalBytes(file.receipt.message.commitment, committed) &&
      isAbout(state, dispute, file.proof),
    `dispute ${id}: expected a proof about its subject and the accused’s receipt, found another`,
  );
  const finding = judge(() => checkReceiptProof(bls, file));
  if (finding === undefined) return lose(state, dispute, 'the receipt follows from the trace', events);
  winByConviction(state, dispute, finding, events);
}

/** Whether a proof is about what a dispute is about, against whom it is. */
function isAbout({ chainId }: LedgerState, dispute: Dispute, { head, trace }: ElementProof): boolean {
  return (
    equalBytes(head.chainId, chainId) &&
    equalBytes(head.claimRoot, dispute.claimRoot) &&
    equalBytes(head.accused, dispute.accused) &&
    sameSubject(trace.statement.subject, dispute.subject)
  );
}
