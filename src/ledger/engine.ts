/**
 * The embedded ledger: one sequencer in one process, for runs on one machine. Whoever operates it knows and decides
 * everything; it gives order, durability and the state machine's rules, not trust.
 *
 * Every accepted transaction makes a block of its own, so heights advance by events and never by time. A block, its
 * state and its transaction's index entry are one atomic synced batch of the store; then (height, block root, state
 * root) is appended to `heights.log`. The log is the witness against a store that silently lost its end: LevelDB cuts
 * its write-ahead log at the first damaged record and makes a new database where CURRENT is gone, both without a word.
 */
import * as path from 'node:path';
import { hashBytes } from '../backend/merkleAddon.js';
import { PogoError } from '../errors.js';
import { AppendLog } from '../files/appendLog.js';
import { type FileLayer, realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import {
  decodeBlock,
  encodeBlock,
  MAX_TRANSACTION_BYTES,
  NO_PARENT,
  publicBlock,
  type StoredBlock,
} from './engineBlock.js';
import { corruptStore, type EngineStore, openLevelStore } from './engineStore.js';
import type { Ledger, LedgerBlock, LedgerHead, SubmitResult } from './ledger.js';
import type { MachineEvent, StateMachine } from './machine.js';

export interface EngineOptions<S, E extends MachineEvent> {
  readonly machine: StateMachine<S, E>;
  /** Holds `store/` and `heights.log`; created if missing. The caller holds its lock. */
  readonly directory: string;
  readonly layer?: FileLayer;
  /** Opens the key-value store; `classic-level` if absent. */
  readonly openStore?: (location: string) => Promise<EngineStore>;
}

/** What the engine knows of the newest block. */
interface Tip<S> {
  readonly height: number;
  readonly blockRoot: Uint8Array;
  readonly stateRoot: Uint8Array;
  readonly state: S;
}

const GENESIS_KEY = 'genesis';
const HEIGHT_KEY = 'height';
const STATE_KEY = 'state';
const blockKey = (height: number): string => `block/${height.toString(16).padStart(14, '0')}`;
const transactionKey = (hash: Uint8Array): string => `transaction/${toHex(hash)}`;

/** Failures of the machine that are the ledger's own, not the transaction's. */
const ENGINE_FAILURES = new Set(['INTERNAL', 'IO', 'CORRUPT', 'INTERRUPTED', 'LOCKED', 'SELF_TEST', 'ENVIRONMENT']);

function encodeHeight(height: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(height), true);
  return bytes;
}

function decodeHeight(bytes: Uint8Array | undefined): number | undefined {
  if (bytes?.length !== 8) return undefined;
  return Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
}

/** Entry of `heights.log`: u64 height ‖ block root ‖ state root. */
function heightEntry(height: number, blockRoot: Uint8Array, stateRoot: Uint8Array): Uint8Array {
  const entry = new Uint8Array(72);
  entry.set(encodeHeight(height));
  entry.set(blockRoot, 8);
  entry.set(stateRoot, 40);
  return entry;
}

export class EmbeddedLedger<S, E extends MachineEvent = MachineEvent> implements Ledger<E> {
  readonly #machine: StateMachine<S, E>;
  readonly #store: EngineStore;
  readonly #heights: AppendLog;
  #tip: Tip<S>;
  /** Transactions are judged one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  /** Set by the first failure of the store or the log: what the disk holds is then only known after reopening. */
  #failure: PogoError | undefined;
  #closed = false;
  #wakers = new Set<() => void>();

  private constructor(machine: StateMachine<S, E>, store: EngineStore, heights: AppendLog, tip: Tip<S>) {
    this.#machine = machine;
    this.#store = store;
    this.#heights = heights;
    this.#tip = tip;
  }

  /**
   * Opens or creates the ledger in a directory, and checks all it holds: the chain of block roots against the height
   * log, the state against the newest block's state root, the genesis against the machine's.
   *
   * @throws PogoError CORRUPT with what to do, MISMATCH if the store belongs to another genesis, LOCKED, IO
   */
  static async open<S, E extends MachineEvent>(options: EngineOptions<S, E>): Promise<EmbeddedLedger<S, E>> {
    const layer = options.layer ?? realFiles;
    layer.makeDirectory(options.directory);
    const heights = AppendLog.open(layer, path.join(options.directory, 'heights.log'));
    try {
      const location = path.join(options.directory, 'store');
      const store = await (options.openStore ?? openLevelStore)(location);
      try {
        const tip = await openTip(options.machine, store, heights, location);
        return new EmbeddedLedger(options.machine, store, heights, tip);
      } catch (error) {
        await store.close();
        throw error;
      }
    } catch (error) {
      heights.close();
      throw error;
    }
  }

