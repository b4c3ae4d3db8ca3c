/**
 * Mining without a ledger: a chain of claims trained on this machine and written as a bundle folder.
 *
 * Beside the bundle folder D stands `D.work`: lock, plan, checkpoints, the log of the claim being mined and the claims
 * that are done. While it is there, `mine` goes on where it stopped, after Ctrl-C or a crash, or with more claims.
 * Without a ledger the one who mines also knows every beacon: the bundle proves that the work was done, not that nobody
 * could foresee its batches (docs/cli.md).
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import type { BlobStore } from '../files/blobStore.js';
import { writeFileAtomic } from '../files/durable.js';
import { type FileLayer, readWholeFile, realFiles } from '../files/fileLayer.js';
import { lockDirectory } from '../files/lock.js';
import { equalBytes, toHex } from '../hex.js';
import { encodeRecipe, loadRecipe, RECIPE_NAMES, type Recipe } from '../model/recipe.js';
import { isInMemory, type TokenSequence } from '../model/tokens.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import type { Trainer } from '../pipeline/trainer.js';
import type { Committer } from '../pipeline/trainSteps.js';
import { combineBeacon, createBeaconShare, genesisBeacon } from '../protocol/beacon.js';
import type { KeyPair } from '../protocol/bls.js';
import { type BundleClaim, BundleClaimType } from '../protocol/bundleType.js';
import type { ClaimAssignment } from '../protocol/claim.js';
import { deriveHash } from '../protocol/domains.js';
import { draw1 } from '../protocol/draws.js';
import { BEACON_KIND, claimRoot, decodeStrict, type StateHeader, ZERO_ROOT } from '../protocol/types.js';
import { bundleBlobs, writeBundle } from './bundle.js';
import { ClaimMiner, type MinedClaim, type MinedStep } from './claimMiner.js';
import { type Environment, throwIfAborted } from './environment.js';
import { openStartState, type StartState } from './startState.js';

/** Chain id of bundles that no ledger stands behind: binds the claims to recipe, start and beacon key. */
const CHAIN_CONTEXT = 'pogo/bundle-chain/1';
/** The container that a claim is kept in until the bundle is written: lists of 2^16 steps fit. */
const MAX_CLAIM_FILE_BYTES = 2 ** 28;
const MAX_PLAN_BYTES = 1 << 16;

export interface MineBundleOptions {
  readonly environment: Environment;
  readonly recipe: Recipe;
  /** The bundle folder; `<directory>.work` is made beside it. */
  readonly directory: string;
  /** Claims that the bundle has in the end. */
  readonly claims: number;
  /** A state folder, a finished run or a checkpoint to start from; the recipe's seed when left out. */
  readonly from?: string;
  /** Recipe of the start's model, where nothing beside it says it. */
  readonly fromRecipe?: string;
  /** 32 bytes: beacons, and the miner's key unless `keys` is given, derive from it. */
  readonly seed: Uint8Array;
  readonly keys?: KeyPair;
  /** What is committed instead of what was computed, by claim: for tests of the checks. Honest when absent. */
  readonly committer?: (claimNumber: number, trainer: Trainer, fromStep: number) => Committer | undefined;
  readonly signal?: AbortSignal;
  readonly onStart?: (start: { readonly resumedClaims: number; readonly fromRoot: Uint8Array }) => void;
  readonly onStep?: (step: MinedStep) => void;
  readonly onClaim?: (mined: MinedClaim) => void;
  readonly layer?: FileLayer;
}

export interface MinedBundle {
  readonly claims: number;
  readonly steps: number;
  readonly fromRoot: Uint8Array;
  /** The last claim's to state. */
  readonly stateRoot: Uint8Array;
  readonly blobs: number;
  /** Bytes of the bundle's blobs. */
  readonly bytes: number;
  readonly demo: boolean;
  /** Folder that resuming needs; it can be removed once no more claims are wanted. */
  readonly workDirectory: string;
}

/**
 * Mines claims into a bundle folder, or goes on with one.
 *
 * @throws PogoError INTERRUPTED (everything logged is kept; call again to go on), MISMATCH when the folder was begun
 *   with another recipe, seed, key or start, LOCKED, IO, DATA
 */
export async function mineBundle(options: MineBundleOptions): Promise<MinedBundle> {
  if (!Number.isSafeInteger(options.claims) || options.claims < 1 || options.claims > 65_536) {
    throw new PogoError('RANGE', `claims: expected an integer from 1 to 65536, found ${options.claims}`);
  }
  const layer = options.layer ?? realFiles;
  const work = `${path.resolve(options.directory)}.work`;
  refuseForeignFolder(options.directory, layer);
  layer.makeDirectory(work);
  const lock = lockDirectory(work);
  try {
    return await new BundleMiner(options, layer, work).run();
  } finally {
    lock.release();
  }
}

