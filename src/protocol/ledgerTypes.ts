/**
 * SSZ containers of the ledger: protocol parameters, genesis, transactions.
 *
 * A transaction is one kind byte followed by its container. Claims, beacon shares and attestations carry signatures of
 * their own; what an account orders is signed with its nonce, so that nothing can be replayed, here or on another chain.
 */
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { PieceAnswerType, PieceProofType, PieceType } from './availability.js';
import type { Bls, KeyPair } from './bls.js';
import {
  ContestNodeType,
  DeclineDisputeType,
  DisputeTickType,
  NameOperationType,
  OpenDisputeType,
  OpenHeldOutDisputeType,
  OpenNodeType,
  OpenVerifierDisputeType,
  ProveElementType,
  ProveReceiptType,
  PublishTraceType,
} from './dispute/transactions.js';
import { DOMAIN } from './domains.js';
import { ReceiptOpeningType, SignedReceiptType } from './receipt.js';
import {
  byteList,
  type Codec,
  DomainTag,
  decodeStrict,
  Money,
  PublicKey,
  Root,
  Signature,
  Uint8,
  Uint32,
  Uint64,
} from './ssz.js';
import { AttestationType, BeaconShareType, SignedClaimType } from './types.js';

/** Largest number of accounts and members of one chain. */
export const MAX_ACCOUNTS = 1 << 16;
/** Largest evidence in a transaction. */
export const MAX_EVIDENCE_TRANSACTION_BYTES = (1 << 30) - 4096;

/**
 * The rules of a chain that are numbers. Clocks count heights; with 0 a `tick` ends a stage whenever it comes, which is
 * the embedded engine's way: its sequencer writes one when it sees a worker exit.
 */
export const ProtocolParametersType = new ContainerType(
  {
    /** Claims between a member's registration and its first committee or draw. */
    epochClaims: Uint32,
    committeeSize: Uint32,
    /** Claims that may be open at once: 1 = the next one starts when the last one is settled. */
    maxOpenClaims: Uint32,
    /** Heights that a beacon's members have. */
    beaconClock: Uint64,
    /** Heights that a miner has to train. */
    trainingClock: Uint64,
    /** Heights in which attestations and evidence are taken. */
    attestationClock: Uint64,
    /** Heights between a claim and the first share of its beacon 2: at least 2. */
    beaconTwoDelay: Uint64,
    /** Rounds of attestation, each with a new draw, before a claim is rejected. */
    attestationRounds: Uint32,
    /** Claims in a row without an attestation after which a verifier is ejected. */
    silenceClaims: Uint32,
    /** Heights between unbonding and withdrawal, beside the rule that all claims open at unbonding are settled. */
    unbondingClock: Uint64,
    quorumNumerator: Uint32,
    quorumDenominator: Uint32,
    minerBond: Money,
    verifierStake: Money,
    /** Base reward of a finalized claim, from the reward pool. */
    claimReward: Money,
    /** Largest usefulness bonus of a finalized claim. */
    usefulnessBonus: Money,
    /** Shared by the verifiers of the quorum, by stake. */
    verifierReward: Money,
    missedTurnFee: Money,
    /** Locked by a finder's commitment; the accused gets it when the accusation is false or is never made. */
    challengeBond: Money,
    /** The finder's share of a slashed bond: at most a half; the rest is burned. */
    finderNumerator: Uint32,
    finderDenominator: Uint32,
    /** The gain is measured back over at least this many steps. */
    usefulnessSteps: Uint32,
    // From here on 0 is what the embedded ledger has, and SSZ pads a container with zeros to a power of two fields: a
    // chain without these rules has the same id, and so the same beacons, as before they were there. Up to 32 fields.
    /** A withheld beacon share costs the miner's bond, both rewards of a claim, and this. */
    beaconFineSurplus: Money,
    /** Heights in which receipts are opened after the votes. */
    revealClock: Uint64,
    /** Heights that each turn of a dispute has. */
    disputeClock: Uint64,
    /** A challenger's bond is at least the bond of an accusation and this. */
    disputeBondSurplus: Money,
    /** Disputes under way at once against one claim, beside the first; the others wait, by bond. */
    extraDisputes: Uint32,
    /** Heights beside the least number that a challenged miner has to show a piece of its files. */
    availabilityClock: Uint64,
    /** Bounds of the genesis job's steps a claim, and the heights that training one should take; 0: always the same number. */
    leastSteps: Uint32,
    mostSteps: Uint32,
    targetHeights: Uint32,
  },
  { typeName: 'ProtocolParameters', jsonCase: 'eth2' },
);
export type ProtocolParameters = ValueOf<typeof ProtocolParametersType>;

