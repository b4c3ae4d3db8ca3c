/** What people and programs see of a run: reports and blocks become events, lines, a chart and a summary. */

import { toHex } from '../hex.js';
import type { LedgerBlock } from '../ledger/ledger.js';
import type { LedgerEvent } from '../ledger/stateEvents.js';
import { COIN } from '../ledger/stateGenesis.js';
import { bitsToFloat } from '../model/fp32.js';
import type { RoleReport } from '../node/roles/common.js';
import type { RunNames } from '../node/run.js';
import { claimRoot } from '../protocol/types.js';
import type { LossPoint } from './chart.js';
import { type PogoEvent, printEvent } from './events.js';

/** Steps between two lines of progress where the output is no terminal. */
const PLAIN_EVERY = 5;

export interface Totals {
  readonly trainSeconds: number;
  readonly tokens: number;
  readonly steps: number;
  readonly verifySeconds: number;
  readonly unitsChecked: number;
  /** Processor seconds of miners and verifiers. */
  readonly trainCpuSeconds: number;
  readonly verifyCpuSeconds: number;
  /** Wall seconds of all log replays, and their number. */
  readonly replaySeconds: number;
  readonly checks: number;
}

type Checked = Extract<RoleReport, { type: 'checked' }>;

/** Money with four digits at most. */
export function coins(amount: bigint): string {
  return `${Number(amount) / Number(COIN)}`;
}

function seconds(value: number): string {
  return value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
}

export class RunReport {
  readonly #json: boolean;
  readonly #record: (point: LossPoint) => void;
  readonly #steps: LossPoint[] = [];
  readonly #checked = new Map<string, Checked>();
  readonly #claimEnds: number[] = [];
  #trainMs = 0;
  #tokens = 0;
  #verifySeconds = 0;
  #units = 0;
  #trained = 0;
  #trainCpu = 0;
  #verifyCpu = 0;
  #replaySeconds = 0;
  readonly #claimBytes = new Map<string, number>();
  readonly #turns = new Map<string, number>();
  #liveLine = false;
  #claimSteps = 0;

  /**
   * @param stepsPerClaim for progress
   * @param record called with every point of the loss curve
   */
  constructor(json: boolean, stepsPerClaim: number, record: (point: LossPoint) => void) {
    this.#json = json;
    this.#claimSteps = stepsPerClaim;
    this.#record = record;
  }

  /** The curve of the processes that ran before. */
  restorePoints(points: readonly LossPoint[]): void {
    for (const point of points) this.#addPoint(point);
  }