/** A folder with anything but a bundle in it is not ours to write into. */
function refuseForeignFolder(directory: string, layer: FileLayer): void {
  const status = layer.status(directory);
  if (status === undefined) return;
  const foreign =
    status.kind !== 'directory' ||
    layer.list(directory).some((name) => name !== 'bundle.ssz' && name !== 'blobs' && !name.startsWith('.unfinished-'));
  if (!foreign) return;
  throw new PogoError('IO', `expected a bundle folder or none at ${directory}, found other contents: choose another`, {
    path: directory,
  });
}

class BundleMiner {
  readonly #options: MineBundleOptions;
  readonly #layer: FileLayer;
  readonly #work: string;
  readonly #plan: ModelPlan;
  readonly #keys: KeyPair;
  readonly #beaconKeys: KeyPair;
  readonly #blobs: BlobStore;

  constructor(options: MineBundleOptions, layer: FileLayer, work: string) {
    const { bls } = options.environment;
    this.#options = options;
    this.#layer = layer;
    this.#work = work;
    this.#plan = modelPlan(options.recipe);
    this.#keys = options.keys ?? bls.deriveKey(options.seed, 'miner', 0);
    this.#beaconKeys = bls.deriveKey(options.seed, 'beacon', 0);
    this.#blobs = bundleBlobs(options.directory, layer);
  }

