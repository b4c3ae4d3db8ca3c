/**
 * The miner: trains when the ledger has drawn it, publishes, and submits its signed claim.
 */
import * as path from 'node:path';
import { EXIT, PogoError } from '../errors.js';
import { writeFileAtomic } from '../files/durable.js';
import { realFiles } from '../files/fileLayer.js';
import { equalBytes, toHex } from '../hex.js';
import type { LedgerBlock } from '../ledger/ledger.js';
import { type DisputeDuty, disputeDutiesOf } from '../ledger/stateDisputeDuties.js';
import { type Duty, dutiesOf } from '../ledger/stateDuties.js';
import type { LedgerEvent } from '../ledger/stateEvents.js';
import type { LedgerState } from '../ledger/stateTypes.js';
import { type Recipe, recipeRoot } from '../model/recipe.js';
import { START_SCALARS } from '../model/state.js';
import { modelPlan } from '../model/unit.js';
import { PieceType } from '../protocol/availability.js';
import type { KeyPair } from '../protocol/bls.js';
import { signClaim } from '../protocol/claim.js';
import { listChunksRoot } from '../protocol/claimSteps.js';
import { encodeTransaction } from '../protocol/ledgerTypes.js';
import { type ClaimHeader, SignedClaimType } from '../protocol/types.js';
import type { Cheat } from './cheats.js';
import { ClaimMiner } from './claimMiner.js';
import { DisputeAnswers } from './disputeAnswers.js';
import { type DisputedWork, openDisputed } from './disputeSubject.js';
import type { Environment } from './environment.js';
import { showPiece } from './pieces.js';
import { Published } from './published.js';
import { startVectors } from './publishedStart.js';
import { cpuSeconds, type MemberContext, type RoleReport } from './roles/common.js';
import { FinalizedClaims } from './roles/finalizedClaims.js';
import { serveJobs } from './severalJobs.js';

export interface MinerContext extends MemberContext {
  /** Lies in every claim: for demonstrations and tests of the checks. */
  readonly cheat?: Cheat;
}

/** A miner without a process of its own: whoever holds it feeds it with the ledger's state. */
export class Miner {
  readonly finalized = new FinalizedClaims();
  readonly #context: MinerContext;
  readonly #environment: Environment;
  readonly #keys: KeyPair;
  readonly #recipe: Recipe;
  readonly #recipeRoot: Uint8Array;
  readonly #published: Published;
  readonly #cheat: Cheat | undefined;
  /** Pieces that this process could not show. */
  readonly #withheld = new Set<string>();
  /** Turns of disputes that this process has no answer for. */
  readonly #silent = new Set<string>();
  readonly #answers: DisputeAnswers;
  #core: Promise<ClaimMiner> | undefined;

  constructor(context: MinerContext, environment: Environment) {
    this.#context = context;
    this.#environment = environment;
    this.#keys = context.keys;
    this.#recipe = context.recipe;
    this.#recipeRoot = recipeRoot(context.recipe);
    this.#published = Published.open(context.published);
    this.#cheat = context.cheat;
    this.#answers = new DisputeAnswers(environment.bls, context.keys, context.recipe);
  }

  /** Sees every block, in order, before the state that it leads to. */
  see(block: LedgerBlock<LedgerEvent>): void {
    this.finalized.add(block);
  }

