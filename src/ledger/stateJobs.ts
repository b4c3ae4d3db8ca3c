/**
 * Jobs of owners: created with a recipe, rules and a fund; claims are drawn, checked and paid as those of the genesis job,
 * from the job's own fund; at its end the rest goes back and the last finalized model is the owner's (docs/protocol.md §13).
 */
import { equalBytes } from '../hex.js';
import type { Order, TransactionBody } from '../protocol/ledgerTypes.js';
import { ZERO_ROOT } from '../protocol/types.js';
import type { LedgerEvent } from './stateEvents.js';
import { accountOf, debit, memberOf, requireRule } from './stateMoney.js';
import { jobRecordOf, mayOpen, mostRewards, releaseDelivery, scopeOfJob } from './stateScope.js';
import { JOB_STATUS, type JobRecord, type LedgerState, MAX_JOBS } from './stateTypes.js';

/** Steps of a claim are at most this many. */
const MAX_STEPS = 1 << 16;

export function applyCreateJob(state: LedgerState, order: Order<'create-job'>, events: LedgerEvent[]): void {
  const { sender, recipeRoot, startStateRoot, firstSteps, rules, fund } = order;
  const { leastSteps, mostSteps, claims, deadline } = rules;
  requireRule(state.jobs.length < MAX_JOBS, `expected at most ${MAX_JOBS} jobs of a chain`);
  const bounded = leastSteps >= 1 && leastSteps <= firstSteps && firstSteps <= mostSteps && mostSteps <= MAX_STEPS;
  requireRule(bounded, `expected 1 ≤ least ≤ first ≤ most steps ≤ ${MAX_STEPS}`);
  requireRule(claims >= 1, 'expected a job of at least one claim');
  requireRule(deadline > state.height, `expected a deadline after height ${state.height}, found ${deadline}`);
  // A first claim can be paid: a job that nothing can be opened for is none.
  const least = rules.claimReward + rules.usefulnessBonus + rules.verifierReward;
  requireRule(rules.claimReward > 0n, 'expected a reward for a claim, found none');
  const most = mostRewards(state.parameters);
  requireRule(
    rules.claimReward + rules.usefulnessBonus <= most,
    `expected rewards of a claim of at most ${most}, which the fine for a withheld beacon covers`,
  );
  requireRule(fund >= least, `expected a fund of at least ${least}, found ${fund}`);
  // Burned: a job costs everybody's ledger something, whether it is ever served or not.
  const fee = state.parameters.missedTurnFee;
  debit(accountOf(state, sender), fund + fee);
  state.burned += fee;
  const id = state.jobs.length + 1;
  const record: JobRecord = {
    job: { id, recipeRoot, startStateRoot, stepsPerClaim: firstSteps },
    falls: 0,
    open: [],
    finalized: [],
    finalizedCount: 0,
    stepsDone: 0,
    historyRoot: ZERO_ROOT,
    epoch: 0,
    epochStake: 0n,
    settled: [],
    owner: sender,
    servers: [],
    rules,
    status: JOB_STATUS.open,
    fund,
    delivery: [],
    held: 0n,
    deliverUntil: 0,
  };
  state.jobs.push(record);
  events.push({ type: 'job', job: id, owner: sender, change: 'created', claims: 0, refund: 0n, recipeRoot });
}

export function applyFundJob(
  state: LedgerState,
  { sender, job, amount }: Order<'fund-job'>,
  events: LedgerEvent[],
): void {
  const scope = scopeOfJob(state, job);
  const record = jobRecordOf(scope);
  requireRule(record?.status === JOB_STATUS.open, `expected an open job of an owner, found ${job}`);
  requireRule(amount > 0n, 'expected an amount above 0');
  debit(accountOf(state, sender), amount);
  record.fund += amount;
  events.push({ type: 'job', job, owner: record.owner, change: 'funded', claims: record.finalizedCount, refund: 0n });
}

/**
 * A member takes part in a job, or no longer. Nobody is drawn for a job that it did not choose: it may lack the recipe's data
 * or machines, and missed turns and silence cost.
 */
export function applyServeJob(state: LedgerState, { sender, job, serves }: Order<'serve-job'>): void {
  const record = jobRecordOf(scopeOfJob(state, job));
  requireRule(record?.status === JOB_STATUS.open, `expected an open job of an owner, found ${job}`);
  requireRule(memberOf(state, sender) !== undefined, 'expected a member of the chain');
  const listed = record.servers.some((key) => equalBytes(key, sender));
  requireRule(serves <= 1 && listed === (serves === 0), 'expected a change of who serves the job, found none');
  if (serves === 1) record.servers.push(sender);
  else record.servers = record.servers.filter((key) => !equalBytes(key, sender));
}

/** Ends what time ends: a job behind its deadline, or one whose owner has had its heights to ask for the model. */
export function applyJobTick(state: LedgerState, { job }: TransactionBody<'job-tick'>, events: LedgerEvent[]): void {
  const scope = scopeOfJob(state, job);
  const record = jobRecordOf(scope);
  requireRule(record !== undefined && record.status !== JOB_STATUS.closed, `expected a job of an owner, found ${job}`);
  if (record.status === JOB_STATUS.open) {
    const { deadline } = record.rules;
    requireRule(state.height >= deadline, `expected a tick at height ${deadline} or later, found ${state.height}`);
    requireRule(record.open.length === 0, 'expected a job without an open claim: the last one ends it');
    // No claim can be opened any more: looking whether one may ends the job.
    mayOpen(scope, events);
    return;
  }
  requireRule(
    state.height >= record.deliverUntil && !isAsked(state, record),
    `expected a tick at height ${record.deliverUntil} or later, with no piece asked for, found ${state.height}`,
  );
  closeJob(state, record, events);
}

/** Whether a piece of the job's delivery is being asked for. */
function isAsked(state: LedgerState, record: JobRecord): boolean {
  const root = record.finalized.at(-1)?.claimRoot;
  return root !== undefined && state.pieces.some(({ piece }) => piece.claimRoot.every((byte, i) => byte === root[i]));
}

/** The end: the bond behind the last model is free again. */
function closeJob(state: LedgerState, record: JobRecord, events: LedgerEvent[]): void {
  releaseDelivery(state, record);
  record.status = JOB_STATUS.closed;
  const { owner, job, finalizedCount } = record;
  events.push({ type: 'job', job: job.id, owner, change: 'closed', claims: finalizedCount, refund: 0n });
}
