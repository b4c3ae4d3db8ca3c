/**
 * Brings a trainer to the state that a claim starts from, by replaying everybody's units: what lets anyone follow a run
 * without training it.
 */
import { invariant, PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import type { Trainer } from '../pipeline/trainer.js';
import type { ClaimHeader } from '../protocol/types.js';
import { restore, type Snapshot, snapshot } from './checkClaim.js';
import type { Published } from './published.js';
import { replayLog, storedUnits } from './unitFiles.js';

interface Kept {
  readonly root: Uint8Array;
  readonly saved: Snapshot;
}

export class StateFollower {
  readonly #trainer: Trainer;
  readonly #published: Published;
  /** State at the start of the run, and the newest state that somebody asked for. */
  readonly #kept: Kept[] = [];

  private constructor(trainer: Trainer, published: Published) {
    this.#trainer = trainer;
    this.#published = published;
  }

  /** @param trainer at the run's start state */
  static async open(trainer: Trainer, published: Published): Promise<StateFollower> {
    const follower = new StateFollower(trainer, published);
    await follower.#keep();
    return follower;
  }

  /**
   * Moves the trainer to a state and keeps a copy of it to come back to.
   *
   * @param claims headers of the claims that may lead there
   * @throws PogoError MISSING when no chain of them does, or a unit is missing; CORRUPT when the units lead elsewhere
   */
  async goTo(root: Uint8Array, claims: readonly ClaimHeader[]): Promise<void> {
    await this.#reach(root, claims);
    await this.#keep();
  }

  /**
   * Back to a state that {@link goTo} went to last, whatever became of the trainer since.
   *
   * @throws PogoError INTERNAL for another state
   */
  async goBack(root: Uint8Array): Promise<void> {
    const kept = this.#kept.find((other) => equalBytes(other.root, root));
    invariant(kept !== undefined, `expected a copy of state ${toHex(root)}, found none`);
    await restore(this.#trainer, kept.saved);
  }

  async #reach(root: Uint8Array, claims: readonly ClaimHeader[]): Promise<void> {
    if (equalBytes(await this.#trainer.stateRoot(), root)) return;
    const kept = this.#kept.find((other) => equalBytes(other.root, root));
    if (kept !== undefined) return restore(this.#trainer, kept.saved);
    const claim = claims.find((header) => equalBytes(header.toRoot, root));
    if (claim === undefined || equalBytes(claim.fromRoot, root)) {
      throw new PogoError('MISSING', `expected a claim that leads to state ${toHex(root)}, found none`);
    }
    await this.#reach(claim.fromRoot, claims);
    await replayLog(this.#trainer, storedUnits(this.#published.blobs), this.#published.list(claim.listRoot));
    if (equalBytes(await this.#trainer.stateRoot(), root)) return;
    throw new PogoError('CORRUPT', `expected units that lead to state ${toHex(root)}, found others`);
  }

  async #keep(): Promise<void> {
    const root = await this.#trainer.stateRoot();
    if (this.#kept.some((other) => equalBytes(other.root, root))) return;
    await this.#trainer.fetchState();
    // The start state stays, so that any chain can be replayed; of the others only the newest.
    this.#kept.splice(1, 1, { root, saved: snapshot(this.#trainer) });
  }
}
