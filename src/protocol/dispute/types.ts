/**
 * SSZ containers of disputes (docs/disputes.md §4): what an accused states, what is opened, and the proof that ends one.
 */
import { ContainerType, ListBasicType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { LearningRateProofType, RecipeHeaderType } from '../../model/recipeHeader.js';
import { ProvenCommitmentType } from '../listProof.js';
import { ReceiptOpeningType, SignedReceiptType } from '../receipt.js';
import { byteList, DomainTag, PublicKey, Root, Signature, Uint8, Uint32, Uint64 } from '../ssz.js';
import { SignedClaimType, StateHeaderType } from '../types.js';

/** Which computation is disputed: of a claim, or of a verifier's receipt over a state or a loss in its vote. */
export const SUBJECT_KIND = { unit: 1, state: 2, model: 3, diff: 4, receipt: 5, heldOut: 6 } as const;

/** Whether a subject belongs to one step of its claim. */
export function hasStep(kind: number): boolean {
  return kind === SUBJECT_KIND.unit || kind === SUBJECT_KIND.state || kind === SUBJECT_KIND.receipt;
}

/** Whether a proof about a subject shows something beside what claim and statement bind: {@link WitnessedProofType}. */
export function needsWitness(kind: number): boolean {
  return kind === SUBJECT_KIND.diff || kind === SUBJECT_KIND.heldOut;
}

/**
 * `stepIndex` counts inside the claim; `stepIndex` and `unit` are 0 where the kind has none. Of a receipt, `unit` is 0 for the
 * state before the step, and 1 for the state after the claim's last one.
 * `stepIndex` counts inside the claim; `stepIndex` and `unit` are 0 where the kind has none. Of a held-out loss they say
 * which loss it is: `heldOutSubject`.
 */
export const DisputeSubjectType = new ContainerType(
  { kind: Uint8, stepIndex: Uint32, unit: Uint32 },
  { typeName: 'DisputeSubject', jsonCase: 'eth2' },
);
export type DisputeSubject = ValueOf<typeof DisputeSubjectType>;

/**
 * Where a trace ends: the number of operations when all were done, and of a diff its bytes; else the first span that meets
 * an Inf or NaN, which makes the unit the null unit.
 */
export const TraceEndType = new ContainerType(
  { operation: Uint32, element: Uint64 },
  { typeName: 'TraceEnd', jsonCase: 'eth2' },
);
export type TraceEnd = ValueOf<typeof TraceEndType>;

/**
 * What the accused signs when it is challenged. `listRoot` is the BLAKE3 of the roots of all operations' outputs,
 * 32 bytes each, in the program's order.
 */
export const TraceStatementType = new ContainerType(
  {
    domain: DomainTag,
    chainId: Root,
    claimRoot: Root,
    accused: PublicKey,
    subject: DisputeSubjectType,
    listRoot: Root,
    end: TraceEndType,
  },
  { typeName: 'TraceStatement', jsonCase: 'eth2' },
);
export type TraceStatement = ValueOf<typeof TraceStatementType>;

export const SignedStatementType = new ContainerType(
  { statement: TraceStatementType, signature: Signature },
  { typeName: 'SignedStatement', jsonCase: 'eth2' },
);
export type SignedStatement = ValueOf<typeof SignedStatementType>;

/** Chunks of one proof: the whole proof is at most 64 KiB. */
const MAX_CHUNKS = 64;

/** Opened chunks of one blob: numbers ascending, bytes, and the chaining values of `merkle/opening.ts`. */
export const BlobOpeningType = new ContainerType(
  {
    indices: new ListBasicType(Uint64, MAX_CHUNKS),
    chunks: new ListCompositeType(byteList(1024), MAX_CHUNKS),
    siblings: byteList(MAX_CHUNKS * 1024),
  },
  { typeName: 'BlobOpening', jsonCase: 'eth2' },
);
export type BlobOpening = ValueOf<typeof BlobOpeningType>;

/** Blobs that one rule reads, and its output. */
const MAX_BLOBS = 32;

/** Whom a proof accuses of what, without the recipe's learning rates. */
export const ProofHeadType = new ContainerType(
  {
    chainId: Root,
    claimRoot: Root,
    accused: PublicKey,
    claim: SignedClaimType,
    recipe: RecipeHeaderType,
  },
  { typeName: 'ProofHead', jsonCase: 'eth2' },
);
export type ProofHead = ValueOf<typeof ProofHeadType>;

/** An opened blob of a proof: the output of an operation (its index), or an external of the program. */
export const NamedOpeningType = new ContainerType(
  { isExternal: Uint8, index: Uint32, opening: BlobOpeningType },
  { typeName: 'NamedOpening', jsonCase: 'eth2' },
);
export type NamedOpening = ValueOf<typeof NamedOpeningType>;

/**
 * One element that the accused's own roots contradict. Everything is bound by the claim's or the statement's signature.
 *
 * `step` is absent for the model and the diff; `learningRate` is there for the operation that reads it; `blobs` holds the chunks that
 * the operation's rule reads and the one that holds the element: externals first, then outputs, ascending.
 */
export const ElementProofType = new ContainerType(
  {
    head: ProofHeadType,
    step: new ListCompositeType(ProvenCommitmentType, 1),
    header: StateHeaderType,
    trace: SignedStatementType,
    operation: Uint32,
    element: Uint64,
    learningRate: new ListCompositeType(LearningRateProofType, 1),
    list: BlobOpeningType,
    blobs: new ListCompositeType(NamedOpeningType, MAX_BLOBS),
  },
  { typeName: 'ElementProof', jsonCase: 'eth2' },
);
export type ElementProof = ValueOf<typeof ElementProofType>;

/**
 * An element proof with what its subject is computed from and the accused's signatures bind only through a hash. For a
 * diff: SSZ of the parent claim's header, under the claim's `parentClaimRoot`; for a held-out loss a `HeldOutWitness`.
 */
export const WitnessedProofType = new ContainerType(
  { witness: byteList(1024), proof: ElementProofType },
  { typeName: 'WitnessedProof', jsonCase: 'eth2' },
);
export type WitnessedProof = ValueOf<typeof WitnessedProofType>;

/**
 * A part of a verifier's receipt is not what its own trace gives. `proof` opens, as the operation behind the last one, of a
 * unit the rows that the receipt looks at (`trace/receiptProgram.ts`), of a state draw signature and part
 * (`trace/stateReceiptProgram.ts`). Nothing is opened where the trace ends early: a null unit's part is a hash of nothing.
 */
export const ReceiptProofType = new ContainerType(
  { receipt: SignedReceiptType, opening: ReceiptOpeningType, proof: ElementProofType },
  { typeName: 'ReceiptProof', jsonCase: 'eth2' },
);
export type ReceiptProof = ValueOf<typeof ReceiptProofType>;

/** The largest proof that convicts. */
export const MAX_ELEMENT_PROOF_BYTES = 1 << 16;
