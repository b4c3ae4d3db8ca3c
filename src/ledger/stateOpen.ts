/** Open claims: how one begins, and what its fields mean in each stage. */
import { equalBytes } from '../hex.js';
import { type BeaconId, firstBeacon } from '../protocol/beacon.js';
import type { ClaimAssignment } from '../protocol/claim.js';
import { ROLE, STAGE } from '../protocol/ledgerTypes.js';
import { BEACON_KIND, VERDICT, ZERO_ROOT } from '../protocol/types.js';
import { admitWaiting, committeeOf, minerCandidates, seatStake } from './stateCommittee.js';
import type { LedgerEvent } from './stateEvents.js';
import { claimsSoFar, mayOpen, membersOfScope } from './stateScope.js';
import { type LedgerState, type OpenClaim, type ReceiptRecord, SeatsType } from './stateTypes.js';

/** Stands where no miner has been drawn. */
export const NO_KEY: Uint8Array = new Uint8Array(48);

export function openClaimOf(state: LedgerState, claimNumber: number): OpenClaim | undefined {
  return state.open.find((open) => open.claimNumber === claimNumber);
}

/**
 * Opens claims while the rules allow: the next number on the last finalized claim, or on an open claim that has been
 * made, up to `maxOpenClaims`.
 */
export function openClaims(state: LedgerState, events: LedgerEvent[]): void {
  while (state.open.length < state.parameters.maxOpenClaims) {
    if (!mayOpen(state, events)) return;
    const parent = state.open.at(-1);
    if (parent !== undefined && parent.claim.length === 0) return;
    const claimNumber = state.finalizedCount + state.open.length;
    const opened = openClaim(state, claimNumber, parent);
    if (opened === undefined) return;
    state.open.push(opened);
    const committee = opened.committee.map((seat) => seat.publicKey);
    const committeeRoot = SeatsType.hashTreeRoot(opened.committee);
    events.push({ type: 'opened', claimNumber, attempt: opened.attempt, committee, committeeRoot });
  }
}

function openClaim(state: LedgerState, claimNumber: number, parent: OpenClaim | undefined): OpenClaim | undefined {
  const last = state.finalized.at(-1);
  // The parent of beacon 1 is the beacon 1 of the claim before: nothing that depends on when other stages ended.
  const parentBeacon = parent?.beacon1 ?? last?.beacon1 ?? firstBeacon(state.chainId, state.job.id);
  const attempt = state.falls;
  const sequence = claimsSoFar(state);
  const drawn = { parameters: state.parameters, members: membersOfScope(state) };
  let committee = committeeOf(drawn, claimNumber, attempt, parentBeacon, sequence);
  if (committee.length === 0) {
    admitWaiting(state, ROLE.verifier, sequence);
    committee = committeeOf(drawn, claimNumber, attempt, parentBeacon, sequence);
  }
  if (minerCandidates(state, sequence).length === 0) admitWaiting(state, ROLE.miner, sequence);
  if (committee.length === 0 || minerCandidates(state, sequence).length === 0) return undefined;
  countEpoch(state, claimNumber, seatStake(committee));
  return {
    claimNumber,
    attempt,
    sequence,
    steps: state.job.stepsPerClaim,
    firstStep: parent === undefined ? state.stepsDone : parent.firstStep + parent.steps,
    trainedHeights: 0,
    stage: STAGE.beaconOne,
    stageHeight: state.height,
    ticks: 0,
    committee,
    parentClaimRoot: parent?.claimRoot ?? last?.claimRoot ?? ZERO_ROOT,
    fromRoot: parent?.claim[0]?.header.toRoot ?? last?.toRoot ?? state.job.startStateRoot,
    parentBeacon,
    shares: [],
    beacon1: ZERO_ROOT,
    draw1: ZERO_ROOT,
    miner: NO_KEY,
    bond: 0n,
    claim: [],
    claimRoot: ZERO_ROOT,
    beacon2: ZERO_ROOT,
    round: 0,
    attestations: [],
    receipts: [],
  };
}

/** The stake that beacons of an epoch are measured by; it grows where somebody waited for it, and never shrinks. */
function countEpoch(state: LedgerState, claimNumber: number, stake: bigint): void {
  const epoch = Math.floor(claimNumber / Math.max(1, state.parameters.epochClaims));
  if (epoch === state.epoch && stake <= state.epochStake) return;
  state.epoch = epoch;
  state.epochStake = stake;
}

/** The beacon that an open claim is collecting shares of; undefined in the other stages. */
export function beaconIdOf(state: LedgerState, open: OpenClaim): BeaconId | undefined {
  if (open.stage !== STAGE.beaconOne && open.stage !== STAGE.claimed) return undefined;
  return {
    chainId: state.chainId,
    claimNumber: open.claimNumber,
    attempt: open.attempt,
    kind: open.stage === STAGE.beaconOne ? BEACON_KIND.one : BEACON_KIND.two,
    parentBeacon: open.parentBeacon,
  };
}

/** First height at which shares of the claim's present beacon are taken. */
export function sharesFrom(state: LedgerState, open: OpenClaim): number {
  return open.stage === STAGE.claimed ? open.stageHeight + state.parameters.beaconTwoDelay : open.stageHeight;
}

/** What the ledger fixes of an open claim that has its miner. */
export function assignmentOf(state: LedgerState, open: OpenClaim): ClaimAssignment {
  return {
    chainId: state.chainId,
    job: state.job.id,
    claimNumber: open.claimNumber,
    attempt: open.attempt,
    parentClaimRoot: open.parentClaimRoot,
    recipeRoot: state.job.recipeRoot,
    miner: open.miner,
    fromRoot: open.fromRoot,
    draw1: open.draw1,
    bond: open.bond,
  };
}

/** Seats that vote on a claim: the committee without the claim's own miner. */
export function votersOf(open: OpenClaim): OpenClaim['committee'] {
  return open.committee.filter((seat) => !equalBytes(seat.publicKey, open.miner));
}

export function receiptOf(open: Pick<OpenClaim, 'receipts'>, verifier: Uint8Array): ReceiptRecord | undefined {
  return open.receipts.find((receipt) => equalBytes(receipt.verifier, verifier));
}

/** Whether every positive voter has opened its receipt. */
export function allOpened(open: OpenClaim): boolean {
  return open.attestations.every(
    ({ data, verifier }) => data.verdict !== VERDICT.positive || receiptOf(open, verifier)?.opened === 1,
  );
}
