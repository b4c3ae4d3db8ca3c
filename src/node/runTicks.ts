/**
 * Ticks of a run: the supervisor ends a stage, a turn or a round where nobody is left who could make the next block.
 *
 * Heights of an embedded ledger advance by events alone, so whoever is gone, silent, or cannot decide would be waited for
 * for ever.
 */
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import type { Ledger } from '../ledger/ledger.js';
import { readState } from '../ledger/orders.js';
import { silenceFrom } from '../ledger/stateAvailability.js';
import { disputeTick, turnOf } from '../ledger/stateDisputeDuties.js';
import { tickFor, waitingTicks } from '../ledger/stateDuties.js';
import { scopeOfClaim, scopesOf } from '../ledger/stateScope.js';
import type { LedgerState } from '../ledger/stateTypes.js';
import type { Dispute } from '../protocol/dispute/transactions.js';
import { encodeTransaction } from '../protocol/ledgerTypes.js';
import type { RoleReport } from './roles/common.js';

export interface RunTicksOptions {
  readonly ledger: Pick<Ledger, 'query' | 'submit'>;
  /** Name of a key's process. */
  readonly nameOf: (publicKey: Uint8Array) => string;
  /** A tick that nobody awaits could not be written. */
  readonly onFailure: (error: PogoError) => void;
}

export class RunTicks {
  readonly #ledger: Pick<Ledger, 'query' | 'submit'>;
  readonly #options: RunTicksOptions;
  /** Verifiers that could not decide a claim, by its turn: nothing is waited for once all others have voted. */
  readonly #abstained = new Map<string, Set<string>>();

  constructor(options: RunTicksOptions) {
    this.#options = options;
    this.#ledger = options.ledger;
  }

  /** After a block: what time alone would do on another chain, and rounds that its votes decided. */
  async follow(state: LedgerState): Promise<void> {
    for (const tick of waitingTicks(state)) await this.#ledger.submit(tick);
    await this.#endDecided();
  }

  /** A role has said that it cannot do something: nobody waits for it. */
  heard(name: string, report: RoleReport): void {
    if (report.type === 'withheld') this.#later(() => this.#recordSilence());
    if (report.type === 'gave-up') this.#later(() => this.#endTurns(name, ({ id }) => id === report.dispute));
    if (report.type !== 'abstained') return;
    const turn = `${report.job}/${report.claim}/${report.attempt}`;
    this.#abstained.set(turn, (this.#abstained.get(turn) ?? new Set()).add(name));
    this.#later(() => this.#endDecided());
  }

  /** Whose process is gone takes no turn any more, and is waited for nowhere. */
  gone(name: string): void {
    this.#later(async () => {
      await this.#endTurns(name, () => true);
      await this.#endStages();
    });
  }

  /** Nobody awaits it: its failure is told, and never a rejection without a reader. */
  #later(write: () => Promise<void>): void {
    write().catch((error: unknown) => this.#options.onFailure(PogoError.from(error)));
  }

  /** Ends the round of a claim on which every verifier has voted or said that it cannot. */
  async #endDecided(): Promise<void> {
    if (this.#abstained.size === 0) return;
    const state = await readState(this.#ledger);
    for (const { job, open: claims } of scopesOf(state)) {
      for (const open of claims) {
        const silent = this.#abstained.get(`${job.id}/${open.claimNumber}/${open.attempt}`);
        if (silent === undefined || open.attestations.length + silent.size < open.committee.length) continue;
        silent.clear();
        await this.#ledger.submit(tickFor(open, job.id));
      }
    }
  }

  /** A miner cannot show what it was asked for: lets the heights of its answer pass, then has its silence recorded. */
  async #recordSilence(): Promise<void> {
    for (;;) {
      const state = await readState(this.#ledger);
      const [challenge] = state.pieces;
      if (challenge === undefined) return;
      const scope = scopeOfClaim(state, challenge.piece.claimRoot);
      const open = scope.open.find(({ claimRoot }) => equalBytes(claimRoot, challenge.piece.claimRoot));
      if (open === undefined) return;
      const over = state.height + 1 >= silenceFrom(state, challenge);
      const next = over ? encodeTransaction('piece-silence', challenge.piece) : tickFor(open, scope.job.id);
      if (!(await this.#ledger.submit(next)).accepted) return;
    }
  }

  /** Ends the turns of disputes that their side will not take: silence loses. */
  async #endTurns(name: string, which: (dispute: Dispute) => boolean): Promise<void> {
    const { disputes } = await readState(this.#ledger);
    for (const dispute of disputes.filter(which)) {
      const side = turnOf(dispute);
      if (side === undefined || this.#options.nameOf(dispute[side]) !== name) continue;
      await this.#ledger.submit(disputeTick(dispute));
    }
  }

  /** Ends the present stage of the open claims: whoever should have acted is gone or cannot decide. */
  async #endStages(): Promise<void> {
    for (const { job, open } of scopesOf(await readState(this.#ledger))) {
      for (const claim of open) await this.#ledger.submit(tickFor(claim, job.id));
    }
  }
}
