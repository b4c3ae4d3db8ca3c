/** Checking a receipt proof: a part of a verifier's receipt against what its own trace has at the drawn places. */
import { equalBytes, toHex } from '../../hex.js';
import type { Bls } from '../bls.js';
import { openCommitment } from '../listProof.js';
import {
  type ReceiptDuty,
  receiptDuty,
  unitReceiptPart,
  verifyReceiptOpening,
  verifySignedReceipt,
} from '../receipt.js';
import type { Operation } from '../trace/program.js';
import { computeSpan } from './elementProof.js';
import { malformed, openBlobs } from './openedBlobs.js';
import { checkBindings, checkEnd, failsAsMalformed, openContext, openRecipe } from './proofSubject.js';
import { listLength, receiptProgram, receiptSubject, type SubjectContext, subjectProgram } from './subject.js';
import { type DisputeSubject, type ElementProof, type ReceiptProof, SUBJECT_KIND } from './types.js';

/**
 * Checks a receipt proof, trusting nothing in it.
 *
 * @returns a sentence about what is false; undefined where the part follows from the verifier's own trace
 * @throws PogoError MALFORMED: the proof convicts nobody
 */
export function checkReceiptProof(bls: Bls, { receipt, opening, proof }: ReceiptProof): string | undefined {
  const recipe = openRecipe(proof);
  checkBindings(bls, proof, recipe.root);
  const { head, trace } = proof;
  const { message, verifier } = receipt;
  if (!equalBytes(verifier, head.accused)) throw malformed('expected a receipt of the accused, found another’s');
  const { chainId, claimRoot: root } = head;
  const { beacon2, committee } = message;
  failsAsMalformed(() => {
    verifySignedReceipt(bls, receipt, { chainId, claimRoot: root, beacon2, committee });
    verifyReceiptOpening(bls, receipt, opening);
  });
  const { drawSignature, parts } = opening;
  const context = openContext(bls, proof, recipe, undefined);
  const { subject } = trace.statement;
  const [proven] = proof.step;
  if ((subject.kind !== SUBJECT_KIND.unit && subject.kind !== SUBJECT_KIND.receipt) || proven === undefined) {
    throw malformed(`expected a unit or a receipt, found ${subject.kind}`);
  }
  const { steps } = openCommitment(head.claim.header.listRoot, proven);
  const duty = receiptDuty(drawSignature, recipe.recipe, steps, committee);
  const part = partOf(subject, duty, steps);
  if (part === undefined) throw malformed('expected a part that was drawn, found another');
  const found = parts[part];
  if (parts.length !== duty.parts || found === undefined) throw malformed(`expected ${duty.parts} parts`);
  const observed = observedIn(proof, context, drawSignature);
  const expected =
    subject.kind === SUBJECT_KIND.unit
      ? unitReceiptPart(drawSignature, subject, observed)
      : tracedPart(drawSignature, observed);
  if (equalBytes(expected, found)) return undefined;
  return `part ${part} of the receipt: expected ${toHex(expected)}, found ${toHex(found)}`;
}

/** The number of the part that a subject is about; undefined where none is. */
export function partOf(
  { kind, stepIndex, unit }: DisputeSubject,
  { units, stateStep }: Pick<ReceiptDuty, 'units' | 'stateStep'>,
  steps: number,
): number | undefined {
  if (kind === SUBJECT_KIND.unit) {
    const part = units.findIndex((drawn) => drawn.stepIndex === stepIndex && drawn.unit === unit);
    return part < 0 ? undefined : part;
  }
  const parts = [stateStep, steps].map((stepsDone) => receiptSubject(stepsDone, steps));
  const at = parts.findIndex((s) => s.kind === kind && s.stepIndex === stepIndex && s.unit === unit);
  return at < 0 ? undefined : units.length + at;
}

/** The part of a trace over a state, which must be one under this draw: who votes again has drawn again. */
function tracedPart(drawSignature: Uint8Array, observed: Uint8Array): Uint8Array {
  const { length } = drawSignature;
  if (!equalBytes(observed.subarray(0, length), drawSignature)) {
    throw malformed('expected a trace under the receipt’s draw signature, found another');
  }
  return observed.slice(length);
}

/** What the accused's own trace has at the places of its receipt; of a state its draw signature and the part. */
function observedIn(proof: ElementProof, context: SubjectContext, drawSignature: Uint8Array): Uint8Array {
  const unit = subjectProgram(context);
  const complete = unit.operations.length;
  if (proof.operation !== complete || proof.element !== 0 || proof.learningRate.length > 0) {
    throw malformed('expected the places behind the last operation, found others');
  }
  checkEnd(context, unit, proof);
  if (listLength(unit, proof.trace.statement.end) < complete) {
    if (proof.list.indices.length + proof.blobs.length > 0) throw malformed('expected nothing opened of a null unit');
    return new Uint8Array(0);
  }
  const program = receiptProgram(context, unit, drawSignature);
  const blobs = openBlobs(proof, program, context, complete);
  const operation = program.operations[complete] as Operation;
  const observed = computeSpan(operation, 0, operation.length, blobs) as Uint8Array;
  blobs.requireAllUsed();
  return observed;
}
