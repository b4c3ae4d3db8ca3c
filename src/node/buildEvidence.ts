/**
 * From a fault that a check found to the file of evidence that proves it to anybody (`docs/protocol.md`).
 *
 * A verifier's own word convicts nobody; this file is what it publishes instead.
 */
import { merkleKernels } from '../backend/merkleAddon.js';
import { invariant, PogoError } from '../errors.js';
import {
  type Accusation,
  type BlobSource,
  blobSource,
  buildBatchEvidence,
  buildCommitmentsEvidence,
  buildLossEvidence,
  buildQuantizationEvidence,
  buildStateRootEvidence,
  buildUnitEvidence,
  firstDifferentChunk,
  firstDifferentModelLeaf,
} from '../protocol/evidence/build.js';
import type { StateHeader } from '../protocol/types.js';
import type { Fault } from './checkClaim.js';

/** The accused claim with everything that evidence of any kind may have to show. */
export interface FaultSubject extends Accusation {
  /** Header of the claim's from state. */
  readonly fromHeader: StateHeader;
  /** The recipe's token file. */
  readonly tokens: Uint16Array | Uint32Array;
}

function source(bytes: Uint8Array): BlobSource {
  return blobSource(bytes, merkleKernels());
}

/**
 * The file of evidence that proves a fault.
 *
 * @param subject the claim that {@link checkClaim} found the fault in
 * @returns kind byte ‖ SSZ, accepted by `checkEvidence`
 * @throws PogoError UNDECIDED for a fault that no kind of evidence expresses yet (a false diff): the claim must be
 *   refused, but nobody can be convicted of it
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
      const leaf = firstDifferentModelLeaf(subject.recipe, committedModel, computedModel);
      invariant(leaf !== undefined, 'a 4-bit model was found false that equals the recomputed one');
      const vector = source(subject.recipe.ema ? post.ema : post.theta);
      return buildQuantizationEvidence(subject, post.header, vector, source(committedModel), leaf);
    }
    case 'diff':
      throw new PogoError(
        'UNDECIDED',
        `${fault.message}; the claim must be refused, but no evidence convicts of a false diff: get the diff by pogo diff`,
        { kind: fault.kind },
      );
  }
}

function unitSubject(subject: FaultSubject, fault: Extract<Fault, { kind: 'unit' | 'loss' }>) {
  const { tokens } = subject;
  const file = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
  const { stepIndex, unit, pre } = fault;
  return { stepIndex, unit, preHeader: pre.header, theta: pre.theta, tokenFile: source(file) };
}
