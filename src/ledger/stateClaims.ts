/**
 * The life of a claim (docs/protocol.md §1): opened → beacon 1 → miner → claim → beacon 2 → attestations → outcome.
 *
 * Every function works in place on a state that the caller may throw away; a broken rule is a `REJECTED` error.
 */
import { equalBytes, toHex } from '../hex.js';
import { verifyAttestation } from '../protocol/attestation.js';
import { type BeaconId, beaconFromVerifiedShares, compareBytes, verifyBeaconShare } from '../protocol/beacon.js';
import type { Bls } from '../protocol/bls.js';
import { verifyClaim } from '../protocol/claim.js';
import { hasLength } from '../protocol/claimSteps.js';
import { draw1 } from '../protocol/draws.js';
import { STAGE } from '../protocol/ledgerTypes.js';
import {
  type Attestation,
  BEACON_KIND,
  type BeaconShare,
  type SignedClaim,
  VERDICT,
  ZERO_ROOT,
} from '../protocol/types.js';
import { minerOf } from './stateCommittee.js';
import { hasDispute } from './stateDisputeQueue.js';
import type { LedgerEvent } from './stateEvents.js';
import { memberOf, rejected, requireRule } from './stateMoney.js';
import {
  assignmentOf,
  beaconIdOf,
  NO_KEY,
  openClaimOf,
  openClaims,
  receiptOf,
  sharesFrom,
  votersOf,
} from './stateOpen.js';
import { trySettle } from './stateSettle.js';
import type { LedgerState, OpenClaim } from './stateTypes.js';

export function applyBeaconShare(state: LedgerState, bls: Bls, share: BeaconShare, events: LedgerEvent[]): void {
  const open = openClaimOf(state, share.message.claimNumber);
  const id = open === undefined ? undefined : beaconIdOf(state, open);
  if (open === undefined || id === undefined || !isOf(share, id)) {
    throw rejected(`expected a share of a beacon that is being collected, found claim ${share.message.claimNumber}`);
  }
  const from = sharesFrom(state, open);
  requireRule(state.height >= from, `expected shares of beacon 2 from height ${from} on, found ${state.height}`);
  const seat = open.committee.some((member) => equalBytes(member.publicKey, share.member));
  requireRule(seat, `expected a share of a committee member, found ${toHex(share.member)}`);
  const known = open.shares.some((other) => equalBytes(other.member, share.member));
  requireRule(!known, `expected one share of ${toHex(share.member)}, found a second`);
  requireRule(verifyBeaconShare(bls, share, id), `expected a valid share of ${toHex(share.member)}, found a wrong one`);
  open.shares.push({ member: share.member, signature: share.signature });
  completeBeacon(state, open, events);
}

function isOf({ message }: BeaconShare, id: BeaconId): boolean {
  return (
    equalBytes(message.chainId, id.chainId) &&
    message.attempt === id.attempt &&
    message.kind === id.kind &&
    equalBytes(message.parentBeacon, id.parentBeacon)
  );
}

/** With the last member's share the beacon is known and the next stage begins. */
function completeBeacon(state: LedgerState, open: OpenClaim, events: LedgerEvent[]): void {
  if (open.shares.length < open.committee.length) return;
  const id = beaconIdOf(state, open)!;
  const sorted = [...open.shares].sort((a, b) => compareBytes(a.member, b.member));
  const beacon = beaconFromVerifiedShares(
    id,
    sorted.map((share) => share.signature),
  );
  const turn = { claimNumber: open.claimNumber, attempt: open.attempt };
  events.push({ type: 'beacon', ...turn, kind: id.kind, round: open.round, beacon });
  open.shares = [];
  open.stageHeight = state.height;
  if (id.kind === BEACON_KIND.two) {
    open.beacon2 = beacon;
    open.stage = STAGE.attesting;
    return;
  }
  // A candidate existed when the claim was opened; if all have left since, the tick of this stage reopens the claim.
  const miner = minerOf(state, open.sequence, beacon) ?? NO_KEY;
  open.beacon1 = beacon;
  open.draw1 = draw1(beacon, state.job.recipeRoot, open.claimNumber);
  open.miner = miner;
  open.bond = state.parameters.minerBond;
  open.stage = STAGE.training;
  events.push({ type: 'assigned', ...turn, miner, draw1: open.draw1, fromRoot: open.fromRoot });
}

