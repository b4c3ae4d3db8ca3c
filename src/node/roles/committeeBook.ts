/**
 * Which committees a verifier has seen, so that it can sign for the next one: where a claim's committee is another than
 * that of the claim before, and not what the members of genesis give.
 */
import { equalBytes, toHex } from '../../hex.js';
import type { LedgerBlock } from '../../ledger/ledger.js';
import { committeeOf } from '../../ledger/stateCommittee.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { rootOf, scopesOf } from '../../ledger/stateScope.js';
import { findByKey, type LedgerState, type OpenClaim, type Seat, SeatsType } from '../../ledger/stateTypes.js';
import type { Bls, KeyPair } from '../../protocol/bls.js';
import { type HandoverSubject, handoverMessage } from '../../protocol/handover.js';
import { decodeTransaction, type Order, ROLE, TRANSACTION_TYPES } from '../../protocol/ledgerTypes.js';

interface Committee {
  readonly keys: readonly Uint8Array[];
  readonly root: Uint8Array;
}

const [HAND_OVER] = TRANSACTION_TYPES['hand-over'];

const turnName = (job: number, claimNumber: number, attempt: number): string => `${job}/${claimNumber}/${attempt}`;

export class CommitteeBook {
  /** Of claims that have no outcome yet, by their turn. */
  readonly #opened = new Map<string, Committee>();
  /** Of the last finalized claim of each job. */
  readonly #final = new Map<number, { readonly claimNumber: number; readonly committee: Committee }>();
  /** Keys that joined or left since genesis. */
  readonly #moved = new Map<string, Uint8Array>();
  /** Turns that this key has signed for. */
  readonly #signed = new Set<string>();
  readonly #own: Uint8Array;

  constructor(own: Uint8Array) {
    this.#own = own;
  }

  add({ events, transactions }: LedgerBlock<LedgerEvent>): void {
    for (const bytes of transactions) {
      if (bytes[0] !== HAND_OVER) continue;
      const { order } = decodeTransaction(bytes).body as { order: Order<'hand-over'> };
      if (equalBytes(order.sender, this.#own)) this.#signed.add(turnName(order.job, order.claimNumber, order.attempt));
    }
    for (const event of events) {
      if (event.type === 'member') this.#moved.set(toHex(event.publicKey), event.publicKey);
      if (event.type === 'opened') {
        const { committee: keys, committeeRoot: root } = event;
        this.#opened.set(turnName(event.job ?? 0, event.claimNumber, event.attempt), { keys, root });
      }
      if (event.type !== 'outcome' || event.outcome === 'reopened') continue;
      const { job = 0, claimNumber } = event;
      const name = turnName(job, claimNumber, event.attempt);
      const committee = this.#opened.get(name);
      if (event.outcome === 'finalized' && committee !== undefined) this.#final.set(job, { claimNumber, committee });
      this.#opened.delete(name);
      this.#signed.delete(name);
    }
  }

  /** This key signs for a committee now: the block that holds it is seen later. */
  took({ job, claimNumber, attempt }: HandoverSubject): void {
    this.#signed.add(turnName(job, claimNumber, attempt));
  }

  /** The next committee to sign for; undefined when there is none. */
  due(state: LedgerState): HandoverSubject | undefined {
    const moved = this.#verifiersMoved(state);
    for (const scope of scopesOf(state)) {
      for (const [at, open] of scope.open.entries()) {
        const { claimNumber, attempt } = open;
        const job = scope.job.id;
        if (this.#signed.has(turnName(job, claimNumber, attempt))) continue;
        if (!moved && (job === 0 || isDrawnFromAll(rootOf(state), open))) continue;
        const parent = this.#parentOf(job, open, scope.open[at - 1]);
        const committeeRoot = SeatsType.hashTreeRoot(open.committee);
        if (parent !== undefined && equalBytes(parent.root, committeeRoot)) continue;
        // An unknown parent is the committee of genesis, or of a claim that this process did not see opened.
        if (parent !== undefined && !parent.keys.some((key) => equalBytes(key, this.#own))) continue;
        return { chainId: state.chainId, job, claimNumber, attempt, committeeRoot };
      }
    }
    return undefined;
  }

  #parentOf(job: number, { claimNumber }: OpenClaim, before: OpenClaim | undefined): Committee | undefined {
    if (before !== undefined) return { keys: keysOf(before.committee), root: SeatsType.hashTreeRoot(before.committee) };
    const last = this.#final.get(job);
    return last?.claimNumber === claimNumber - 1 ? last.committee : undefined;
  }

  /** Whether a verifier joined or left: a miner's coming and going moves no committee. */
  #verifiersMoved({ members }: LedgerState): boolean {
    return [...this.#moved.values()].some((key) => {
      const member = findByKey(members, key);
      return member === undefined || (member.roles & ROLE.verifier) !== 0;
    });
  }
}

const keysOf = (seats: readonly Seat[]): Uint8Array[] => seats.map(({ publicKey }) => publicKey);

/** Whether all members, asked for no job in particular, give this committee: then the genesis does, as long as nobody moved. */
function isDrawnFromAll(root: LedgerState, open: OpenClaim): boolean {
  const { claimNumber, attempt, parentBeacon, sequence, committee } = open;
  const drawn = committeeOf(root, claimNumber, attempt, parentBeacon, sequence);
  return equalBytes(SeatsType.hashTreeRoot(drawn), SeatsType.hashTreeRoot(committee));
}

/** The order that signs for a committee, without its nonce. */
export function handOverOrder(
  bls: Bls,
  { secret }: Pick<KeyPair, 'secret'>,
  subject: HandoverSubject,
): Omit<Order<'hand-over'>, 'sender' | 'nonce'> {
  const { job, claimNumber, attempt, committeeRoot } = subject;
  return { job, claimNumber, attempt, committeeRoot, voucher: bls.sign(secret, handoverMessage(subject)) };
}
