/**
 * Miners and verifiers inside another program: they follow any {@link Ledger}, do their duties, and hold no globals.
 *
 * The same classes run as processes of their own under `pogo run`.
 */

import { realFiles } from '../files/fileLayer.js';
import { lockDirectory } from '../files/lock.js';
import type { Ledger } from '../ledger/ledger.js';
import type { LedgerEvent } from '../ledger/stateEvents.js';
import type { Recipe } from '../model/recipe.js';
import type { KeyPair } from '../protocol/bls.js';
import { Environment, type EnvironmentOptions } from './environment.js';
import { Miner } from './miner.js';
import { followLedger, type MemberContext, type RoleReport } from './roles/common.js';
import { type Duties, forRecipes } from './severalJobs.js';
import { Verifier } from './verifier.js';

export type { RoleReport } from './roles/common.js';

export interface MemberOptions extends Omit<EnvironmentOptions, 'signal'> {
  readonly ledger: Ledger<LedgerEvent>;
  /** The key that is registered on the ledger. */
  readonly keys: KeyPair;
  readonly recipe: Recipe;
  /** Recipes of jobs of owners on the same chain: claims under them are this member's work, too. */
  readonly otherRecipes?: readonly Recipe[];
  /** Folder of this member alone: checkpoints, logs, evidence. It is locked while the member runs. */
  readonly directory: string;
  /** Folder that miners publish blobs and lists to, and verifiers read. */
  readonly published: string;
  /** Largest evidence that a verifier sends, bytes; what would be larger it disputes. What a transaction holds by default. */
  readonly evidenceBytes?: number;
  /** Ends the member; what it logged is kept. */
  readonly signal?: AbortSignal;
  /** Progress, for people: steps, checks, evidence. Nothing rests on it. */
  readonly onReport?: (report: RoleReport) => void;
}

/** A running miner or verifier. */
export interface Member {
  /**
   * Follows the ledger and does its duties until the ledger closes or the signal aborts.
   *
   * @throws PogoError LOCKED, IO, CORRUPT, ENVIRONMENT, DATA
   */
  run(): Promise<void>;
  /** Stops it and gives back threads, memory and the lock; it may be called at any time, more than once. */
  dispose(): Promise<void>;
}

/**
 * A miner: trains the claims that it is drawn for, publishes their blobs, submits them.
 *
 * @example
 * ```ts
 * const miner = createMiner({ ledger, keys, recipe: loadRecipe('moby'), directory: 'miner', published: 'blobs' });
 * await miner.run();
 * ```
 * @throws PogoError ENVIRONMENT, SELF_TEST when a demanded backend cannot be used
 */
export function createMiner(options: MemberOptions): Member {
  return new RunningMember(options, (context, environment) => new Miner(context, environment));
}

/**
 * A verifier: gives its beacon shares, checks the claims that it is seated for, attests, and proves what is false.
 *
 * @throws PogoError ENVIRONMENT, SELF_TEST when a demanded backend cannot be used
 */
export function createVerifier(options: MemberOptions): Member {
  return new RunningMember(options, (context, environment) => new Verifier(context, environment));
}

class RunningMember implements Member {
  readonly #options: MemberOptions;
  readonly #make: (context: MemberContext, environment: Environment) => Duties;
  readonly #abort = new AbortController();
  readonly #environment: Environment;
  #running: Promise<void> | undefined;

  constructor(options: MemberOptions, make: (context: MemberContext, environment: Environment) => Duties) {
    this.#options = options;
    this.#make = make;
    const { ledger: _ledger, keys: _keys, directory: _directory, published: _published, ...machine } = options;
    this.#environment = new Environment({ ...machine, signal: this.#abort.signal });
    options.signal?.addEventListener('abort', () => this.#abort.abort(), { signal: this.#abort.signal });
    if (options.signal?.aborted) this.#abort.abort();
  }

  run(): Promise<void> {
    this.#running ??= this.#follow();
    return this.#running;
  }

  async #follow(): Promise<void> {
    const { ledger, keys, recipe, directory, published, evidenceBytes, onReport } = this.#options;
    const { signal } = this.#abort;
    realFiles.makeDirectory(directory);
    const lock = lockDirectory(directory);
    try {
      const report = (event: RoleReport): void => onReport?.(event);
      const limit = evidenceBytes === undefined ? {} : { evidenceBytes };
      const context = { keys, recipe, directory, published, ledger, signal, report, ...limit };
      const make = (own: MemberContext): Duties => this.#make(own, this.#environment);
      const member = forRecipes(context, this.#options.otherRecipes ?? [], make);
      await followLedger(
        ledger,
        signal,
        (state) => member.act(state),
        (block) => member.see(block),
      );
    } catch (error) {
      // Stopped while it worked: what was logged is kept, and that is how it was asked to end.
      if (!signal.aborted) throw error;
    } finally {
      lock.release();
      await this.#environment.dispose();
    }
  }

  async dispose(): Promise<void> {
    this.#abort.abort();
    // A failure belongs to whoever awaits run().
    await this.#running?.catch(() => undefined);
    await this.#environment.dispose();
  }
}
