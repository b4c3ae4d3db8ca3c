/** Movements of money inside a state. Integers only; every function conserves `totalMoney`. */

import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import type { ProtocolParameters } from '../protocol/ledgerTypes.js';
import { type Account, findByKey, type LedgerState, MEMBER_STATUS, type Member } from './stateTypes.js';

/** A rule of the state machine is broken: nothing changes. */
export function rejected(message: string): PogoError {
  return new PogoError('REJECTED', message);
}

export function requireRule(holds: boolean, message: string): asserts holds {
  if (!holds) throw rejected(message);
}

/** The account of a key; a new one starts empty. */
export function accountOf(state: LedgerState, key: Uint8Array): Account {
  const found = findByKey(state.accounts, key);
  if (found !== undefined) return found;
  const account: Account = { publicKey: key, balance: 0n, nonce: 0 };
  state.accounts.push(account);
  return account;
}

export function memberOf(state: LedgerState, key: Uint8Array): Member | undefined {
  return findByKey(state.members, key);
}

/** Takes from a balance. @throws PogoError REJECTED when it is too small */
export function debit(account: Account, amount: bigint): void {
  requireRule(
    account.balance >= amount,
    `expected a balance of at least ${amount} of ${toHex(account.publicKey)}, found ${account.balance}`,
  );
  account.balance -= amount;
}

/** Pays from the reward pool as much as it has. @returns what was paid */
export function payReward(state: LedgerState, key: Uint8Array, amount: bigint): bigint {
  const paid = amount < state.rewardPool ? amount : state.rewardPool;
  if (paid <= 0n) return 0n;
  state.rewardPool -= paid;
  accountOf(state, key).balance += paid;
  return paid;
}

/** Destroys part of a member's stake. @returns what was there to destroy */
export function burnStake(state: LedgerState, member: Member, amount: bigint): bigint {
  const taken = amount < member.stake ? amount : member.stake;
  member.stake -= taken;
  if (member.locked > member.stake) member.locked = member.stake;
  state.burned += taken;
  return taken;
}

/**
 * What a withheld beacon share costs: at least what one claim can bring its miner, whatever beacon the withholder hoped
 * for instead.
 */
export function beaconFine({ minerBond, claimReward, usefulnessBonus, beaconFineSurplus }: ProtocolParameters): bigint {
  return minerBond + claimReward + usefulnessBonus + beaconFineSurplus;
}

/** The least that a dispute's challenger puts up; a held-out loss takes several. */
export function leastBond({ challengeBond, disputeBondSurplus }: ProtocolParameters): bigint {
  return challengeBond + disputeBondSurplus;
}

export function unlock(member: Member | undefined, amount: bigint): void {
  if (member !== undefined) member.locked = member.locked > amount ? member.locked - amount : 0n;
}

/**
 * Slashes a bond: the finder gets at most half of it, the rest is burned; the member is never drawn again.
 *
 * @returns what was taken, and what of it was burned
 */
export function slashBond(
  state: LedgerState,
  member: Member,
  bond: bigint,
  finder: Uint8Array,
): { taken: bigint; burned: bigint } {
  const { finderNumerator, finderDenominator } = state.parameters;
  const taken = bond < member.stake ? bond : member.stake;
  const half = taken / 2n;
  const share = (taken * BigInt(finderNumerator)) / BigInt(finderDenominator);
  const reward = share < half ? share : half;
  member.stake -= taken;
  if (member.locked > member.stake) member.locked = member.stake;
  accountOf(state, finder).balance += reward;
  state.burned += taken - reward;
  member.status = MEMBER_STATUS.slashed;
  return { taken, burned: taken - reward };
}

/** Gives the bonds of all commitments against a claim back to their finders. */
export function refundCommitments(state: LedgerState, claimRoot: Uint8Array): void {
  settleCommitments(state, claimRoot, (finder) => finder);
}

/** Gives back what was paid for pieces of a claim that has fallen: nobody will show them any more. */
export function refundPieces(state: LedgerState, claimRoot: Uint8Array): void {
  const ofClaim = ({ piece }: { readonly piece: { readonly claimRoot: Uint8Array } }): boolean =>
    equalBytes(piece.claimRoot, claimRoot);
  for (const { challenger, bond } of state.pieces.filter(ofClaim)) accountOf(state, challenger).balance += bond;
  state.pieces = state.pieces.filter((challenge) => !ofClaim(challenge));
}

/** An accusation that was announced and never made pays its bond to the accused. */
export function forfeitCommitments(state: LedgerState, claimRoot: Uint8Array, accused: Uint8Array): void {
  settleCommitments(state, claimRoot, () => accused);
}

/** Accusations of verifiers that were announced and never made: whom they meant nobody knows. */
export function burnCommitments(state: LedgerState, claimRoot: Uint8Array): void {
  for (const commitment of state.commitments) {
    if (equalBytes(commitment.claimRoot, claimRoot)) state.burned += commitment.bond;
  }
  state.commitments = state.commitments.filter((commitment) => !equalBytes(commitment.claimRoot, claimRoot));
}

function settleCommitments(state: LedgerState, claimRoot: Uint8Array, to: (finder: Uint8Array) => Uint8Array): void {
  for (const commitment of state.commitments) {
    if (equalBytes(commitment.claimRoot, claimRoot)) accountOf(state, to(commitment.finder)).balance += commitment.bond;
  }
  state.commitments = state.commitments.filter((commitment) => !equalBytes(commitment.claimRoot, claimRoot));
}