/** What is trained: one recipe (a claim with another recipe root is malformed), from one start state. */
export const JobType = new ContainerType(
  {
    id: Uint32,
    recipeRoot: Root,
    startStateRoot: Root,
    /** K. */
    stepsPerClaim: Uint32,
  },
  { typeName: 'Job', jsonCase: 'eth2' },
);
export type Job = ValueOf<typeof JobType>;

/** What an owner fixes of its job. */
export const JobRulesType = new ContainerType(
  {
    /** Bounds of K, and the heights that training a claim should take (`src/protocol/claimSteps.ts`). */
    leastSteps: Uint32,
    mostSteps: Uint32,
    targetHeights: Uint32,
    /** Finalized claims that the owner wants. */
    claims: Uint32,
    /** Height from which on no claim is opened. */
    deadline: Uint64,
    /** Stake of the verifiers that serve the job, below which no claim is opened: else whoever comes first judges alone. */
    leastStake: Money,
    claimReward: Money,
    usefulnessBonus: Money,
    verifierReward: Money,
  },
  { typeName: 'JobRules', jsonCase: 'eth2' },
);
export type JobRules = ValueOf<typeof JobRulesType>;

/** Bits of `roles`. */
export const ROLE = { miner: 1, verifier: 2 } as const;

const GenesisMemberType = new ContainerType(
  { publicKey: PublicKey, possession: Signature, roles: Uint8, stake: Money },
  { typeName: 'GenesisMember', jsonCase: 'eth2' },
);
const GenesisAccountType = new ContainerType(
  { publicKey: PublicKey, balance: Money },
  { typeName: 'GenesisAccount', jsonCase: 'eth2' },
);

/** A chain's beginning. The *chain id* is its hash_tree_root. */
export const GenesisType = new ContainerType(
  {
    version: Uint32,
    /** Tells chains of equal content apart. */
    salt: Root,
    parameters: ProtocolParametersType,
    job: JobType,
    accounts: new ListCompositeType(GenesisAccountType, MAX_ACCOUNTS),
    members: new ListCompositeType(GenesisMemberType, MAX_ACCOUNTS),
    rewardPool: Money,
  },
  { typeName: 'Genesis', jsonCase: 'eth2' },
);
export type Genesis = ValueOf<typeof GenesisType>;

export function chainIdOf(genesis: Genesis): Uint8Array {
  return GenesisType.hashTreeRoot(genesis);
}

/** Stages of an open claim, as ticks name them. */
export const STAGE = { beaconOne: 1, training: 2, claimed: 3, attesting: 4, revealing: 5 } as const;
export type StageName = keyof typeof STAGE;

/** Ends a stage whose clock has run out, or lets a height pass. `sequence` counts the ticks of the claim. */
export const TickType = new ContainerType(
  { claimNumber: Uint64, attempt: Uint32, stage: Uint8, sequence: Uint32 },
  { typeName: 'Tick', jsonCase: 'eth2' },
);
/** Opens a finder's commitment: the evidence, and the salt under which it was committed. */
export const EvidenceRevealType = new ContainerType(
  { finder: PublicKey, salt: Root, evidence: byteList(MAX_EVIDENCE_TRANSACTION_BYTES) },
  { typeName: 'EvidenceReveal', jsonCase: 'eth2' },
);

/** Opens a verifier's receipt, once the votes are over. */
export const ReceiptRevealType = new ContainerType(
  { claimRoot: Root, verifier: PublicKey, opening: ReceiptOpeningType },
  { typeName: 'ReceiptReveal', jsonCase: 'eth2' },
);

const order = { sender: PublicKey, nonce: Uint64 };

