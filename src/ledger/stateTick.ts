/**
 * Ticks: the only way in which waiting ends. A stage may be ended once its clock (in heights) has run out; the embedded
 * engine's clocks are 0, and its sequencer writes a tick when it sees that a worker is gone.
 */
import { equalBytes } from '../hex.js';
import { CONTEXT, deriveHash, u64Bytes } from '../protocol/domains.js';
import { STAGE, type TransactionBody } from '../protocol/ledgerTypes.js';
import { seatStake } from './stateCommittee.js';
import type { LedgerEvent } from './stateEvents.js';
import { beaconFine, burnStake, memberOf, rejected, requireRule } from './stateMoney.js';
import { openClaimOf, sharesFrom } from './stateOpen.js';
import { eject, fall, trySettle } from './stateSettle.js';
import type { LedgerState, OpenClaim } from './stateTypes.js';

export function applyTick(state: LedgerState, tick: TransactionBody<'tick'>, events: LedgerEvent[]): void {
  const open = openClaimOf(state, tick.claimNumber);
  if (
    open === undefined ||
    open.attempt !== tick.attempt ||
    open.stage !== tick.stage ||
    open.ticks !== tick.sequence
  ) {
    throw rejected(
      `expected a tick of an open claim’s present stage, found claim ${tick.claimNumber}, attempt ${tick.attempt}, ` +
        `stage ${tick.stage}, sequence ${tick.sequence}`,
    );
  }
  open.ticks += 1;
  switch (open.stage) {
    case STAGE.beaconOne:
      requireClock(state, open, state.parameters.beaconClock);
      dropSilentMembers(state, open, state.parameters.beaconClock, events);
      fall(state, open, 'missed', events);
      return;
    case STAGE.training:
      requireClock(state, open, state.parameters.trainingClock);
      missTurn(state, open);
      fall(state, open, 'missed', events);
      return;
    case STAGE.claimed:
      // Before the delay is over a tick only lets a height pass.
      if (state.height < sharesFrom(state, open)) return;
      requireClock(state, open, state.parameters.beaconTwoDelay + state.parameters.beaconClock);
      dropSilentMembers(state, open, state.parameters.beaconTwoDelay + state.parameters.beaconClock, events);
      repeatBeacon(state, open);
      return;
    default: {
      const { attestationClock, revealClock } = state.parameters;
      requireClock(state, open, open.stage === STAGE.attesting ? attestationClock : revealClock);
      requireRule(state.open[0] === open, 'expected a tick of the first open claim: claims are settled in order');
      trySettle(state, events, true);
    }
  }
}

function requireClock(state: LedgerState, open: OpenClaim, heights: number): void {
  const end = open.stageHeight + heights;
  requireRule(state.height >= end, `expected a tick at height ${end} or later, found height ${state.height}`);
}

/** A missed turn costs a fee; the next miner gets a fresh draw. */
function missTurn(state: LedgerState, open: OpenClaim): void {
  const member = memberOf(state, open.miner);
  if (member !== undefined) burnStake(state, member, state.parameters.missedTurnFee);
}

/**
 * Members that kept their share are fined and ejected, so that the next draw does not wait for them: of w withholders each
 * can do it once, so they see at most w + 1 beacons. Unless fewer than two thirds of the stake of the epoch's first
 * committee would be left: then the beacon waits for the next epoch, which begins when it has waited as long as unbonding
 * takes.
 */
function dropSilentMembers(state: LedgerState, open: OpenClaim, clock: number, events: LedgerEvent[]): void {
  const gave = (key: Uint8Array): boolean => open.shares.some((share) => equalBytes(share.member, key));
  const missing = open.committee.filter((seat) => !gave(seat.publicKey));
  const total = state.epochStake;
  const left = seatStake(open.committee) - seatStake(missing);
  const waited = state.height >= open.stageHeight + clock + state.parameters.unbondingClock;
  if (waited && left > 0n && left < total) state.epochStake = left;
  requireRule(
    3n * left >= 2n * total || (waited && left > 0n),
    'expected shares of two thirds of the epoch’s stake; the beacon waits',
  );
  for (const seat of missing) {
    const member = memberOf(state, seat.publicKey);
    const taken = member === undefined ? 0n : burnStake(state, member, beaconFine(state.parameters));
    events.push({ type: 'member', publicKey: seat.publicKey, change: 'fined', taken });
    eject(state, seat.publicKey, events);
  }
  open.committee = open.committee.filter((seat) => gave(seat.publicKey));
}

/** A beacon 2 without its missing members is another beacon, with a parent of its own: old shares are worth nothing. */
function repeatBeacon(state: LedgerState, open: OpenClaim): void {
  open.parentBeacon = deriveHash(CONTEXT.beaconRepeat, open.parentBeacon, u64Bytes(open.ticks));
  open.shares = [];
  open.stageHeight = state.height;
}
