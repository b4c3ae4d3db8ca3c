/**
 * Disputes as a chain's blocks tell them: published lists, and the moves of each dispute. The state keeps only where a
 * dispute stands; who goes on with it, also in a new process, needs what was opened on the way.
 */
import { toHex } from '../../hex.js';
import type { LedgerBlock } from '../../ledger/ledger.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { decodeTransaction, TRANSACTION_TYPES } from '../../protocol/ledgerTypes.js';

/** An answer of the accused, and the value of it that was contested; undefined for the newest. */
export interface BookedMove {
  readonly opened: Uint8Array;
  child: number | undefined;
}

const MOVES: ReadonlySet<number | undefined> = new Set(
  (['publish-trace', 'name-operation', 'open-node', 'contest-node'] as const).map((kind) => TRANSACTION_TYPES[kind][0]),
);

export class DisputeBook {
  readonly #lists = new Map<string, Uint8Array>();
  readonly #moves = new Map<number, BookedMove[]>();

  add(block: LedgerBlock<LedgerEvent>): void {
    for (const bytes of block.transactions) if (MOVES.has(bytes[0])) this.#move(bytes);
    for (const event of block.events) {
      // Who won or lost a dispute needs nothing of it any more.
      if (event.type === 'dispute' && (event.change === 'convicted' || event.change === 'lost')) {
        this.#moves.delete(event.dispute);
      }
    }
  }

  #move(bytes: Uint8Array): void {
    const { kind, body } = decodeTransaction(bytes);
    switch (kind) {
      case 'publish-trace':
        this.#lists.set(toHex(body.trace.statement.listRoot), body.list);
        return;
      case 'name-operation':
        this.#moves.set(body.order.dispute, []);
        return;
      case 'open-node':
        this.#moves.get(body.dispute)?.push({ opened: body.opened, child: undefined });
        return;
      case 'contest-node': {
        const last = this.#moves.get(body.order.dispute)?.at(-1);
        if (last !== undefined) last.child = body.order.child;
        return;
      }
      default:
        return;
    }
  }

  /** The list of roots under a statement. */
  list(listRoot: Uint8Array): Uint8Array | undefined {
    return this.#lists.get(toHex(listRoot));
  }

  /** Answers of the accused since the operation was named, oldest first. */
  moves(dispute: number): readonly BookedMove[] {
    return this.#moves.get(dispute) ?? [];
  }
}
