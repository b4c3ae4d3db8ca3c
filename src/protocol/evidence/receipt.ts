/**
 * Evidence `receipt`: a part of a receipt is not what the drawn work gives. The verifier signed the commitment that binds
 * the parts, and the claim signs everything that they are computed from, so a third party computes the part again.
 */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { openCommitment } from '../listProof.js';
import {
  chainingValuesOf,
  receiptCommitment,
  stateReceiptPart,
  unitReceiptPart,
  unitReceiptPlaces,
} from '../receipt.js';
import { dutyOf, openAssignment } from './assignment.js';
import { type EvidenceExecutors, type Finding, type OpenedHead, openBlob, openState, requireExecutor } from './head.js';
import type { EvidenceBody } from './types.js';
import { openTokens } from './unit.js';

export async function checkReceiptEvidence(
  executors: EvidenceExecutors,
  body: EvidenceBody<'receipt'>,
): Promise<Finding> {
  const head = openAssignment(executors, body);
  const { drawSignature, parts, part } = body;
  if (!equalBytes(receiptCommitment({ drawSignature, parts }), body.receipt.message.commitment)) {
    throw new PogoError('MALFORMED', 'evidence: expected the receipt that was committed to, found another');
  }
  const { steps } = openCommitment(head.header.listRoot, body.step);
  const duty = dutyOf(head, body, steps);
  if (parts.length !== duty.parts) {
    requireEmpty(body, ['theta', 'm', 'v']);
    if (part !== 0 || body.step.index !== 0 || body.tokenChunks.length !== 0) {
      throw new PogoError('MALFORMED', 'evidence: expected no values beside a wrong number of parts, found some');
    }
    openState('pre-state', body.header, body.step.commitment.preStateRoot);
    return `expected a receipt of ${duty.parts} parts, found ${parts.length}`;
  }
  const found = parts[part];
  if (found === undefined) {
    throw new PogoError('MALFORMED', `evidence: expected a part below ${duty.parts}, found ${part}`);
  }
  const drawn = duty.units[part];
  const expected =
    drawn === undefined
      ? statePart(executors, head, body, part === duty.units.length ? duty.stateStep : steps, steps)
      : await unitPart(executors, head, body, drawn);
  if (equalBytes(expected, found)) return undefined;
  return `part ${part} of the receipt: expected ${toHex(expected)}, found ${toHex(found)}`;
}

function requireEmpty(body: EvidenceBody<'receipt'>, names: readonly ('theta' | 'm' | 'v')[]): void {
  for (const name of names) {
    if (body[name].length > 0) throw new PogoError('MALFORMED', `evidence: expected no ${name} here, found some`);
  }
}

function requireStep(body: EvidenceBody<'receipt'>, index: number): void {
  if (body.step.index !== index) {
    throw new PogoError('MALFORMED', `evidence: expected step ${index} of the claim, found ${body.step.index}`);
  }
}

async function unitPart(
  executors: EvidenceExecutors,
  head: OpenedHead,
  body: EvidenceBody<'receipt'>,
  drawn: { readonly stepIndex: number; readonly unit: number },
): Promise<Uint8Array> {
  requireStep(body, drawn.stepIndex);
  requireEmpty(body, ['m', 'v']);
  const { commitment } = body.step;
  const { recipe, layout, header, recipeRoot } = head;
  openState('pre-state', body.header, commitment.preStateRoot);
  openBlob(executors, 'θ', body.theta, 4 * layout.length, body.header.thetaRoot);
  const { observed } = await requireExecutor(executors).computeUnit({
    recipe,
    recipeRoot,
    draw1: header.draw1,
    step: commitment.step,
    unit: drawn.unit,
    theta: body.theta,
    tokens: openTokens(head, commitment.step, drawn.unit, body.tokenChunks),
    places: unitReceiptPlaces(body.drawSignature, drawn, recipe, layout),
  });
  if (observed === undefined) throw new PogoError('ENVIRONMENT', 'expected a backend that reads values inside a unit');
  return unitReceiptPart(body.drawSignature, drawn, observed);
}

function statePart(
  executors: EvidenceExecutors,
  head: OpenedHead,
  body: EvidenceBody<'receipt'>,
  stepsDone: number,
  steps: number,
): Uint8Array {
  const last = stepsDone === steps;
  requireStep(body, last ? steps - 1 : stepsDone);
  if (body.tokenChunks.length !== 0) throw new PogoError('MALFORMED', 'evidence: expected no tokens beside a state');
  const { preStateRoot, postStateRoot } = body.step.commitment;
  openState('state', body.header, last ? postStateRoot : preStateRoot);
  const bytes = 4 * head.layout.length;
  openBlob(executors, 'θ', body.theta, bytes, body.header.thetaRoot);
  openBlob(executors, 'm', body.m, bytes, body.header.mRoot);
  openBlob(executors, 'v', body.v, bytes, body.header.vRoot);
  return stateReceiptPart(body.drawSignature, stepsDone, {
    theta: chainingValuesOf(body.theta),
    m: chainingValuesOf(body.m),
    v: chainingValuesOf(body.v),
  });
}
