/** What the role processes of a run have in common: their options, and the ledger's state as it changes. */
import { type BackendName, CPU_ISAS, type IsaName } from '../../backend/types.js';
import type { Ledger, LedgerBlock } from '../../ledger/ledger.js';
import { readState } from '../../ledger/orders.js';
import type { LedgerState } from '../../ledger/state.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { decodeRecipe, type Recipe } from '../../model/recipe.js';
import type { Bls, KeyPair } from '../../protocol/bls.js';
import type { Environment, EnvironmentOptions } from '../environment.js';
import type { RoleContext } from '../role.js';

/** Plain data: it crosses to the role's process. */
export interface RoleOptions {
  /** Folder of this role's own files. */
  readonly directory: string;
  /** Folder that miners publish to and verifiers read. */
  readonly published: string;
  /** Data directory, for token files. */
  readonly home: string;
  /** SSZ bytes of the recipe, and of those of other jobs on the chain. */
  readonly recipe: Uint8Array;
  readonly otherRecipes?: readonly Uint8Array[];
  readonly seed: Uint8Array;
  /** Index of the role's key. */
  readonly index: number;
  readonly backend: BackendName;
  readonly isa: IsaName;
  readonly lanes: number;
  readonly evidenceBytes?: number;
}

/** What a miner or verifier works with, in a process of its own or inside another program. */
export interface MemberContext {
  readonly keys: KeyPair;
  readonly recipe: Recipe;
  /** Folder of this member's own files. */
  readonly directory: string;
  /** Folder that miners publish to and verifiers read. */
  readonly published: string;
  readonly ledger: Ledger<LedgerEvent>;
  readonly signal: AbortSignal;
  /** Largest evidence that a verifier sends, bytes; what would be larger is disputed to one element. */
  readonly evidenceBytes?: number;
  report(event: RoleReport): void;
}

/** A member that signs: orders, votes, shares. */
export interface SigningMember extends MemberContext {
  readonly bls: Bls;
}

/** The context of a role's process. @param role of the key's derivation */
export function memberOf(
  { options, ledger, signal, report }: RoleContext<RoleOptions, LedgerEvent>,
  { bls }: Environment,
  role: 'miner' | 'verifier',
): MemberContext {
  const { seed, index, recipe, directory, published, evidenceBytes } = options;
  const keys = bls.deriveKey(seed, role, index);
  const limit = evidenceBytes === undefined ? {} : { evidenceBytes };
  return { keys, recipe: decodeRecipe(recipe), directory, published, ledger, signal, report, ...limit };
}

/** A role uses the backend that the supervisor chose, so that a whole run has one. */
export function machineOf({ backend, isa, lanes, home }: RoleOptions): EnvironmentOptions {
  const forced = CPU_ISAS.find((name) => name === isa);
  return { backend, lanes, home, ...(forced === undefined ? {} : { isa: forced }) };
}

/** What a role tells the supervisor, for people and `--json`; no decision of anybody rests on it. */
export type RoleReport =
  | {
      readonly type: 'step';
      /** 0 for the genesis job. */
      readonly job: number;
      readonly claim: number;
      readonly attempt: number;
      readonly step: number;
      readonly loss: number;
      readonly tokens: number;
      readonly ms: number;
      readonly stateRoot: string;
    }
  | {
      readonly type: 'trained';
      /** 0 for the genesis job. */
      readonly job: number;
      readonly claim: number;
      readonly attempt: number;
      readonly bytes: number;
      readonly trainMs: number;
      readonly cpuSeconds: number;
    }
  | { readonly type: 'checking'; readonly claim: number; readonly units: number; readonly of: number }
  | {
      readonly type: 'checked';
      /** 0 for the genesis job. */
      readonly job: number;
      readonly claim: number;
      readonly attempt: number;
      readonly verdict: 'positive' | 'negative';
      readonly fault: string | undefined;
      readonly message: string | undefined;
      readonly checks: number;
      readonly units: number;
      readonly drawn: number;
      readonly bytesRead: number;
      readonly seconds: number;
      /** Processor time of all its threads. */
      readonly cpuSeconds: number;
      /** The part of it that the log's replay took, drawn units left out. */
      readonly replaySeconds: number;
      readonly heldOutBeforeBits: number;
      readonly heldOutAfterBits: number;
    }
  | {
      readonly type: 'rechecked';
      readonly claim: number;
      readonly attempt: number;
      /** Key of the verifier whose receipt it was, in hex. */
      readonly verifier: string;
      readonly part: number;
      /** Whether the part is what the work gives. */
      readonly held: boolean;
      readonly seconds: number;
    }
  | {
      readonly type: 'evidence';
      readonly claim: number;
      readonly kind: string;
      readonly file: string;
      readonly bytes: number;
    }
  | {
      /** A verifier challenged the claim's miner to show a computation. */
      readonly type: 'disputed';
      readonly claim: number;
      readonly attempt: number;
      readonly subject: string;
      /** Base units. */
      readonly bond: string;
    }
  | {
      /** The trace of a disputed computation was made and published. */
      readonly type: 'traced';
      readonly claim: number;
      readonly attempt: number;
      readonly subject: string;
      readonly operations: number;
      /** Of the transaction that carries the list of roots. */
      readonly bytes: number;
      readonly seconds: number;
    }
  | {
      /** A turn of a dispute that this side does not take. */
      readonly type: 'gave-up';
      readonly claim: number;
      readonly attempt: number;
      readonly dispute: number;
      readonly message: string;
    }
  | {
      readonly type: 'withheld';
      readonly claim: number;
      readonly attempt: number;
      /** Root of the file that was asked for. */
      readonly root: string;
      readonly message: string;
    }
  | {
      readonly type: 'abstained';
      readonly job: number;
      readonly claim: number;
      readonly attempt: number;
      readonly code: string;
      readonly message: string;
    };

/**
 * Calls `act` with the newest ledger state whenever there is one, and again at once as long as it says that it did
 * something. `onBlock` sees every block from the first on, in order and before `act` sees its state.
 */
export async function followLedger(
  ledger: Ledger<LedgerEvent>,
  signal: AbortSignal,
  act: (state: LedgerState) => Promise<boolean>,
  onBlock: (block: LedgerBlock<LedgerEvent>) => void = () => undefined,
): Promise<void> {
  const blocks = ledger.subscribe(1, signal)[Symbol.asyncIterator]();
  let seen = 0;
  for (;;) {
    const { height } = await ledger.head();
    while (seen < height) {
      const { value, done } = await blocks.next();
      if (done === true) return;
      onBlock(value);
      seen = value.height;
    }
    const state = await readState(ledger);
    // A state newer than the blocks seen so far is looked at again after those blocks.
    const acted = state.height === seen && (await act(state));
    if (signal.aborted) return;
    if (acted || state.height > seen) continue;
    const { value, done } = await blocks.next();
    if (done === true) return;
    onBlock(value);
    seen = value.height;
  }
}

/** Processor seconds of this process, all threads. */
export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
