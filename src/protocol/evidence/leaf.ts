/** Evidence `leaf`: 256 parameters or a scalar of the header break the optimizer's step. Pure TypeScript. */
import { verifyLeaf } from '../leafCheck.js';
import { type EvidenceExecutors, type Finding, openHead } from './head.js';
import type { EvidenceBody } from './types.js';

export function checkLeafEvidence(executors: EvidenceExecutors, body: EvidenceBody<'leaf'>): Finding {
  const { header, recipe } = openHead(executors.bls, body.head);
  const result = verifyLeaf(header.listRoot, recipe, body.check);
  return result.holds ? undefined : `step ${result.step}, leaf ${result.leaf}: ${result.fault}`;
}
