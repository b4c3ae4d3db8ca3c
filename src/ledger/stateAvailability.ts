/**
 * Availability on the ledger: a prepaid challenge names one piece of a claim's files; its miner shows the piece and is paid
 * for it, or its silence, which the ledger records, costs the bond. While a challenge is open its claim has no outcome.
 */
import { equalBytes, toHex } from '../hex.js';
import { answers, type Piece, type PieceAnswer, samePiece, verifyPiece } from '../protocol/availability.js';
import { type Order, STAGE } from '../protocol/ledgerTypes.js';
import { claimRoot as claimRootOf, type SignedClaim } from '../protocol/types.js';
import { restartTurns } from './stateDisputeQueue.js';
import type { LedgerEvent } from './stateEvents.js';
import { accountOf, debit, memberOf, refundPieces, rejected, requireRule, slashBond, unlock } from './stateMoney.js';
import { jobRecordOf } from './stateScope.js';
import { fall, tallyOf, trySettle } from './stateSettle.js';
import { JOB_STATUS, type JobRecord, type LedgerState, type OpenClaim, type PieceChallenge } from './stateTypes.js';

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
  const open = knownClaim(state, claimRoot);
  if (open === undefined) throw rejected(`expected an open claim, found ${toHex(claimRoot)}: its window is over`);
  return open;
}

function knownClaim(state: LedgerState, claimRoot: Uint8Array): OpenClaim | undefined {
  return state.open.find((other) => other.claim.length === 1 && equalBytes(other.claimRoot, claimRoot));
}

/** The owner's newest finalized claim, which its maker has to hand over. */
function deliveryBy(state: LedgerState, claimRoot: Uint8Array): { record: JobRecord; claim: SignedClaim } | undefined {
  const record = jobRecordOf(state);
  const [claim] = record?.delivery ?? [];
  if (record === undefined || claim === undefined) return undefined;
  return equalBytes(claimRootOf(claim.header), claimRoot) ? { record, claim } : undefined;
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
  const delivery = deliveryBy(state, piece.claimRoot);
  if (delivery !== undefined) return askDelivery(state, delivery, { sender, piece, proof }, events);
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

/** An owner asks for a piece of what it paid for. */
function askDelivery(
  state: LedgerState,
  { record, claim }: NonNullable<ReturnType<typeof deliveryBy>>,
  { sender, piece, proof }: Pick<Order<'challenge-piece'>, 'sender' | 'piece' | 'proof'>,
  events: LedgerEvent[],
): void {
  requireRule(equalBytes(sender, record.owner), 'expected the job’s owner, found another: the claim is final');
  const inTime = record.status !== JOB_STATUS.delivering || state.height < record.deliverUntil;
  requireRule(inTime, `expected a challenge before height ${record.deliverUntil}, found height ${state.height}`);
  const known = state.pieces.filter((other) => equalBytes(other.piece.claimRoot, piece.claimRoot));
  requireRule(known.length < MAX_OPEN_PIECES, `expected at most ${MAX_OPEN_PIECES} open challenges of a claim`);
  requireRule(!known.some((other) => samePiece(other.piece, piece)), 'expected one challenge of a piece');
  verifyPiece(claim.header, piece, proof);
  const { challengeBond: bond } = state.parameters;
  debit(accountOf(state, sender), bond);
  state.pieces.push({ challenger: sender, piece, bond, height: state.height });
  events.push(deliveryEvent(claim, piece, sender, 'challenged'));
}

function deliveryEvent(
  { header }: SignedClaim,
  piece: Piece,
  challenger: Uint8Array,
  change: 'challenged' | 'answered' | 'silent',
): LedgerEvent {
  const { claimNumber, attempt } = header;
  return { type: 'availability', claimNumber, attempt, claimRoot: claimRootOf(header), piece, challenger, change };
}

function findChallenge(state: LedgerState, piece: Piece): PieceChallenge {
  const challenge = state.pieces.find((other) => samePiece(other.piece, piece));
  if (challenge === undefined) throw rejected('expected an open challenge of this piece, found none');
  return challenge;
}

export function applyAnswer(state: LedgerState, answer: PieceAnswer, events: LedgerEvent[]): void {
  const challenge = findChallenge(state, answer.piece);
  requireRule(answers(answer), 'expected the piece and a path to its root, found others');
  const delivery = deliveryBy(state, answer.piece.claimRoot);
  if (delivery !== undefined) {
    state.pieces = state.pieces.filter((other) => other !== challenge);
    accountOf(state, delivery.claim.header.miner).balance += challenge.bond;
    events.push(deliveryEvent(delivery.claim, answer.piece, challenge.challenger, 'answered'));
    return;
  }
  const open = openClaimBy(state, answer.piece.claimRoot);
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
  const delivery = deliveryBy(state, piece.claimRoot);
  const from = silenceFrom(state, challenge);
  requireRule(state.height >= from, `expected silence from height ${from} on, found height ${state.height}`);
  if (delivery !== undefined) return loseDelivery(state, delivery, challenge, events);
  const open = openClaimBy(state, piece.claimRoot);
  events.push(event(open, piece, challenge.challenger, 'silent'));
  const tally = tallyOf(open);
  const member = memberOf(state, open.miner)!;
  const taken = slashBond(state, member, open.bond, challenge.challenger);
  unlock(member, open.bond);
  fall(state, open, 'slashed', events, tally, taken);
}

/** Who does not hand over what it was paid for loses its bond, half of it to the owner. */
function loseDelivery(
  state: LedgerState,
  { record, claim }: NonNullable<ReturnType<typeof deliveryBy>>,
  { piece, challenger }: PieceChallenge,
  events: LedgerEvent[],
): void {
  const { miner } = claim.header;
  events.push(deliveryEvent(claim, piece, challenger, 'silent'));
  refundPieces(state, piece.claimRoot);
  const member = memberOf(state, miner);
  if (member !== undefined) {
    const { taken } = slashBond(state, member, record.held, challenger);
    unlock(member, record.held);
    events.push({ type: 'member', publicKey: miner, change: 'slashed', taken });
  }
  record.delivery = [];
  record.held = 0n;
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
