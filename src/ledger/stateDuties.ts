/**
 * What a key has to do now: the read side of the state, for miners, verifiers and the sequencer. Pure functions of the
 * state, so whoever resumes finds the same duties again.
 */
import { equalBytes } from '../hex.js';
import type { Piece } from '../protocol/availability.js';
import type { BeaconId } from '../protocol/beacon.js';
import type { ClaimAssignment } from '../protocol/claim.js';
import { encodeTransaction, STAGE } from '../protocol/ledgerTypes.js';
import type { Recheck } from '../protocol/receipt.js';
import { claimRoot as claimRootOf, type SignedClaim, VERDICT } from '../protocol/types.js';
import { assignmentOf, beaconIdOf, receiptOf, sharesFrom, votersOf } from './stateOpen.js';
import { recheckOf } from './stateReceipts.js';
import { jobRecordOf, scopesOf } from './stateScope.js';
import type { LedgerState, OpenClaim, SettledClaim } from './stateTypes.js';

export type Duty =
  /** Sign a share: `createBeaconShare(bls, keys, id)`. */
  | { readonly duty: 'beacon-share'; readonly id: BeaconId }
  /** Train `steps` steps from `assignment.fromRoot` and submit the signed claim. */
  | { readonly duty: 'train'; readonly assignment: ClaimAssignment; readonly steps: number; readonly firstStep: number }
  /** Check the claim and submit an attestation; `round` counts from 0. */
  | {
      readonly duty: 'attest';
      readonly claim: SignedClaim;
      readonly claimRoot: Uint8Array;
      readonly beacon2: Uint8Array;
      readonly round: number;
      readonly steps: number;
      readonly firstStep: number;
      /** Seats of the claim's committee. */
      readonly committee: number;
    }
  /** Show a piece of a claim's files. */
  | { readonly duty: 'show-piece'; readonly claim: SignedClaim; readonly piece: Piece }
  /** Open the receipt that was committed to. */
  | { readonly duty: 'reveal'; readonly claim: SignedClaim; readonly claimRoot: Uint8Array; readonly round: number };

/** A foreign receipt to look at: no deadline but the epoch in which its verifier can be accused. */
export interface RecheckDuty extends Recheck {
  readonly claim: SettledClaim;
}

/** Receipts of settled claims that a key was drawn to look at. */
export function rechecksOf(state: LedgerState, publicKey: Uint8Array): RecheckDuty[] {
  const settled = scopesOf(state).flatMap((scope) => scope.settled);
  return settled.flatMap((claim) => {
    const recheck = recheckOf(claim, publicKey);
    return recheck === undefined ? [] : [{ ...recheck, claim }];
  });
}

/** Duties of a key, in the order of the claims. */
export function dutiesOf(state: LedgerState, publicKey: Uint8Array): Duty[] {
  return scopesOf(state).flatMap((scope) => [
    ...deliveriesIn(scope, publicKey),
    ...scope.open.flatMap((open) => dutiesIn(scope, open, publicKey)),
  ]);
}

function dutiesIn(state: LedgerState, open: OpenClaim, publicKey: Uint8Array): Duty[] {
  const seated = (seats: readonly { publicKey: Uint8Array }[]): boolean =>
    seats.some((seat) => equalBytes(seat.publicKey, publicKey));
  const [made] = open.claim;
  if (made !== undefined && equalBytes(open.miner, publicKey)) {
    const asked = state.pieces.filter(({ piece }) => equalBytes(piece.claimRoot, open.claimRoot));
    if (asked.length > 0) return asked.map(({ piece }) => ({ duty: 'show-piece', claim: made, piece }));
  }
  const { steps, firstStep } = open;
  const id = beaconIdOf(state, open);
  if (id !== undefined) {
    // The next block is where a share sent now would stand.
    const due = state.height + 1 >= sharesFrom(state, open);
    const given = open.shares.some((share) => equalBytes(share.member, publicKey));
    return due && !given && seated(open.committee) ? [{ duty: 'beacon-share', id }] : [];
  }
  if (open.stage === STAGE.training) {
    const mine = equalBytes(open.miner, publicKey);
    return mine ? [{ duty: 'train', assignment: assignmentOf(state, open), steps, firstStep }] : [];
  }
  if (open.stage === STAGE.revealing) return revealIn(open, publicKey);
  const voted = open.attestations.some((attestation) => equalBytes(attestation.verifier, publicKey));
  const [claim] = open.claim;
  if (claim === undefined || voted || !seated(votersOf(open))) return [];
  const { claimRoot, beacon2, round } = open;
  const committee = open.committee.length;
  return [{ duty: 'attest', claim, claimRoot, beacon2, round, steps, firstStep, committee }];
}

function revealIn(open: OpenClaim, publicKey: Uint8Array): Duty[] {
  const [claim] = open.claim;
  const positive = open.attestations.some(
    ({ data, verifier }) => data.verdict === VERDICT.positive && equalBytes(verifier, publicKey),
  );
  if (claim === undefined || !positive || receiptOf(open, publicKey)?.opened !== 0) return [];
  return [{ duty: 'reveal', claim, claimRoot: open.claimRoot, round: open.round }];
}

/** Pieces of an owner's newest finalized claim, which its maker still has to show. */
function deliveriesIn(state: LedgerState, publicKey: Uint8Array): Duty[] {
  const [claim] = jobRecordOf(state)?.delivery ?? [];
  if (claim === undefined || !equalBytes(claim.header.miner, publicKey)) return [];
  const root = claimRootOf(claim.header);
  return state.pieces
    .filter(({ piece }) => equalBytes(piece.claimRoot, root))
    .map(({ piece }) => ({ duty: 'show-piece', claim, piece }));
}

/** A tick of an open claim's present stage, as a transaction. @param job number of the owner's job it belongs to */
export function tickFor({ claimNumber, attempt, stage, ticks }: OpenClaim, job = 0): Uint8Array {
  const tick = { claimNumber, attempt, stage, sequence: ticks };
  return job === 0 ? encodeTransaction('tick', tick) : encodeTransaction('turn-tick', { job, tick });
}

/**
 * The ticks that let heights pass until shares of beacon 2 are taken: what an event-driven sequencer writes, since
 * nothing else makes blocks while everybody waits.
 */
export function waitingTicks(state: LedgerState): Uint8Array[] {
  return scopesOf(state).flatMap((scope) =>
    scope.open
      .filter((open) => open.stage === STAGE.claimed && state.height + 1 < sharesFrom(scope, open))
      .map((open) => tickFor(open, scope.job.id)),
  );
}
