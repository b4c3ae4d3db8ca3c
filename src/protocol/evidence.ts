/**
 * Evidence: fraud proofs that any third party can check from one file (docs/protocol.md §7).
 *
 * Only evidence slashes. `checkEvidence` fails closed: what cannot be parsed or does not lead to the roots that
 * the accused signed is malformed and convicts nobody; what parses and turns out right is a false accusation.
 */
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { checkAttestationEvidence } from './evidence/attestation.js';
import { checkBatchEvidence } from './evidence/batch.js';
import { checkCommitmentsEvidence } from './evidence/commitments.js';
import { checkDiffEvidence } from './evidence/diff.js';
import { checkElementEvidence, checkReceiptTraceEvidence, checkWitnessedEvidence } from './evidence/element.js';
import { checkEquivocationEvidence } from './evidence/equivocation.js';
import type { EvidenceExecutors, Finding } from './evidence/head.js';
import { checkHeldOutEvidence } from './evidence/heldOut.js';
import { checkLeafEvidence } from './evidence/leaf.js';
import { checkQuantizationEvidence } from './evidence/quantization.js';
import { checkReceiptEvidence } from './evidence/receipt.js';
import { checkStateRootEvidence } from './evidence/stateRoot.js';
import {
  EVIDENCE_KIND,
  EVIDENCE_TYPES,
  type EvidenceBody,
  type EvidenceHead,
  type EvidenceKind,
  maxEvidenceBytes,
} from './evidence/types.js';
import { checkLossEvidence, checkUnitEvidence } from './evidence/unit.js';
import { type Codec, decodeStrict } from './ssz.js';

export type { EvidenceExecutors } from './evidence/head.js';
export type { EvidenceBody, EvidenceKind } from './evidence/types.js';

/** What a third party finds. Everything in it is bound by the accused's own signature. */
export interface Verdict {
  readonly verdict: 'guilty' | 'false-accusation';
  readonly kind: EvidenceKind;
  readonly chainId: Uint8Array;
  readonly claimRoot: Uint8Array;
  readonly accused: Uint8Array;
  /** Whether the claim's miner is accused, or a verifier of it. */
  readonly against: 'miner' | 'verifier';
  readonly job: number;
  readonly claimNumber: number;
  readonly attempt: number;
  /** What is false, or that nothing is. */
  readonly reason: string;
}

type Checkers = {
  readonly [K in EvidenceKind]: (executors: EvidenceExecutors, body: EvidenceBody<K>) => Finding | Promise<Finding>;
};

const CHECKERS: Checkers = {
  leaf: checkLeafEvidence,
  quantization: checkQuantizationEvidence,
  unit: checkUnitEvidence,
  loss: checkLossEvidence,
  batch: checkBatchEvidence,
  'state-root': checkStateRootEvidence,
  equivocation: checkEquivocationEvidence,
  commitments: checkCommitmentsEvidence,
  diff: checkDiffEvidence,
  element: checkElementEvidence,
  'witnessed-element': checkWitnessedEvidence,
  attestation: (executors, body) => checkAttestationEvidence(executors, body, checkEvidence),
  receipt: checkReceiptEvidence,
  'held-out': checkHeldOutEvidence,
  'receipt-trace': checkReceiptTraceEvidence,
};

/** Kinds that accuse a verifier. */
const VERIFIER_KINDS: ReadonlySet<EvidenceKind> = new Set(['attestation', 'receipt', 'held-out', 'receipt-trace']);

/** Names of all kinds. */
export const EVIDENCE_KINDS = Object.keys(EVIDENCE_KIND) as readonly EvidenceKind[];

/** @returns the file: kind byte ‖ SSZ */
export function encodeEvidence<K extends EvidenceKind>(kind: K, body: EvidenceBody<K>): Uint8Array {
  const type: Codec<EvidenceBody<K>> = EVIDENCE_TYPES[kind] as unknown as Codec<EvidenceBody<K>>;
  const ssz = type.serialize(body);
  const file = new Uint8Array(1 + ssz.length);
  file[0] = EVIDENCE_KIND[kind];
  file.set(ssz, 1);
  return file;
}

/** The kind of a file of evidence. @throws PogoError MALFORMED */
export function evidenceKind(bytes: Uint8Array): EvidenceKind {
  const kind = EVIDENCE_KINDS.find((name) => EVIDENCE_KIND[name] === bytes[0]);
  if (kind === undefined) {
    throw new PogoError('MALFORMED', `expected a file of evidence, found first byte ${bytes[0] ?? 'missing'}`);
  }
  return kind;
}

/**
 * Checks a file of evidence, trusting nothing in it.
 *
 * @param bytes the whole file
 * @param executors BLS; and a backend for the kinds that recompute a unit or a step
 * @throws PogoError MALFORMED: the file convicts nobody and accuses nobody; ENVIRONMENT when a backend is needed
 */
export async function checkEvidence(bytes: Uint8Array, executors: EvidenceExecutors): Promise<Verdict> {
  return checkKind(evidenceKind(bytes), bytes.subarray(1), executors);
}

async function checkKind<K extends EvidenceKind>(
  kind: K,
  ssz: Uint8Array,
  executors: EvidenceExecutors,
): Promise<Verdict> {
  const type: Codec<EvidenceBody<K>> = EVIDENCE_TYPES[kind] as unknown as Codec<EvidenceBody<K>>;
  const body = decodeStrict(type, ssz, maxEvidenceBytes(kind));
  let finding: Finding;
  try {
    finding = await CHECKERS[kind](executors, body);
  } catch (error) {
    throw failClosed(error);
  }
  // Some kinds wrap an element proof: it has the head.
  const { head } = ('proof' in body && 'head' in (body.proof as object) ? body.proof : body) as {
    readonly head: Omit<EvidenceHead, 'recipe'>;
  };
  const { header } = head.claim;
  return {
    verdict: finding === undefined ? 'false-accusation' : 'guilty',
    kind,
    chainId: head.chainId,
    claimRoot: head.claimRoot,
    accused: head.accused,
    job: header.job,
    claimNumber: header.claimNumber,
    attempt: header.attempt,
    // An element proof names whoever signed the trace.
    against: VERIFIER_KINDS.has(kind) || !equalBytes(head.accused, header.miner) ? 'verifier' : 'miner',
    reason: finding ?? 'what was signed holds in the point that is disputed',
  };
}

/** Values that break a range or a shape somewhere below are, seen from here, a malformed file. */
function failClosed(error: unknown): unknown {
  if (!(error instanceof PogoError)) return error;
  const { code } = error;
  if (code !== 'RANGE' && code !== 'SHAPE' && code !== 'DATA' && code !== 'RECIPE') return error;
  return new PogoError('MALFORMED', `evidence: ${error.message}`, error.details, error);
}
