/** The embedded ledger of this project's own state machine: what `run` and `mine` open. */
import * as path from 'node:path';
import type { FileLayer } from '../files/fileLayer.js';
import type { Bls } from '../protocol/bls.js';
import type { Genesis } from '../protocol/ledgerTypes.js';
import { EmbeddedLedger } from './engine.js';
import { createLedgerMachine, type LedgerState } from './state.js';
import type { LedgerEvent } from './stateEvents.js';
import type { EvidenceChecker } from './stateEvidence.js';

export interface EmbeddedLedgerOptions {
  /** Created if missing; one process at a time. */
  readonly directory: string;
  readonly genesis: Genesis;
  readonly bls: Bls;
  /** Checks evidence with a backend that passed its vectors. */
  readonly checkEvidence: EvidenceChecker;
  readonly layer?: FileLayer;
}

/**
 * Opens or creates a ledger on disk; a store that was interrupted at any point goes on where it stopped.
 *
 * @throws PogoError CORRUPT with what to do, MISMATCH for another genesis, REJECTED if the genesis breaks a rule,
 *   LOCKED, IO
 */
export function createEmbeddedLedger(
  options: EmbeddedLedgerOptions,
): Promise<EmbeddedLedger<LedgerState, LedgerEvent>> {
  const { genesis, bls, checkEvidence, layer } = options;
  return EmbeddedLedger.open({
    machine: createLedgerMachine({ genesis, bls, checkEvidence }),
    directory: path.resolve(options.directory),
    ...(layer === undefined ? {} : { layer }),
  });
}