  /** The newest state, for who runs in the engine's process. Not to be changed. */
  get state(): S {
    return this.#tip.state;
  }

  get height(): number {
    return this.#tip.height;
  }

  submit(transaction: Uint8Array): Promise<SubmitResult> {
    // A copy now: the caller may reuse its buffer before the transaction's turn comes.
    const copy = Uint8Array.from(transaction);
    const result = this.#queue.then(() => this.#judge(copy));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async head(): Promise<LedgerHead> {
    return { height: this.#tip.height, stateRoot: this.#tip.stateRoot };
  }

  async query(route: string, data: Uint8Array = new Uint8Array(0)): Promise<Uint8Array> {
    const { state } = this.#tip;
    const answer = route === '/state' ? this.#machine.encode(state) : this.#machine.query?.(state, route, data);
    if (answer === undefined) throw new PogoError('USAGE', `ledger query: expected a known path, found ${route}`);
    return answer;
  }

  async *subscribe(fromHeight: number, signal?: AbortSignal): AsyncGenerator<LedgerBlock<E>> {
    if (!Number.isSafeInteger(fromHeight) || fromHeight < 1) {
      throw new PogoError('RANGE', `subscribe: expected a height of at least 1, found ${fromHeight}`);
    }
    for (let height = fromHeight; ; height += 1) {
      while (height > this.#tip.height && !this.#closed && signal?.aborted !== true) await this.#change(signal);
      if (this.#closed || signal?.aborted === true) return;
      let block: StoredBlock;
      try {
        block = await this.#block(height);
      } catch (error) {
        // Closed while the block was on its way: the end of the subscription, no failure of the store.
        if (this.#closed) return;
        throw error;
      }
      yield publicBlock<E>(block);
    }
  }

  /** Ends all subscriptions after the transactions under way, and closes the store. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#queue;
    this.#wake();
    this.#heights.close();
    await this.#store.close();
  }

  async #judge(transaction: Uint8Array): Promise<SubmitResult> {
    if (this.#closed)
      throw new PogoError('INTERRUPTED', 'ledger: expected it to be open, found it closed: resume the run');
    if (this.#failure !== undefined) throw this.#failure;
    const { height } = this.#tip;
    if (transaction.length > MAX_TRANSACTION_BYTES) {
      const reason = `expected a transaction of at most ${MAX_TRANSACTION_BYTES} bytes, found ${transaction.length}`;
      return { accepted: false, height, code: 'RANGE', reason };
    }
    const key = transactionKey(hashBytes(transaction));
    const known = decodeHeight(await this.#store.get(key));
    if (known !== undefined) return { accepted: true, height: known };
    let next: { readonly state: S; readonly events: readonly E[] };
    try {
      next = await this.#machine.apply(this.#tip.state, { height: height + 1, transactions: [transaction] });
    } catch (error) {
      if (!(error instanceof PogoError) || ENGINE_FAILURES.has(error.code)) throw error;
      return { accepted: false, height, code: error.code, reason: error.message };
    }
    await this.#commit(transaction, key, next.state, next.events);
    return { accepted: true, height: height + 1 };
  }

  async #commit(transaction: Uint8Array, key: string, state: S, events: readonly E[]): Promise<void> {
    const height = this.#tip.height + 1;
    const stateRoot = this.#machine.root(state);
    const block = encodeBlock({ height, transactions: [transaction], events, stateRoot }, this.#tip.blockRoot);
    try {
      await this.#store.write([
        { key: blockKey(height), value: block.bytes },
        { key: STATE_KEY, value: this.#machine.encode(state) },
        { key: HEIGHT_KEY, value: encodeHeight(height) },
        { key, value: encodeHeight(height) },
      ]);
      this.#heights.append(heightEntry(height, block.root, stateRoot));
    } catch (error) {
      this.#failure = PogoError.from(error);
      throw error;
    }
    this.#tip = { height, blockRoot: block.root, stateRoot, state };
    this.#wake();
  }

  async #block(height: number): Promise<StoredBlock> {
    const bytes = await this.#store.get(blockKey(height));
    if (bytes === undefined)
      throw new PogoError('CORRUPT', `ledger: expected block ${height} in the store, found none`);
    return decodeBlock(bytes);
  }

  /** Resolves at the next block, at closing, or when the signal aborts. */
  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#wakers.delete(done);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      this.#wakers.add(done);
      signal?.addEventListener('abort', done, { once: true });
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }
}

/** Checks everything a store holds and gives its newest state; writes the genesis into a new store. */
async function openTip<S, E extends MachineEvent>(
  machine: StateMachine<S, E>,
  store: EngineStore,
  heights: AppendLog,
  location: string,
): Promise<Tip<S>> {
  const genesis = machine.genesis();
  const genesisRoot = machine.root(genesis);
  const storedGenesis = await store.get(GENESIS_KEY);
  if (storedGenesis === undefined) {
    if (heights.records.length > 0) {
      throw corruptStore(location, `an empty store beside a height log of ${heights.records.length} blocks`);
    }
    await store.write([
      { key: GENESIS_KEY, value: genesisRoot },
      { key: HEIGHT_KEY, value: encodeHeight(0) },
    ]);
    return { height: 0, blockRoot: NO_PARENT, stateRoot: genesisRoot, state: genesis };
  }
  if (!equalBytes(storedGenesis, genesisRoot)) {
    throw new PogoError(
      'MISMATCH',
      `ledger store ${location}: expected genesis ${toHex(genesisRoot)}, found ${toHex(storedGenesis)}: ` +
        'resume with the recipe, seed and parameters of that run, or choose another directory',
      { expected: toHex(genesisRoot), found: toHex(storedGenesis) },
    );
  }
  const height = decodeHeight(await store.get(HEIGHT_KEY));
  // One block more than the log is a crash between the batch and the log's entry; the entry is made up for below.
  const logged = heights.records.length;
  if (height === undefined || (height !== logged && height !== logged + 1)) {
    throw corruptStore(location, `${height ?? 'no'} blocks where ${logged} were committed`);
  }
  let tip = { blockRoot: NO_PARENT, stateRoot: genesisRoot };
  for (let at = 1; at <= height; at += 1) {
    tip = await checkBlock(store, at, tip.blockRoot, heights.records[at - 1], location);
  }
  if (height === 0) return { height, ...tip, state: genesis };
  const encoded = await store.get(STATE_KEY);
  if (encoded === undefined) throw corruptStore(location, 'no state');
  let state: S;
  try {
    state = machine.decode(encoded);
  } catch (error) {
    throw corruptStore(location, `a state that does not decode (${PogoError.from(error).message})`, error);
  }
  const found = machine.root(state);
  if (!equalBytes(found, tip.stateRoot)) {
    throw corruptStore(
      location,
      `state ${toHex(found)} where ${toHex(tip.stateRoot)} was committed at height ${height}`,
    );
  }
  if (height === logged + 1) heights.append(heightEntry(height, tip.blockRoot, tip.stateRoot));
  return { height, ...tip, state };
}

async function checkBlock(
  store: EngineStore,
  height: number,
  parentRoot: Uint8Array,
  logged: Uint8Array | undefined,
  location: string,
): Promise<{ blockRoot: Uint8Array; stateRoot: Uint8Array }> {
  const bytes = await store.get(blockKey(height));
  if (bytes === undefined) throw corruptStore(location, `no block ${height}`);
  let block: StoredBlock;
  try {
    block = decodeBlock(bytes);
  } catch (error) {
    throw corruptStore(location, `block ${height} that does not decode`, error);
  }
  const blockRoot = hashBytes(bytes);
  const entry = heightEntry(height, blockRoot, block.stateRoot);
  if (block.height !== height || !equalBytes(block.parentRoot, parentRoot)) {
    throw corruptStore(location, `block ${height} that does not follow the one before it`);
  }
  if (logged !== undefined && !equalBytes(entry, logged)) {
    throw corruptStore(location, `block ${height} with other bytes than were committed`);
  }
  return { blockRoot, stateRoot: block.stateRoot };
}
