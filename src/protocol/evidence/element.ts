/**
 * Evidence `element` and `witnessed-element`: one element of a disputed computation contradicts the accused's own roots.
 * Pure TypeScript.
 */
import { checkElementProof, checkWitnessedProof } from '../dispute/elementProof.js';
import type { EvidenceExecutors, Finding } from './head.js';
import type { EvidenceBody } from './types.js';

export function checkElementEvidence(executors: EvidenceExecutors, body: EvidenceBody<'element'>): Finding {
  return checkElementProof(executors.bls, body);
}

export function checkWitnessedEvidence(executors: EvidenceExecutors, body: EvidenceBody<'witnessed-element'>): Finding {
  return checkWitnessedProof(executors.bls, body);
}
