/**
 * The ledger's state as one SSZ container: what every node agrees on after each block. Its hash_tree_root is the
 * *ledger root*; its serialization is what engines store.
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { equalBytes } from '../hex.js';
import { PieceType } from '../protocol/availability.js';
import { DisputeType, TraceRecordType } from '../protocol/dispute/transactions.js';
import { JobRulesType, JobType, MAX_ACCOUNTS, ProtocolParametersType } from '../protocol/ledgerTypes.js';
import { Float32Bits, Money, PublicKey, Root, Signature, Uint8, Uint32, Uint64 } from '../protocol/ssz.js';
import { AttestationType, MAX_COMMITTEE, SignedClaimType } from '../protocol/types.js';

export const AccountType = new ContainerType({ publicKey: PublicKey, balance: Money, nonce: Uint64 });
export type Account = ValueOf<typeof AccountType>;

export const MEMBER_STATUS = { active: 0, unbonding: 1, ejected: 2, slashed: 3 } as const;

/** A miner or verifier with stake. `locked` is the part of `stake` that secures open claims. */
export const MemberType = new ContainerType({
  publicKey: PublicKey,
  roles: Uint8,
  status: Uint8,
  stake: Money,
  locked: Money,
  /** First claim number for which the member may be drawn. */
  eligibleFrom: Uint64,
  /** Claims in a row without an attestation. */
  silence: Uint32,
  /** When unbonding began: height, and the next claim number at that time. */
  unbondHeight: Uint64,
  unbondClaim: Uint64,
});
export type Member = ValueOf<typeof MemberType>;

export const SeatType = new ContainerType({ publicKey: PublicKey, stake: Money });
/** A member of a claim's committee, with its stake when the claim was opened. */
export type Seat = ValueOf<typeof SeatType>;
/** Seats of a committee in ascending order of their keys: its hash_tree_root is the *committee root*. */
export const SeatsType = new ListCompositeType(SeatType, MAX_COMMITTEE, { typeName: 'Seats' });

export const ShareType = new ContainerType({ member: PublicKey, signature: Signature });

/** A verifier's receipt: what it committed to, and the draw signature once it is opened (zero before). */
export const ReceiptRecordType = new ContainerType({
  verifier: PublicKey,
  commitment: Root,
  opened: Uint8,
  drawSignature: Signature,
});
export type ReceiptRecord = ValueOf<typeof ReceiptRecordType>;

/** A claim that is not settled yet. Fields of later stages are zero or empty until then. */
export const OpenClaimType = new ContainerType({
  claimNumber: Uint64,
  attempt: Uint32,
  /** Claims of all jobs that were opened before it and not void: what waiting for an epoch is counted by. */
  sequence: Uint64,
  /** K, and the first step. */
  steps: Uint32,
  firstStep: Uint64,
  /** Heights from its draw to its claim. */
  trainedHeights: Uint64,
  stage: Uint8,
  /** Height at which the stage began. */
  stageHeight: Uint64,
  ticks: Uint32,
  committee: new ListCompositeType(SeatType, MAX_COMMITTEE),
  parentClaimRoot: Root,
  fromRoot: Root,
  /** Parent of the beacon that is being collected. */
  parentBeacon: Root,
  shares: new ListCompositeType(ShareType, MAX_COMMITTEE),
  beacon1: Root,
  draw1: Root,
  miner: PublicKey,
  bond: Money,
  /** None or one. */
  claim: new ListCompositeType(SignedClaimType, 1),
  claimRoot: Root,
  beacon2: Root,
  /** Round of attestation, from 0. */
  round: Uint32,
  attestations: new ListCompositeType(AttestationType, MAX_COMMITTEE),
  /** Of this round. */
  receipts: new ListCompositeType(ReceiptRecordType, MAX_COMMITTEE),
});
export type OpenClaim = ValueOf<typeof OpenClaimType>;

/** A finalized claim, as the ledger remembers the recent ones. */
export const FinalizedClaimType = new ContainerType({
  claimNumber: Uint64,
  attempt: Uint32,
  claimRoot: Root,
  miner: PublicKey,
  toRoot: Root,
  modelRoot: Root,
  steps: Uint32,
  beacon1: Root,
  heldOutBeforeBits: Float32Bits,
  heldOutAfterBits: Float32Bits,
  /** Gain over the claim and its ancestors, in 2^-32 nats a token, offset by 2^62. */
  windowGain: Money,
  height: Uint64,
});
export type FinalizedClaim = ValueOf<typeof FinalizedClaimType>;

/**
 * A claim that has its outcome, as long as its verifiers can be accused: one epoch of claims. `voters` are those who
 * signed a positive vote in its last round.
 */
export const SettledClaimType = new ContainerType({
  claimNumber: Uint64,
  attempt: Uint32,
  claimRoot: Root,
  miner: PublicKey,
  beacon2: Root,
  height: Uint64,
  steps: Uint32,
  committee: Uint32,
  voters: new ListCompositeType(PublicKey, MAX_COMMITTEE),
  receipts: new ListCompositeType(ReceiptRecordType, MAX_COMMITTEE),
  /** Verifiers that were convicted of their part in this claim: once each. */
  convicted: new ListCompositeType(PublicKey, MAX_COMMITTEE),
});
export type SettledClaim = ValueOf<typeof SettledClaimType>;

