/**
 * Availability on the ledger: a prepaid challenge names one piece of a claim's files; its miner shows the piece and is paid
 * for it, or its silence, which the ledger records, costs the bond. While a challenge is open its claim has no outcome.
 */
import { equalBytes, toHex } from '../hex.js';
import { answers, type Piece, type PieceAnswer, samePiece, verifyPiece } from '../protocol/availability.js';
import { type Order, STAGE } from '../protocol/ledgerTypes.js';
import { restartTurns } from './stateDisputeQueue.js';
import type { LedgerEvent } from './stateEvents.js';
import { accountOf, debit, memberOf, rejected, requireRule, slashBond, unlock } from './stateMoney.js';
import { fall, tallyOf, trySettle } from './stateSettle.js';
import type { LedgerState, OpenClaim, PieceChallenge } from './stateTypes.js';

/** Heights that an answer has at the least; `availabilityClock` comes on top. */
export const AVAILABILITY_HEIGHTS = 8;
/** Open challenges of a claim by all who have no seat in its committee together; a flood costs them its prepayments. */
export const MAX_OPEN_PIECES = 16;
/**
 * Open challenges of a claim by one member of its committee: places of its own, since an answer pays the miner, so a friend
 * of the miner could keep shared places full at no cost to the two.
 */
export const SEAT_OPEN_PIECES = 4;

function openClaimBy(state: LedgerState, claimRoot: Uint8Array): OpenClaim {
  const open = state.open.find((other) => other.claim.length === 1 && equalBytes(other.claimRoot, claimRoot));
  if (open === undefined) throw rejected(`expected an open claim, found ${toHex(claimRoot)}: its window is over`);
  return open;
}

/** First height at which a challenge without an answer is silence. */
export function silenceFrom(state: LedgerState, { height }: PieceChallenge): number {
  return height + AVAILABILITY_HEIGHTS + state.parameters.availabilityClock;
}

export function applyChallenge(
  state: LedgerState,
  { sender, piece, proof }: Order<'challenge-piece'>,
  events: LedgerEvent[],
): void {
  const open = openClaimBy(state, piece.claimRoot);
  requireRule(open.stage !== STAGE.revealing, 'expected a challenge before the votes are over: its window is over');
  const known = state.pieces.filter((other) => equalBytes(other.piece.claimRoot, piece.claimRoot));
  const seated = (key: Uint8Array): boolean => open.committee.some(({ publicKey }) => equalBytes(publicKey, key));
  if (seated(sender)) {
    const own = known.filter(({ challenger }) => equalBytes(challenger, sender));
    requireRule(own.length < SEAT_OPEN_PIECES, `expected at most ${SEAT_OPEN_PIECES} open challenges of a member`);
  } else {
    const others = known.filter(({ challenger }) => !seated(challenger));
    requireRule(others.length < MAX_OPEN_PIECES, `expected at most ${MAX_OPEN_PIECES} open challenges of a claim`);
  }
  requireRule(
    !known.some((other) => samePiece(other.piece, piece)),
    'expected one challenge of a piece, found a second',
  );
  verifyPiece(open.claim[0]!.header, piece, proof);
  const { challengeBond: bond } = state.parameters;
  debit(accountOf(state, sender), bond);
  state.pieces.push({ challenger: sender, piece, bond, height: state.height });
  events.push(event(open, piece, sender, 'challenged'));
}

function findChallenge(state: LedgerState, piece: Piece): PieceChallenge {
  const challenge = state.pieces.find((other) => samePiece(other.piece, piece));
  if (challenge === undefined) throw rejected('expected an open challenge of this piece, found none');
  return challenge;
}

export function applyAnswer(state: LedgerState, answer: PieceAnswer, events: LedgerEvent[]): void {
  const challenge = findChallenge(state, answer.piece);
  const open = openClaimBy(state, answer.piece.claimRoot);
  requireRule(answers(answer), 'expected the piece and a path to its root, found others');
  state.pieces = state.pieces.filter((other) => other !== challenge);
  // The prepayment pays for the bytes; whoever sends them for the miner does it a favour.
  accountOf(state, open.miner).balance += challenge.bond;
  events.push(event(open, answer.piece, challenge.challenger, 'answered'));
  // Disputes that stood still meanwhile go on with their whole clock.
  for (const other of state.open) {
    if (other.claimNumber >= open.claimNumber && !awaitsPieces(state, other.claimNumber)) {
      restartTurns(state, other.claimRoot);
    }
  }
  trySettle(state, events, false);
}

export function applySilence(state: LedgerState, piece: Piece, events: LedgerEvent[]): void {
  const challenge = findChallenge(state, piece);
  const open = openClaimBy(state, piece.claimRoot);
  const from = silenceFrom(state, challenge);
  requireRule(state.height >= from, `expected silence from height ${from} on, found height ${state.height}`);
  events.push(event(open, piece, challenge.challenger, 'silent'));
  const tally = tallyOf(open);
  const member = memberOf(state, open.miner)!;
  const taken = slashBond(state, member, open.bond, challenge.challenger);
  unlock(member, open.bond);
  fall(state, open, 'slashed', events, tally, taken);
}

/**
 * Whether bytes that a claim rests on are being asked for: its own, or an ancestor's that is not settled. The clock of a
 * dispute's turn does not run meanwhile.
 */
export function awaitsPieces(state: LedgerState, claimNumber: number): boolean {
  return state.open.some(
    (open) =>
      open.claimNumber <= claimNumber && state.pieces.some(({ piece }) => equalBytes(piece.claimRoot, open.claimRoot)),
  );
}

function event(
  { claimNumber, attempt, claimRoot }: OpenClaim,
  piece: Piece,
  challenger: Uint8Array,
  change: 'challenged' | 'answered' | 'silent',
): LedgerEvent {
  return { type: 'availability', claimNumber, attempt, claimRoot, piece, challenger, change };
}
