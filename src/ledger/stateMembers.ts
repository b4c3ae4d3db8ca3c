/** Orders of accounts: registration, unbonding, withdrawal, transfers. Signed, and counted by a nonce. */
import { equalBytes, toHex } from '../hex.js';
import type { Bls } from '../protocol/bls.js';
import { type Order, type OrderKind, orderMessage, ROLE } from '../protocol/ledgerTypes.js';
import type { LedgerEvent } from './stateEvents.js';
import { accountOf, debit, memberOf, requireRule } from './stateMoney.js';
import { openClaims } from './stateOpen.js';
import { claimsSoFar, scopesOf } from './stateScope.js';
import { type LedgerState, MEMBER_STATUS } from './stateTypes.js';

/**
 * Checks signature and nonce of an order, and uses the nonce up.
 *
 * @throws PogoError REJECTED
 */
export function authorize<K extends OrderKind>(
  state: LedgerState,
  bls: Bls,
  kind: K,
  order: Order<K>,
  signature: Uint8Array,
): void {
  const { sender, nonce } = order as { sender: Uint8Array; nonce: number };
  const known = state.accounts.find((account) => equalBytes(account.publicKey, sender));
  const expected = known?.nonce ?? 0;
  requireRule(nonce === expected, `expected nonce ${expected} of ${toHex(sender)}, found ${nonce}`);
  const valid = bls.verify(sender, orderMessage(state.chainId, kind, order), signature);
  requireRule(valid, `expected an order signed by ${toHex(sender)} for this chain, found a wrong signature`);
  // Only after the checks: a refused order leaves no empty account behind.
  accountOf(state, sender).nonce += 1;
}

/** Number of the next claim to be opened. */
function nextClaim(state: LedgerState): number {
  return state.finalizedCount + state.open.length;
}

export function applyRegister(state: LedgerState, bls: Bls, order: Order<'register'>, events: LedgerEvent[]): void {
  const { sender, roles, stake } = order;
  requireRule(roles >= 1 && roles <= (ROLE.miner | ROLE.verifier), `expected roles 1 to 3, found ${roles}`);
  requireRule(stake > 0n, 'expected a stake above 0');
  requireRule(memberOf(state, sender) === undefined, `expected a key without stake, found member ${toHex(sender)}`);
  // Without it a key made of others' keys could sign for them in an aggregate (rogue key).
  requireRule(bls.popVerify(sender, order.possession), 'expected a proof of possession of the key, found a wrong one');
  debit(accountOf(state, sender), stake);
  state.members.push({
    publicKey: sender,
    roles,
    status: MEMBER_STATUS.active,
    stake,
    locked: 0n,
    eligibleFrom: claimsSoFar(state) + state.parameters.epochClaims,
    silence: 0,
    unbondHeight: 0,
    unbondClaim: 0,
  });
  events.push({ type: 'member', publicKey: sender, change: 'registered' });
  openClaims(state, events);
}

/** Leaves all draws; the stake stays on the ledger, and slashable, until {@link applyWithdraw}. */
export function applyUnbond(state: LedgerState, order: Order<'unbond'>, events: LedgerEvent[]): void {
  const member = memberOf(state, order.sender);
  requireRule(member !== undefined, `expected a member, found ${toHex(order.sender)}`);
  requireRule(member.status !== MEMBER_STATUS.unbonding, 'expected a member that is not unbonding yet');
  // A slashed member may take what is left of its stake, on the same terms as everybody.
  member.status = MEMBER_STATUS.unbonding;
  member.unbondHeight = state.height;
  member.unbondClaim = nextClaim(state);
  events.push({ type: 'member', publicKey: order.sender, change: 'unbonding' });
}

export function applyWithdraw(state: LedgerState, order: Order<'withdraw'>, events: LedgerEvent[]): void {
  const member = memberOf(state, order.sender);
  requireRule(
    member?.status === MEMBER_STATUS.unbonding,
    `expected a member that is unbonding: ${toHex(order.sender)}`,
  );
  const from = member.unbondHeight + state.parameters.unbondingClock;
  requireRule(state.height >= from, `expected a withdrawal at height ${from} or later, found ${state.height}`);
  requireRule(
    state.finalizedCount >= member.unbondClaim && member.locked === 0n,
    `expected every claim below ${member.unbondClaim} to be settled first, found ${state.finalizedCount}`,
  );
  // Of jobs of owners: whoever is no longer drawn leaves their open claims as these settle.
  const busy = state.jobs.some(({ open }) =>
    open.some(
      ({ committee, miner }) =>
        equalBytes(miner, order.sender) || committee.some((seat) => equalBytes(seat.publicKey, order.sender)),
    ),
  );
  requireRule(!busy, 'expected no open claim of a job with a seat or a turn of this member, found one');
  const settled = scopesOf(state).flatMap((scope) => scope.settled);
  const claim = settled.find(({ voters, receipts }) =>
    [...voters, ...receipts.map((receipt) => receipt.verifier)].some((key) => equalBytes(key, order.sender)),
  );
  requireRule(
    claim === undefined,
    `expected no vote that can still be accused, found one on claim ${claim?.claimNumber}: it ends with an epoch of claims`,
  );
  accountOf(state, order.sender).balance += member.stake;
  state.members = state.members.filter((other) => other !== member);
  events.push({ type: 'member', publicKey: order.sender, change: 'withdrawn' });
}

export function applyTransfer(state: LedgerState, order: Order<'transfer'>): void {
  requireRule(order.amount > 0n, 'expected an amount above 0');
  debit(accountOf(state, order.sender), order.amount);
  accountOf(state, order.to).balance += order.amount;
}
