/**
 * The ledger's state machine: `apply(state, block) → state`, pure and deterministic, with integer money and without a
 * clock. Engines (embedded, or a consensus engine elsewhere) drive it; they give order and durability, not rules.
 *
 * What it guarantees: a claim is accepted from the drawn miner only and binds its bond; only checked evidence slashes;
 * every claim gets an outcome; money is conserved; a refused transaction changes nothing.
 */
import type { Bls } from '../protocol/bls.js';
import { chainIdOf, decodeTransaction, type Genesis, type Transaction } from '../protocol/ledgerTypes.js';
import { decodeStrict } from '../protocol/ssz.js';
import { ZERO_ROOT } from '../protocol/types.js';
import type { MachineBlock, StateMachine } from './machine.js';
import { applyAnswer, applyChallenge, applySilence } from './stateAvailability.js';
import { applyAttestation, applyBeaconShare, applyClaim } from './stateClaims.js';
import { applyDispute, applyDisputeOrder } from './stateDisputes.js';
import type { LedgerEvent } from './stateEvents.js';
import { applyCommitEvidence, applyEvidence, type EvidenceChecker } from './stateEvidence.js';
import { membersOfGenesis } from './stateGenesis.js';
import { applyRegister, applyTransfer, applyUnbond, applyWithdraw, authorize } from './stateMembers.js';
import { requireRule } from './stateMoney.js';
import { openClaims } from './stateOpen.js';
import { applyReceipt, applyReceiptReveal } from './stateReceipts.js';
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
    historyRoot: ZERO_ROOT,
    commitments: [],
    pieces: [],
    epoch: 0,
    epochStake: 0n,
    settled: [],
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
    case 'tick':
      return applyTick(state, transaction.body, events);
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
    case 'name-operation':
    case 'contest-node':
      authorize(state, bls, transaction.kind, transaction.body.order, transaction.body.signature);
      return applyDisputeOrder(state, transaction, events);
    case 'publish-trace':
    case 'open-node':
    case 'prove-element':
    case 'dispute-tick':
      return applyDispute(state, bls, transaction, events);
  }
}
