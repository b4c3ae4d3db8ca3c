/**
 * SSZ containers of the fraud proofs: one per kind.
 *
 * A file of evidence is one kind byte followed by the container. Every container starts with an {@link EvidenceHeadType}
 * that binds it to a chain, a claim and an accused key; every byte of it is either bound by a root under the claim's
 * signature or compared with what the recipe says, so a changed byte never convicts anybody else or of anything else.
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { ElementProofType, MAX_ELEMENT_PROOF_BYTES, ReceiptProofType, WitnessedProofType } from '../dispute/types.js';
import { LeafCheckType } from '../leafCheck.js';
import { ProvenCommitmentType } from '../listProof.js';
import { ChunkOpeningsType, ChunkOpeningType } from '../openings.js';
import { ReceiptPartsType, SignedReceiptType } from '../receipt.js';
import { byteList, PublicKey, Root, Signature, Uint8, Uint32, Uint64 } from '../ssz.js';
import {
  AttestationType,
  ClaimHeaderType,
  MAX_UNITS_PER_STEP,
  SignedClaimType,
  StateHeaderType,
  StepCommitmentListType,
} from '../types.js';

/** Kind → first byte of the file. */
export const EVIDENCE_KIND = {
  leaf: 1,
  quantization: 2,
  unit: 3,
  loss: 4,
  batch: 5,
  'state-root': 6,
  equivocation: 7,
  commitments: 8,
  diff: 9,
  element: 10,
  'witnessed-element': 11,
  attestation: 16,
  receipt: 17,
  'held-out': 18,
  'receipt-trace': 19,
} as const;
export type EvidenceKind = keyof typeof EVIDENCE_KIND;

/** Largest recipe: 2^20 learning rates of 4 bytes, and the rest. */
const MAX_RECIPE_BYTES = (1 << 22) + 4096;
/** Largest vector that evidence carries: 1 GiB. Larger models need disputes to one element. */
const MAX_VECTOR_BYTES = 1 << 30;
/** Largest file of evidence that is looked at. SSZ offsets are 32 bits. */
export const MAX_EVIDENCE_BYTES = 2 ** 32 - 1;

/** The largest file of a kind that is looked at, without its kind byte. */
export function maxEvidenceBytes(kind: EvidenceKind): number {
  const isSmall = kind === 'element' || kind === 'witnessed-element' || kind === 'receipt-trace';
  return isSmall ? MAX_ELEMENT_PROOF_BYTES - 1 : MAX_EVIDENCE_BYTES;
}

/** Whom it accuses of what claim. `claim` and `recipe` are carried whole and checked against the roots. */
export const EvidenceHeadType = new ContainerType(
  {
    chainId: Root,
    claimRoot: Root,
    accused: PublicKey,
    claim: SignedClaimType,
    /** SSZ of the recipe; its hash_tree_root is in the claim. */
    recipe: byteList(MAX_RECIPE_BYTES),
  },
  { typeName: 'EvidenceHead', jsonCase: 'eth2' },
);
export type EvidenceHead = ValueOf<typeof EvidenceHeadType>;

/** A leaf of the state, or a scalar of its header, does not follow from the state before and the units. */
export const LeafEvidenceType = new ContainerType(
  { head: EvidenceHeadType, check: LeafCheckType },
  { typeName: 'LeafEvidence', jsonCase: 'eth2' },
);

/**
 * The packed 4-bit model is not what the quantizer makes of the claim's last EMA (θ without one).
 *
 * `modelBytes` is the length of the committed file. Where that differs from the recipe's, `modelChunks` is the file's
 * last chunk, `leaf` is 0 and `vectorLeaf` is empty.
 */
export const QuantizationEvidenceType = new ContainerType(
  {
    head: EvidenceHeadType,
    toHeader: StateHeaderType,
    leaf: Uint64,
    vectorLeaf: ChunkOpeningType,
    modelBytes: Uint64,
    modelChunks: ChunkOpeningsType,
  },
  { typeName: 'QuantizationEvidence', jsonCase: 'eth2' },
);

/** What a unit or a loss is recomputed from. `theta` is θ at the start of the step, `tokenChunks` of the token file. */
const recomputation = {
  head: EvidenceHeadType,
  step: ProvenCommitmentType,
  unit: Uint32,
  preHeader: StateHeaderType,
  theta: byteList(MAX_VECTOR_BYTES),
  tokenChunks: ChunkOpeningsType,
};

/**
 * One chunk of a committed unit differs from the recomputed unit.
 *
 * `unitBytes` is the length of the committed file. Where that differs from the recipe's, `chunkIndex` is the file's
 * last chunk, and `theta` and `tokenChunks` are empty: nothing needs to be recomputed.
 */
export const UnitEvidenceType = new ContainerType(
  { ...recomputation, unitBytes: Uint64, chunkIndex: Uint64, chunk: ChunkOpeningType },
  { typeName: 'UnitEvidence', jsonCase: 'eth2' },
);

/** The committed loss of a unit differs from the recomputed one. */
export const LossEvidenceType = new ContainerType(recomputation, { typeName: 'LossEvidence', jsonCase: 'eth2' });

/** A committed batch digest is not that of draw 1. */
export const BatchEvidenceType = new ContainerType(
  { head: EvidenceHeadType, step: ProvenCommitmentType },
  { typeName: 'BatchEvidence', jsonCase: 'eth2' },
);

