/**
 * Evidence on the ledger: committed first, revealed later, checked by the ledger itself (docs/protocol.md §7). Nothing
 * but a proof that any third party can repeat takes a bond.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { equalBytes, toHex } from '../hex.js';
import type { Dispute } from '../protocol/dispute/transactions.js';
import { CONTEXT, deriveHash } from '../protocol/domains.js';
import type { Verdict } from '../protocol/evidence.js';
import { type Order, STAGE, type TransactionBody } from '../protocol/ledgerTypes.js';
import { dropDisputesOf } from './stateDisputeQueue.js';
import type { LedgerEvent } from './stateEvents.js';
import { accountOf, debit, memberOf, rejected, requireRule, slashBond, unlock } from './stateMoney.js';
import { fall, tallyOf, trySettle } from './stateSettle.js';
import type { Commitment, LedgerState, Member, OpenClaim, SettledClaim } from './stateTypes.js';

/** Runs `checkEvidence` with BLS and a backend. @throws PogoError MALFORMED */
export type EvidenceChecker = (evidence: Uint8Array) => Promise<Verdict>;

/** A finder's commitment: whoever copies the evidence once it is shown has none of an earlier height. */
export function evidenceCommitment(evidence: Uint8Array, finder: Uint8Array, salt: Uint8Array): Uint8Array {
  return deriveHash(CONTEXT.evidenceCommitment, blake3(evidence), finder, salt);
}

export function applyCommitEvidence(state: LedgerState, order: Order<'commit-evidence'>, events: LedgerEvent[]): void {
  const open = state.open.find((other) => other.claim.length === 1 && equalBytes(other.claimRoot, order.claimRoot));
  // Verifiers of a settled claim can be accused for an epoch; whoever is late to accuse a miner is late.
  const epoch = state.settled.slice(-Math.max(1, state.parameters.epochClaims));
  requireRule(
    epoch.some((claim) => equalBytes(claim.claimRoot, order.claimRoot)) ||
      (open !== undefined && open.stage !== STAGE.revealing),
    `expected an open or a newly settled claim, found ${toHex(order.claimRoot)}: its window is over`,
  );
  const same = (other: { finder: Uint8Array; claimRoot: Uint8Array }): boolean =>
    equalBytes(other.finder, order.sender) && equalBytes(other.claimRoot, order.claimRoot);
  requireRule(!state.commitments.some(same), 'expected one commitment of a finder to a claim, found a second');
  debit(accountOf(state, order.sender), state.parameters.challengeBond);
  state.commitments.push({
    finder: order.sender,
    claimRoot: order.claimRoot,
    commitment: order.commitment,
    bond: state.parameters.challengeBond,
    height: state.height,
  });
  events.push({ type: 'evidence-committed', claimRoot: order.claimRoot, finder: order.sender });
}

/** The claim that revealed evidence was committed against. */
export function committedClaim(state: LedgerState, reveal: TransactionBody<'evidence'>): Uint8Array | undefined {
  const commitment = evidenceCommitment(reveal.evidence, reveal.finder, reveal.salt);
  return state.commitments.find((other) => equalBytes(other.commitment, commitment))?.claimRoot;
}

export async function applyEvidence(
  state: LedgerState,
  check: EvidenceChecker,
  reveal: TransactionBody<'evidence'>,
  events: LedgerEvent[],
): Promise<void> {
  const commitment = evidenceCommitment(reveal.evidence, reveal.finder, reveal.salt);
  const entry = state.commitments.find(
    (other) => equalBytes(other.commitment, commitment) && equalBytes(other.finder, reveal.finder),
  );
  requireRule(
    entry !== undefined,
    'expected evidence that was committed to, found none of these bytes, finder and salt',
  );
  requireRule(state.height > entry.height, 'expected evidence at a later height than its commitment');
  const verdict = await check(reveal.evidence);
  requireRule(
    equalBytes(verdict.chainId, state.chainId) && verdict.job === state.job.id,
    `expected evidence of this chain and job, found chain ${toHex(verdict.chainId)}, job ${verdict.job}`,
  );
  if (verdict.against === 'verifier') return judgeVerifier(state, entry, verdict, reveal.finder, events);
  const open = accusedClaim(state, verdict);
  requireRule(equalBytes(open.claimRoot, entry.claimRoot), 'expected evidence against the claim of the commitment');
  state.commitments = state.commitments.filter((other) => other !== entry);
  events.push({ ...evidenceEvent(verdict, reveal.finder), claimRoot: open.claimRoot });
  if (verdict.verdict === 'guilty') {
    accountOf(state, reveal.finder).balance += entry.bond;
    convict(state, open, reveal.finder, events);
  } else {
    // A lost accusation pays the accused, and clears the claim of nothing else.
    accountOf(state, open.miner).balance += entry.bond;
    trySettle(state, events, false);
  }
}

