/**
 * Evidence `attestation`: a positive vote over a unit that the verifier was drawn for and that is false.
 *
 * The false unit is proven by a whole file of evidence against the miner; the draw signature says that this verifier had
 * to recompute exactly that unit. Who did finds another unit, so who votes for it did not.
 */
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import { verifyAttestation } from '../attestation.js';
import type { Verdict } from '../evidence.js';
import { openCommitment } from '../listProof.js';
import { decodeStrict } from '../ssz.js';
import { VERDICT } from '../types.js';
import { dutyOf, openAssignment } from './assignment.js';
import type { EvidenceExecutors, Finding } from './head.js';
import { EVIDENCE_KIND, EVIDENCE_TYPES, type EvidenceBody } from './types.js';

/** A positive attestation of the accused under this claim and beacon 2. @throws PogoError MALFORMED */
export function openVote(
  { bls }: EvidenceExecutors,
  { head, attestation }: Pick<EvidenceBody<'held-out'>, 'head' | 'attestation'>,
  beacon2: Uint8Array,
): void {
  try {
    verifyAttestation(bls, attestation, { chainId: head.chainId, claimRoot: head.claimRoot, beacon2 });
  } catch (error) {
    throw new PogoError('MALFORMED', `evidence: ${PogoError.from(error).message}`);
  }
  if (!equalBytes(attestation.verifier, head.accused) || attestation.data.verdict !== VERDICT.positive) {
    throw new PogoError('MALFORMED', 'evidence: expected a positive vote of the accused, found another');
  }
}

/** The unit that a proof of kind `unit` or `loss` speaks of; nothing of it is checked here. @throws PogoError MALFORMED */
export function provenUnit(proof: Uint8Array): { readonly stepIndex: number; readonly unit: number } {
  const { step, unit } = decodeStrict(EVIDENCE_TYPES[kindOfProof(proof)], proof.subarray(1)) as EvidenceBody<'loss'>;
  return { stepIndex: step.index, unit };
}

/**
 * Only proofs that recompute the committed unit convict who voted for it. An element proof shows that a trace is false: a
 * miner could sign a false trace of a true unit and with it accuse verifiers that did their work.
 */
function kindOfProof(proof: Uint8Array): 'unit' | 'loss' {
  const kind = proof[0] === EVIDENCE_KIND.unit ? 'unit' : 'loss';
  if (proof[0] === EVIDENCE_KIND[kind]) return kind;
  throw new PogoError('MALFORMED', 'evidence: expected a proof of kind unit or loss, found another');
}

/** @param check checks the inner proof */
export async function checkAttestationEvidence(
  executors: EvidenceExecutors,
  body: EvidenceBody<'attestation'>,
  check: (file: Uint8Array, executors: EvidenceExecutors) => Promise<Verdict>,
): Promise<Finding> {
  const head = openAssignment(executors, body);
  openVote(executors, body, body.receipt.message.beacon2);
  const { proof } = body;
  const kind = kindOfProof(proof);
  const verdict = await check(proof, executors);
  if (!equalBytes(verdict.claimRoot, body.head.claimRoot)) {
    throw new PogoError('MALFORMED', 'evidence: expected a proof against the claim that was voted for, found another');
  }
  const { step, unit } = decodeStrict(EVIDENCE_TYPES[kind], proof.subarray(1)) as EvidenceBody<'loss'>;
  const { steps } = openCommitment(head.header.listRoot, step);
  const { units } = dutyOf(head, body, steps);
  if (!units.some((drawn) => drawn.stepIndex === step.index && drawn.unit === unit)) {
    return undefined;
  }
  if (verdict.verdict !== 'guilty') return undefined;
  return `a positive vote over a unit that its verifier was drawn for, and: ${verdict.reason}`;
}
