/**
 * The ledger's state machine: `apply(state, block) → state`, pure and deterministic, with integer money and without a
 * clock. Engines (embedded, or a consensus engine elsewhere) drive it; they give order and durability, not rules.
 *
 * What it guarantees: a claim is accepted from the drawn miner only and binds its bond; only checked evidence slashes;
 * every claim gets an outcome; money is conserved; a refused transaction changes nothing.
 */
import { equalBytes } from '../hex.js';
import type { Bls } from '../protocol/bls.js';
import { chainIdOf, decodeTransaction, type Genesis, type Transaction } from '../protocol/ledgerTypes.js';
import { decodeStrict } from '../protocol/ssz.js';
import { claimRoot as claimRootOf, ZERO_ROOT } from '../protocol/types.js';
import type { MachineBlock, StateMachine } from './machine.js';
import { applyAnswer, applyChallenge, applySilence } from './stateAvailability.js';
import { applyAttestation, applyBeaconShare, applyClaim } from './stateClaims.js';
import { applyDispute, applyDisputeOrder } from './stateDisputes.js';
import type { LedgerEvent } from './stateEvents.js';
import { applyCommitEvidence, applyEvidence, committedClaim, type EvidenceChecker } from './stateEvidence.js';
import { membersOfGenesis } from './stateGenesis.js';
import { applyHandOver } from './stateHandover.js';
import { applyCreateJob, applyFundJob, applyJobTick, applyServeJob } from './stateJobs.js';
import { applyRegister, applyTransfer, applyUnbond, applyWithdraw, authorize } from './stateMembers.js';
import { requireRule } from './stateMoney.js';
import { openClaims } from './stateOpen.js';
import { applyReceipt, applyReceiptReveal } from './stateReceipts.js';
import { scopeOfClaim, scopeOfJob, scopesOf } from './stateScope.js';
import { applyTick } from './stateTick.js';
import { type LedgerState, LedgerStateType, totalMoney } from './stateTypes.js';

export { type LedgerState, LedgerStateType, totalMoney } from './stateTypes.js';

export interface LedgerMachineOptions {
  readonly genesis: Genesis;
  readonly bls: Bls;
  readonly checkEvidence: EvidenceChecker;
}

/** The state before the first block: members from genesis may be drawn at once. @throws PogoError REJECTED */
export function genesisState(genesis: Genesis, bls: Bls): LedgerState {
  const { parameters } = genesis;
  requireRule(parameters.beaconTwoDelay >= 2, 'genesis: expected beaconTwoDelay of at least 2');
  requireRule(parameters.maxOpenClaims >= 1 && parameters.committeeSize >= 1, 'genesis: expected a claim and a seat');
  requireRule(parameters.attestationRounds >= 1, 'genesis: expected at least one round of attestations');
  requireRule(
    3 * parameters.quorumNumerator >= 2 * parameters.quorumDenominator &&
      parameters.quorumNumerator <= parameters.quorumDenominator,
    'genesis: expected a quorum from 2/3 to 1',
  );
  requireRule(
    parameters.mostSteps === 0 ||
      (parameters.leastSteps >= 1 &&
        parameters.leastSteps <= genesis.job.stepsPerClaim &&
        genesis.job.stepsPerClaim <= parameters.mostSteps),
    'genesis: expected 1 ≤ least ≤ first ≤ most steps of a claim',
  );
  requireRule(parameters.finderDenominator > 0, 'genesis: expected a finder’s share');
  const keys = new Set(genesis.members.map((member) => member.publicKey.join()));
  requireRule(keys.size === genesis.members.length, 'genesis: expected each member once');
  const owners = new Set(genesis.accounts.map((account) => account.publicKey.join()));
  requireRule(owners.size === genesis.accounts.length, 'genesis: expected each account once');
  for (const member of genesis.members) {
    requireRule(bls.popVerify(member.publicKey, member.possession), 'genesis: expected proofs of possession');
  }
  const state: LedgerState = {
    version: 1,
    chainId: chainIdOf(genesis),
    parameters,
    job: genesis.job,
    height: 0,
    accounts: genesis.accounts.map((account) => ({ ...account, nonce: 0 })),
    members: membersOfGenesis(genesis),
    rewardPool: genesis.rewardPool,
    burned: 0n,
    falls: 0,
    open: [],
    finalized: [],
    finalizedCount: 0,
    stepsDone: 0,
    historyRoot: ZERO_ROOT,
    epoch: 0,
    epochStake: 0n,
    settled: [],
    jobs: [],
    commitments: [],
    pieces: [],
    disputes: [],
    disputeCount: 0,
    traces: [],
  };
  // Money is conserved, so no account, stake or counter of what was burned can outgrow its 64 bits later.
  requireRule(totalMoney(state) < 2n ** 64n, 'genesis: expected less than 2^64 units of money in all');
  openClaims(state, []);
  return state;
}

