/**
 * θ of the frozen models that adapters stand on, by BLAKE3 root: kept in `<home>/models`, and found in whatever other
 * stores a process knows (a run's published blobs, a bundle's).
 */
import { join } from 'node:path';
import { PogoError } from '../errors.js';
import { BlobStore } from '../files/blobStore.js';
import { toHex } from '../hex.js';
import { vectorBytes } from '../model/state.js';
import { type ModelPlan, withFrozen } from '../model/unit.js';

export class FrozenModels {
  readonly #home: string;
  readonly #stores: BlobStore[] = [];
  /** The last one: a process works on one recipe. */
  #last: { readonly root: string; readonly theta: Float32Array } | undefined;

  constructor(home: string) {
    this.#home = join(home, 'models');
  }

  /** Looks in this store, too. */
  add(store: BlobStore): void {
    this.#stores.unshift(store);
  }

  /** Keeps a model. @returns its root */
  keep(theta: Float32Array): Uint8Array {
    return BlobStore.open(this.#home).put(vectorBytes(theta));
  }

  /**
   * The plan with what it needs of its frozen model; other plans as they are.
   *
   * @throws PogoError MISSING naming the model's root when no store has it
   */
  complete(plan: ModelPlan): ModelPlan {
    const { adapter } = plan.recipe;
    if (adapter === undefined || plan.frozen !== undefined) return plan;
    const root = toHex(adapter.base);
    if (this.#last?.root !== root) this.#last = { root, theta: this.#read(adapter.base, plan.model.length) };
    return withFrozen(plan, this.#last.theta);
  }

  #read(root: Uint8Array, length: number): Float32Array {
    const theta = new Float32Array(new SharedArrayBuffer(4 * length));
    for (const store of [...this.#stores, BlobStore.reader(this.#home)]) {
      if (!store.has(root, 4 * length)) continue;
      store.getInto(root, vectorBytes(theta));
      return theta;
    }
    throw new PogoError(
      'MISSING',
      `expected the frozen model with θ ${toHex(root)} in ${this.#home}, found none; bring it with: pogo recipe derive RECIPE --from MODEL`,
      { root: toHex(root) },
    );
  }
}
