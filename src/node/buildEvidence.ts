/**
 * From a fault that a check found to the file of evidence that proves it to anybody (`docs/protocol.md`).
 *
 * A verifier's own word convicts nobody; this file is what it publishes instead.
 */
import { merkleKernels } from '../backend/merkleAddon.js';
import { invariant, PogoError } from '../errors.js';
import type { TokenSequence } from '../model/tokens.js';
import { type DisputeSubject, SUBJECT_KIND } from '../protocol/dispute/types.js';
import {
  type Accusation,
  type BlobSource,
  blobSource,
  buildBatchEvidence,
  buildCommitmentsEvidence,
  buildDiffEvidence,
  buildLossEvidence,
  buildQuantizationEvidence,
  buildStateRootEvidence,
  buildUnitEvidence,
  firstDifferentChunk,
  firstDifferentModelLeaf,
  tokenSource,
} from '../protocol/evidence/build.js';
import type { ClaimHeader, StateHeader } from '../protocol/types.js';
import type { Fault } from './checkClaim.js';

/** The accused claim with everything that evidence of any kind may have to show. */
export interface FaultSubject extends Accusation {
  /** Header of the claim's from state. */
  readonly fromHeader: StateHeader;
  /** Header of the parent claim; absent for a first claim. */
  readonly parent?: ClaimHeader;
  /** The recipe's token file. */
  readonly tokens: TokenSequence;
}

function source(bytes: Uint8Array): BlobSource {
  return blobSource(bytes, merkleKernels());
}

/**
 * The file of evidence that proves a fault.
 *
 * @param subject the claim that {@link checkClaim} found the fault in
 * @returns kind byte ‖ SSZ, accepted by `checkEvidence`
 * @throws PogoError UNDECIDED for a false diff where the parent claim is not at hand
 */
export function evidenceFromFault(subject: FaultSubject, fault: Fault): Uint8Array {
  switch (fault.kind) {
    case 'commitments':
      return buildCommitmentsEvidence(subject, subject.fromHeader);
    case 'batch':
      return buildBatchEvidence(subject, fault.stepIndex);
    case 'loss':
      return buildLossEvidence(subject, unitSubject(subject, fault));
    case 'unit': {
      const chunk = firstDifferentChunk(fault.committed, fault.computed);
      invariant(chunk !== undefined, 'a unit was found false that equals the recomputed one');
      return buildUnitEvidence(subject, unitSubject(subject, fault), source(fault.committed), chunk);
    }
    case 'state-root': {
      const { header, ...vectors } = fault.pre;
      const { stepIndex, units } = fault;
      return buildStateRootEvidence(subject, { stepIndex, preHeader: header, ...vectors, units });
    }
    case 'quantization': {
      const { post, committedModel, computedModel } = fault;
      // A file of a wrong length is convicted by its last chunk; no leaf is named.
      const sizes = committedModel.length !== computedModel.length;
      const leaf = sizes ? 0 : firstDifferentModelLeaf(subject.recipe, committedModel, computedModel);
      invariant(sizes || leaf !== undefined, 'a 4-bit model was found false that equals the recomputed one');
      const vector = source(subject.recipe.ema ? post.ema : post.theta);
      return buildQuantizationEvidence(subject, post.header, vector, source(committedModel), leaf ?? 0);
    }
    case 'diff': {
      const { parent } = subject;
      const { parentModel, model } = fault;
      if (parentModel !== undefined && parent === undefined) {
        throw new PogoError('UNDECIDED', `${fault.message}; the parent claim is needed to prove it, found none`);
      }
      const before =
        parent === undefined || parentModel === undefined ? undefined : { header: parent, model: parentModel };
      return buildDiffEvidence(subject, before, model);
    }
  }
}

/** Bytes of vectors, units and models that the evidence of a fault would carry. */
export function carriedBytes(fault: Fault): number {
  switch (fault.kind) {
    case 'unit':
    case 'loss':
      return fault.pre.theta.length;
    case 'state-root': {
      const { theta, m, v, ema } = fault.pre;
      return [theta, m, v, ema, ...fault.units].reduce((sum, bytes) => sum + bytes.length, 0);
    }
    case 'diff':
      // Of a first claim: that it names a diff at all.
      return fault.parentModel === undefined ? 0 : fault.model.length + fault.parentModel.length;
    default:
      return 0;
  }
}

/** The computation to dispute where evidence of a fault is too large; undefined for what is small in any case. */
export function subjectFromFault(fault: Fault): DisputeSubject | undefined {
  switch (fault.kind) {
    case 'unit':
    case 'loss':
      return { kind: SUBJECT_KIND.unit, stepIndex: fault.stepIndex, unit: fault.unit };
    case 'state-root':
      return { kind: SUBJECT_KIND.state, stepIndex: fault.stepIndex, unit: 0 };
    case 'diff':
      return fault.parentModel === undefined ? undefined : { kind: SUBJECT_KIND.diff, stepIndex: 0, unit: 0 };
    default:
      return undefined;
  }
}

function unitSubject(subject: FaultSubject, fault: Extract<Fault, { kind: 'unit' | 'loss' }>) {
  const { tokens } = subject;
  const { stepIndex, unit, pre } = fault;
  return {
    stepIndex,
    unit,
    preHeader: pre.header,
    theta: pre.theta,
    tokenFile: tokenSource(tokens, merkleKernels()),
  };
}
