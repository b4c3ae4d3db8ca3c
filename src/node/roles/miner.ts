/**
 * The miner's process: trains when the ledger has drawn it, publishes, and submits its signed claim.
 */
import * as path from 'node:path';
import { toHex } from '../../hex.js';
import { dutiesOf } from '../../ledger/stateDuties.js';
import type { LedgerEvent } from '../../ledger/stateEvents.js';
import { decodeRecipe } from '../../model/recipe.js';
import { signClaim } from '../../protocol/claim.js';
import { encodeTransaction } from '../../protocol/ledgerTypes.js';
import { type ClaimHeader, SignedClaimType } from '../../protocol/types.js';
import { type Cheat, findCheat } from '../cheats.js';
import { ClaimMiner } from '../claimMiner.js';
import { Environment } from '../environment.js';
import { writeFileAtomic } from '../files/durable.js';
import { realFiles } from '../files/fileLayer.js';
import { Published } from '../published.js';
import { type RoleContext, runRole } from '../role.js';
import { cpuSeconds, followLedger, machineOf, type RoleOptions, type RoleReport } from './common.js';
import { FinalizedClaims } from './finalizedClaims.js';

export interface MinerOptions extends RoleOptions {
  /** Name of a cheat, for demonstrations; absent for an honest miner. */
  readonly cheat?: string;
}

runRole<MinerOptions, LedgerEvent>(async ({ options, ledger, signal, report }) => {
  const environment = new Environment({ ...machineOf(options), signal });
  try {
    const miner = new Miner({ options, ledger, signal, report }, environment);
    const claims = miner.finalized;
    await followLedger(
      ledger,
      signal,
      (state) => miner.act(dutiesOf(state, miner.publicKey)),
      (block) => claims.add(block),
    );
  } finally {
    await environment.dispose();
  }
});

type Context = Pick<RoleContext<MinerOptions, LedgerEvent>, 'options' | 'ledger' | 'signal' | 'report'>;

class Miner {
  readonly finalized = new FinalizedClaims();
  readonly #context: Context;
  readonly #environment: Environment;
  readonly #keys;
  readonly #recipe;
  readonly #published: Published;
  readonly #cheat: Cheat | undefined;
  #core: Promise<ClaimMiner> | undefined;

  constructor(context: Context, environment: Environment) {
    const { options } = context;
    this.#context = context;
    this.#environment = environment;
    this.#keys = environment.bls.deriveKey(options.seed, 'miner', options.index);
    this.#recipe = decodeRecipe(options.recipe);
    this.#published = Published.open(options.published);
    this.#cheat = options.cheat === undefined ? undefined : findCheat(options.cheat);
  }

  get publicKey(): Uint8Array {
    return this.#keys.publicKey;
  }

  /** Does the first duty; false when there is none. */
  async act(duties: ReturnType<typeof dutiesOf>): Promise<boolean> {
    const duty = duties.find((other) => other.duty === 'train');
    if (duty === undefined) return false;
    await this.#train(duty);
    return true;
  }

  async #train({ assignment, steps }: Extract<ReturnType<typeof dutiesOf>[number], { duty: 'train' }>): Promise<void> {
    const core = await this.#open();
    const claim = assignment.claimNumber;
    const { attempt } = assignment;
    await this.#reach(core, assignment.fromRoot);
    const committer = this.#cheat?.committer(core.trainer, core.trainer.scalars.step, steps);
    const cpu = cpuSeconds();
    const mined = await core.mineClaim(assignment, {
      steps,
      ...(committer === undefined ? {} : { committer }),
      onStep: ({ commitment, loss, tokens, ms }) => {
        const stateRoot = toHex(commitment.postStateRoot);
        this.#report({ type: 'step', claim, attempt, step: commitment.step, loss, tokens, ms, stateRoot });
      },
    });
    this.#published.putList(mined.list);
    if (this.#cheat?.equivocates === true) this.#signAnother(mined.claim.header);
    this.#report({
      type: 'trained',
      claim,
      attempt,
      bytes: mined.bytes,
      trainMs: mined.trainMs,
      cpuSeconds: cpuSeconds() - cpu,
    });
    await this.#context.ledger.submit(encodeTransaction('claim', mined.claim));
  }

  /** A second signature for the same turn, left where verifiers look for claims. */
  #signAnother(header: ClaimHeader): void {
    const other = signClaim(this.#environment.bls, this.#keys, { ...header, modelRoot: header.toRoot });
    const file = path.join(this.#context.options.published, 'claims', `${toHex(header.toRoot)}.ssz`);
    realFiles.makeDirectory(path.dirname(file));
    writeFileAtomic(realFiles, file, SignedClaimType.serialize(other));
  }

  async #reach(core: ClaimMiner, root: Uint8Array): Promise<void> {
    const path: ClaimHeader[] = [];
    for (let at = root; ; ) {
      if (await core.knows(at)) break;
      const header = this.finalized.headers.find((other) => toHex(other.toRoot) === toHex(at));
      if (header === undefined) break;
      path.unshift(header);
      at = header.fromRoot;
    }
    for (const header of path) {
      await core.followClaim(header.fromRoot, header.toRoot, this.#published.list(header.listRoot));
    }
  }

  #open(): Promise<ClaimMiner> {
    this.#core ??= (async () => {
      const { tokens } = await this.#environment.tokens(this.#recipe);
      const trainer = await this.#environment.createTrainer(this.#recipe);
      const { bls } = this.#environment;
      const directory = this.#context.options.directory;
      return ClaimMiner.open({ trainer, tokens, bls, keys: this.#keys, directory, blobs: this.#published.blobs });
    })();
    return this.#core;
  }

  #report(event: RoleReport): void {
    this.#context.report(event);
  }
}
