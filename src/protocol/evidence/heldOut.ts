/**
 * Evidence `held-out`: a loss that a positive vote names is not that of the 4-bit model on the sequences that beacon 2
 * drew. Both the loss and the beacon are in the message that the verifier signed.
 */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { packedModelLayout } from '../../model/layout.js';
import { bytesPerToken, type Recipe } from '../../model/recipe.js';
import { drawHeldOut } from '../draws.js';
import { claimRoot, ZERO_ROOT } from '../types.js';
import { openVote } from './attestation.js';
import {
  type EvidenceExecutors,
  type Finding,
  type OpenedHead,
  openBlob,
  openHead,
  openState,
  requireExecutor,
} from './head.js';
import type { EvidenceBody } from './types.js';
import { openSequences } from './unit.js';

/** Byte ranges of the held-out sequences in the token file, in the order drawn. */
export function heldOutRanges(recipe: Recipe, beacon2: Uint8Array, root: Uint8Array): [number, number][] {
  const bytes = bytesPerToken(recipe);
  return drawHeldOut(beacon2, root, recipe).map((offset) => [offset * bytes, (offset + recipe.context + 1) * bytes]);
}

export async function checkHeldOutEvidence(
  executors: EvidenceExecutors,
  body: EvidenceBody<'held-out'>,
): Promise<Finding> {
  const { attestation, after } = body;
  const head = openHead(executors.bls, body.head, attestation.verifier);
  const { beacon2, heldOutBeforeBits, heldOutAfterBits } = attestation.data;
  openVote(executors, body, beacon2);
  if (after > 1) throw new PogoError('MALFORMED', `evidence: expected a loss before (0) or after (1), found ${after}`);
  const model = await openModel(executors, head, body);
  const tokens = openSequences(head.recipe, heldOutRanges(head.recipe, beacon2, body.head.claimRoot), body.tokenChunks);
  const expected = await requireExecutor(executors).modelLoss({ recipe: head.recipe, model, tokens });
  const found = after === 1 ? heldOutAfterBits : heldOutBeforeBits;
  if (expected === found) return undefined;
  const name = after === 1 ? 'after' : 'before';
  return `held-out loss ${name} the claim: expected bits ${expected.toString(16)}, found ${found.toString(16)}`;
}

async function openModel(
  executors: EvidenceExecutors,
  { header, recipe, layout }: OpenedHead,
  body: EvidenceBody<'held-out'>,
): Promise<Uint8Array> {
  const [parent] = body.parent;
  const [fromHeader] = body.fromHeader;
  const { bytes } = packedModelLayout(layout);
  const first = body.after === 0 && equalBytes(header.parentClaimRoot, ZERO_ROOT);
  const unused =
    (first ? body.model.length > 0 : body.vector.length > 0 || fromHeader !== undefined) ||
    ((first || body.after === 1) && parent !== undefined);
  if (unused) throw new PogoError('MALFORMED', 'evidence: expected only what the loss is computed from, found more');
  if (first) {
    if (fromHeader === undefined) throw new PogoError('MALFORMED', 'evidence: expected the header of the from state');
    openState('from state', fromHeader, header.fromRoot);
    const root = recipe.ema ? fromHeader.emaRoot : fromHeader.thetaRoot;
    openBlob(executors, 'the from state’s vector', body.vector, 4 * layout.length, root);
    return requireExecutor(executors).packModel({ recipe, vector: body.vector });
  }
  if (body.after === 1) {
    openBlob(executors, 'the 4-bit model', body.model, bytes, header.modelRoot);
    return body.model;
  }
  if (parent === undefined || !equalBytes(claimRoot(parent), header.parentClaimRoot)) {
    throw new PogoError('MALFORMED', `evidence: expected the parent claim ${toHex(header.parentClaimRoot)}`);
  }
  openBlob(executors, 'the parent’s 4-bit model', body.model, bytes, parent.modelRoot);
  return body.model;
}
