/** What evidence against a verifier shares: its signed receipt, and the draw that says what it had to do. */
import { PogoError } from '../../errors.js';
import { verifyDraw } from '../draws.js';
import { type ReceiptDuty, receiptDuty, type SignedReceipt, verifySignedReceipt } from '../receipt.js';
import { type EvidenceExecutors, type OpenedHead, openHead } from './head.js';
import type { EvidenceHead } from './types.js';

export interface AssignmentBody {
  readonly head: EvidenceHead;
  readonly receipt: SignedReceipt;
  readonly drawSignature: Uint8Array;
}

/**
 * Opens the head with the verifier as the accused, and checks its signatures over the receipt and the draw.
 *
 * @throws PogoError MALFORMED
 */
export function openAssignment(executors: EvidenceExecutors, body: AssignmentBody): OpenedHead {
  const { bls } = executors;
  const { receipt, drawSignature } = body;
  const head = openHead(bls, body.head, receipt.verifier);
  const { chainId, claimRoot } = body.head;
  const { beacon2, committee } = receipt.message;
  try {
    verifySignedReceipt(bls, receipt, { chainId, claimRoot, beacon2, committee });
  } catch (error) {
    throw new PogoError('MALFORMED', `evidence: ${PogoError.from(error).message}`);
  }
  if (!verifyDraw(bls, receipt.verifier, beacon2, claimRoot, drawSignature)) {
    throw new PogoError('MALFORMED', 'evidence: expected the verifier’s draw signature, found another');
  }
  return head;
}

/** The work that was drawn, in a claim of `steps` steps. @throws PogoError MALFORMED for a committee of none */
export function dutyOf(head: OpenedHead, body: AssignmentBody, steps: number): ReceiptDuty {
  const { committee } = body.receipt.message;
  if (committee < 1) throw new PogoError('MALFORMED', 'evidence: expected a committee of at least one seat');
  return receiptDuty(body.drawSignature, head.recipe, steps, committee);
}
