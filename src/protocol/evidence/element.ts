/**
 * Evidence `element`, `witnessed-element` and `receipt-trace`: one element of a disputed computation, or a part of a
 * receipt, contradicts the accused's own roots.
 * Pure TypeScript.
 */
import { checkElementProof, checkWitnessedProof } from '../dispute/elementProof.js';
import { checkReceiptProof } from '../dispute/receiptProof.js';
import type { EvidenceExecutors, Finding } from './head.js';
import type { EvidenceBody } from './types.js';

export function checkElementEvidence(executors: EvidenceExecutors, body: EvidenceBody<'element'>): Finding {
  return checkElementProof(executors.bls, body);
}

export function checkWitnessedEvidence(executors: EvidenceExecutors, body: EvidenceBody<'witnessed-element'>): Finding {
  return checkWitnessedProof(executors.bls, body);
}

export function checkReceiptTraceEvidence(executors: EvidenceExecutors, body: EvidenceBody<'receipt-trace'>): Finding {
  return checkReceiptProof(executors.bls, body);
}
