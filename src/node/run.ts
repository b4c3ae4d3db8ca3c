/**
 * The main job: one process tree with an embedded ledger, miners and verifiers, until enough claims are final and the cheat,
 * if there is one, has had its turn.
 *
 * This process only orders: it keeps the ledger, starts the roles, and writes a tick when nothing else can make the
 * next block. It trains nothing and judges nothing.
 */
import { existsSync, readdirSync } from 'node:fs';
import * as path from 'node:path';
import { EXIT, PogoError } from '../errors.js';
import { hashBytes } from '../files/digest.js';
import { realFiles, removeTree } from '../files/fileLayer.js';
import { lockDirectory } from '../files/lock.js';
import { equalBytes, toHex } from '../hex.js';
import { createEmbeddedLedger } from '../ledger/embedded.js';
import type { LedgerBlock } from '../ledger/ledger.js';
import { readState } from '../ledger/orders.js';
import type { LedgerState } from '../ledger/state.js';
import type { LedgerEvent } from '../ledger/stateEvents.js';
import type { DemoGenesis } from '../ledger/stateGenesis.js';
import { encodeRecipe } from '../model/recipe.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import { checkEvidence } from '../protocol/evidence.js';
import type { ClaimHeader } from '../protocol/types.js';
import { type ChildExit, ChildProcesses } from './children.js';
import type { Environment } from './environment.js';
import { readStateFolder, writeStateFolder } from './files/stateFolder.js';
import { Published } from './published.js';
import { publishStart } from './publishedStart.js';
import type { RoleOptions, RoleReport } from './roles/common.js';
import type { MinerOptions } from './roles/miner.js';
import { FINAL_STATE, type RunSettings, writeSettings } from './runFiles.js';
import { createJobs, genesisOfRun, ownerOf } from './runGenesis.js';
import { RunTicks } from './runTicks.js';

export interface RunJobOptions {
  readonly settings: RunSettings;
  readonly directory: string;
  readonly environment: Environment;
  readonly signal: AbortSignal;
  /** The command that goes on with this run after it was stopped, for the error that says so. */
  readonly resumeWith: string;
  /** θ of a recipe that starts from a root; a resumed run has published it already. */
  readonly startTheta?: Float32Array;
  readonly onReport: (role: string, report: RoleReport) => void;
  /** `past`: the block was made before this process started. */
  readonly onBlock: (block: LedgerBlock<LedgerEvent>, names: RunNames, past: boolean) => void;
}

/** Names of the keys of a run, for people. */
export interface RunNames {
  of(publicKey: Uint8Array): string;
}

export interface RunResult {
  readonly plan: ModelPlan;
  readonly finalized: readonly ClaimHeader[];
  readonly state: LedgerState;
  readonly outcomes: readonly Extract<LedgerEvent, { type: 'outcome' }>[];
}

/** A claim's turns are at most this many times the claims that are asked for. */
const MAX_TURNS_FACTOR = 3;

export async function runMainJob(options: RunJobOptions): Promise<RunResult> {
  const { settings, directory, environment } = options;
  realFiles.makeDirectory(directory);
  const lock = lockDirectory(directory);
  try {
    writeSettings(directory, settings);
    return await new RunJob(options).run();
  } finally {
    lock.release();
    await environment.dispose();
  }
}

class RunJob {
  readonly #options: RunJobOptions;
  readonly #plan: ModelPlan;
  readonly #genesis: DemoGenesis;
  readonly #finalized: ClaimHeader[] = [];
  readonly #outcomes: Extract<LedgerEvent, { type: 'outcome' }>[] = [];
  readonly #claims = new Map<string, ClaimHeader>();
  #reached: { readonly finalized: number; readonly outcomes: number } | undefined;
  readonly #endedJobs = new Set<number>();
  #failure: PogoError | undefined;

  constructor(options: RunJobOptions) {
    const { settings, environment } = options;
    this.#options = options;
    this.#plan = modelPlan(settings.recipe);
    this.#genesis = genesisOfRun(settings, environment.bls, this.#plan);
  }

