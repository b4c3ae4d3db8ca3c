/** A run as a verifier follows it: a trainer that goes to the start of any claim, opened when something must be computed. */
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import { START_SCALARS } from '../model/state.js';
import type { TokenSequence } from '../model/tokens.js';
import { modelPlan } from '../model/unit.js';
import type { Trainer } from '../pipeline/trainer.js';
import type { ClaimHeader, SignedClaim } from '../protocol/types.js';
import type { Environment } from './environment.js';
import { Published } from './published.js';
import { startVectors } from './publishedStart.js';
import type { MemberContext } from './roles/common.js';
import { FinalizedClaims } from './roles/finalizedClaims.js';
import { StateFollower } from './stateFollower.js';

/** Failures of a check that say nothing about the claim: bytes that are missing, too large, or cannot be computed on. */
const NO_VERDICT: ReadonlySet<string> = new Set(['MISSING', 'UNDECIDED', 'MALFORMED', 'RANGE']);

/** Whether a failure is one of a claim's bytes, which proves nothing about anybody. */
export function decidesNothing(error: unknown): boolean {
  return NO_VERDICT.has(PogoError.from(error).code);
}

interface Opened {
  readonly trainer: Trainer;
  readonly follower: StateFollower;
  readonly tokens: TokenSequence;
}

/** What a claim is computed again with. */
export interface ClaimWork {
  /** At the claim's from state. */
  readonly trainer: Trainer;
  readonly tokens: TokenSequence;
  /** Brings the trainer back there. */
  readonly goBack: () => Promise<void>;
}

/** What a run is opened with. */
type Surroundings = Pick<Environment, 'tokens' | 'models' | 'createTrainer'>;

export class FollowedRun {
  readonly finalized = new FinalizedClaims();
  readonly published: Published;
  readonly recipeRoot: Uint8Array;
  readonly #recipe: Recipe;
  readonly #environment: Surroundings;
  #opened: Promise<Opened> | undefined;

  constructor({ recipe, published }: Pick<MemberContext, 'recipe' | 'published'>, environment: Surroundings) {
    this.#recipe = recipe;
    this.#environment = environment;
    this.published = Published.reader(published);
    environment.models.add(this.published.blobs);
    this.recipeRoot = recipeRoot(recipe);
  }

  /** Whether a claim is under this recipe: one of another job is another’s work. */
  isMine({ header }: SignedClaim): boolean {
    return equalBytes(header.recipeRoot, this.recipeRoot);
  }

  /** @throws PogoError MISSING where no chain of finalized claims leads to the claim's from state, or a unit is gone */
  async goTo({ fromRoot }: ClaimHeader): Promise<ClaimWork> {
    const { trainer, follower, tokens } = await this.#open();
    await follower.goTo(fromRoot, this.finalized.headers);
    return { trainer, tokens, goBack: () => follower.goBack(fromRoot) };
  }

  /** Once; what was missing may be there when it is asked for again. */
  #open(): Promise<Opened> {
    this.#opened ??= this.#openNow().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async #openNow(): Promise<Opened> {
    const recipe = this.#recipe;
    const { blobs } = this.published;
    const { tokens } = await this.#environment.tokens(recipe);
    const plan = modelPlan(recipe);
    const start = { vectors: startVectors(plan, blobs), scalars: START_SCALARS };
    const trainer = await this.#environment.createTrainer(plan, start);
    return { trainer, tokens, follower: await StateFollower.open(trainer, this.published) };
  }
}
