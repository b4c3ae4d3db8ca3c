/**
 * Mining one claim after another, safe against death at any byte: the core that `pogo mine` and the miner of `pogo run`
 * share. It knows no ledger; whoever calls it brings the assignment and publishes the claim.
 *
 * In its directory: `states/<step>-<root>/`, checkpoints at the ends of claims, and `steps/<assignment>/steps.log`, the
 * log of the claim that is being mined. A state is a checkpoint plus a replay of the log, so a crash costs at most one
 * step of training.
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import type { BlobStore } from '../files/blobStore.js';
import { hashBytes } from '../files/digest.js';
import { removeUnfinished, unfinishedPath } from '../files/durable.js';
import { type FileLayer, realFiles, removeTree } from '../files/fileLayer.js';
import { equalBytes, fromHex, toHex } from '../hex.js';
import { unitFileBytes } from '../model/layout.js';
import type { TokenSequence } from '../model/tokens.js';
import type { Trainer } from '../pipeline/trainer.js';
import { type Committer, type TrainedStep, trainSteps } from '../pipeline/trainSteps.js';
import type { Bls, KeyPair } from '../protocol/bls.js';
import { buildClaim, type ClaimAssignment, signClaim } from '../protocol/claim.js';
import { encodeDiff } from '../protocol/diff.js';
import { deriveHash } from '../protocol/domains.js';
import {
  decodeStrict,
  type SignedClaim,
  type StateHeader,
  type StepCommitment,
  type StepCommitmentList,
  StepCommitmentType,
  ZERO_ROOT,
} from '../protocol/types.js';
import { readStateFolder, writeStateFolder } from './files/stateFolder.js';
import { openStepLog, type StepLog } from './files/stepLog.js';

/** Checkpoints that are kept: as many claims may fall in a row before an older state is needed again. */
const KEPT_STATES = 4;
/** Names the log of an assignment: another draw or start is another claim, even under the same number. */
const ASSIGNMENT_CONTEXT = 'pogo/mine-assignment/1';

export interface ClaimMinerOptions {
  /** At any state; the miner moves it to where an assignment starts. */
  readonly trainer: Trainer;
  readonly tokens: TokenSequence;
  readonly bls: Bls;
  readonly keys: KeyPair;
  /** For checkpoints and logs; its lock is held by the caller. */
  readonly directory: string;
  /** Where units, models and diffs are published. */
  readonly blobs: BlobStore;
  readonly layer?: FileLayer;
}

/** A step that is durable. */
export interface MinedStep {
  readonly claimNumber: number;
  readonly commitment: StepCommitment;
  /** Mean of the unit losses, for people. */
  readonly loss: number;
  readonly tokens: number;
  readonly ms: number;
}

export interface MineClaimOptions {
  /** K of this claim. */
  readonly steps: number;
  /** What the miner commits instead of what it computed; honest when absent. */
  readonly committer?: Committer;
  /** Called when a step is durable. */
  readonly onStep?: (step: MinedStep) => void;
}

export interface MinedClaim {
  readonly claim: SignedClaim;
  readonly list: StepCommitmentList;
  /** The packed 4-bit model, as published. */
  readonly model: Uint8Array;
  readonly toHeader: StateHeader;
  /** Bytes of the blobs of this claim. */
  readonly bytes: number;
  /** Steps that were taken from the log of an earlier process. */
  readonly resumedSteps: number;
  /** Milliseconds of the steps that were trained now. */
  readonly trainMs: number;
}

export class ClaimMiner {
  readonly trainer: Trainer;
  readonly #options: ClaimMinerOptions;
  readonly #layer: FileLayer;

  private constructor(options: ClaimMinerOptions) {
    this.#options = options;
    this.trainer = options.trainer;
    this.#layer = options.layer ?? realFiles;
  }

