/** Evidence `commitments`: the list of a claim contradicts itself, the claim or the recipe. Pure TypeScript. */
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import { checkChain } from '../claim.js';
import { StepCommitmentListType } from '../types.js';
import { type EvidenceExecutors, type Finding, openHead, openState } from './head.js';
import type { EvidenceBody } from './types.js';

export function checkCommitmentsEvidence(executors: EvidenceExecutors, body: EvidenceBody<'commitments'>): Finding {
  const { header, recipe } = openHead(executors.bls, body.head);
  if (!equalBytes(StepCommitmentListType.hashTreeRoot(body.commitments), header.listRoot)) {
    throw new PogoError('MALFORMED', 'evidence: expected the claim’s list of step commitments, found another list');
  }
  openState('from state', body.fromHeader, header.fromRoot);
  const fault = checkChain(header, body.commitments, body.fromHeader.step, recipe);
  if (fault === undefined) return undefined;
  return fault.stepIndex < 0 ? fault.message : `step ${fault.stepIndex} of the claim: ${fault.message}`;
}