/** @param chunksRoot shows how long the list is; needed where K changes from claim to claim */
export function applyClaim(
  state: LedgerState,
  bls: Bls,
  claim: SignedClaim,
  events: LedgerEvent[],
  chunksRoot?: Uint8Array,
): void {
  const { claimNumber, attempt } = claim.header;
  const open = openClaimOf(state, claimNumber);
  if (open === undefined || open.stage !== STAGE.training) {
    throw rejected(`expected a claim whose miner is training, found claim ${claimNumber}, attempt ${attempt}`);
  }
  const root = verifyClaim(bls, claim, assignmentOf(state, open));
  requireRule(!equalBytes(claim.header.modelRoot, ZERO_ROOT), 'expected the root of a 4-bit model, found zeros');
  // The recipe allows a range: how many steps this claim has, the ledger said.
  const sized = chunksRoot !== undefined && hasLength(claim.header.listRoot, chunksRoot, open.steps);
  requireRule(
    state.parameters.mostSteps === 0 || sized,
    `expected a claim that shows its ${open.steps} steps, found another`,
  );
  const member = memberOf(state, open.miner);
  requireRule(
    member !== undefined && member.stake - member.locked >= open.bond,
    `expected free stake of ${open.bond} for the bond, found less`,
  );
  member.locked += open.bond;
  open.claim = [claim];
  open.claimRoot = root;
  open.stage = STAGE.claimed;
  open.trainedHeights = state.height - open.stageHeight;
  open.stageHeight = state.height;
  open.parentBeacon = open.beacon1;
  events.push({ type: 'claim', claimNumber, attempt, claimRoot: root, claim });
  openClaims(state, events);
}

export function applyAttestation(state: LedgerState, bls: Bls, attestation: Attestation, events: LedgerEvent[]): void {
  const { data, verifier } = attestation;
  const open = state.open.find((other) => equalBytes(other.claimRoot, data.claimRoot) && other.claim.length === 1);
  if (open === undefined || open.stage !== STAGE.attesting) {
    throw rejected(`expected an attestation of a claim that is being attested, found ${toHex(data.claimRoot)}`);
  }
  const seat = votersOf(open).some((member) => equalBytes(member.publicKey, verifier));
  requireRule(seat, `expected an attestation of a committee member, found ${toHex(verifier)}`);
  const known = open.attestations.some((other) => equalBytes(other.verifier, verifier));
  requireRule(!known, `expected one attestation of ${toHex(verifier)}, found a second`);
  verifyAttestation(bls, attestation, {
    chainId: state.chainId,
    claimRoot: open.claimRoot,
    beacon2: open.beacon2,
  });
  const positive = data.verdict === VERDICT.positive;
  // A negative verdict costs its bond: it stands only beside a commitment to evidence, or a dispute, of the same verifier.
  const backed = state.commitments.some(
    (other) => equalBytes(other.finder, verifier) && equalBytes(other.claimRoot, open.claimRoot),
  );
  const challenged = hasDispute(state, open.claimRoot, verifier);
  requireRule(
    positive || backed || challenged,
    'expected a commitment to evidence or a dispute before a negative attestation, found none',
  );
  requireRule(
    !positive || receiptOf(open, verifier) !== undefined,
    'expected a commitment to a receipt before a positive attestation, found none',
  );
  open.attestations.push(attestation);
  events.push({
    type: 'attestation',
    claimNumber: open.claimNumber,
    attempt: open.attempt,
    claimRoot: open.claimRoot,
    round: open.round,
    verifier,
    verdict: positive ? 'positive' : 'negative',
  });
  trySettle(state, events, false);
}
