/**
 * `Ledger`: what miners and verifiers need of a chain. The embedded engine implements it in one process, its client
 * over a channel, and any other chain that embeds this project by an adapter of its own.
 */
import type { MachineEvent } from './machine.js';
import type { LedgerEvent } from './stateEvents.js';

/** A final block. Heights grow by one; nothing is ever taken back. */
export interface LedgerBlock<E extends MachineEvent = LedgerEvent> {
  readonly height: number;
  /** Transactions in order, as they were submitted. */
  readonly transactions: readonly Uint8Array[];
  /** What they did, in order. */
  readonly events: readonly E[];
  /** Root of the state after the block: 32 bytes. */
  readonly stateRoot: Uint8Array;
}

/** The newest block's height (0: genesis) and state root. */
export interface LedgerHead {
  readonly height: number;
  readonly stateRoot: Uint8Array;
}

/** Whether a transaction is in a block, and in which; or why it is in none. */
export type SubmitResult =
  | { readonly accepted: true; readonly height: number }
  | { readonly accepted: false; readonly height: number; readonly code: string; readonly reason: string };

/** @typeParam E - events of the chain's state machine; those of this project's own by default */
export interface Ledger<E extends MachineEvent = LedgerEvent> {
  /**
   * Offers a transaction. Submitting the same bytes again is harmless: the answer names the block that holds them, so
   * a client that died before it saw the answer asks again.
   *
   * @returns `accepted` with the height of its block, or the reason for which no block holds it; then `height` is the
   *   height at which it was judged
   * @throws PogoError IO, CORRUPT, INTERNAL if the ledger itself fails; the transaction may or may not be in a block
   */
  submit(transaction: Uint8Array): Promise<SubmitResult>;
  /**
   * All blocks from `fromHeight` (at least 1) on: first the past ones, then new ones as they come, each once, in order.
   * Blocks are read when the caller asks for the next, so a slow caller holds up nobody and nothing piles up.
   *
   * Ends when the ledger is closed, when the caller leaves the loop, or when `signal` aborts.
   */
  subscribe(fromHeight: number, signal?: AbortSignal): AsyncIterable<LedgerBlock<E>>;
  /** Newest block. */
  head(): Promise<LedgerHead>;
  /**
   * Reads from the newest state. `/state`: its canonical bytes; other paths are the state machine's.
   *
   * @throws PogoError USAGE for an unknown path
   */
  query(path: string, data?: Uint8Array): Promise<Uint8Array>;
}