function settledClaim(state: LedgerState, claimRoot: Uint8Array): SettledClaim | undefined {
  return state.settled.find((claim) => equalBytes(claim.claimRoot, claimRoot));
}

/** A verifier of a settled claim is convicted at most once of its part in it; it loses the least stake of a verifier. */
function judgeVerifier(
  state: LedgerState,
  entry: Commitment,
  verdict: Verdict,
  finder: Uint8Array,
  events: LedgerEvent[],
): void {
  const claim = settledClaim(state, verdict.claimRoot);
  if (claim === undefined || !equalBytes(entry.claimRoot, verdict.claimRoot)) {
    throw rejected(`expected evidence against a verifier of the settled claim ${toHex(entry.claimRoot)}`);
  }
  const member = memberOf(state, verdict.accused);
  if (member === undefined) throw rejected(`expected a member, found ${toHex(verdict.accused)}`);
  const before = claim.convicted.some((key) => equalBytes(key, verdict.accused));
  requireRule(!before, `expected one conviction of ${toHex(verdict.accused)} for a claim, found a second`);
  state.commitments = state.commitments.filter((other) => other !== entry);
  const { claimNumber, attempt } = claim;
  events.push({ ...evidenceEvent(verdict, finder), claimNumber, attempt });
  if (verdict.verdict === 'false-accusation') {
    accountOf(state, verdict.accused).balance += entry.bond;
    return;
  }
  accountOf(state, finder).balance += entry.bond;
  punish(state, claim, member, finder, events);
}

/** A verifier of a settled claim loses the least stake of a verifier, once; what else it is disputed over goes back. */
function punish(
  state: LedgerState,
  claim: SettledClaim,
  member: Member,
  finder: Uint8Array,
  events: LedgerEvent[],
): void {
  const { publicKey } = member;
  claim.convicted.push(publicKey);
  const { taken } = slashBond(state, member, state.parameters.verifierStake, finder);
  events.push({ type: 'member', publicKey, change: 'slashed', taken });
  dropDisputesOf(state, claim.claimRoot, publicKey);
}

/** A verifier is convicted in a dispute. */
export function convictVerifier(
  state: LedgerState,
  { claimRoot, accused, challenger }: Pick<Dispute, 'claimRoot' | 'accused' | 'challenger'>,
  events: LedgerEvent[],
): void {
  const claim = settledClaim(state, claimRoot);
  const member = memberOf(state, accused);
  if (claim === undefined || member === undefined) {
    throw rejected(`expected a member that voted for a settled claim, found ${toHex(accused)}`);
  }
  punish(state, claim, member, challenger, events);
}

function evidenceEvent(verdict: Verdict, finder: Uint8Array): Extract<LedgerEvent, { type: 'evidence' }> {
  const { claimNumber, attempt, claimRoot, accused, kind, reason } = verdict;
  return { type: 'evidence', claimNumber, attempt, claimRoot, finder, accused, verdict: verdict.verdict, kind, reason };
}

/** The open claim that a verdict speaks of. Two signatures for one turn convict whichever of the two is on the ledger. */
function accusedClaim(state: LedgerState, verdict: Verdict): OpenClaim {
  const open = state.open.find(
    (other) =>
      other.claim.length === 1 &&
      other.claimNumber === verdict.claimNumber &&
      other.attempt === verdict.attempt &&
      equalBytes(other.miner, verdict.accused) &&
      (verdict.kind === 'equivocation' || equalBytes(other.claimRoot, verdict.claimRoot)),
  );
  if (open === undefined) {
    throw rejected(`expected evidence against an open claim, found ${toHex(verdict.claimRoot)}: its window is over`);
  }
  return open;
}

/** Slashes the bond of an open claim's miner; the claim falls. */
export function convict(state: LedgerState, open: OpenClaim, finder: Uint8Array, events: LedgerEvent[]): void {
  const member = memberOf(state, open.miner)!;
  const tally = tallyOf(open);
  const taken = slashBond(state, member, open.bond, finder);
  unlock(member, open.bond);
  // Leaving the list of open claims is what makes a second conviction for the same claim impossible.
  fall(state, open, 'slashed', events, tally, taken);
}
