/** Receipts as a chain's blocks tell them: what a verifier needs to look at a foreign one again. */
import { toHex } from '../../hex.js';
import type { LedgerBlock } from '../../ledger/ledger.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import type { ReceiptOpening, SignedReceipt } from '../../protocol/receipt.js';
import type { SignedClaim } from '../../protocol/types.js';

/** Claims of which receipts are kept: more than an epoch of any parameters that are sensible. */
const KEPT_CLAIMS = 64;

export interface BookedReceipt {
  readonly claim: SignedClaim;
  readonly receipt: SignedReceipt;
  readonly opening: ReceiptOpening;
}

interface Page {
  readonly claim: SignedClaim;
  readonly receipts: Map<string, SignedReceipt>;
  readonly openings: Map<string, ReceiptOpening>;
}

export class ReceiptBook {
  readonly #pages = new Map<string, Page>();

  add(block: LedgerBlock<LedgerEvent>): void {
    for (const event of block.events) {
      if (event.type === 'claim') {
        this.#pages.set(toHex(event.claimRoot), { claim: event.claim, receipts: new Map(), openings: new Map() });
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

  find(claimRoot: Uint8Array, verifier: Uint8Array): BookedReceipt | undefined {
    const page = this.#pages.get(toHex(claimRoot));
    const receipt = page?.receipts.get(toHex(verifier));
    const opening = page?.openings.get(toHex(verifier));
    return page === undefined || receipt === undefined || opening === undefined
      ? undefined
      : { claim: page.claim, receipt, opening };
  }
}