  async run(): Promise<RunResult> {
    const { environment, directory, settings, signal, startTheta } = this.#options;
    // Token files are made once, here, before several roles want them.
    await environment.tokens(settings.recipe);
    const { blobs } = Published.open(path.join(directory, 'published'));
    environment.models.add(blobs);
    if (startTheta !== undefined) publishStart(this.#plan, startTheta, blobs);
    const ledger = await createEmbeddedLedger({
      directory: path.join(directory, 'ledger'),
      genesis: this.#genesis.genesis,
      bls: environment.bls,
      checkEvidence: (bytes) =>
        checkEvidence(bytes, { bls: environment.bls, executor: environment.executor, hash: hashBytes }),
    });
    const stop = new AbortController();
    const abort = (): void => stop.abort();
    signal.addEventListener('abort', abort);
    // Opening took a while: an event that came meanwhile is over.
    if (signal.aborted) stop.abort();
    const ticks = new RunTicks({
      ledger,
      nameOf: (publicKey) => this.of(publicKey),
      onFailure: (error) => {
        // Nobody else makes the block that was to come: without it the run would wait for ever.
        this.#failure ??= error;
        stop.abort();
      },
    });
    const children = new ChildProcesses({
      ledger,
      onReport: (name, event) => {
        this.#options.onReport(name, event as RoleReport);
        ticks.heard(name, event as RoleReport);
      },
      onExit: (exit) => this.#onExit(exit, ticks, stop),
    });
    try {
      // A resumed run first reads what happened before; only then anybody goes on.
      const { height: past } = await ledger.head();
      await createJobs(settings, environment, ledger);
      if (past === 0 && !stop.signal.aborted) this.#start(children);
      for await (const block of ledger.subscribe(1, stop.signal)) {
        this.#take(block);
        this.#options.onBlock(block, this, block.height <= past);
        if (this.#done()) {
          const result = this.#result(await readState(ledger));
          await children.stopAll();
          keepFinalState(directory, result.finalized.at(-1), this.#plan);
          return result;
        }
        if (block.height < past) continue;
        if (block.height === past) this.#start(children);
        await ticks.follow(await readState(ledger));
      }
      if (signal.aborted) {
        throw new PogoError(
          'INTERRUPTED',
          `the run in ${directory} was stopped; go on with: ${this.#options.resumeWith}`,
        );
      }
      throw this.#failure ?? new PogoError('INTERNAL', 'the ledger closed before the run was done');
    } finally {
      signal.removeEventListener('abort', abort);
      await children.stopAll();
      await ledger.close();
    }
  }

  #onExit(exit: ChildExit, ticks: RunTicks, stop: AbortController): void {
    if (exit.stopped || exit.willRestart) return;
    this.#failure ??= exit.error ?? new PogoError('INTERNAL', `${exit.name} ended with code ${exit.code}`);
    // A full disk or a lost device is this machine's trouble: the ledger must not tell it as somebody's missed turn,
    // or the run would end in another state than an undisturbed one after it is resumed.
    const ours = exit.error?.exitCode === EXIT.environment;
    if (ours || exit.name === 'miner-0') stop.abort();
    // Any other miner that is gone misses its turn; a verifier's vote is not waited for.
    else ticks.gone(exit.name);
  }

  of(publicKey: Uint8Array): string {
    const { miners, verifiers } = this.#genesis;
    const miner = miners.findIndex((keys) => equalBytes(keys.publicKey, publicKey));
    if (miner >= 0) return `miner-${miner}`;
    const verifier = verifiers.findIndex((keys) => equalBytes(keys.publicKey, publicKey));
    if (verifier >= 0) return `verifier-${verifier}`;
    const owner = ownerOf(this.#options.settings, this.#options.environment.bls);
    return equalBytes(owner.publicKey, publicKey) ? 'owner' : toHex(publicKey).slice(0, 12);
  }

  #start(children: ChildProcesses): void {
    const { settings, directory, environment } = this.#options;
    const common = (name: string, index: number, lanes: number): RoleOptions => ({
      directory: path.join(directory, name),
      published: path.join(directory, 'published'),
      home: environment.home,
      recipe: encodeRecipe(settings.recipe),
      ...(settings.jobs === undefined ? {} : { otherRecipes: settings.jobs.map((job) => encodeRecipe(job.recipe)) }),
      seed: settings.seed,
      index,
      backend: environment.backend.name,
      isa: environment.backend.isa,
      lanes,
      ...(settings.evidenceBytes === undefined ? {} : { evidenceBytes: settings.evidenceBytes }),
    });
    const restarts = 3;
    this.#genesis.miners.forEach((_, index) => {
      const name = `miner-${index}`;
      const base = common(name, index, environment.lanes);
      const cheat = index > 0 && settings.cheat !== undefined ? { cheat: settings.cheat } : {};
      children.start({ name, role: 'miner', options: { ...base, ...cheat } satisfies MinerOptions, restarts });
    });
    this.#genesis.verifiers.forEach((_, index) => {
      const name = `verifier-${index}`;
      children.start({ name, role: 'verifier', options: common(name, index, 1), restarts });
    });
  }

  #take(block: LedgerBlock<LedgerEvent>): void {
    for (const event of block.events) {
      if (event.type === 'job' && event.change === 'ended') this.#endedJobs.add(event.job);
      if ('job' in event && event.job !== undefined) continue;
      if (event.type === 'claim') this.#claims.set(toHex(event.claimRoot), event.claim.header);
      if (event.type !== 'outcome' || event.outcome === 'reopened') continue;
      this.#outcomes.push(event);
      const header = this.#claims.get(toHex(event.claimRoot));
      if (event.outcome === 'finalized' && header !== undefined) this.#finalized.push(header);
    }
  }

  /** Enough claims are final and the cheat had its turn, or there were too many turns. */
  #done(): boolean {
    const { claims, cheat } = this.#options.settings;
    const cheater = this.#genesis.miners[1]?.publicKey;
    const turnOver =
      cheat === undefined || (cheater !== undefined && this.#outcomes.some(({ miner }) => equalBytes(miner, cheater)));
    // The genesis job goes on while an owner's ends: what it finalizes meanwhile depends on timing and is not the run's result.
    if (this.#finalized.length >= claims && turnOver) {
      this.#reached ??= { finalized: this.#finalized.length, outcomes: this.#outcomes.length };
    }
    const jobsOver = this.#endedJobs.size >= (this.#options.settings.jobs?.length ?? 0);
    return (
      (this.#finalized.length >= claims && turnOver && jobsOver) ||
      (jobsOver && this.#finalized.length >= MAX_TURNS_FACTOR * claims) ||
      (jobsOver && this.#outcomes.length >= MAX_TURNS_FACTOR * claims + MAX_TURNS_FACTOR)
    );
  }

  #result(state: LedgerState): RunResult {
    const finalized = this.#finalized.slice(0, this.#reached?.finalized);
    const outcomes = this.#outcomes.slice(0, this.#reached?.outcomes);
    return { plan: this.#plan, finalized, state, outcomes };
  }
}

/** Copies the state of the last finalized claim to `<run>/state`: what the next training starts from. */
function keepFinalState(directory: string, last: ClaimHeader | undefined, plan: ModelPlan): void {
  const folder = path.join(directory, FINAL_STATE);
  if (existsSync(folder)) removeTree(realFiles, folder);
  if (last === undefined) return;
  for (const miner of readdirSync(directory).filter((name) => name.startsWith('miner-'))) {
    const states = path.join(directory, miner, 'states');
    const name = existsSync(states) && readdirSync(states).find((state) => state.endsWith(`-${toHex(last.toRoot)}`));
    if (!name) continue;
    const { header, vectors } = readStateFolder(path.join(states, name), plan.layout);
    writeStateFolder(folder, header, vectors);
    return;
  }
}