/** A finder commits to evidence against an open claim before it shows it, so that nobody can copy it. */
export const CommitEvidenceType = new ContainerType(
  { ...order, claimRoot: Root, commitment: Root },
  { typeName: 'CommitEvidence', jsonCase: 'eth2' },
);
/** Asks a claim's miner for a piece of its files; prepaid. */
export const ChallengePieceType = new ContainerType(
  { ...order, piece: PieceType, proof: PieceProofType },
  { typeName: 'ChallengePiece', jsonCase: 'eth2' },
);
/** Moves balance into stake. A key that is new to the chain proves its possession. */
export const RegisterType = new ContainerType(
  { ...order, possession: Signature, roles: Uint8, stake: Money },
  { typeName: 'Register', jsonCase: 'eth2' },
);
export const UnbondType = new ContainerType(order, { typeName: 'Unbond', jsonCase: 'eth2' });
export const WithdrawType = new ContainerType(order, { typeName: 'Withdraw', jsonCase: 'eth2' });
export const TransferType = new ContainerType(
  { ...order, to: PublicKey, amount: Money },
  { typeName: 'Transfer', jsonCase: 'eth2' },
);

/** A job of an owner: what is trained, by which rules, paid from which fund. The ledger numbers it. */
export const CreateJobType = new ContainerType(
  {
    ...order,
    recipeRoot: Root,
    startStateRoot: Root,
    /** K of the first claim. */
    firstSteps: Uint32,
    rules: JobRulesType,
    fund: Money,
  },
  { typeName: 'CreateJob', jsonCase: 'eth2' },
);
/** Adds to the fund of a job that is not closed. */
export const FundJobType = new ContainerType(
  { ...order, job: Uint32, amount: Money },
  { typeName: 'FundJob', jsonCase: 'eth2' },
);
/** A member takes part in a job of an owner: only who does is drawn for it, and answers for its turns and its silence. */
export const ServeJobType = new ContainerType(
  { ...order, job: Uint32, serves: Uint8 },
  { typeName: 'ServeJob', jsonCase: 'eth2' },
);
/** A verifier signs for the committee of an open claim ({@link handoverMessage}); the ledger only carries it. */
export const HandOverType = new ContainerType(
  {
    ...order,
    job: Uint32,
    claimNumber: Uint64,
    attempt: Uint32,
    committeeRoot: Root,
    /** Over the message that all signers share; the order's own signature is over the order. */
    voucher: Signature,
  },
  { typeName: 'HandOver', jsonCase: 'eth2' },
);
/** Lets an owner’s job end when its deadline has passed, and its delivery when that is over. */
export const JobTickType = new ContainerType({ job: Uint32 }, { typeName: 'JobTick', jsonCase: 'eth2' });
/** A tick of a claim of an owner's job. */
export const TurnTickType = new ContainerType(
  { job: Uint32, tick: TickType },
  { typeName: 'TurnTick', jsonCase: 'eth2' },
);
/** A claim where K changes: with what shows that its list is as long as the ledger says. */
export const SizedClaimType = new ContainerType(
  { claim: SignedClaimType, chunksRoot: Root },
  { typeName: 'SizedClaim', jsonCase: 'eth2' },
);

/** What an account may order; each is signed over (domain, chain, kind, order). */
export const ORDER_TYPES = {
  'commit-evidence': CommitEvidenceType,
  'challenge-piece': ChallengePieceType,
  register: RegisterType,
  unbond: UnbondType,
  withdraw: WithdrawType,
  transfer: TransferType,
  'open-dispute': OpenDisputeType,
  'name-operation': NameOperationType,
  'contest-node': ContestNodeType,
  'open-verifier-dispute': OpenVerifierDisputeType,
  'open-held-out-dispute': OpenHeldOutDisputeType,
  'create-job': CreateJobType,
  'fund-job': FundJobType,
  'serve-job': ServeJobType,
  'hand-over': HandOverType,
} as const;
export type OrderKind = keyof typeof ORDER_TYPES;
export type Order<K extends OrderKind> = ValueOf<(typeof ORDER_TYPES)[K]>;

function signed<T extends (typeof ORDER_TYPES)[OrderKind]>(
  type: T,
): ContainerType<{ order: T; signature: typeof Signature }> {
  return new ContainerType({ order: type, signature: Signature }, { typeName: `Signed${type.typeName}` });
}