  /** @throws PogoError IO */
  static open(options: ClaimMinerOptions): ClaimMiner {
    const miner = new ClaimMiner(options);
    miner.#layer.makeDirectory(miner.#path('states'));
    miner.#layer.makeDirectory(miner.#path('steps'));
    removeUnfinished(miner.#layer, miner.#path('states'));
    return miner;
  }

  /**
   * Trains the steps of an assignment, or goes on where an earlier process stopped, and signs the claim.
   *
   * @throws PogoError MISSING when no checkpoint holds the from state; CORRUPT when the log does not lead to the roots
   *   in it; INTERRUPTED, IO: everything that was logged is kept
   */
  async mineClaim(assignment: ClaimAssignment, options: MineClaimOptions): Promise<MinedClaim> {
    const { trainer } = this;
    const { blobs, bls, keys } = this.#options;
    await this.goTo(assignment.fromRoot);
    await this.#checkpoint();
    const parentModel = equalBytes(assignment.parentClaimRoot, ZERO_ROOT) ? undefined : await trainer.packModel();
    const folder = this.#path('steps', assignmentName(assignment));
    this.#forgetOthers(path.basename(folder));
    const log = this.#openLog(folder, assignment);
    const fromStep = trainer.scalars.step;
    const { committer } = options;
    let list: StepCommitment[];
    let resumedSteps: number;
    let trainMs = 0;
    let bytes = 0;
    try {
      list = await this.#replay(log, committer);
      resumedSteps = list.length;
      const trained = await trainSteps({
        trainer,
        draw1: assignment.draw1,
        tokens: this.#options.tokens,
        untilStep: fromStep + options.steps,
        ...(committer === undefined ? {} : { committer }),
        record: (step) => {
          this.#record(log, step);
          trainMs += step.ms;
          options.onStep?.(this.#minedStep(assignment, step));
        },
      });
      list.push(...trained);
      bytes = list.length * trainer.plan.recipe.unitsPerStep * unitFileBytes(trainer.plan.layout).total;
    } finally {
      log.close();
    }
    const model = await trainer.packModel();
    committer?.model?.(model);
    const modelRoot = blobs.put(model);
    const { kernels } = trainer.pool;
    const honest = parentModel === undefined ? undefined : encodeDiff(parentModel, model, hashBytes, kernels);
    const diff = committer?.diff === undefined ? honest : committer.diff(honest);
    const diffRoot = diff === undefined ? ZERO_ROOT : blobs.put(diff);
    bytes += model.length + (diff?.length ?? 0);
    const header = buildClaim(assignment, { commitments: list, modelRoot, diffRoot });
    const claim = signClaim(bls, keys, header);
    await this.#checkpoint();
    this.#prune();
    return { claim, list, model, toHeader: await trainer.header(), bytes, resumedSteps, trainMs };
  }

  /**
   * Follows a claim that another miner made: applies its units, without any of its training.
   *
   * @throws PogoError MISSING for a unit that is not among the blobs, MISMATCH when the units do not lead to the
   *   claim's to state; the trainer then stands at the from state
   */
  async followClaim(fromRoot: Uint8Array, toRoot: Uint8Array, list: StepCommitmentList): Promise<void> {
    await this.goTo(fromRoot);
    await this.#checkpoint();
    const { total } = unitFileBytes(this.trainer.plan.layout);
    for (const { unitRoots } of list) {
      await this.trainer.commit(unitRoots.map((root) => this.#sharedBlob(root, total)));
    }
    if (!equalBytes(await this.trainer.stateRoot(), toRoot)) {
      await this.goTo(fromRoot);
      throw new PogoError('MISMATCH', `expected units that lead to state ${toHex(toRoot)}, found others`);
    }
    await this.#checkpoint();
    this.#prune();
  }

  /** Whether {@link goTo} can go there: the trainer stands there, or a checkpoint holds the state. */
  async knows(root: Uint8Array): Promise<boolean> {
    return equalBytes(await this.trainer.stateRoot(), root) || this.#checkpointOf(root) !== undefined;
  }

  /** Moves the trainer to a state. @throws PogoError MISSING when no checkpoint holds it */
  async goTo(root: Uint8Array): Promise<void> {
    const { trainer } = this;
    if (equalBytes(await trainer.stateRoot(), root)) return;
    const name = this.#checkpointOf(root);
    if (name === undefined) {
      throw new PogoError('MISSING', `expected a checkpoint of state ${toHex(root)} in ${this.#path('states')}`, {
        root: toHex(root),
      });
    }
    const { header, vectors } = readStateFolder(this.#path('states', name), trainer.plan.layout, this.#layer);
    trainer.memory.theta.set(vectors.theta);
    trainer.memory.m.set(vectors.m);
    trainer.memory.v.set(vectors.v);
    if (vectors.ema !== undefined) trainer.memory.ema.set(vectors.ema);
    const { step, tokens, beta1Power, beta2Power } = header;
    await trainer.reset({ step, tokens, beta1Power, beta2Power });
  }

  #openLog(folder: string, assignment: ClaimAssignment): StepLog {
    const log = openStepLog(folder, { layer: this.#layer, blobs: this.#options.blobs });
    const first = log.steps[0];
    if (first === undefined) return log;
    const { preStateRoot } = decodeStrict(StepCommitmentType, first.commitment);
    if (equalBytes(preStateRoot, assignment.fromRoot)) return log;
    log.close();
    throw new PogoError('CORRUPT', `${folder}: expected the log of a claim from ${toHex(assignment.fromRoot)}`, {
      path: folder,
    });
  }

  /** Brings the trainer to the end of the log; every state on the way must have the root that was committed. */
  async #replay(log: StepLog, committer: Committer | undefined): Promise<StepCommitment[]> {
    const { trainer } = this;
    const list: StepCommitment[] = [];
    for (const logged of log.steps) {
      const commitment = decodeStrict(StepCommitmentType, logged.commitment);
      const units = logged.units.map(({ root, length }) => this.#sharedBlob(root, length));
      await trainer.commit(units);
      await committer?.state?.(commitment.step, trainer);
      list.push(commitment);
    }
    const last = list.at(-1);
    const expected = await trainer.stateRoot();
    const committed = last === undefined ? undefined : (committer?.root?.(last.step, expected) ?? expected);
    if (last !== undefined && !equalBytes(committed as Uint8Array, last.postStateRoot)) {
      throw new PogoError(
        'CORRUPT',
        `expected the log to lead to state ${toHex(last.postStateRoot)}, found ${toHex(expected)}: ` +
          'remove the run folder and start again',
      );
    }
    return list;
  }

  #record(log: StepLog, { commitment, units }: TrainedStep): void {
    const files = units.map((unit) => unit.file);
    log.append(commitment.step, files, StepCommitmentType.serialize(commitment));
  }

  #minedStep(assignment: ClaimAssignment, { commitment, loss, ms }: TrainedStep): MinedStep {
    const { unitsPerStep, sequencesPerUnit, context } = this.trainer.plan.recipe;
    const tokens = unitsPerStep * sequencesPerUnit * context;
    return { claimNumber: assignment.claimNumber, commitment, loss, tokens, ms };
  }

  #sharedBlob(root: Uint8Array, length: number): Uint8Array {
    const shared = new Uint8Array(new SharedArrayBuffer(length));
    this.#options.blobs.getInto(root, shared);
    return shared;
  }

  async #checkpoint(): Promise<void> {
    const { trainer } = this;
    const header = await trainer.header();
    const { ema, ...others } = await trainer.fetchState();
    const name = `${String(header.step).padStart(12, '0')}-${toHex(await trainer.stateRoot())}`;
    writeStateFolder(this.#path('states', name), header, ema.length === 0 ? others : { ...others, ema }, this.#layer);
  }

  #checkpointOf(root: Uint8Array): string | undefined {
    return this.#states().find((folder) => folder.endsWith(`-${toHex(root)}`));
  }

  /** Names of the checkpoints, oldest step first. */
  #states(): string[] {
    return this.#layer.list(this.#path('states')).filter((name) => /^\d{12}-[0-9a-f]{64}$/.test(name));
  }

  #prune(): void {
    // The oldest stays, too: from it every chain can be replayed.
    for (const name of this.#states().slice(1, -KEPT_STATES)) {
      // Renamed first: a checkpoint that is half removed must not look like one.
      const folder = this.#path('states', name);
      const doomed = unfinishedPath(folder);
      this.#layer.rename(folder, doomed);
      removeTree(this.#layer, doomed);
    }
  }

  /** The claim before is signed and in its caller's hands: its log has done its work. */
  #forgetOthers(name: string): void {
    for (const other of this.#layer.list(this.#path('steps'))) {
      if (other !== name) removeTree(this.#layer, this.#path('steps', other));
    }
  }

  #path(...names: readonly string[]): string {
    return path.join(this.#options.directory, ...names);
  }
}

function assignmentName({ claimNumber, attempt, fromRoot, draw1 }: ClaimAssignment): string {
  const turn = fromHex(`${claimNumber.toString(16).padStart(14, '0')}${attempt.toString(16).padStart(8, '0')}`);
  return `${claimNumber}-${attempt}-${toHex(deriveHash(ASSIGNMENT_CONTEXT, turn, fromRoot, draw1)).slice(0, 16)}`;
}
