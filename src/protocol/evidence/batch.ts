/** Evidence `batch`: the committed digest of a step's batch is not that of draw 1. Pure TypeScript. */
import { checkBatch } from '../claim.js';
import { type EvidenceExecutors, type Finding, openHead, openStep } from './head.js';
import type { EvidenceBody } from './types.js';

export function checkBatchEvidence(executors: EvidenceExecutors, body: EvidenceBody<'batch'>): Finding {
  const head = openHead(executors.bls, body.head);
  const commitment = openStep(head, body.step);
  const fault = checkBatch(head.header.draw1, commitment, body.step.index, head.recipe);
  return fault === undefined ? undefined : `step ${commitment.step}: ${fault.message}`;
}