  async run(): Promise<MinedBundle> {
    const { environment, recipe, onStart } = this.#options;
    const { tokens } = await environment.tokens(recipe);
    const start = await this.#start();
    const trainer = await environment.createTrainer(this.#plan, start);
    const startHeader = await trainer.header();
    const fromRoot = await trainer.stateRoot();
    const chainId = deriveHash(CHAIN_CONTEXT, this.#plan.root, fromRoot, this.#beaconKeys.publicKey);
    this.#bindPlan(chainId, fromRoot);
    const claims = this.#finishedClaims();
    onStart?.({ resumedClaims: claims.length, fromRoot });
    const { bls } = environment;
    const miner = ClaimMiner.open({
      trainer,
      tokens,
      bls,
      keys: this.#keys,
      directory: this.#work,
      blobs: this.#blobs,
      layer: this.#layer,
    });
    if (claims.length < this.#options.claims) this.#removeContainer();
    while (claims.length < this.#options.claims) {
      throwIfAborted(this.#options.signal);
      claims.push(await this.#mineNext(miner, chainId, fromRoot, claims));
    }
    const last = claims.at(-1) as BundleClaim;
    await miner.goTo(last.signedClaim.header.toRoot);
    return this.#finish(chainId, start, startHeader, fromRoot, claims, trainer, tokens);
  }

  #start(): Promise<StartState> {
    const { environment, from, fromRecipe } = this.#options;
    const source = { home: environment.home, ...(fromRecipe === undefined ? {} : { recipe: fromRecipe }) };
    return openStartState(this.#plan, from, source);
  }

  async #mineNext(
    miner: ClaimMiner,
    chainId: Uint8Array,
    startRoot: Uint8Array,
    claims: readonly BundleClaim[],
  ): Promise<BundleClaim> {
    const { recipe, committer, onStep, onClaim } = this.#options;
    const { bls } = this.#options.environment;
    const claimNumber = claims.length;
    const previous = claims.at(-1);
    const id = {
      chainId,
      claimNumber,
      attempt: 0,
      kind: BEACON_KIND.one,
      parentBeacon: previous === undefined ? genesisBeacon(chainId) : this.#beaconOf(previous),
    };
    const share = createBeaconShare(bls, this.#beaconKeys, id);
    const beacon = combineBeacon(bls, id, [share.member], [share]);
    const assignment: ClaimAssignment = {
      chainId,
      job: 0,
      claimNumber,
      attempt: 0,
      parentClaimRoot: previous === undefined ? ZERO_ROOT : claimRoot(previous.signedClaim.header),
      recipeRoot: this.#plan.root,
      miner: this.#keys.publicKey,
      fromRoot: previous?.signedClaim.header.toRoot ?? startRoot,
      draw1: draw1(beacon, this.#plan.root, claimNumber),
      bond: 0n,
    };
    await miner.goTo(assignment.fromRoot);
    const chosen = committer?.(claimNumber, miner.trainer, miner.trainer.scalars.step);
    const mined = await miner.mineClaim(assignment, {
      steps: recipe.stepsPerClaim,
      ...(chosen === undefined ? {} : { committer: chosen }),
      ...(onStep === undefined ? {} : { onStep }),
    });
    const claim: BundleClaim = { signedClaim: mined.claim, steps: mined.list, beaconShares: [share] };
    writeFileAtomic(this.#layer, this.#claimFile(claimNumber), BundleClaimType.serialize(claim));
    onClaim?.(mined);
    return claim;
  }

  #beaconOf({ beaconShares }: BundleClaim): Uint8Array {
    const [share] = beaconShares;
    if (share === undefined) throw new PogoError('CORRUPT', 'expected the beacon share of a stored claim, found none');
    const { chainId, claimNumber, attempt, parentBeacon } = share.message;
    const id = { chainId, claimNumber, attempt, kind: BEACON_KIND.one, parentBeacon };
    return combineBeacon(this.#options.environment.bls, id, [share.member], beaconShares);
  }

  /** What a folder was begun with; another recipe, seed, key or start would not continue its chain. */
  #bindPlan(chainId: Uint8Array, fromRoot: Uint8Array): void {
    const plan = {
      version: 1,
      chainId: toHex(chainId),
      recipeRoot: toHex(this.#plan.root),
      fromRoot: toHex(fromRoot),
      miner: toHex(this.#keys.publicKey),
    };
    const text = `${JSON.stringify(plan, null, 2)}\n`;
    const file = path.join(this.#work, 'plan.json');
    if (this.#layer.status(file) === undefined) {
      writeFileAtomic(this.#layer, file, new TextEncoder().encode(text));
      return;
    }
    const found = new TextDecoder().decode(readWholeFile(this.#layer, file, MAX_PLAN_BYTES));
    if (found === text) return;
    throw new PogoError(
      'MISMATCH',
      `expected ${this.#work} to be begun with this recipe, --seed, --key and --from, found another plan in ${file}: ` +
        'use the same options, or another --dir',
      { path: file },
    );
  }

  #claimFile(claimNumber: number): string {
    return path.join(this.#work, 'claims', `${String(claimNumber).padStart(6, '0')}.ssz`);
  }

  #finishedClaims(): BundleClaim[] {
    this.#layer.makeDirectory(path.join(this.#work, 'claims'));
    const claims: BundleClaim[] = [];
    for (;;) {
      const file = this.#claimFile(claims.length);
      if (this.#layer.status(file) === undefined) return claims;
      claims.push(decodeStrict(BundleClaimType, readWholeFile(this.#layer, file, MAX_CLAIM_FILE_BYTES)));
    }
  }

  /** While claims are added the folder is no bundle. */
  #removeContainer(): void {
    const file = path.join(this.#options.directory, 'bundle.ssz');
    if (this.#layer.status(file) === undefined) return;
    this.#layer.remove(file);
    this.#layer.syncDirectory(this.#options.directory);
  }

  async #finish(
    chainId: Uint8Array,
    start: StartState,
    startHeader: StateHeader,
    fromRoot: Uint8Array,
    claims: readonly BundleClaim[],
    trainer: Trainer,
    tokens: TokenSequence,
  ): Promise<MinedBundle> {
    const { recipe, directory, keys } = this.#options;
    const roots = claims.flatMap(({ signedClaim: { header }, steps }) => [
      ...steps.flatMap((step) => step.unitRoots),
      header.modelRoot,
      ...(equalBytes(header.diffRoot, ZERO_ROOT) ? [] : [header.diffRoot]),
    ]);
    const put = (vector: Float32Array | Uint16Array | Uint32Array): void => {
      if (vector.length > 0) roots.push(this.#blobs.put(bytesOf(vector)));
    };
    for (const vector of Object.values(await trainer.fetchState()) as Float32Array[]) put(vector);
    if (!start.derivable) {
      // The trainer has moved on: the start state is read once more.
      const { vectors } = await this.#start();
      for (const vector of Object.values(vectors) as Float32Array[]) put(vector);
    }
    if (!isBuiltInData(recipe)) {
      if (isInMemory(tokens)) put(tokens);
      else roots.push(this.#blobs.putPieces(recipe.data.tokensRoot, tokens.totalBytes, tokens.pieces()));
    }
    if (trainer.plan.frozen !== undefined) put(trainer.plan.frozen);
    const bundle = writeBundle(
      directory,
      {
        demo: keys === undefined,
        chainId,
        recipe: encodeRecipe(recipe),
        startHeader: start.derivable ? [] : [startHeader],
        claims: [...claims],
      },
      roots,
      this.#blobs,
      this.#layer,
    );
    return {
      claims: claims.length,
      steps: claims.reduce((sum, { steps }) => sum + steps.length, 0),
      fromRoot,
      stateRoot: (claims.at(-1) as BundleClaim).signedClaim.header.toRoot,
      blobs: bundle.blobs.length,
      bytes: bundle.blobs.reduce((sum, { length }) => sum + length, 0),
      demo: bundle.demo,
      workDirectory: this.#work,
    };
  }
}

function bytesOf(vector: Float32Array | Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
}

/** Whether the installed package holds the text that a recipe's tokens are made from. */
export function isBuiltInData(recipe: Recipe): boolean {
  return RECIPE_NAMES.some((name) => equalBytes(loadRecipe(name).data.tokensRoot, recipe.data.tokensRoot));
}
