/** A small real state machine for tests of engines and channels: adds numbers, refuses zero. */
import { blake3 } from '@noble/hashes/blake3.js';
import { PogoError } from '../../src/errors.js';
import { AppendLog } from '../../src/files/appendLog.js';
import type { FileLayer } from '../../src/files/fileLayer.js';
import type { EngineStore } from '../../src/ledger/engineStore.js';
import type { MachineEvent, StateMachine } from '../../src/ledger/machine.js';

export interface Tally {
  readonly count: number;
  readonly sum: number;
}

export interface AddedEvent extends MachineEvent {
  readonly type: 'added';
  readonly value: number;
  readonly bytes: Uint8Array;
  readonly money: bigint;
}

/** The transaction that adds `value`. */
export function adding(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function tallyMachine(start = 0): StateMachine<Tally, AddedEvent> {
  return {
    genesis: () => ({ count: 0, sum: start }),
    async apply(state, block) {
      let { count, sum } = state;
      const events: AddedEvent[] = [];
      for (const transaction of block.transactions) {
        if (transaction.length !== 4) throw new PogoError('MALFORMED', 'expected 4 bytes');
        const value = new DataView(transaction.buffer, transaction.byteOffset).getUint32(0, true);
        if (value === 0) throw new PogoError('REJECTED', 'expected a number above 0, found 0');
        if (value === 0xffffffff) throw new PogoError('IO', 'the executor has no disk');
        count += 1;
        sum += value;
        events.push({ type: 'added', value, bytes: transaction, money: BigInt(value) });
      }
      return { state: { count, sum }, events };
    },
    encode: (state) => new TextEncoder().encode(JSON.stringify([state.count, state.sum])),
    decode: (bytes) => {
      const [count, sum] = JSON.parse(new TextDecoder().decode(bytes)) as [number, number];
      return { count, sum };
    },
    root(state) {
      return blake3(this.encode(state));
    },
    query: (state, path, data) => (path === '/sum' ? adding(state.sum + data.length) : undefined),
  };
}

/** An engine store whose batches are records of a log on the given layer: atomic and synced, as LevelDB's are. */
export async function openLogStore(layer: FileLayer, file: string): Promise<EngineStore> {
  const log = AppendLog.open(layer, file);
  const values = new Map<string, Uint8Array>();
  const apply = (record: Uint8Array): void => {
    for (const [key, hex] of JSON.parse(new TextDecoder().decode(record)) as [string, string | null][]) {
      if (hex === null) values.delete(key);
      else values.set(key, Uint8Array.from(Buffer.from(hex, 'hex')));
    }
  };
  log.records.forEach(apply);
  return {
    get: async (key) => values.get(key),
    async write(changes) {
      const rows = changes.map(({ key, value }) => [
        key,
        value === undefined ? null : Buffer.from(value).toString('hex'),
      ]);
      const record = new TextEncoder().encode(JSON.stringify(rows));
      log.append(record);
      apply(record);
    },
    close: async () => log.close(),
  };
}