  /** Does the first duty; false when there is none. */
  async act(state: LedgerState): Promise<boolean> {
    if (await serveJobs({ ...this.#context, bls: this.#environment.bls }, state, this.#recipeRoot)) return true;
    const duties = dutiesOf(state, this.#keys.publicKey);
    for (const duty of duties) if (duty.duty === 'show-piece' && (await this.#show(duty))) return true;
    for (const turn of disputeDutiesOf(state, this.#keys.publicKey)) {
      const mine = turn.side === 'accused' && this.#isMine(turn.claim.header);
      if (mine && (await this.#answer(turn))) return true;
    }
    const duty = duties.find((other) => other.duty === 'train' && this.#isMine(other.assignment));
    if (duty?.duty !== 'train') return false;
    await this.#train(duty, state.parameters.mostSteps !== 0 || duty.assignment.job !== 0);
    return true;
  }

  /** Whether a claim is under this miner's recipe: one of another job is another's work. */
  #isMine(of: { readonly recipeRoot: Uint8Array }): boolean {
    return equalBytes(of.recipeRoot, this.#recipeRoot);
  }

  /** @returns false for a piece that is not among the published files; said once */
  async #show({ claim, piece }: Extract<Duty, { duty: 'show-piece' }>): Promise<boolean> {
    const name = toHex(PieceType.hashTreeRoot(piece));
    if (this.#withheld.has(name)) return false;
    try {
      const answer = showPiece(this.#published, claim.header, piece);
      return (await this.#context.ledger.submit(encodeTransaction('answer-piece', answer))).accepted;
    } catch (error) {
      const failure = PogoError.from(error);
      if (failure.code !== 'MISSING') throw error;
      this.#withheld.add(name);
      const { claimNumber, attempt } = claim.header;
      this.#report({
        type: 'withheld',
        claim: claimNumber,
        attempt,
        root: toHex(piece.root),
        message: failure.message,
      });
      return false;
    }
  }

  /** @returns false where it has no answer that the ledger takes; said once a turn */
  async #answer(duty: DisputeDuty): Promise<boolean> {
    const { dispute, claim } = duty;
    const turn = `${dispute.id}/${dispute.sequence}`;
    if (this.#silent.has(turn)) return false;
    const { claimNumber, attempt } = claim.header;
    let message: string;
    try {
      const answer = await this.#answers.answer(
        duty,
        () => this.#disputed(duty),
        (trace) => this.#report({ type: 'traced', claim: claimNumber, attempt, ...trace }),
      );
      const result = await this.#context.ledger.submit(answer);
      if (result.accepted) return true;
      message = result.reason;
    } catch (error) {
      const failure = PogoError.from(error);
      if (failure.exitCode === EXIT.environment || failure.exitCode === EXIT.interrupted) throw error;
      message = failure.message;
    }
    this.#silent.add(turn);
    this.#report({ type: 'gave-up', claim: claimNumber, attempt, dispute: dispute.id, message });
    return false;
  }

  /** Goes through its own claim again up to what is disputed, with what it committed on the way. */
  async #disputed({ claim, dispute }: DisputeDuty): Promise<DisputedWork> {
    const core = await this.#open();
    const { header } = claim;
    await this.#reach(core, header.fromRoot);
    await core.goTo(header.fromRoot);
    const { trainer } = core;
    const source = this.#published.source(header);
    const { tokens } = await this.#environment.tokens(this.#recipe);
    const committer = this.#cheat?.committer(trainer, trainer.scalars.step, source.list.length);
    const parent = this.finalized.find(header.parentClaimRoot);
    const subject = { claim, recipe: this.#recipe, source, tokens, parent, trainer };
    const own = committer === undefined ? subject : { ...subject, committer };
    const work = await openDisputed(own, dispute.subject, true);
    await core.goTo(header.fromRoot);
    return work;
  }

  /** @param sized where K changes, and in every owner's job, the claim shows how long its list is */
  async #train({ assignment, steps }: Extract<Duty, { duty: 'train' }>, sized: boolean): Promise<void> {
    const core = await this.#open();
    const claim = assignment.claimNumber;
    const { attempt, job } = assignment;
    await this.#reach(core, assignment.fromRoot);
    const committer = this.#cheat?.committer(core.trainer, core.trainer.scalars.step, steps);
    const cpu = cpuSeconds();
    const mined = await core.mineClaim(assignment, {
      steps,
      ...(committer === undefined ? {} : { committer }),
      onStep: ({ commitment, loss, tokens, ms }) => {
        const stateRoot = toHex(commitment.postStateRoot);
        this.#report({ type: 'step', job, claim, attempt, step: commitment.step, loss, tokens, ms, stateRoot });
      },
    });
    this.#published.putList(mined.list);
    if (this.#cheat?.equivocates === true) this.#signAnother(mined.claim.header);
    const [kept] = mined.list.at(-1)?.unitRoots ?? [];
    if (this.#cheat?.keepsBack === true && kept !== undefined) this.#published.blobs.remove(kept);
    this.#report({
      type: 'trained',
      job,
      claim,
      attempt,
      bytes: mined.bytes,
      trainMs: mined.trainMs,
      cpuSeconds: cpuSeconds() - cpu,
    });
    const chunksRoot = listChunksRoot(mined.list);
    const { claim: signed } = mined;
    await this.#context.ledger.submit(
      sized ? encodeTransaction('sized-claim', { claim: signed, chunksRoot }) : encodeTransaction('claim', signed),
    );
  }

  /** A second signature for the same turn, left where verifiers look for claims. */
  #signAnother(header: ClaimHeader): void {
    const other = signClaim(this.#environment.bls, this.#keys, { ...header, modelRoot: header.toRoot });
    const file = path.join(this.#context.published, 'claims', `${toHex(header.toRoot)}.ssz`);
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
      this.#environment.models.add(this.#published.blobs);
      const plan = modelPlan(this.#recipe);
      const start = { vectors: startVectors(plan, this.#published.blobs), scalars: START_SCALARS };
      const trainer = await this.#environment.createTrainer(plan, start);
      const { bls } = this.#environment;
      const directory = this.#context.directory;
      return ClaimMiner.open({ trainer, tokens, bls, keys: this.#keys, directory, blobs: this.#published.blobs });
    })();
    return this.#core;
  }

  #report(event: RoleReport): void {
    this.#context.report(event);
  }
}