  #addPoint(point: LossPoint): void {
    // The steps of a false or rejected claim are trained again: the curve keeps the newest.
    const known = this.#steps.findIndex((p) => p.step >= point.step);
    if (known >= 0) this.#steps.splice(known);
    this.#steps.push(point);
  }

  get points(): readonly LossPoint[] {
    return this.#steps;
  }

  get claimEnds(): readonly number[] {
    return this.#claimEnds;
  }

  get totals(): Totals {
    return {
      trainSeconds: this.#trainMs / 1000,
      tokens: this.#tokens,
      steps: this.#trained,
      verifySeconds: this.#verifySeconds,
      unitsChecked: this.#units,
      trainCpuSeconds: this.#trainCpu,
      verifyCpuSeconds: this.#verifyCpu,
      replaySeconds: this.#replaySeconds,
      checks: this.#checked.size,
    };
  }

  /** A line for people; nothing with `--json`. */
  line(text: string): void {
    if (this.#json) return;
    this.#endLive();
    process.stdout.write(`${text}\n`);
  }

  event(event: PogoEvent): void {
    if (this.#json) printEvent(event);
  }

  onReport(role: string, report: RoleReport): void {
    switch (report.type) {
      case 'step':
        return this.#step(role, report);
      case 'trained':
        this.#trainCpu += report.cpuSeconds;
        this.#claimBytes.set(`${report.job}/${report.claim}/${report.attempt}`, report.bytes);
        return;
      case 'checking':
        if (!process.stdout.isTTY) return;
        return this.#live(`  ${role} recomputed ${report.units} of ${report.of} drawn units`);
      case 'checked':
        this.#checked.set(`${role}/${report.job}/${report.claim}/${report.attempt}`, report);
        this.#verifySeconds += report.seconds;
        this.#verifyCpu += report.cpuSeconds;
        this.#replaySeconds += report.replaySeconds;
        this.#units += report.units;
        if (report.fault === undefined) return;
        return this.line(`  ${role} found it FALSE: ${report.message} (${report.fault})`);
      case 'evidence': {
        const { claim, kind, file, bytes } = report;
        this.event({ type: 'evidence', claim, kind, file, bytes });
        return this.line(`  ${role} wrote evidence of a false ${kind}: ${file} (${(bytes / 1e6).toFixed(2)} MB)`);
      }
      case 'rechecked':
        if (report.held) return;
        return this.line(`  ${role} found a FALSE receipt of ${report.verifier.slice(0, 12)}: part ${report.part}`);
      case 'disputed':
        return this.line(`  ${role} disputes ${report.subject}, with a bond of ${coins(BigInt(report.bond))}`);
      case 'traced':
        return this.line(
          `  ${role} published the trace of ${report.subject}: ${report.operations} operations, ${report.bytes} bytes, ${seconds(report.seconds)}`,
        );
      case 'gave-up':
        return this.line(`  ${role} does not go on in dispute ${report.dispute}: ${report.message}`);
      case 'withheld':
        return this.line(`  ${role} does not show ${report.root.slice(0, 12)}, which it was asked for`);
      case 'abstained':
        return this.line(`  ${role} cannot decide: ${report.message}`);
    }
  }

  onBlock(block: LedgerBlock<LedgerEvent>, names: RunNames, past: boolean): void {
    for (const event of block.events) this.#ledgerEvent(event, names, past);
  }

  #step(role: string, { job, claim, step, loss, tokens, ms, stateRoot }: Extract<RoleReport, { type: 'step' }>): void {
    this.event({ type: 'step', ...ofJob(job), claim, step, loss, tokens, ms: Math.round(ms * 10) / 10, stateRoot });
    // The curve is that of the run's own job.
    if (job === 0) {
      this.#addPoint({ step, loss });
      this.#record({ step, loss });
    }
    this.#trained += 1;
    this.#trainMs += ms;
    this.#tokens += tokens;
    const within = (step % this.#claimSteps) + 1;
    const left = ((this.#claimSteps - within) * ms) / 1000;
    const speed = Math.round(tokens / (ms / 1000)).toLocaleString('en');
    const text = `  ${role} step ${step + 1} (${within}/${this.#claimSteps})  loss ${loss.toFixed(4)}  ${speed} tokens/s  claim done in ${seconds(left)}`;
    if (process.stdout.isTTY || within % PLAIN_EVERY === 0) this.#live(text);
  }

  #ledgerEvent(event: LedgerEvent, names: RunNames, past: boolean): void {
    switch (event.type) {
      case 'assigned':
        if (past) return;
        {
          const name = `${of(event)}claim ${event.claimNumber}`;
          const turns = (this.#turns.get(name) ?? 0) + 1;
          this.#turns.set(name, turns);
          const again = turns > 1 ? ' once more' : '';
          return this.line(`\n${name}${again}: beacon 1 drew ${names.of(event.miner)} and its batches`);
        }
      case 'claim': {
        const { header } = event.claim;
        this.event({
          type: 'claim',
          claim: event.claimNumber,
          attempt: event.attempt,
          ...ofJob(event.job),
          miner: names.of(header.miner),
          claimRoot: toHex(claimRoot(header)),
          fromRoot: toHex(header.fromRoot),
          toRoot: toHex(header.toRoot),
          modelRoot: toHex(header.modelRoot),
          steps: this.#claimSteps,
          bytes: this.#claimBytes.get(`${event.job ?? 0}/${event.claimNumber}/${event.attempt}`) ?? 0,
        });
        if (!past)
          this.line(
            `  committed: state ${short(header.fromRoot)} → ${short(header.toRoot)}, model ${short(header.modelRoot)}`,
          );
        return;
      }
      case 'beacon':
        if (event.kind === 2 && !past) this.line('  drawn: beacon 2 fixed what each verifier checks');
        return;
      case 'attestation':
        return this.#attestation(event, names, past);
      case 'evidence':
        if (!past)
          this.line(`  ledger: evidence of ${names.of(event.finder)} checked: ${event.verdict} (${event.reason})`);
        return;
      case 'job':
        this.event({
          type: 'job',
          job: event.job,
          owner: names.of(event.owner),
          change: event.change,
          claims: event.claims,
          refund: `${event.refund}`,
          ...(event.toRoot === undefined ? {} : { toRoot: toHex(event.toRoot) }),
          ...(event.modelRoot === undefined ? {} : { modelRoot: toHex(event.modelRoot) }),
        });
        if (!past) this.line(`job ${event.job} of ${names.of(event.owner)} ${event.change}: ${jobText(event)}`);
        return;
      case 'dispute':
        this.event({
          type: 'dispute',
          claim: event.claimNumber,
          attempt: event.attempt,
          ...ofJob(event.job),
          dispute: event.dispute,
          challenger: names.of(event.challenger),
          accused: names.of(event.accused),
          change: event.change,
          reason: event.reason,
        });
        if (!past)
          this.line(
            `  ledger: dispute ${event.dispute} of ${names.of(event.challenger)}: ${event.change}${event.reason === '' ? '' : ` (${event.reason})`}`,
          );
        return;
      case 'outcome':
        return this.#outcome(event, names, past);
      default:
        return;
    }
  }

  #attestation(event: Extract<LedgerEvent, { type: 'attestation' }>, names: RunNames, past: boolean): void {
    const verifier = names.of(event.verifier);
    const checked = this.#checked.get(`${verifier}/${event.job ?? 0}/${event.claimNumber}/${event.attempt}`);
    this.event({
      type: 'attestation',
      claim: event.claimNumber,
      attempt: event.attempt,
      ...ofJob(event.job),
      verifier,
      verdict: event.verdict,
      checks: checked?.checks ?? 0,
      units: checked?.units ?? 0,
      seconds: checked?.seconds ?? 0,
    });
    if (past || checked === undefined) return;
    const held = Number.isNaN(bitsToFloat(checked.heldOutAfterBits))
      ? ''
      : `, held-out loss ${bitsToFloat(checked.heldOutBeforeBits).toFixed(4)} → ${bitsToFloat(checked.heldOutAfterBits).toFixed(4)}`;
    this.line(
      `  ${verifier} ${event.verdict}: replayed the log, recomputed ${checked.units} of ${checked.drawn} drawn units in ${seconds(checked.seconds)}${held}`,
    );
  }

  #outcome(event: Extract<LedgerEvent, { type: 'outcome' }>, names: RunNames, past: boolean): void {
    const { claimNumber: claim, attempt, outcome, stakeFor, stakeAgainst, slashed, height } = event;
    if (outcome === 'finalized' && event.job === undefined) this.#claimEnds.push((claim + 1) * this.#claimSteps);
    if (outcome !== 'reopened' && outcome !== 'missed') {
      this.event({
        type: 'outcome',
        claim,
        attempt,
        ...ofJob(event.job),
        outcome,
        miner: names.of(event.miner),
        stakeFor: `${stakeFor}`,
        stakeAgainst: `${stakeAgainst}`,
        slashed: `${slashed}`,
        height,
      });
    }
    if (past) return this.line(`${of(event)}claim ${claim} ${outcome} (before this start)`);
    const words: Record<typeof outcome, string> = {
      finalized: `FINALIZED with ${coins(stakeFor)} of stake for it; ${names.of(event.miner)} earned ${coins(event.reward)}`,
      slashed: `SLASHED: ${names.of(event.miner)} lost ${coins(slashed)}, of which ${coins(event.burned)} burned`,
      rejected: 'rejected without penalty',
      void: 'void: its parent fell',
      missed: `${names.of(event.miner)} missed its turn`,
      reopened: 'no quorum; drawn once more',
    };
    this.line(`  ${of(event)}${words[outcome]} (height ${height})`);
  }

  #live(text: string): void {
    if (this.#json) return;
    if (!process.stdout.isTTY) {
      process.stdout.write(`${text}\n`);
      return;
    }
    process.stdout.write(`\r\u001b[2K${text.slice(0, (process.stdout.columns ?? 80) - 1)}`);
    this.#liveLine = true;
  }

  #endLive(): void {
    if (this.#liveLine) process.stdout.write('\r\u001b[2K');
    this.#liveLine = false;
  }
}

function short(root: Uint8Array): string {
  return toHex(root).slice(0, 12);
}

/** Names an owner's job in front of what happened to its claim. */
function of({ job }: { readonly job?: number }): string {
  return job === undefined ? '' : `job ${job}, `;
}

function ofJob(job: number | undefined): { readonly job?: number } {
  return job === undefined || job === 0 ? {} : { job };
}

function jobText({ change, claims, refund, modelRoot }: Extract<LedgerEvent, { type: 'job' }>): string {
  if (change !== 'ended') return `${claims} claims final`;
  const model = modelRoot === undefined ? 'no model' : `model ${short(modelRoot)}`;
  return `${claims} claims final, ${model}, ${coins(refund)} of its fund back`;
}
