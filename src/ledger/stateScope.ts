/**
 * Scopes: the genesis job and each job of an owner have a chain of claims of their own, under the same rules, members and
 * accounts. A scope is the whole state as the rules see it for one job: for an owner's job its claims, its rewards, and
 * its fund in place of the reward pool.
 */
import { equalBytes } from '../hex.js';
import { type ProtocolParameters, ROLE } from '../protocol/ledgerTypes.js';
import type { LedgerEvent } from './stateEvents.js';
import { accountOf, beaconFine, memberOf, rejected, unlock } from './stateMoney.js';
import { JOB_STATUS, type JobRecord, type LedgerState, MEMBER_STATUS } from './stateTypes.js';

/** What a scope of an owner's job has of its own; everything else is the chain's. */
const OWN = [
  'job',
  'falls',
  'open',
  'finalized',
  'finalizedCount',
  'stepsDone',
  'historyRoot',
  'epoch',
  'epochStake',
  'settled',
] as const;

/** A state that is seen through a job. */
interface Scoped {
  readonly root: LedgerState;
  readonly record: JobRecord;
}

const views = new WeakMap<LedgerState, Scoped>();

/** The chain's whole state behind a scope. */
export function rootOf(state: LedgerState): LedgerState {
  return views.get(state)?.root ?? state;
}

/** The owner's job behind a scope; undefined for the genesis job. */
export function jobRecordOf(state: LedgerState): JobRecord | undefined {
  return views.get(state)?.record;
}

function scopeOf(root: LedgerState, record: JobRecord): LedgerState {
  const scope = Object.create(null) as LedgerState;
  const pass = (name: string, get: () => unknown, set: (value: unknown) => void): void => {
    Object.defineProperty(scope, name, { get, set, enumerable: true });
  };
  const through = (target: object, name: string, as = name): void =>
    pass(
      name,
      () => Reflect.get(target, as),
      (value) => void Reflect.set(target, as, value),
    );
  for (const name of Object.keys(root)) {
    if (name === 'rewardPool') through(record, name, 'fund');
    else if (name !== 'parameters') through((OWN as readonly string[]).includes(name) ? record : root, name);
  }
  const { leastSteps, mostSteps, targetHeights, claimReward, usefulnessBonus, verifierReward } = record.rules;
  const own = { leastSteps, mostSteps, targetHeights, claimReward, usefulnessBonus, verifierReward };
  // The fine for a withheld share is the chain's, whatever a job pays; so committees are the same for all jobs.
  const { parameters } = root;
  const beaconFineSurplus = mostRewards(parameters) - claimReward - usefulnessBonus;
  Object.defineProperty(scope, 'parameters', { value: { ...parameters, ...own, beaconFineSurplus } });
  views.set(scope, { root, record });
  return scope;
}

/** All scopes of a chain: the genesis job's, which is the state itself, then those of the owners' jobs. */
export function scopesOf(state: LedgerState): LedgerState[] {
  const root = rootOf(state);
  return [root, ...root.jobs.map((record) => scopeOf(root, record))];
}

/** @throws PogoError REJECTED for a job that the chain does not have */
export function scopeOfJob(state: LedgerState, job: number): LedgerState {
  const scope = scopesOf(state).find((other) => other.job.id === job);
  if (scope === undefined) throw rejected(`expected a job of this chain, found ${job}`);
  return scope;
}

/** The scope that a claim is or was in; the genesis job's for a claim that nobody knows. */
export function scopeOfClaim(state: LedgerState, claimRoot: Uint8Array): LedgerState {
  const knows = ({ open, settled }: LedgerState): boolean =>
    [...open, ...settled].some((claim) => equalBytes(claim.claimRoot, claimRoot));
  return scopesOf(state).find(knows) ?? rootOf(state);
}

/** Members that may be drawn in a scope: all in the genesis job, in an owner's those that serve it. */
export function membersOfScope(state: LedgerState): LedgerState['members'] {
  const record = jobRecordOf(state);
  if (record === undefined) return state.members;
  return state.members.filter(({ publicKey }) => record.servers.some((key) => equalBytes(key, publicKey)));
}

/** Claims of all jobs that are final or open. */
export function claimsSoFar(state: LedgerState): number {
  const root = rootOf(state);
  return [root, ...root.jobs].reduce((sum, { finalizedCount, open }) => sum + finalizedCount + open.length, 0);
}

/** The most that a job may pay a claim's miner: what the fine for withheld beacon shares covers. */
export function mostRewards(parameters: ProtocolParameters): bigint {
  return beaconFine(parameters) - parameters.minerBond;
}

/** What the claims of a job cost at most. */
function costOf({ rules }: JobRecord, claims: number): bigint {
  return BigInt(claims) * (rules.claimReward + rules.usefulnessBonus + rules.verifierReward);
}

/** Heights in which an owner may ask for pieces of its last model once no claim follows. */
const DELIVERY_HEIGHTS = 32;

/**
 * Whether another claim of this scope may be opened. An owner's job whose claims are all made, or whose deadline has
 * passed, ends here: what is left of its fund goes back.
 */
export function mayOpen(state: LedgerState, events: LedgerEvent[]): boolean {
  const record = jobRecordOf(state);
  if (record === undefined) return true;
  const { rules, finalizedCount, open } = record;
  const over = state.height >= rules.deadline || finalizedCount + open.length >= rules.claims;
  if (record.status === JOB_STATUS.open && over && open.length === 0) endJob(state, record, events);
  const paid = record.fund >= costOf(record, open.length + 1);
  return record.status === JOB_STATUS.open && !over && paid && servingStake(state) >= rules.leastStake;
}

/** Stake of the verifiers that serve a job. */
function servingStake(state: LedgerState): bigint {
  return membersOfScope(state)
    .filter(({ status, roles, stake }) => {
      return (
        status === MEMBER_STATUS.active && (roles & ROLE.verifier) !== 0 && stake >= state.parameters.verifierStake
      );
    })
    .reduce((sum, { stake }) => sum + stake, 0n);
}

function endJob(state: LedgerState, record: JobRecord, events: LedgerEvent[]): void {
  const refund = record.fund;
  record.fund = 0n;
  accountOf(state, record.owner).balance += refund;
  const last = record.finalized.at(-1);
  record.status = last === undefined ? JOB_STATUS.closed : JOB_STATUS.delivering;
  record.deliverUntil = state.height + DELIVERY_HEIGHTS + state.parameters.availabilityClock;
  events.push({
    type: 'job',
    job: record.job.id,
    owner: record.owner,
    change: 'ended',
    claims: record.finalizedCount,
    refund,
    ...(last === undefined ? {} : { toRoot: last.toRoot, modelRoot: last.modelRoot }),
  });
}

/** Frees the bond behind an owner's newest claim. */
export function releaseDelivery(state: LedgerState, record: JobRecord): void {
  const [claim] = record.delivery;
  if (claim !== undefined) unlock(memberOf(state, claim.header.miner), record.held);
  record.delivery = [];
  record.held = 0n;
}
