/** Opening disputes: who may challenge whom over what, with which bond, and who waits (docs/disputes.md §6). */
import { equalBytes, toHex } from '../hex.js';
import { openRecipeHeader } from '../model/recipeHeader.js';
import type { Bls } from '../protocol/bls.js';
import { heldOutBonds, heldOutSubject, requireHeldOutVote } from '../protocol/dispute/heldOut.js';
import { partOf } from '../protocol/dispute/receiptProof.js';
import { type Dispute, TURN } from '../protocol/dispute/transactions.js';
import { hasStep, SUBJECT_KIND } from '../protocol/dispute/types.js';
import { type Order, STAGE } from '../protocol/ledgerTypes.js';
import { receiptDuty } from '../protocol/receipt.js';
import { claimRoot as claimRootOf, ZERO_ROOT } from '../protocol/types.js';
import { disputesOf, MAX_DISPUTES_PER_CLAIM, startWaiting } from './stateDisputeQueue.js';
import { disputedClaim, judge, pushChange } from './stateDisputeTurn.js';
import type { LedgerEvent } from './stateEvents.js';
import { accountOf, debit, leastBond, memberOf, rejected, requireRule } from './stateMoney.js';
import { receiptOf } from './stateOpen.js';
import type { LedgerState } from './stateTypes.js';

/** The miner of an open claim is challenged over one of its computations. */
export function openDispute(state: LedgerState, order: Order<'open-dispute'>, events: LedgerEvent[]): void {
  const open = disputedClaim(state, order.claimRoot);
  // Once the votes are over, whoever is late to challenge is late.
  requireRule(open.stage !== STAGE.revealing, `expected a claim whose window is open, found ${toHex(order.claimRoot)}`);
  const least = leastBond(state.parameters);
  requireRule(order.bond >= least, `expected a bond of at least ${least}, found ${order.bond}`);
  requireRule(!equalBytes(order.sender, open.miner), 'expected a challenger, found the accused itself');
  const { kind, stepIndex, unit } = order.subject;
  requireRule(
    kind !== SUBJECT_KIND.receipt && (hasStep(kind) || kind === SUBJECT_KIND.model || kind === SUBJECT_KIND.diff),
    `expected a unit, a state, a model or a diff, found ${kind}`,
  );
  requireRule(hasStep(kind) ? stepIndex < open.steps : stepIndex === 0, 'expected a step of the claim');
  // A first claim has no diff that anybody could show; one that it names all the same is convicted by evidence.
  requireRule(
    kind !== SUBJECT_KIND.diff || !equalBytes(open.parentClaimRoot, ZERO_ROOT),
    'expected a claim with a parent, found a first one',
  );
  requireRule(kind === SUBJECT_KIND.unit || unit === 0, 'expected no unit for this subject, found one');
  const { claimRoot, subject, sender, bond } = order;
  queueDispute(state, { claimRoot, subject, accused: open.miner, challenger: sender, bond, claim: [] }, events);
}

/** A verifier of a settled claim is challenged over a unit or a state that it was drawn for, once its receipt is open. */
export function openVerifierDispute(
  state: LedgerState,
  order: Order<'open-verifier-dispute'>,
  events: LedgerEvent[],
): void {
  const { claim, accused, subject, sender, bond } = order;
  const claimRoot = claimRootOf(claim.header);
  const { settled, opened } = votedClaim(state, order);
  const receipt = receiptOf(settled, accused);
  requireRule(receipt?.opened === 1, 'expected a positive voter with an open receipt, found another');
  const duty = receiptDuty(receipt.drawSignature, opened.recipe, settled.steps, settled.committee);
  const drawn = partOf(subject, duty, settled.steps) !== undefined;
  requireRule(drawn, 'expected a unit or a state that the accused was drawn for');
  queueDispute(state, { claimRoot, subject, accused, challenger: sender, bond, claim: [claim] }, events);
}

