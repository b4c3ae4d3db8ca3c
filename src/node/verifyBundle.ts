/**
 * Checks a bundle alone, trusting nothing in it: form, signatures, beacons, the chain of claims, and every claim by
 * replaying its log and computing drawn units again.
 *
 * What cannot follow from the bundle's own bytes (which recipe, which start state) is pinned by the caller or reported
 * as taken from the bundle. A false claim ends the check with a file of evidence beside the bundle: the claims after it
 * are void.
 */
import { randomBytes } from 'node:crypto';
import * as path from 'node:path';
import { invariant, PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { writeFileAtomic } from '../files/durable.js';
import { realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import { differsInStartOnly } from '../model/deriveRecipe.js';
import { decodeRecipe, type Recipe, recipeRoot as recipeRootOf } from '../model/recipe.js';
import type { TokenSequence } from '../model/tokens.js';
import { modelPlan } from '../model/unit.js';
import type { Trainer } from '../pipeline/trainer.js';
import { badUnits, detectionProbability, samplesForDetection } from '../protocol/detection.js';
import { drawHeldOut, drawUnits } from '../protocol/draws.js';
import { checkEvidence, type EvidenceKind, evidenceKind } from '../protocol/evidence.js';
import { type ClaimHeader, claimRoot, type SignedClaim } from '../protocol/types.js';
import { evidenceFromFault } from './buildEvidence.js';
import { type OpenBundle, openBundle } from './bundle.js';
import { type ChainedClaim, checkBundleChain } from './bundleChain.js';
import { bundleStart, bundleTokens, expectOnlyKnownBlobs } from './bundleParts.js';
import { checkClaim, restore } from './checkClaim.js';
import { type Environment, throwIfAborted } from './environment.js';
import { HeldOutLoss } from './heldOutLoss.js';
import { replayLog, storedUnits } from './unitFiles.js';

export interface VerifyBundleOptions {
  readonly environment: Environment;
  /** The recipe that the bundle must be of; else it is taken from the bundle. */
  readonly recipeRoot?: Uint8Array;
  /** A recipe that leaves its start open: the bundle's must be the same but for the start. */
  readonly openRecipe?: Recipe;
  /** The state root that the first claim must start from. */
  readonly fromRoot?: Uint8Array;
  /** 32 bytes of public randomness that nobody knew when the claims were signed; else fresh local randomness. */
  readonly beacon?: Uint8Array;
  /** Units of each claim to compute again; `auto`: as the recipe's detection target asks of one verifier alone. */
  readonly samples?: number | 'auto';
  /** Computes every unit again. */
  readonly exhaustive?: boolean;
  /** Where evidence is written; beside the bundle by default. */
  readonly evidenceDirectory?: string;
  readonly signal?: AbortSignal;
  readonly onStart?: (start: VerifyStart) => void;
  readonly onProgress?: (claimNumber: number, unitsDone: number, unitsDrawn: number) => void;
  readonly onClaim?: (claim: VerifiedClaim) => void;
}

/** What was checked before the first unit is computed. */
export interface VerifyStart {
  readonly recipe: Recipe;
  readonly claims: number;
  readonly demo: boolean;
  readonly origin: Origin;
}

/** What the result rests on: pinned by the caller, derived, or taken from the bundle. */
export interface Origin {
  /** Names among `recipe`, `recipe-but-start`, `from`, `beacon`. */
  readonly pinned: readonly string[];
  /** What nobody but the bundle vouches for. */
  readonly takenFromBundle: readonly string[];
}

export interface VerifiedClaim {
  readonly claimNumber: number;
  readonly miner: Uint8Array;
  readonly claimRoot: Uint8Array;
  readonly fromRoot: Uint8Array;
  readonly toRoot: Uint8Array;
  readonly holds: boolean;
  /** Comparisons that were made. */
  readonly checks: number;
  /** Units computed again, of this many. */
  readonly samples: number;
  readonly population: number;
  /** Steps that they are of. */
  readonly drawnSteps: number;
  /** Probability that this sample finds the fraction of bad units of the recipe's target. */
  readonly detection: number;
  /** fp32 bits of the exact mean loss of the 4-bit model on the drawn held-out sequences; only where the claim holds. */
  readonly heldOutBeforeBits?: number;
  readonly heldOutAfterBits?: number;
  /** Of the check; the held-out losses are not in it. */
  readonly seconds: number;
  /**
   * Of `seconds`: reading and looking through the log; applying it; hashing the state; drawn units; the 4-bit model and its
   * diff.
   */
  readonly readSeconds: number;
  readonly replaySeconds: number;
  readonly hashSeconds: number;
  readonly unitSeconds: number;
  readonly modelSeconds: number;
  /** Of both held-out losses; only where the claim holds. */
  readonly heldOutSeconds?: number;
}

/** A claim that is false, and the file that proves it. */
export interface FoundFalse {
  readonly claimNumber: number;
  readonly accused: Uint8Array;
  readonly kind: EvidenceKind;
  readonly reason: string;
  readonly file: string;
  readonly bytes: number;
}

export interface VerifyBundleResult {
  /** `undecided`: nothing false was found, by fewer samples than the recipe's target asks for. */
  readonly verdict: 'holds' | 'false' | 'undecided';
  readonly recipe: Recipe;
  readonly claims: readonly VerifiedClaim[];
  readonly evidence?: FoundFalse;
  readonly fromRoot: Uint8Array;
  /** To state of the last claim that holds. */
  readonly stateRoot: Uint8Array;
  readonly origin: Origin;
  readonly demo: boolean;
}

/**
 * Checks a bundle folder.
 *
 * @throws PogoError MALFORMED for a folder that is no bundle, or holds one byte that is not committed; MISMATCH for
 *   another recipe or start than pinned, or claims that do not follow from each other; MISSING for bytes that are
 *   absent or do not match their root; UNDECIDED for a falsehood that no evidence expresses; INTERRUPTED
 */
export async function verifyBundle(folder: string, options: VerifyBundleOptions): Promise<VerifyBundleResult> {
  return new BundleCheck(openBundle(folder), options).run();
}

/** What one claim after the other is checked with. */
interface CheckContext {
  /** At the claim's from state. */
  readonly trainer: Trainer;
  readonly goBack: () => Promise<void>;
  readonly tokens: TokenSequence;
  readonly parentModel: Uint8Array;
}

class BundleCheck {
  readonly #opened: OpenBundle;
  readonly #options: VerifyBundleOptions;
  readonly #recipe: Recipe;
  readonly #claims: VerifiedClaim[] = [];

  constructor(opened: OpenBundle, options: VerifyBundleOptions) {
    this.#opened = opened;
    this.#options = options;
    this.#recipe = decodeBundleRecipe(opened.bundle.recipe);
    requireBeacon(options.beacon);
  }

  async run(): Promise<VerifyBundleResult> {
    const { bundle } = this.#opened;
    const { environment } = this.#options;
    const plan = modelPlan(this.#recipe);
    requirePin('recipe', this.#options.recipeRoot, plan.root);
    requireSameButStart(this.#options.openRecipe, this.#recipe);
    const chain = checkBundleChain(environment.bls, bundle, plan.root);
    requirePin('from state', this.#options.fromRoot, chain[0]!.assignment.fromRoot);
    const start = bundleStart(this.#opened, plan);
    environment.models.add(this.#opened.blobs);
    const trainer = await environment.createTrainer(plan, start);
    const startHeader = await trainer.header();
    expectStart(chain[0]!, await trainer.stateRoot());
    const tokens = await bundleTokens(this.#opened, this.#recipe, environment);
    const origin = this.#origin(start.derivable);
    this.#options.onStart?.({ recipe: this.#recipe, claims: chain.length, demo: bundle.demo, origin });

    let model = await trainer.packModel();
    const first = chain[0]!.signedClaim.header;
    let parent: ClaimHeader | undefined;
    for (const claim of chain) {
      throwIfAborted(this.#options.signal);
      const goBack = (): Promise<void> => this.#goTo(trainer, chain.slice(0, chain.indexOf(claim)));
      const found = await this.#checkClaim(claim, { trainer, goBack, tokens, parentModel: model }, parent);
      parent = claim.signedClaim.header;
      if ('file' in found) return this.#result(first.fromRoot, origin, found);
      model = found.model;
    }
    expectOnlyKnownBlobs(this.#opened, this.#recipe, chain, startHeader, await trainer.header());
    return this.#result(first.fromRoot, origin);
  }

  async #checkClaim(
    claim: ChainedClaim,
    { trainer, goBack, tokens, parentModel }: CheckContext,
    parent: ClaimHeader | undefined,
  ): Promise<FoundFalse | { readonly model: Uint8Array }> {
    const { signedClaim, steps, hasParent } = claim;
    const { header } = signedClaim;
    const fromHeader = await trainer.header();
    const population = steps.length * this.#recipe.unitsPerStep;
    const samples = this.#samples(population);
    // Also without a beacon the draw depends on the claim, so that each claim gets units of its own.
    const secret = this.#options.beacon ?? randomBytes(32);
    const seed = Buffer.concat([secret, claimRoot(header)]);
    const drawn = drawUnits(seed, steps.length, this.#recipe.unitsPerStep, samples);
    const result = await checkClaim({
      trainer,
      goBack,
      source: { header, list: steps, ...storedUnits(this.#opened.blobs) },
      tokens,
      drawn,
      parentModel: hasParent ? parentModel : undefined,
      ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
      onProgress: (done, all) => this.#options.onProgress?.(header.claimNumber, done, all),
    });
    const { fault } = result;
    const verified = {
      claimNumber: header.claimNumber,
      miner: header.miner,
      claimRoot: claimRoot(header),
      fromRoot: header.fromRoot,
      toRoot: header.toRoot,
      holds: fault === undefined,
      checks: result.checks,
      samples: Math.max(result.unitsRecomputed, fault === undefined ? drawn.length : 0),
      population,
      drawnSteps: new Set(drawn.map(({ stepIndex }) => stepIndex)).size,
      detection: this.#detection(population, drawn.length),
      seconds: result.seconds,
      readSeconds: result.readSeconds,
      replaySeconds: result.replaySeconds,
      hashSeconds: result.hashSeconds,
      unitSeconds: result.unitSeconds,
      modelSeconds: result.modelSeconds,
    };
    if (fault !== undefined) {
      this.#push(verified);
      const accused = { claim: signedClaim, recipe: this.#recipe, commitments: steps, fromHeader, tokens };
      const subject = parent === undefined ? accused : { ...accused, parent };
      return this.#publish(evidenceFromFault(subject, fault), signedClaim, fault.message);
    }
    const model = result.model as Uint8Array;
    const evaluating = performance.now();
    const heldOut = new HeldOutLoss(
      trainer,
      tokens,
      drawHeldOut(Uint8Array.from(secret), claimRoot(header), this.#recipe),
    );
    const heldOutBeforeBits = await heldOut.of(parentModel);
    const heldOutAfterBits = await heldOut.of(model);
    const heldOutSeconds = (performance.now() - evaluating) / 1000;
    this.#push({ ...verified, heldOutBeforeBits, heldOutAfterBits, heldOutSeconds });
    return { model };
  }

  /** Back to the start state, and from there by the logs of claims that hold. */
  async #goTo(trainer: Trainer, claims: readonly ChainedClaim[]): Promise<void> {
    await restore(trainer, bundleStart(this.#opened, trainer.plan));
    for (const { steps } of claims) await replayLog(trainer, storedUnits(this.#opened.blobs), steps);
  }

  #push(claim: VerifiedClaim): void {
    this.#claims.push(claim);
    this.#options.onClaim?.(claim);
  }

  #samples(population: number): number {
    const { samples = 'auto', exhaustive = false } = this.#options;
    if (exhaustive) return population;
    if (samples !== 'auto') return Math.min(samples, population);
    const { fractionPpm, targetPpm } = this.#recipe.detection;
    return samplesForDetection(population, fractionPpm, targetPpm);
  }

  #detection(population: number, samples: number): number {
    return detectionProbability(population, badUnits(population, this.#recipe.detection.fractionPpm), samples);
  }

  #origin(startIsDerived: boolean): Origin {
    const { recipeRoot, openRecipe, fromRoot, beacon } = this.#options;
    // A state's root holds its recipe's: with it the start is pinned, too.
    const open = openRecipe !== undefined && fromRoot === undefined;
    const whole = recipeRoot !== undefined || (openRecipe !== undefined && fromRoot !== undefined);
    const pinned = [
      ...(whole ? ['recipe'] : open ? ['recipe-but-start'] : []),
      ...(fromRoot === undefined ? [] : ['from']),
      ...(beacon === undefined ? [] : ['beacon']),
    ];
    const takenFromBundle = [
      ...(whole ? [] : open ? ['start'] : ['recipe']),
      ...(fromRoot === undefined && !startIsDerived ? ['from'] : []),
      'chain',
      'miner',
      'beacon1',
      'demo',
    ];
    return { pinned, takenFromBundle };
  }

  /** Writes evidence beside the bundle, after it passed the check that a third party will make. */
  async #publish(evidence: Uint8Array, { header }: SignedClaim, reason: string): Promise<FoundFalse> {
    const { environment, evidenceDirectory } = this.#options;
    const { bls, executor } = environment;
    const verdict = await checkEvidence(evidence, { bls, executor, hash: hashBytes });
    invariant(verdict.verdict === 'guilty', `evidence against claim ${header.claimNumber} does not convict: ${reason}`);
    const kind = evidenceKind(evidence);
    const folder = path.resolve(this.#opened.folder);
    const name = `${path.basename(folder)}.claim-${header.claimNumber}.${kind}.evidence`;
    const file = path.join(evidenceDirectory ?? path.dirname(folder), name);
    writeFileAtomic(realFiles, file, evidence);
    return { claimNumber: header.claimNumber, accused: header.miner, kind, reason, file, bytes: evidence.length };
  }

  #result(fromRoot: Uint8Array, origin: Origin, evidence?: FoundFalse): VerifyBundleResult {
    const holding = this.#claims.filter((claim) => claim.holds);
    const enough = this.#claims.every(({ population, samples }) => this.#isEnough(population, samples));
    return {
      verdict: evidence !== undefined ? 'false' : enough ? 'holds' : 'undecided',
      recipe: this.#recipe,
      claims: this.#claims,
      ...(evidence === undefined ? {} : { evidence }),
      fromRoot,
      stateRoot: holding.at(-1)?.toRoot ?? fromRoot,
      origin,
      demo: this.#opened.bundle.demo,
    };
  }

  #isEnough(population: number, samples: number): boolean {
    const { fractionPpm, targetPpm } = this.#recipe.detection;
    return samples >= samplesForDetection(population, fractionPpm, targetPpm);
  }
}

function decodeBundleRecipe(bytes: Uint8Array): Recipe {
  try {
    return decodeRecipe(bytes);
  } catch (error) {
    // A broken rule of a recipe is, inside a bundle, just a malformed bundle.
    if (error instanceof PogoError) throw new PogoError('MALFORMED', `bundle: ${error.message}`, error.details);
    throw error;
  }
}

function requireBeacon(beacon: Uint8Array | undefined): void {
  if (beacon === undefined || beacon.length === 32) return;
  throw new PogoError('USAGE', `beacon: expected 32 bytes, found ${beacon.length}`);
}

function requirePin(what: string, pinned: Uint8Array | undefined, found: Uint8Array): void {
  if (pinned === undefined || equalBytes(pinned, found)) return;
  throw new PogoError(
    'MISMATCH',
    `expected a bundle of ${what} ${toHex(pinned)}, found one of ${toHex(found)}; check another bundle, or drop that pin`,
  );
}

function requireSameButStart(open: Recipe | undefined, found: Recipe): void {
  if (open === undefined || differsInStartOnly(open, found, recipeRootOf)) return;
  throw new PogoError(
    'MISMATCH',
    `expected a bundle of recipe ${open.name} with a start of its own, found recipe ${found.name}, which differs in more; ` +
      'check another bundle, or drop that pin',
  );
}

/** The start state that the bundle carries, or the recipe's, must be where the first claim says it starts. */
function expectStart({ assignment }: ChainedClaim, root: Uint8Array): void {
  if (equalBytes(assignment.fromRoot, root)) return;
  throw new PogoError(
    'MISMATCH',
    `expected the first claim to start from state ${toHex(root)}, found ${toHex(assignment.fromRoot)}`,
  );
}
