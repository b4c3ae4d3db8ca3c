/**
 * Evidence `diff`: the diff that a claim commits to is not the canonical one between its parent's packed model and its
 * own. Pure TypeScript; both models are carried whole.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { packedModelLayout } from '../../model/layout.js';
import { encodeDiff } from '../diff.js';
import { claimRoot, ZERO_ROOT } from '../types.js';
import { type EvidenceExecutors, type Finding, openBlob, openHead } from './head.js';
import type { EvidenceBody } from './types.js';

export function checkDiffEvidence(executors: EvidenceExecutors, body: EvidenceBody<'diff'>): Finding {
  const { header, layout } = openHead(executors.bls, body.head);
  if (equalBytes(header.parentClaimRoot, ZERO_ROOT)) {
    if (body.parent.length !== 0 || body.parentModel.length !== 0 || body.model.length !== 0) {
      throw new PogoError('MALFORMED', 'evidence: expected no parent and no models beside a first claim, found some');
    }
    const none = equalBytes(header.diffRoot, ZERO_ROOT);
    return none ? undefined : `expected no diff in a chain’s first claim, found ${toHex(header.diffRoot)}`;
  }
  const [parent] = body.parent;
  if (parent === undefined || !equalBytes(claimRoot(parent), header.parentClaimRoot)) {
    throw new PogoError('MALFORMED', `evidence: expected the parent claim ${toHex(header.parentClaimRoot)}`);
  }
  const { bytes } = packedModelLayout(layout);
  openBlob(executors, 'the parent’s 4-bit model', body.parentModel, bytes, parent.modelRoot);
  openBlob(executors, 'the 4-bit model', body.model, bytes, header.modelRoot);
  const hash = executors.hash ?? blake3;
  const expected = hash(encodeDiff(body.parentModel, body.model, hash));
  if (equalBytes(expected, header.diffRoot)) return undefined;
  return `expected diff ${toHex(expected)}, found ${toHex(header.diffRoot)}`;
}
