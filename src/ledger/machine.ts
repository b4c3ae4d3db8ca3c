/**
 * What an engine needs of a ledger's state machine: pure, deterministic, without a clock. The same machine is driven
 * by the embedded engine here and by consensus engines elsewhere.
 */

/** What happened in a block: plain data (bytes as Uint8Array, money as bigint), told apart by `type`. */
export interface MachineEvent {
  readonly type: string;
}

/** A block as the machine sees it. */
export interface MachineBlock {
  /** 1 for the first block; the genesis state is at height 0. */
  readonly height: number;
  readonly transactions: readonly Uint8Array[];
}

/**
 * @typeParam S the state; the engine never looks inside
 * @typeParam E the events
 */
export interface StateMachine<S, E extends MachineEvent = MachineEvent> {
  genesis(): S;
  /**
   * The state after a block. `state` itself is not changed, so that an engine can drop the result.
   *
   * @throws PogoError REJECTED (or another code of bad input) if a transaction breaks a rule; the block is then void
   */
  apply(state: S, block: MachineBlock): Promise<{ readonly state: S; readonly events: readonly E[] }>;
  /** Canonical bytes of a state. */
  encode(state: S): Uint8Array;
  /** @throws PogoError MALFORMED */
  decode(bytes: Uint8Array): S;
  /** Identity of a state: 32 bytes. */
  root(state: S): Uint8Array;
  /** Answers a question about a state; `undefined` for a path that it does not know. */
  query?(state: S, path: string, data: Uint8Array): Uint8Array | undefined;
}
