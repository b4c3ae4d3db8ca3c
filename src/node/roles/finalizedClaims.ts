/** The claims of a chain as its blocks tell them: headers of the finalized ones, by which a follower finds its way. */
import { equalBytes, toHex } from '../../hex.js';
import type { LedgerBlock } from '../../ledger/ledger.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { type ClaimHeader, claimRoot as claimRootOf } from '../../protocol/types.js';

export class FinalizedClaims {
  readonly #open = new Map<string, ClaimHeader>();
  readonly headers: ClaimHeader[] = [];

  /** A claim that is open or final, by its root; undefined for others. */
  find(claimRoot: Uint8Array): ClaimHeader | undefined {
    return (
      this.#open.get(toHex(claimRoot)) ?? this.headers.find((header) => equalBytes(claimRootOf(header), claimRoot))
    );
  }

  add(block: LedgerBlock<LedgerEvent>): void {
    for (const event of block.events) {
      if (event.type === 'claim') this.#open.set(toHex(event.claimRoot), event.claim.header);
      if (event.type !== 'outcome') continue;
      const key = toHex(event.claimRoot);
      const header = this.#open.get(key);
      if (header !== undefined && event.outcome === 'finalized') this.headers.push(header);
      if (event.outcome !== 'reopened') this.#open.delete(key);
    }
  }
}