/** A settled claim that the accused voted for, still open to accusations of its verifiers. */
function votedClaim(
  state: LedgerState,
  order: Pick<Order<'open-verifier-dispute'>, 'claim' | 'recipe' | 'accused' | 'sender' | 'bond'>,
) {
  const { claim, recipe, accused, sender, bond } = order;
  const claimRoot = claimRootOf(claim.header);
  // A claim that is kept longer because its verifiers are being disputed is open to no new dispute.
  const epoch = state.settled.slice(-Math.max(1, state.parameters.epochClaims));
  const settled = epoch.find((other) => equalBytes(other.claimRoot, claimRoot));
  if (settled === undefined) throw rejected(`expected a newly settled claim, found ${toHex(claimRoot)}`);
  const least = leastBond(state.parameters);
  requireRule(bond >= least, `expected a bond of at least ${least}, found ${bond}`);
  requireRule(!equalBytes(sender, accused), 'expected a challenger, found the accused itself');
  const voted = settled.voters.some((key) => equalBytes(key, accused));
  requireRule(voted, 'expected a positive voter, found another');
  const convicted = settled.convicted.some((key) => equalBytes(key, accused));
  requireRule(!convicted, 'expected a verifier that was not convicted of this claim, found one that was');
  requireRule(memberOf(state, accused) !== undefined, `expected a member, found ${toHex(accused)}`);
  const opened = openRecipeHeader(recipe);
  requireRule(equalBytes(opened.root, claim.header.recipeRoot), 'expected the claim’s recipe, found another');
  return { settled, opened };
}

/** A verifier of a settled claim is challenged over a held-out loss that its vote names. No draw is needed for that. */
export function openHeldOutDispute(
  state: LedgerState,
  bls: Bls,
  order: Order<'open-held-out-dispute'>,
  events: LedgerEvent[],
): void {
  const { claim, recipe, attestation, after, sender, bond } = order;
  const accused = attestation.verifier;
  const claimRoot = claimRootOf(claim.header);
  const { settled, opened } = votedClaim(state, { claim, recipe, accused, sender, bond });
  const least = heldOutBonds(opened.recipe) * leastBond(state.parameters);
  requireRule(bond >= least, `expected a bond of at least ${least}, found ${bond}`);
  // A vote of an earlier round bound nobody: the ledger forgot it.
  const { chainId } = state;
  judge(() => requireHeldOutVote(bls, attestation, { chainId, claimRoot, beacon2: settled.beacon2 }, accused));
  requireRule(after <= 1, `expected the loss before (0) or after (1), found ${after}`);
  const subject = heldOutSubject(attestation.data, after === 1);
  queueDispute(state, { claimRoot, subject, accused, challenger: sender, bond, claim: [claim] }, events);
}

function queueDispute(
  state: LedgerState,
  opened: Pick<Dispute, 'claimRoot' | 'subject' | 'accused' | 'challenger' | 'bond' | 'claim'>,
  events: LedgerEvent[],
): void {
  const all = disputesOf(state, opened.claimRoot);
  const mine = all.some(({ challenger }) => equalBytes(challenger, opened.challenger));
  requireRule(!mine, 'expected one dispute of a challenger over a claim, found a second');
  if (all.length >= MAX_DISPUTES_PER_CLAIM) makeRoom(state, all, opened.bond);
  debit(accountOf(state, opened.challenger), opened.bond);
  const dispute: Dispute = {
    ...opened,
    id: state.disputeCount,
    turn: TURN.queued,
    turnHeight: state.height,
    sequence: 0,
    operation: 0,
    totalBytes: 0,
    level: 0,
    index: 0,
    value: new Uint8Array(32),
    isRoot: 0,
    opened: new Uint8Array(0),
  };
  state.disputeCount += 1;
  state.disputes.push(dispute);
  startWaiting(state, opened.claimRoot);
  pushChange(state, dispute, dispute.turn === TURN.queued ? 'queued' : 'opened', '', events);
}

/** A higher bond takes the place of the lowest that waits, which goes back. */
function makeRoom(state: LedgerState, all: readonly Dispute[], bond: bigint): void {
  const waiting = all.filter(({ turn }) => turn === TURN.queued);
  const lowest = waiting.reduce<Dispute | undefined>(
    (low, dispute) => (low === undefined || dispute.bond <= low.bond ? dispute : low),
    undefined,
  );
  if (lowest === undefined || lowest.bond >= bond) {
    throw rejected(`expected a bond above those of ${all.length} disputes, found ${bond}`);
  }
  state.disputes = state.disputes.filter(({ id }) => id !== lowest.id);
  accountOf(state, lowest.challenger).balance += lowest.bond;
}