/** A finder's promise of evidence, with its bond. */
export const CommitmentType = new ContainerType({
  finder: PublicKey,
  claimRoot: Root,
  commitment: Root,
  bond: Money,
  height: Uint64,
});
export type Commitment = ValueOf<typeof CommitmentType>;

/** A piece of a claim's files that somebody asked for and paid for. */
export const PieceChallengeType = new ContainerType({
  challenger: PublicKey,
  piece: PieceType,
  bond: Money,
  height: Uint64,
});
export type PieceChallenge = ValueOf<typeof PieceChallengeType>;

/** Finalized claims that the state remembers in full. */
export const RECENT_CLAIMS = 64;

/** One chain of claims: that of the genesis job, or of an owner's. */
const chainOfClaims = {
  /** `stepsPerClaim` is the K of the next claim that is opened. */
  job: JobType,
  /** Claims that were slashed, rejected, or missed so far: the attempt number of the next claim that is opened. */
  falls: Uint32,
  /** Ascending claim numbers, each building on the one before; the first on the last finalized claim. */
  open: new ListCompositeType(OpenClaimType, 1024),
  /** The last {@link RECENT_CLAIMS} of them, ascending. */
  finalized: new ListCompositeType(FinalizedClaimType, RECENT_CLAIMS),
  finalizedCount: Uint64,
  /** Steps of all finalized claims. */
  stepsDone: Uint64,
  /** Chain of hash_tree_roots of all finalized claims. */
  historyRoot: Root,
  /** Stake of the first committee of the present epoch of claims, and the epoch's number. */
  epoch: Uint64,
  epochStake: Money,
  /** The last settled claims, oldest first. */
  settled: new ListCompositeType(SettledClaimType, 1 << 16),
};

export const JOB_STATUS = { open: 0, delivering: 1, closed: 2 } as const;
/** Jobs of owners on one chain. */
export const MAX_JOBS = 1 << 12;

/** A job of an owner, with its chain of claims. */
export const JobRecordType = new ContainerType({
  ...chainOfClaims,
  owner: PublicKey,
  /** Members that take part in it. */
  servers: new ListCompositeType(PublicKey, MAX_ACCOUNTS),
  rules: JobRulesType,
  status: Uint8,
  /** What is left of its money; the rewards of its claims come out of it. */
  fund: Money,
  /** The newest finalized claim: its maker's bond stays locked until the next one is final, or the owner has it. */
  delivery: new ListCompositeType(SignedClaimType, 1),
  /** What of that stake is locked, and until when the owner may ask for pieces once no claim follows. */
  held: Money,
  deliverUntil: Uint64,
});
export type JobRecord = ValueOf<typeof JobRecordType>;

export const LedgerStateType = new ContainerType(
  {
    version: Uint32,
    chainId: Root,
    parameters: ProtocolParametersType,
    height: Uint64,
    accounts: new ListCompositeType(AccountType, MAX_ACCOUNTS),
    members: new ListCompositeType(MemberType, MAX_ACCOUNTS),
    rewardPool: Money,
    burned: Money,
    ...chainOfClaims,
    /** Jobs of owners, by number from 1 on. */
    jobs: new ListCompositeType(JobRecordType, MAX_JOBS),
    commitments: new ListCompositeType(CommitmentType, MAX_ACCOUNTS),
    /** Challenges without an answer. */
    pieces: new ListCompositeType(PieceChallengeType, MAX_ACCOUNTS),
    /** In the order in which they were opened. */
    disputes: new ListCompositeType(DisputeType, MAX_ACCOUNTS),
    disputeCount: Uint64,
    /** Traces of open claims. */
    traces: new ListCompositeType(TraceRecordType, MAX_ACCOUNTS),
  },
  { typeName: 'LedgerState', jsonCase: 'eth2' },
);
export type LedgerState = ValueOf<typeof LedgerStateType>;

/** Offset of {@link FinalizedClaim.windowGain}: SSZ integers have no sign. */
export const GAIN_OFFSET = 1n << 62n;

export function findByKey<T extends { publicKey: Uint8Array }>(list: readonly T[], key: Uint8Array): T | undefined {
  return list.find((entry) => equalBytes(entry.publicKey, key));
}

/**
 * All money of a chain. No transaction changes it: what leaves one pocket enters another, and what is destroyed is
 * counted as burned.
 */
export function totalMoney(state: LedgerState): bigint {
  const sum = (values: readonly bigint[]): bigint => values.reduce((total, value) => total + value, 0n);
  return (
    sum(state.accounts.map((account) => account.balance)) +
    sum(state.members.map((member) => member.stake)) +
    sum(state.commitments.map((commitment) => commitment.bond)) +
    sum(state.disputes.map((dispute) => dispute.bond)) +
    sum(state.pieces.map((challenge) => challenge.bond)) +
    sum(state.jobs.map((job) => job.fund)) +
    state.rewardPool +
    state.burned
  );
}
