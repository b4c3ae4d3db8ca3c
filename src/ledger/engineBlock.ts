/** How the embedded engine stores a block: an SSZ container, chained by the root of the one before. */

import { deserialize, serialize } from 'node:v8';
import { ContainerType, ListCompositeType, type ValueOf } from '@chainsafe/ssz';
import { hashBytes } from '../backend/merkleAddon.js';
import { byteList, decodeStrict, Root, Uint64 } from '../protocol/ssz.js';
import type { LedgerBlock } from './ledger.js';
import type { MachineEvent } from './machine.js';

/** Largest transaction the embedded engine takes, bytes: evidence may carry θ of a small model. */
export const MAX_TRANSACTION_BYTES = 2 ** 30;
const MAX_TRANSACTIONS = 2 ** 16;

const StoredBlockType = new ContainerType(
  {
    height: Uint64,
    parentRoot: Root,
    transactions: new ListCompositeType(byteList(MAX_TRANSACTION_BYTES), MAX_TRANSACTIONS),
    stateRoot: Root,
    /** Structured clone of the events: a view for subscribers, computed once and never part of a verdict. */
    events: byteList(MAX_TRANSACTION_BYTES),
  },
  { typeName: 'StoredBlock' },
);

export type StoredBlock = ValueOf<typeof StoredBlockType>;

/** Root of the block before the first one. */
export const NO_PARENT: Uint8Array = new Uint8Array(32);

/** A block's bytes and the BLAKE3 of them, by which the next block and the height log name it. */
export function encodeBlock(
  block: Omit<LedgerBlock<MachineEvent>, 'events'> & { readonly events: readonly MachineEvent[] },
  parentRoot: Uint8Array,
): { readonly bytes: Uint8Array; readonly root: Uint8Array } {
  const bytes = StoredBlockType.serialize({
    height: block.height,
    parentRoot,
    transactions: block.transactions.map((transaction) => Uint8Array.from(transaction)),
    stateRoot: block.stateRoot,
    events: new Uint8Array(serialize(block.events)),
  });
  return { bytes, root: hashBytes(bytes) };
}

/** @throws PogoError MALFORMED */
export function decodeBlock(bytes: Uint8Array): StoredBlock {
  return decodeStrict(StoredBlockType, bytes);
}

/** A stored block as subscribers see it. */
export function publicBlock<E extends MachineEvent>(block: StoredBlock): LedgerBlock<E> {
  return {
    height: block.height,
    transactions: block.transactions,
    events: deserialize(block.events) as E[],
    stateRoot: block.stateRoot,
  };
}