/** The machine that engines drive. */
export function createLedgerMachine(options: LedgerMachineOptions): StateMachine<LedgerState, LedgerEvent> {
  const { bls, checkEvidence, genesis } = options;
  return {
    genesis: () => genesisState(genesis, bls),
    async apply(state, block: MachineBlock) {
      requireRule(block.height === state.height + 1, `expected block ${state.height + 1}, found ${block.height}`);
      const next = LedgerStateType.clone(state);
      next.height = block.height;
      const events: LedgerEvent[] = [];
      for (const bytes of block.transactions) {
        await applyTransaction(next, decodeTransaction(bytes), bls, checkEvidence, events);
      }
      return { state: next, events };
    },
    encode: (state) => LedgerStateType.serialize(state),
    decode: (bytes) => decodeStrict(LedgerStateType, bytes),
    root: (state) => LedgerStateType.hashTreeRoot(state),
  };
}

/** Applies one transaction in place. On an error the caller drops the state: it may be changed in part. */
async function applyTransaction(
  root: LedgerState,
  transaction: Transaction,
  bls: Bls,
  checkEvidence: EvidenceChecker,
  events: LedgerEvent[],
): Promise<void> {
  const scope = scopeFor(root, transaction);
  const done: LedgerEvent[] = [];
  await applyIn(scope, transaction, bls, checkEvidence, done);
  events.push(...inJob(scope, done));
  if (root.jobs.length === 0) return;
  // Stake that one job's claim set free may be what another waited for; and a deadline may have come.
  for (const other of scopesOf(root)) {
    const opened: LedgerEvent[] = [];
    openClaims(other, opened);
    events.push(...inJob(other, opened));
  }
}

/** What happened to claims of an owner's job says so. */
function inJob(scope: LedgerState, events: readonly LedgerEvent[]): LedgerEvent[] {
  const job = scope.job.id;
  return events.map((event) => (job !== 0 && 'claimNumber' in event ? { ...event, job } : event));
}

