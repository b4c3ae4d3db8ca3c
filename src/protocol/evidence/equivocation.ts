/** Evidence `equivocation`: two signed claims for one turn. Pure TypeScript. */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { verifyClaimSignature } from '../claim.js';
import { claimRoot } from '../types.js';
import { type EvidenceExecutors, type Finding, openHead } from './head.js';
import type { EvidenceBody } from './types.js';

export function checkEquivocationEvidence(executors: EvidenceExecutors, body: EvidenceBody<'equivocation'>): Finding {
  const { header } = openHead(executors.bls, body.head);
  const other = body.other.header;
  if (!verifyClaimSignature(executors.bls, body.other)) {
    throw new PogoError('MALFORMED', 'evidence: expected a second signed claim, found a wrong signature');
  }
  const sameTurn =
    equalBytes(header.miner, other.miner) &&
    equalBytes(header.chainId, other.chainId) &&
    header.job === other.job &&
    header.claimNumber === other.claimNumber &&
    header.attempt === other.attempt;
  if (!sameTurn || equalBytes(claimRoot(header), claimRoot(other))) return undefined;
  const turn = `claim ${header.claimNumber}, attempt ${header.attempt}`;
  return `${turn}: signed twice, as ${toHex(claimRoot(header))} and ${toHex(claimRoot(other))}`;
}
