/** SSZ containers of the ledger's transactions and records of disputes (docs/disputes.md §6). */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { RecipeHeaderType } from '../../model/recipeHeader.js';
import { ProvenCommitmentType } from '../listProof.js';
import { byteList, Money, PublicKey, Root, Uint8, Uint32, Uint64 } from '../ssz.js';
import { MAX_OPERATIONS } from '../trace/program.js';
import { AttestationType, SignedClaimType, StateHeaderType } from '../types.js';
import { BlobOpeningType, DisputeSubjectType, MAX_ELEMENT_PROOF_BYTES, SignedStatementType } from './types.js';

/** Bytes that one move opens at most: 4,096 chaining values of an output over 64 GiB; of others 64 chunks. */
export const MAX_OPENED_BYTES = 1 << 17;

const order = { sender: PublicKey, nonce: Uint64 };

/** Challenges the miner of an open claim to publish the trace of one of its computations. The bond is locked. */
export const OpenDisputeType = new ContainerType(
  { ...order, claimRoot: Root, subject: DisputeSubjectType, bond: Money },
  { typeName: 'OpenDispute', jsonCase: 'eth2' },
);

/**
 * Challenges a verifier of a settled claim to publish the trace of a unit that it was drawn for and voted for. The claim
 * comes with it, since the ledger forgets settled claims; the recipe, since the draw follows from it.
 */
export const OpenVerifierDisputeType = new ContainerType(
  {
    ...order,
    claim: SignedClaimType,
    recipe: RecipeHeaderType,
    accused: PublicKey,
    subject: DisputeSubjectType,
    bond: Money,
  },
  { typeName: 'OpenVerifierDispute', jsonCase: 'eth2' },
);

/**
 * Challenges a verifier of a settled claim to publish the trace of a held-out loss in its vote. Claim, recipe and vote come
 * with it: the ledger keeps none of them.
 */
export const OpenHeldOutDisputeType = new ContainerType(
  {
    ...order,
    claim: SignedClaimType,
    recipe: RecipeHeaderType,
    attestation: AttestationType,
    /** 1: the loss after the claim; 0: that before it. */
    after: Uint8,
    bond: Money,
  },
  { typeName: 'OpenHeldOutDispute', jsonCase: 'eth2' },
);

/** Names the operation whose output is contested, and shows its root in the published list. */
export const NameOperationType = new ContainerType(
  { ...order, dispute: Uint64, operation: Uint32, list: BlobOpeningType },
  { typeName: 'NameOperation', jsonCase: 'eth2' },
);

/** Contests one of the values that the accused opened. */
export const ContestNodeType = new ContainerType(
  { ...order, dispute: Uint64, child: Uint32 },
  { typeName: 'ContestNode', jsonCase: 'eth2' },
);

/**
 * The accused's answer to a challenge: its signed statement and the list behind it, with what shows that both fit the
 * claim. `step` is absent for a model, `post` is there for a state only.
 */
export const PublishTraceType = new ContainerType(
  {
    trace: SignedStatementType,
    recipe: RecipeHeaderType,
    step: new ListCompositeType(ProvenCommitmentType, 1),
    header: StateHeaderType,
    post: new ListCompositeType(StateHeaderType, 1),
    list: byteList(32 * MAX_OPERATIONS),
  },
  { typeName: 'PublishTrace', jsonCase: 'eth2' },
);

/** The accused's answer to a contested node. It is right or wrong by itself, so it needs no signature. */
export const OpenNodeType = new ContainerType(
  { dispute: Uint64, opened: byteList(MAX_OPENED_BYTES) },
  { typeName: 'OpenNode', jsonCase: 'eth2' },
);

/** The accused's answer where the claim's recipe has options that disputes do not know: nobody could show a trace. */
export const DeclineDisputeType = new ContainerType(
  { dispute: Uint64, recipe: RecipeHeaderType },
  { typeName: 'DeclineDispute', jsonCase: 'eth2' },
);

/** The SSZ bytes of an element proof, for a dispute whose challenger is to move. */
export const ProveElementType = new ContainerType(
  { dispute: Uint64, proof: byteList(MAX_ELEMENT_PROOF_BYTES) },
  { typeName: 'ProveElement', jsonCase: 'eth2' },
);

/** The SSZ bytes of a receipt proof, for a dispute with a verifier that has published its trace. */
export const ProveReceiptType = new ContainerType(
  { dispute: Uint64, proof: byteList(MAX_ELEMENT_PROOF_BYTES) },
  { typeName: 'ProveReceipt', jsonCase: 'eth2' },
);

/** Ends a turn whose clock has run out. `sequence` counts the turns of the dispute. */
export const DisputeTickType = new ContainerType(
  { dispute: Uint64, sequence: Uint32 },
  { typeName: 'DisputeTick', jsonCase: 'eth2' },
);

/** A published trace that serves every dispute over its subject. */
export const TraceRecordType = new ContainerType({
  trace: SignedStatementType,
  recipe: RecipeHeaderType,
  step: new ListCompositeType(ProvenCommitmentType, 1),
  header: StateHeaderType,
});
export type TraceRecord = ValueOf<typeof TraceRecordType>;

/** Whose move it is. */
export const TURN = {
  /** Waits for its place: others with higher bonds are under way. */
  queued: 0,
  /** The accused has to publish its trace. */
  trace: 1,
  /** The challenger has to name an operation, or to prove. */
  name: 2,
  /** The accused has to open a node. */
  open: 3,
  /** The challenger has to contest an opened value, or to prove. */
  contest: 4,
} as const;

export const DisputeType = new ContainerType({
  id: Uint64,
  claimRoot: Root,
  subject: DisputeSubjectType,
  accused: PublicKey,
  challenger: PublicKey,
  bond: Money,
  turn: Uint8,
  /** Height at which the turn began. */
  turnHeight: Uint64,
  /** Turns so far. */
  sequence: Uint32,
  operation: Uint32,
  /** The contested node of the operation's output, and what the accused opened of it. */
  totalBytes: Uint64,
  level: Uint8,
  index: Uint64,
  value: Root,
  isRoot: Uint8,
  opened: byteList(MAX_OPENED_BYTES),
  /** The settled claim whose verifier is accused; none where a miner is: then the claim is open. */
  claim: new ListCompositeType(SignedClaimType, 1),
});
export type Dispute = ValueOf<typeof DisputeType>;
