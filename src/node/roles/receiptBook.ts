/** Receipts as a chain's blocks tell them: what a verifier needs to look at a foreign one again. */
import { toHex } from '../../hex.js';
import type { LedgerBlock } from '../../ledger/ledger.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { decodeTransaction, TRANSACTION_TYPES } from '../../protocol/ledgerTypes.js';
import type { ReceiptOpening, SignedReceipt } from '../../protocol/receipt.js';
import { type Attestation, type SignedClaim, VERDICT } from '../../protocol/types.js';

/** Claims of which receipts are kept: more than an epoch of any parameters that are sensible. */
const KEPT_CLAIMS = 64;

const VOTES: ReadonlySet<number | undefined> = new Set([
  TRANSACTION_TYPES.attestation[0],
  TRANSACTION_TYPES.evidence[0],
]);

export interface BookedReceipt {
  readonly claim: SignedClaim;
  readonly receipt: SignedReceipt;
  readonly opening: ReceiptOpening;
}

interface Page {
  readonly claim: SignedClaim;
  readonly receipts: Map<string, SignedReceipt>;
  readonly openings: Map<string, ReceiptOpening>;
  /** Newest positive vote of each verifier. */
  readonly votes: Map<string, Attestation>;
  /** Files of evidence that proved a unit or a loss of the claim false. */
  readonly falseUnits: Uint8Array[];
}

export class ReceiptBook {
  readonly #pages = new Map<string, Page>();

  add(block: LedgerBlock<LedgerEvent>): void {
    for (const bytes of block.transactions) if (VOTES.has(bytes[0])) this.#vote(bytes, block.events);
    for (const event of block.events) {
      if (event.type === 'claim') {
        this.#pages.set(toHex(event.claimRoot), {
          claim: event.claim,
          receipts: new Map(),
          openings: new Map(),
          votes: new Map(),
          falseUnits: [],
        });
        for (const old of [...this.#pages.keys()].slice(0, -KEPT_CLAIMS)) this.#pages.delete(old);
      }
      // A new round's receipt takes the place of the one before.
      if (event.type === 'receipt') {
        this.#pages.get(toHex(event.claimRoot))?.receipts.set(toHex(event.receipt.verifier), event.receipt);
      }
      if (event.type === 'receipt-opened') {
        this.#pages.get(toHex(event.claimRoot))?.openings.set(toHex(event.verifier), event.opening);
      }
    }
  }

  /** Votes, and evidence that convicted the claim's miner of a unit. */
  #vote(bytes: Uint8Array, events: readonly LedgerEvent[]): void {
    const { kind, body } = decodeTransaction(bytes);
    if (kind === 'attestation' && body.data.verdict === VERDICT.positive) {
      this.#pages.get(toHex(body.data.claimRoot))?.votes.set(toHex(body.verifier), body);
    }
    if (kind !== 'evidence') return;
    for (const event of events) {
      const convicts = event.type === 'evidence' && event.verdict === 'guilty';
      if (!convicts || (event.kind !== 'unit' && event.kind !== 'loss')) continue;
      this.#pages.get(toHex(event.claimRoot))?.falseUnits.push(body.evidence);
    }
  }

  /** The positive vote of a verifier for a claim, in its last round. */
  voteOf(claimRoot: Uint8Array, verifier: Uint8Array): Attestation | undefined {
    return this.#pages.get(toHex(claimRoot))?.votes.get(toHex(verifier));
  }

  /** Evidence that proved units or losses of a claim false. */
  falseUnitsOf(claimRoot: Uint8Array): readonly Uint8Array[] {
    return this.#pages.get(toHex(claimRoot))?.falseUnits ?? [];
  }

  find(claimRoot: Uint8Array, verifier: Uint8Array): BookedReceipt | undefined {
    const page = this.#pages.get(toHex(claimRoot));
    const receipt = page?.receipts.get(toHex(verifier));
    const opening = page?.openings.get(toHex(verifier));
    return page === undefined || receipt === undefined || opening === undefined
      ? undefined
      : { claim: page.claim, receipt, opening };
  }
}