/** The post-state root of a step does not follow from its pre-state and its units. `ema` is empty without an EMA. */
export const StateRootEvidenceType = new ContainerType(
  {
    head: EvidenceHeadType,
    step: ProvenCommitmentType,
    preHeader: StateHeaderType,
    theta: byteList(MAX_VECTOR_BYTES),
    m: byteList(MAX_VECTOR_BYTES),
    v: byteList(MAX_VECTOR_BYTES),
    ema: byteList(MAX_VECTOR_BYTES),
    units: new ListCompositeType(byteList(MAX_VECTOR_BYTES), MAX_UNITS_PER_STEP),
  },
  { typeName: 'StateRootEvidence', jsonCase: 'eth2' },
);

/** Two claims of one miner with equal chain, job, number and attempt. `head.claim` is one of them. */
export const EquivocationEvidenceType = new ContainerType(
  { head: EvidenceHeadType, other: SignedClaimType },
  { typeName: 'EquivocationEvidence', jsonCase: 'eth2' },
);

/** The list of commitments breaks a rule by itself: count, step numbers, M, or the chain of state roots. */
export const CommitmentsEvidenceType = new ContainerType(
  { head: EvidenceHeadType, fromHeader: StateHeaderType, commitments: StepCommitmentListType },
  { typeName: 'CommitmentsEvidence', jsonCase: 'eth2' },
);

/**
 * The committed diff is not the one between the parent's packed model and the claim's.
 *
 * `parent` is the header of the parent claim. A chain's first claim has none: then both models are empty, and the diff
 * root must be zero.
 */
export const DiffEvidenceType = new ContainerType(
  {
    head: EvidenceHeadType,
    parent: new ListCompositeType(ClaimHeaderType, 1),
    parentModel: byteList(MAX_VECTOR_BYTES),
    model: byteList(MAX_VECTOR_BYTES),
  },
  { typeName: 'DiffEvidence', jsonCase: 'eth2' },
);

/** What binds a verifier to the work it was drawn for. `accused` of the head is the verifier. */
const assignment = { head: EvidenceHeadType, receipt: SignedReceiptType, drawSignature: Signature };

/**
 * A positive vote over a unit that the verifier was drawn for and that `proof`, a whole file of evidence of kind `unit` or
 * `loss`, proves false.
 */
export const AttestationEvidenceType = new ContainerType(
  { ...assignment, attestation: AttestationType, proof: byteList(MAX_EVIDENCE_BYTES - (1 << 24)) },
  { typeName: 'AttestationEvidence', jsonCase: 'eth2' },
);

/**
 * A part of a verifier's opened receipt is not what the work gives; or their number is not that of the draw.
 *
 * For a part of a unit `step` is the unit's, `header` and `theta` are its pre-state's, and `m` and `v` are empty. For the
 * drawn state `step` starts from it; for the last state `step` is the claim's last, and it ends there. For a wrong number
 * of parts `step` is the claim's first, `part` 0, and `theta`, `m`, `v` and `tokenChunks` are empty.
 */
export const ReceiptEvidenceType = new ContainerType(
  {
    ...assignment,
    parts: ReceiptPartsType,
    part: Uint32,
    step: ProvenCommitmentType,
    header: StateHeaderType,
    theta: byteList(MAX_VECTOR_BYTES),
    m: byteList(MAX_VECTOR_BYTES),
    v: byteList(MAX_VECTOR_BYTES),
    tokenChunks: ChunkOpeningsType,
  },
  { typeName: 'ReceiptEvidence', jsonCase: 'eth2' },
);

/**
 * A held-out loss in a positive vote is not the model's. `accused` of the head is the verifier.
 *
 * `after` 1: the claim's own model; 0: its parent's, whose header is `parent`. A chain's first claim has none: then `model`
 * is empty, and `fromHeader` and `vector` are those of its from state (EMA, or θ without one).
 */
export const HeldOutEvidenceType = new ContainerType(
  {
    head: EvidenceHeadType,
    attestation: AttestationType,
    after: Uint8,
    parent: new ListCompositeType(ClaimHeaderType, 1),
    model: byteList(MAX_VECTOR_BYTES),
    fromHeader: new ListCompositeType(StateHeaderType, 1),
    vector: byteList(MAX_VECTOR_BYTES),
    tokenChunks: ChunkOpeningsType,
  },
  { typeName: 'HeldOutEvidence', jsonCase: 'eth2' },
);

/** Kind → container. */
export const EVIDENCE_TYPES = {
  leaf: LeafEvidenceType,
  quantization: QuantizationEvidenceType,
  unit: UnitEvidenceType,
  loss: LossEvidenceType,
  batch: BatchEvidenceType,
  'state-root': StateRootEvidenceType,
  equivocation: EquivocationEvidenceType,
  commitments: CommitmentsEvidenceType,
  diff: DiffEvidenceType,
  element: ElementProofType,
  'witnessed-element': WitnessedProofType,
  attestation: AttestationEvidenceType,
  receipt: ReceiptEvidenceType,
  'held-out': HeldOutEvidenceType,
  'receipt-trace': ReceiptProofType,
} as const;

/** The container's value for each kind. */
export type EvidenceBody<K extends EvidenceKind> = ValueOf<(typeof EVIDENCE_TYPES)[K]>;