/** The job that a transaction belongs to: named by it, or by the claim, dispute or beacon that it is about. */
function scopeFor(root: LedgerState, { kind, body }: Transaction): LedgerState {
  switch (kind) {
    case 'beacon-share':
      return (
        scopesOf(root).find(({ open }) =>
          open.some(({ parentBeacon }) => equalBytes(parentBeacon, body.message.parentBeacon)),
        ) ?? root
      );
    case 'claim':
      return scopeOfJob(root, body.header.job);
    case 'sized-claim':
      return scopeOfJob(root, body.claim.header.job);
    case 'turn-tick':
      return scopeOfJob(root, body.job);
    case 'attestation':
      return scopeOfClaim(root, body.data.claimRoot);
    case 'receipt':
      return scopeOfClaim(root, body.message.claimRoot);
    case 'receipt-reveal':
      return scopeOfClaim(root, body.claimRoot);
    case 'challenge-piece':
      return scopeOfClaim(root, body.order.piece.claimRoot);
    case 'answer-piece':
      return scopeOfClaim(root, body.piece.claimRoot);
    case 'piece-silence':
      return scopeOfClaim(root, body.claimRoot);
    case 'commit-evidence':
      return scopeOfClaim(root, body.order.claimRoot);
    case 'evidence':
      return scopeOfClaim(root, committedClaim(root, body) ?? ZERO_ROOT);
    case 'open-dispute':
      return scopeOfClaim(root, body.order.claimRoot);
    case 'open-verifier-dispute':
    case 'open-held-out-dispute':
      return scopeOfClaim(root, claimRootOf(body.order.claim.header));
    case 'publish-trace':
      return scopeOfClaim(root, body.trace.statement.claimRoot);
    case 'name-operation':
    case 'contest-node':
      return scopeOfDispute(root, body.order.dispute);
    case 'open-node':
    case 'prove-element':
    case 'prove-receipt':
    case 'dispute-tick':
    case 'decline-dispute':
      return scopeOfDispute(root, body.dispute);
    default:
      return root;
  }
}

function scopeOfDispute(root: LedgerState, id: number): LedgerState {
  const claimRoot = root.disputes.find((dispute) => dispute.id === id)?.claimRoot;
  return claimRoot === undefined ? root : scopeOfClaim(root, claimRoot);
}

async function applyIn(
  state: LedgerState,
  transaction: Transaction,
  bls: Bls,
  checkEvidence: EvidenceChecker,
  events: LedgerEvent[],
): Promise<void> {
  switch (transaction.kind) {
    case 'beacon-share':
      return applyBeaconShare(state, bls, transaction.body, events);
    case 'claim':
      return applyClaim(state, bls, transaction.body, events);
    case 'attestation':
      return applyAttestation(state, bls, transaction.body, events);
    case 'receipt':
      return applyReceipt(state, bls, transaction.body, events);
    case 'receipt-reveal':
      return applyReceiptReveal(state, bls, transaction.body, events);
    case 'challenge-piece': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyChallenge(state, order, events);
    }
    case 'answer-piece':
      return applyAnswer(state, transaction.body, events);
    case 'piece-silence':
      return applySilence(state, transaction.body, events);
    case 'sized-claim':
      return applyClaim(state, bls, transaction.body.claim, events, transaction.body.chunksRoot);
    case 'tick':
      return applyTick(state, transaction.body, events);
    case 'turn-tick':
      return applyTick(state, transaction.body.tick, events);
    case 'job-tick':
      return applyJobTick(state, transaction.body, events);
    case 'create-job': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyCreateJob(state, order, events);
    }
    case 'serve-job': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyServeJob(state, order);
    }
    case 'hand-over': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyHandOver(state, bls, order);
    }
    case 'fund-job': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyFundJob(state, order, events);
    }
    case 'evidence':
      return applyEvidence(state, checkEvidence, transaction.body, events);
    case 'commit-evidence': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyCommitEvidence(state, order, events);
    }
    case 'register': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyRegister(state, bls, order, events);
    }
    case 'unbond': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyUnbond(state, order, events);
    }
    case 'withdraw': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyWithdraw(state, order, events);
    }
    case 'transfer': {
      const { order, signature } = transaction.body;
      authorize(state, bls, transaction.kind, order, signature);
      return applyTransfer(state, order);
    }
    case 'open-dispute':
    case 'open-verifier-dispute':
    case 'open-held-out-dispute':
    case 'name-operation':
    case 'contest-node':
      authorize(state, bls, transaction.kind, transaction.body.order, transaction.body.signature);
      return applyDisputeOrder(state, bls, transaction, events);
    case 'publish-trace':
    case 'open-node':
    case 'prove-element':
    case 'prove-receipt':
    case 'dispute-tick':
    case 'decline-dispute':
      return applyDispute(state, bls, transaction, events);
  }
}
