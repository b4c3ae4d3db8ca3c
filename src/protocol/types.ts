/**
 * SSZ containers of states, claims, beacons and attestations.
 *
 * Every container is exported twice: as the SSZ type (`StateHeaderType`: serialize, deserialize, hashTreeRoot) and as
 * the TypeScript value it holds (`StateHeader`). Ledger objects (genesis, blocks, transactions) are in
 * `ledgerTypes.ts`, fraud proofs in `evidence/types.ts`.
 */
import { ContainerType, ListBasicType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { DomainTag, Float32Bits, Money, PublicKey, Root, Signature, Uint8, Uint32, Uint64 } from './ssz.js';

export { decodeStrict } from './ssz.js';

/** Version of {@link StateHeaderType}; numerics version 1 uses 1. */
export const STATE_VERSION = 1;
/** Largest M of a recipe. */
export const MAX_UNITS_PER_STEP = 4096;
/** Largest K of a recipe. */
export const MAX_STEPS_PER_CLAIM = 1 << 16;
/** Largest number of sequences of one step's batch. */
export const MAX_SEQUENCES_PER_STEP = 1 << 20;
/** Largest committee. */
export const MAX_COMMITTEE = 4096;
/** A claim's transaction is at most this long. */
export const MAX_CLAIM_BYTES = 1024;
/** Root of a vector that a recipe has switched off (the EMA). */
export const ZERO_ROOT: Uint8Array = new Uint8Array(32);

/**
 * A training state at the start of a step. Its hash_tree_root is the *state root*.
 *
 * `step` counts finished steps (0 for the start state), `tokens` trained tokens; `beta1Power` and `beta2Power` are the
 * fp32 bits of β1^step and β2^step as the optimizer multiplied them up (1.0 at step 0). Vector roots are the plain
 * BLAKE3 of the flat little-endian fp32 vector; `emaRoot` is zero where the recipe has no EMA.
 */
export const StateHeaderType = new ContainerType(
  {
    version: Uint32,
    recipeRoot: Root,
    step: Uint64,
    tokens: Uint64,
    beta1Power: Float32Bits,
    beta2Power: Float32Bits,
    thetaRoot: Root,
    mRoot: Root,
    vRoot: Root,
    emaRoot: Root,
  },
  { typeName: 'StateHeader', jsonCase: 'eth2' },
);
export type StateHeader = ValueOf<typeof StateHeaderType>;

/** @returns the state root: 32 bytes */
export function stateRoot(header: StateHeader): Uint8Array {
  return StateHeaderType.hashTreeRoot(header);
}

/** The offsets, in tokens, at which the sequences of one step start: units in order, sequences of a unit in order. */
export const BatchOffsetsType = new ListBasicType(Uint64, MAX_SEQUENCES_PER_STEP, { typeName: 'BatchOffsets' });
export type BatchOffsets = ValueOf<typeof BatchOffsetsType>;

/**
 * What a miner commits of one step: state(step) → state(step + 1).
 *
 * `step` is the number of the step, equal to the pre-state's `step`. `unitRoots[j]` is the BLAKE3 of unit j's file,
 * `unitLosses[j]` the fp32 bits of its mean loss; both have M entries.
 */
export const StepCommitmentType = new ContainerType(
  {
    step: Uint64,
    preStateRoot: Root,
    batchDigest: Root,
    unitRoots: new ListCompositeType(Root, MAX_UNITS_PER_STEP),
    unitLosses: new ListBasicType(Float32Bits, MAX_UNITS_PER_STEP),
    postStateRoot: Root,
  },
  { typeName: 'StepCommitment', jsonCase: 'eth2' },
);
export type StepCommitment = ValueOf<typeof StepCommitmentType>;

/** The K step commitments of a claim, in order: the blob behind `ClaimHeader.listRoot`. */
export const StepCommitmentListType = new ListCompositeType(StepCommitmentType, MAX_STEPS_PER_CLAIM, {
  typeName: 'StepCommitmentList',
});
export type StepCommitmentList = ValueOf<typeof StepCommitmentListType>;

/**
 * What a miner signs. The *claim root* is its hash_tree_root.
 *
 * `job` is the ledger's job number; `parentClaimRoot` is zero for claim 0; `fromRoot` and `toRoot` are state roots;
 * `listRoot` is the hash_tree_root of the {@link StepCommitmentListType}; `modelRoot` and `diffRoot` are the BLAKE3 of
 * the packed 4-bit model after the last step and of its diff to the parent's (zero where there is none).
 */
export const ClaimHeaderType = new ContainerType(
  {
    domain: DomainTag,
    chainId: Root,
    job: Uint32,
    claimNumber: Uint64,
    attempt: Uint32,
    parentClaimRoot: Root,
    recipeRoot: Root,
    miner: PublicKey,
    fromRoot: Root,
    toRoot: Root,
    listRoot: Root,
    modelRoot: Root,
    diffRoot: Root,
    draw1: Root,
    bond: Money,
  },
  { typeName: 'ClaimHeader', jsonCase: 'eth2' },
);
export type ClaimHeader = ValueOf<typeof ClaimHeaderType>;

/** A claim's transaction: header and the miner's BLS signature over the claim root. */
export const SignedClaimType = new ContainerType(
  { header: ClaimHeaderType, signature: Signature },
  { typeName: 'SignedClaim', jsonCase: 'eth2' },
);
export type SignedClaim = ValueOf<typeof SignedClaimType>;

/** @returns the claim root: 32 bytes */
export function claimRoot(header: ClaimHeader): Uint8Array {
  return ClaimHeaderType.hashTreeRoot(header);
}

/** Which beacon of a claim: 1 fixes miner and batches, 2 the held-out sequences and the verifiers' draws. */
export const BEACON_KIND = { one: 1, two: 2 } as const;
export type BeaconKind = (typeof BEACON_KIND)[keyof typeof BEACON_KIND];

/**
 * The message that a beacon's committee members sign: never a height or a time, so that timing and resuming cannot
 * move a root.
 */
export const BeaconMessageType = new ContainerType(
  {
    domain: DomainTag,
    chainId: Root,
    claimNumber: Uint64,
    attempt: Uint32,
    kind: Uint8,
    parentBeacon: Root,
  },
  { typeName: 'BeaconMessage', jsonCase: 'eth2' },
);
export type BeaconMessage = ValueOf<typeof BeaconMessageType>;

/** One member's BLS signature over the beacon's message. */
export const BeaconShareType = new ContainerType(
  { message: BeaconMessageType, member: PublicKey, signature: Signature },
  { typeName: 'BeaconShare', jsonCase: 'eth2' },
);
export type BeaconShare = ValueOf<typeof BeaconShareType>;

export const VERDICT = { negative: 0, positive: 1 } as const;
export type VerdictByte = (typeof VERDICT)[keyof typeof VERDICT];

/**
 * The one message that all verifiers of a claim sign, so that their signatures aggregate.
 *
 * `beacon2` names the round: it drew the held-out sequences, and without it a vote could be told as one of another round.
 * `heldOutBeforeBits` and `heldOutAfterBits` are the fp32 bits of the exact mean loss of the 4-bit model before and
 * after the claim on the sequences that beacon 2 drew; a negative that did not get as far signs 0x7FC00000 for both.
 */
export const AttestationDataType = new ContainerType(
  {
    domain: DomainTag,
    chainId: Root,
    claimRoot: Root,
    beacon2: Root,
    verdict: Uint8,
    heldOutBeforeBits: Float32Bits,
    heldOutAfterBits: Float32Bits,
  },
  { typeName: 'AttestationData', jsonCase: 'eth2' },
);
export type AttestationData = ValueOf<typeof AttestationDataType>;

/** One verifier's signed verdict. Which units it had to check is opened with its receipt (`receipt.ts`). */
export const AttestationType = new ContainerType(
  { data: AttestationDataType, verifier: PublicKey, signature: Signature },
  { typeName: 'Attestation', jsonCase: 'eth2' },
);
export type Attestation = ValueOf<typeof AttestationType>;

/** Equal attestations as one signature; `participants` are the signers' keys in ascending byte order. */
export const AggregatedAttestationType = new ContainerType(
  {
    data: AttestationDataType,
    participants: new ListCompositeType(PublicKey, MAX_COMMITTEE),
    signature: Signature,
  },
  { typeName: 'AggregatedAttestation', jsonCase: 'eth2' },
);
export type AggregatedAttestation = ValueOf<typeof AggregatedAttestationType>;