/** Kind → (first byte, container). */
export const TRANSACTION_TYPES = {
  'beacon-share': [1, BeaconShareType],
  claim: [2, SignedClaimType],
  attestation: [3, AttestationType],
  tick: [4, TickType],
  evidence: [5, EvidenceRevealType],
  'commit-evidence': [6, signed(CommitEvidenceType)],
  register: [7, signed(RegisterType)],
  unbond: [8, signed(UnbondType)],
  withdraw: [9, signed(WithdrawType)],
  transfer: [10, signed(TransferType)],
  receipt: [20, SignedReceiptType],
  'receipt-reveal': [21, ReceiptRevealType],
  'open-dispute': [30, signed(OpenDisputeType)],
  'publish-trace': [31, PublishTraceType],
  'name-operation': [32, signed(NameOperationType)],
  'open-node': [33, OpenNodeType],
  'contest-node': [34, signed(ContestNodeType)],
  'prove-element': [35, ProveElementType],
  'dispute-tick': [36, DisputeTickType],
  'open-verifier-dispute': [37, signed(OpenVerifierDisputeType)],
  'open-held-out-dispute': [48, signed(OpenHeldOutDisputeType)],
  'decline-dispute': [38, DeclineDisputeType],
  'prove-receipt': [39, ProveReceiptType],
  'challenge-piece': [22, signed(ChallengePieceType)],
  'answer-piece': [23, PieceAnswerType],
  'piece-silence': [24, PieceType],
  'create-job': [40, signed(CreateJobType)],
  'fund-job': [41, signed(FundJobType)],
  'job-tick': [42, JobTickType],
  'turn-tick': [43, TurnTickType],
  'sized-claim': [44, SizedClaimType],
  'serve-job': [45, signed(ServeJobType)],
  'hand-over': [46, signed(HandOverType)],
} as const;
export type TransactionKind = keyof typeof TRANSACTION_TYPES;
export type TransactionBody<K extends TransactionKind> = ValueOf<(typeof TRANSACTION_TYPES)[K][1]>;

/** A decoded transaction: told apart by `kind`. */
export type Transaction = {
  readonly [K in TransactionKind]: { readonly kind: K; readonly body: TransactionBody<K> };
}[TransactionKind];

const KINDS = Object.keys(TRANSACTION_TYPES) as readonly TransactionKind[];

/** @returns kind byte ‖ SSZ */
export function encodeTransaction<K extends TransactionKind>(kind: K, body: TransactionBody<K>): Uint8Array {
  const [byte, type] = TRANSACTION_TYPES[kind];
  const ssz = (type as unknown as Codec<TransactionBody<K>>).serialize(body);
  const bytes = new Uint8Array(1 + ssz.length);
  bytes[0] = byte;
  bytes.set(ssz, 1);
  return bytes;
}

/** @throws PogoError MALFORMED */
export function decodeTransaction(bytes: Uint8Array): Transaction {
  const kind = KINDS.find((name) => TRANSACTION_TYPES[name][0] === bytes[0]);
  if (kind === undefined) {
    throw new PogoError('MALFORMED', `expected a known kind of transaction, found first byte ${bytes[0] ?? 'missing'}`);
  }
  const type = TRANSACTION_TYPES[kind][1] as unknown as Codec<TransactionBody<TransactionKind>>;
  return { kind, body: decodeStrict(type, bytes.subarray(1)) } as Transaction;
}

const OrderMessageType = new ContainerType({ domain: DomainTag, chainId: Root, kind: Uint8, order: Root });

/** What an account signs for an order. */
export function orderMessage<K extends OrderKind>(chainId: Uint8Array, kind: K, body: Order<K>): Uint8Array {
  const type = ORDER_TYPES[kind] as unknown as { hashTreeRoot(value: Order<K>): Uint8Array };
  const [byte] = TRANSACTION_TYPES[kind];
  return OrderMessageType.hashTreeRoot({
    domain: DOMAIN.account,
    chainId,
    kind: byte,
    order: type.hashTreeRoot(body),
  });
}

/** A signed order as a transaction. */
export function signOrder<K extends OrderKind>(
  bls: Bls,
  keys: KeyPair,
  chainId: Uint8Array,
  kind: K,
  body: Omit<Order<K>, 'sender'>,
): Uint8Array {
  const order = { ...body, sender: keys.publicKey } as Order<K>;
  const signature = bls.sign(keys.secret, orderMessage(chainId, kind, order));
  return encodeTransaction(kind, { order, signature } as unknown as TransactionBody<K>);
}
