/**
 * Exact losses by all lanes: of the current weights, or of a packed 4-bit model.
 */
import { PogoError } from '../errors.js';
import { encodeRecipe } from '../model/recipe.js';
import { allocateWeights, frozenTheta, type ModelPlan } from '../model/unit.js';
import type { LanePool } from './lanePool.js';
import { balancedGroups, evenRanges } from './shards.js';
import type { Session } from './tasks.js';

let evaluationCounter = 0;

/** One model in memory, ready to be evaluated. */
export class Evaluator {
  readonly #plan: ModelPlan;
  readonly #pool: LanePool;
  readonly #signal: AbortSignal | undefined;
  #session: Session | undefined;
  #theta: Float32Array | undefined;
  /** The integer weights of a frozen model are made once. */
  #frozenMade = false;

  constructor(plan: ModelPlan, pool: LanePool, signal?: AbortSignal) {
    this.#plan = plan;
    this.#pool = pool;
    this.#signal = signal;
  }

  /** Memory of the evaluated θ, allocated at first use. Fill it, then call {@link lossBits} with `fresh`. */
  get theta(): Float32Array {
    this.#open();
    return this.#theta as Float32Array;
  }

  #open(): Session {
    if (this.#session === undefined) {
      evaluationCounter += 1;
      const theta = new Float32Array(new SharedArrayBuffer(4 * this.#plan.layout.length));
      const id = `evaluate-${evaluationCounter}`;
      this.#session = {
        id,
        recipe: encodeRecipe(this.#plan.recipe),
        microBatches: 1,
        ...(this.#pool.hasHostLanes ? { weights: allocateWeights(this.#plan, theta, this.#pool.packing) } : {}),
        devices: this.#pool.openModels(this, this.#plan, { microBatches: 1, training: false }),
      };
      this.#theta = theta;
    }
    return this.#session;
  }

  /** Makes the integer weights of {@link theta}. */
  async prepare(): Promise<void> {
    const session = this.#open();
    const { places, moving } = this.#plan.weights;
    const wanted = this.#frozenMade ? moving : [...places.keys()];
    const sizes = wanted.map((i) => (places[i] as (typeof places)[number]).tensor.size);
    const groups = session.weights === undefined ? [] : balancedGroups(sizes, this.#pool.lanes);
    const parts = groups.map((group) => group.map((i) => wanted[i] as number));
    const vectors = { theta: this.theta };
    const theta = frozenTheta(this.#plan);
    const frozen = this.#frozenMade || theta === undefined ? {} : { frozen: theta };
    this.#frozenMade = true;
    await Promise.all([
      ...parts.map((part) => this.#pool.run({ kind: 'weights', session, places: part }, this.#signal)),
      ...this.#pool.deviceGroups.map((group) =>
        this.#pool.run({ kind: 'deviceLoad', group, session, vectors, ...frozen }, this.#signal),
      ),
    ]);
  }

  /**
   * Losses by token, f32 [n · context], of sequences u32 [n, context + 1].
   *
   * @param session whose weights; the evaluator's own by default
   */
  async losses(sequences: Uint32Array, session: Session = this.#open()): Promise<Float32Array> {
    const { context } = this.#plan.recipe;
    const count = sequences.length / (context + 1);
    if (!Number.isInteger(count) || count === 0) {
      throw new PogoError('SHAPE', `expected sequences of ${context + 1} tokens, found ${sequences.length} tokens`);
    }
    const shared = new Uint32Array(new SharedArrayBuffer(sequences.byteLength));
    shared.set(sequences);
    const losses = new Float32Array(new SharedArrayBuffer(4 * count * context));
    await Promise.all(
      evenRanges(count, this.#pool.lanes).map(({ from, to }) =>
        this.#pool.run(
          {
            kind: 'loss',
            session,
            sequences: shared.subarray(from * (context + 1), to * (context + 1)),
            losses: losses.subarray(from * context, to * context),
          },
          this.#signal,
        ),
      ),
    );
    return losses;
  }
}
