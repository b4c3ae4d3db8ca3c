/**
 * Reads the votes that finalized each claim out of a ledger's log. The state keeps the outcome of a claim and not its
 * votes; they are in the blocks, and the state before and after a block says which of them counted.
 */
import { PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { decodeTransaction, type Order } from '../protocol/ledgerTypes.js';
import { type Attestation, type SignedClaim, VERDICT } from '../protocol/types.js';
import { seatStake } from './stateCommittee.js';
import type { LedgerEvent } from './stateEvents.js';
import { scopesOf } from './stateScope.js';
import { type LedgerState, type Seat, SeatsType } from './stateTypes.js';

/** A finalized claim with the equal positive votes of its last round: at least one, each with an opened receipt. */
export interface FinalizedVotes {
  readonly claim: SignedClaim;
  readonly claimRoot: Uint8Array;
  readonly beacon1: Uint8Array;
  /** All seats, the claim's own miner included where it has one. */
  readonly committee: readonly Seat[];
  readonly votes: readonly Attestation[];
  /** Seats of the committee before (that of the claim before, or for claim 0 the chain's first) that signed for this one. */
  readonly handover?: Handover;
}

export interface Handover {
  readonly from: readonly Seat[];
  readonly vouchers: readonly { readonly sender: Uint8Array; readonly voucher: Uint8Array }[];
}

type Voucher = Order<'hand-over'>;

/** Takes the blocks of a chain in order. */
export class OriginLog {
  readonly #finalized = new Map<number, FinalizedVotes[]>();
  /** Positive votes by claim root. */
  readonly #votes = new Map<string, Attestation[]>();
  /** Handovers by job and claim number. */
  readonly #vouchers = new Map<string, Voucher[]>();
  /** The committee that the chain begins with. */
  #first: readonly Seat[] | undefined;

  /** Finalized claims of a job so far, from claim 0 on. */
  finalizedOf(job: number): readonly FinalizedVotes[] {
    return this.#finalized.get(job) ?? [];
  }

  /** Those of the genesis job. */
  get finalized(): readonly FinalizedVotes[] {
    return this.finalizedOf(0);
  }

  /**
   * @param before the state that the block was applied to
   * @param after the state that it led to
   * @param events what it did
   */
  take(
    before: LedgerState,
    transactions: readonly Uint8Array[],
    after: LedgerState,
    events: readonly LedgerEvent[],
  ): void {
    this.#first ??= before.open[0]?.committee ?? [];
    for (const bytes of transactions) {
      const { kind, body } = decodeTransaction(bytes);
      if (kind === 'hand-over') {
        const key = `${body.order.job}/${body.order.claimNumber}`;
        this.#vouchers.set(key, [...(this.#vouchers.get(key) ?? []), body.order]);
      }
      if (kind !== 'attestation' || body.data.verdict !== VERDICT.positive) continue;
      const key = toHex(body.data.claimRoot);
      this.#votes.set(key, [...(this.#votes.get(key) ?? []), body]);
    }
    for (const event of events) {
      if (event.type !== 'outcome' || event.outcome === 'reopened') continue;
      if (event.outcome === 'finalized') {
        const job = event.job ?? 0;
        this.#finalized.set(job, [...this.finalizedOf(job), this.#votesOf(before, after, event)]);
      }
      this.#votes.delete(toHex(event.claimRoot));
    }
  }

  #votesOf(
    before: LedgerState,
    after: LedgerState,
    outcome: Extract<LedgerEvent, { type: 'outcome' }>,
  ): FinalizedVotes {
    const { claimRoot } = outcome;
    const ofClaim = (other: { readonly claimRoot: Uint8Array }): boolean => equalBytes(other.claimRoot, claimRoot);
    const open = scopesOf(before)
      .flatMap((scope) => scope.open)
      .find(ofClaim);
    const settled = scopesOf(after)
      .flatMap((scope) => scope.settled)
      .find(ofClaim);
    const claim = open?.claim[0];
    if (open === undefined || claim === undefined || settled === undefined) {
      throw new PogoError('INTERNAL', `expected claim ${toHex(claimRoot)} to be open before it is finalized`);
    }
    // As the ledger counted: votes of the last round over the agreed message, whose receipts were opened.
    const votes = (this.#votes.get(toHex(claimRoot)) ?? []).filter(
      ({ data, verifier }) =>
        equalBytes(data.beacon2, settled.beacon2) &&
        data.heldOutBeforeBits === outcome.heldOutBeforeBits &&
        data.heldOutAfterBits === outcome.heldOutAfterBits &&
        settled.receipts.some((receipt) => receipt.opened === 1 && equalBytes(receipt.verifier, verifier)),
    );
    if (votes.length === 0) {
      throw new PogoError('INTERNAL', `expected the votes that finalized claim ${toHex(claimRoot)}, found none`);
    }
    const { beacon1, committee, claimNumber, attempt } = open;
    const handover = this.#handoverTo(outcome.job ?? 0, claimNumber, attempt, committee);
    return { claim, claimRoot, beacon1, committee, votes, ...(handover === undefined ? {} : { handover }) };
  }

  /** What two thirds of the committee before signed; none where it is the same one, or too few signed. */
  #handoverTo(job: number, claimNumber: number, attempt: number, committee: readonly Seat[]): Handover | undefined {
    const key = `${job}/${claimNumber}`;
    const from = this.finalizedOf(job).at(-1)?.committee ?? this.#first ?? [];
    const root = SeatsType.hashTreeRoot([...committee]);
    const given = (this.#vouchers.get(key) ?? []).filter(
      (order) => order.attempt === attempt && equalBytes(order.committeeRoot, root),
    );
    this.#vouchers.delete(key);
    if (equalBytes(SeatsType.hashTreeRoot([...from]), root)) return undefined;
    const signed = from.filter(({ publicKey }) => given.some(({ sender }) => equalBytes(sender, publicKey)));
    if (signed.length === 0 || 3n * seatStake(signed) < 2n * seatStake(from)) return undefined;
    const vouchers = signed.map(({ publicKey }) => given.find(({ sender }) => equalBytes(sender, publicKey))!);
    return { from, vouchers };
  }
}
