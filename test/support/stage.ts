/**
 * One whole claim of a tiny model, from beacon 1 to its outcome: a miner that may lie, a verifier, the ledger's state
 * machine and its check of evidence. All parts are the shipped ones, unless a test replaces one of them.
 *
 * A verifier's check is either the shipped `checkClaim`, or {@link replayCheck}: the same check written out with every
 * comparison as a rule that a test can replace. With no rule replaced it must find what the shipped one finds.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { equalBytes, toHex } from '../../src/hex.js';
import type { LedgerState } from '../../src/ledger/state.js';
import { openClaimOf } from '../../src/ledger/stateOpen.js';
import type { Recipe } from '../../src/model/recipe.js';
import { gatherSequences, type ModelPlan, modelPlan } from '../../src/model/unit.js';
import { evidenceFromFault } from '../../src/node/buildEvidence.js';
import { checkClaim, restore, type Snapshot, snapshot } from '../../src/node/checkClaim.js';
import { Environment } from '../../src/node/environment.js';
import { HeldOutLoss } from '../../src/node/heldOutLoss.js';
import type { ComputedUnit, Trainer } from '../../src/pipeline/trainer.js';
import { type Committer, trainSteps } from '../../src/pipeline/trainSteps.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { buildClaim, type ClaimAssignment, checkBatch, checkChain, signClaim } from '../../src/protocol/claim.js';
import { encodeDiff } from '../../src/protocol/diff.js';
import { type DrawnUnit, drawBatch, drawHeldOut, drawUnits, signDraw, unitOffsets } from '../../src/protocol/draws.js';
import { checkEvidence, evidenceKind } from '../../src/protocol/evidence.js';
import { encodeTransaction } from '../../src/protocol/ledgerTypes.js';
import {
  type ClaimHeader,
  type StateHeader,
  type StepCommitment,
  stateRoot,
  ZERO_ROOT,
} from '../../src/protocol/types.js';
import { canonicalUnitFault } from '../../src/protocol/unitBytes.js';
import { refusal } from './refusal.js';
import { nativeBls, TestChain, type TestChainOptions } from './testChain.js';
import { smallRecipe } from './trainedClaim.js';

/** What a miner does instead of its work. All of it is optional; the rest is honest. */
export interface Lie {
  readonly committer?: Committer;
  /** Changes the list of commitments; `states[i]` is the state after step i of the claim. */
  list?(list: readonly StepCommitment[], states: readonly KeptState[]): StepCommitment[];
  /** Changes what is signed. */
  header?(header: ClaimHeader): ClaimHeader;
  /** Trains by another recipe of the same shape. */
  readonly recipe?: Recipe;
  /** Signs with another key than the drawn miner's. */
  signer?(chain: TestChain): KeyPair;
  /** Trains from another state than the assigned one. */
  readonly from?: Snapshot;
  /** Trains under another draw 1 than the assigned one. */
  readonly draw1?: Uint8Array;
  /** Trains on other tokens than the recipe's. */
  readonly tokens?: Uint16Array;
  /** Number of steps; the recipe's by default. */
  readonly steps?: number;
}

/** A state as the miner had it. */
export interface KeptState {
  readonly saved: Snapshot;
  readonly header: StateHeader;
}

/** What was mined. */
export interface Mined {
  readonly header: ClaimHeader;
  readonly list: readonly StepCommitment[];
  /** After each step of the claim. */
  readonly states: readonly KeptState[];
  readonly start: KeptState;
  readonly blobs: ReadonlyMap<string, Uint8Array>;
  readonly model: Uint8Array;
  readonly diff: Uint8Array | undefined;
}

export interface RuleContext {
  readonly trainer: Trainer;
  readonly recipe: Recipe;
  readonly mined: Mined;
  readonly tokens: Uint16Array;
}

/** Every comparison of a verifier. Each returns whether it is content. */
export interface Rules {
  /** Counts, step numbers and the chain of roots. */
  list(context: RuleContext, from: StateHeader): boolean;
  batch(context: RuleContext, stepIndex: number): boolean;
  /** What is recomputed. */
  drawn(context: RuleContext, honest: readonly DrawnUnit[]): readonly DrawnUnit[];
  /** Tokens that a unit is recomputed from. */
  unitTokens(context: RuleContext, stepIndex: number, unit: number): Uint32Array;
  unit(committed: Uint8Array, computed: Uint8Array, context: RuleContext): boolean;
  loss(committedBits: number, computedBits: number): boolean;
  canonical(context: RuleContext, file: Uint8Array): boolean;
  /** The state before step `stepIndex`, or the claim's last where `stepIndex` is the number of steps. May move the trainer. */
  state(context: RuleContext, root: Uint8Array, stepIndex: number): Promise<boolean> | boolean;
  model(context: RuleContext, computed: Uint8Array): boolean;
}

const STRICT: Rules = {
  list: ({ mined, recipe }, from) => checkChain(mined.header, [...mined.list], from.step, recipe) === undefined,
  batch: ({ mined, recipe }, i) => checkBatch(mined.header.draw1, mined.list[i]!, i, recipe) === undefined,
  drawn: (_context, honest) => honest,
  unitTokens: ({ mined, recipe, tokens }, i, unit) =>
    gatherSequences(
      tokens,
      unitOffsets(drawBatch(mined.header.draw1, mined.list[i]!.step, recipe), unit, recipe),
      recipe.context,
    ),
  unit: (committed, computed) => equalBytes(committed, computed),
  loss: (committed, computed) => committed === computed,
  canonical: ({ trainer }, file) => canonicalUnitFault(trainer.plan.layout, file) === undefined,
  state: async ({ trainer }, root) => equalBytes(await trainer.stateRoot(), root),
  model: ({ mined }, computed) => equalBytes(blake3(computed.slice()), mined.header.modelRoot),
};

/** The verifier's check with its rules. @returns the name of the rule that was broken, or undefined */
export async function replayCheck(
  context: RuleContext,
  honestDraw: readonly DrawnUnit[],
  replaced: Partial<Rules>,
): Promise<keyof Rules | undefined> {
  const rules = { ...STRICT, ...replaced };
  const { trainer, mined } = context;
  if (!rules.list(context, await trainer.header())) return 'list';
  for (let i = 0; i < mined.list.length; i += 1) if (!rules.batch(context, i)) return 'batch';
  const drawn = rules.drawn(context, honestDraw);
  for (const [i, commitment] of mined.list.entries()) {
    const files = commitment.unitRoots.map((root) => mined.blobs.get(toHex(root))!);
    const wanted = drawn.filter(({ stepIndex }) => stepIndex === i);
    if (wanted.length > 0 && !(await rules.state(context, commitment.preStateRoot, i))) return 'state';
    for (const { unit } of wanted) {
      const tokens = rules.unitTokens(context, i, unit);
      const computed = await trainer.computeUnit({ draw1: mined.header.draw1, unit, tokens });
      if (!rules.unit(files[unit]!, computed.file, context)) return 'unit';
      if (!rules.loss(commitment.unitLosses[unit]!, computed.lossBits)) return 'loss';
    }
    if (!files.every((file) => rules.canonical(context, file))) return 'canonical';
    await trainer.commit(files);
  }
  if (!(await rules.state(context, mined.header.toRoot, mined.list.length))) return 'state';
  return rules.model(context, await trainer.packModel()) ? undefined : 'model';
}

/** What a test replaces. */
export interface Replaced {
  /** Comparisons of the verifier. An empty object is the written-out check with nothing replaced. */
  readonly rules?: Partial<Rules>;
  /** Fields that the ledger takes from the claim instead of from its own assignment. */
  readonly believes?: readonly ('recipeRoot' | 'fromRoot' | 'draw1' | 'miner')[];
  readonly chain?: TestChainOptions;
  /** Units that a verifier draws; all of them by default. */
  readonly samples?: number;
}

export interface Ending {
  /** `finalized`, `slashed by evidence KIND`, `rejected`, or `refused CODE: …` with the ledger's message. */
  readonly outcome: string;
  readonly chain: TestChain;
  readonly mined: Mined;
}

/** A copy of a unit's file that `change` has altered, with the root that belongs to it. */
export function forged(real: ComputedUnit, change: (file: Uint8Array) => void): ComputedUnit {
  const file = new Uint8Array(new SharedArrayBuffer(real.file.length));
  file.set(real.file);
  change(file);
  return { ...real, file, root: blake3(file.slice()) };
}

/** A committer that changes every unit, or those that `where` names. */
export function changedUnits(
  change: (file: Uint8Array, step: number, unit: number) => void,
  where: (step: number, unit: number) => boolean = () => true,
): Committer {
  return {
    unit: async (step, unit, compute) => {
      const real = await compute();
      return where(step, unit) ? forged(real, (file) => change(file, step, unit)) : real;
    },
  };
}

export class Stage {
  readonly environment: Environment;
  readonly recipe: Recipe;
  readonly plan: ModelPlan;
  readonly tokens: Uint16Array;
  readonly trainer: Trainer;
  /** The recipe's start state. */
  readonly start: Snapshot;
  readonly startRoot: Uint8Array;

  private constructor(
    environment: Environment,
    plan: ModelPlan,
    tokens: Uint16Array,
    trainer: Trainer,
    root: Uint8Array,
  ) {
    this.environment = environment;
    this.plan = plan;
    this.recipe = plan.recipe;
    this.tokens = tokens;
    this.trainer = trainer;
    this.start = snapshot(trainer);
    this.startRoot = root;
  }

  static async open(): Promise<Stage> {
    const environment = new Environment({ lanes: 1 });
    const { recipe, tokenFile } = smallRecipe();
    const plan = modelPlan(recipe);
    const trainer = await environment.createTrainer(plan);
    return new Stage(environment, plan, new Uint16Array(tokenFile.buffer), trainer, await trainer.stateRoot());
  }

  dispose(): Promise<void> {
    return this.environment.dispose();
  }

  chain(options: TestChainOptions = {}): TestChain {
    const { bls, executor } = this.environment;
    return new TestChain({
      miners: 2,
      verifiers: 1,
      startStateRoot: this.startRoot,
      checkEvidence: (bytes) => checkEvidence(bytes, { bls, executor }),
      ...options,
    });
  }

  /** One claim on a new chain. */
  play(lie: Lie = {}, replaced: Replaced = {}): Promise<Ending> {
    return this.playOn(this.chain(replaced.chain), this.start, lie, replaced);
  }

  /** One claim on a chain that stands at `from`. */
  async playOn(chain: TestChain, from: Snapshot, lie: Lie = {}, replaced: Replaced = {}): Promise<Ending> {
    const before = chain.outcomes().length;
    await chain.shares();
    const mined = await this.mine(chain, from, lie);
    const signer = lie.signer?.(chain) ?? chain.keyOf(chain.open.miner);
    const claim = signClaim(nativeBls, signer, mined.header);
    if (replaced.believes !== undefined) chain.state = believing(chain.state, mined.header, replaced.believes);
    const refused = await refusal(chain.submit(encodeTransaction('claim', claim)));
    if (refused !== 'accepted') return { outcome: `refused ${refused}`, chain, mined };
    await chain.shares();
    for (const keys of chain.demo.verifiers) {
      const evidence = await this.#check(chain, from, lie, mined, keys, replaced);
      if (evidence === 'no evidence') continue;
      if (evidence === undefined) {
        await chain.vote(keys, await this.#losses(chain, mined));
        continue;
      }
      await chain.accuse(keys, evidence);
      return { outcome: `${chain.outcomes().at(-1)} by evidence ${evidenceKind(evidence)}`, chain, mined };
    }
    await chain.reveal();
    if (chain.outcomes().length === before) await chain.tick();
    return { outcome: chain.outcomes().at(-1) ?? 'open', chain, mined };
  }

  /** Trains the assigned claim with its lie. */
  async mine(chain: TestChain, from: Snapshot, lie: Lie): Promise<Mined> {
    const assignment = { ...this.assignment(chain), ...(lie.draw1 === undefined ? {} : { draw1: lie.draw1 }) };
    const miner = lie.recipe === undefined ? this.trainer : await this.environment.createTrainer(lie.recipe);
    await restore(miner, lie.from ?? from);
    const keep = async (): Promise<KeptState> => ({ saved: snapshot(miner), header: await miner.header() });
    const start = await keep();
    const parentModel = assignment.claimNumber === 0 ? undefined : (await miner.packModel()).slice();
    const states: KeptState[] = [];
    const blobs = new Map<string, Uint8Array>();
    const { committer = {} } = lie;
    const trained = await trainSteps({
      trainer: miner,
      draw1: assignment.draw1,
      tokens: lie.tokens ?? this.tokens,
      untilStep: miner.scalars.step + (lie.steps ?? miner.plan.recipe.stepsPerClaim),
      committer: {
        ...committer,
        state: async (step, trainer) => {
          await committer.state?.(step, trainer);
          states.push(await keep());
        },
      },
      record: ({ units }) => {
        for (const unit of units) blobs.set(toHex(unit.root), shared(unit.file));
      },
    });
    const list = lie.list?.(trained, states) ?? trained;
    const model = (await miner.packModel()).slice();
    committer.model?.(model);
    const honestDiff = parentModel === undefined ? undefined : encodeDiff(parentModel, model);
    const diff = committer.diff === undefined ? honestDiff : committer.diff(honestDiff);
    blobs.set(toHex(blake3(model)), model);
    const result = { modelRoot: blake3(model), diffRoot: diff === undefined ? ZERO_ROOT : blake3(diff) };
    const signer = lie.signer?.(chain);
    const header = buildClaim(
      {
        ...assignment,
        ...(lie.recipe === undefined ? {} : { recipeRoot: miner.plan.root, fromRoot: stateRoot(start.header) }),
        ...(lie.from === undefined ? {} : { fromRoot: await rootOf(miner, lie.from) }),
        ...(signer === undefined ? {} : { miner: signer.publicKey }),
      },
      { commitments: list.length === 0 ? trained : list, ...result },
    );
    return { header: lie.header?.(header) ?? header, list, states, start, blobs, model, diff };
  }

  assignment(chain: TestChain): ClaimAssignment {
    const { claim } = chain.makeClaim();
    return claim.header;
  }

  /** @returns evidence, undefined where nothing false was found */
  async #check(
    chain: TestChain,
    from: Snapshot,
    lie: Lie,
    mined: Mined,
    keys: KeyPair,
    { rules, samples = this.recipe.stepsPerClaim * this.recipe.unitsPerStep }: Replaced,
  ): Promise<Uint8Array | undefined | 'no evidence'> {
    const { recipe } = this;
    const open = openClaimOf(chain.state, mined.header.claimNumber)!;
    const signature = signDraw(nativeBls, keys, open.beacon2, open.claimRoot);
    const drawn = drawUnits(signature, recipe.stepsPerClaim, recipe.unitsPerStep, samples);
    const believed = equalBytes(mined.header.recipeRoot, this.plan.root) ? undefined : lie.recipe;
    const trainer = believed === undefined ? this.trainer : await this.environment.createTrainer(believed);
    const start = equalBytes(mined.header.fromRoot, open.fromRoot) ? (lie.from ?? from) : from;
    await restore(trainer, start);
    if (rules !== undefined) {
      const context = { trainer, recipe: trainer.plan.recipe, mined, tokens: this.tokens };
      const broken = await replayCheck(context, drawn, rules);
      return broken === undefined ? undefined : 'no evidence';
    }
    const { header } = mined;
    const fromHeader = await trainer.header();
    const parentModel = header.claimNumber === 0 ? undefined : (await trainer.packModel()).slice();
    const result = await checkClaim({
      trainer,
      goBack: () => restore(trainer, start),
      source: { header, list: [...mined.list], blob: (root) => mined.blobs.get(toHex(root))! },
      tokens: this.tokens,
      drawn,
      parentModel,
    });
    if (result.fault === undefined) return undefined;
    const [claim] = open.claim;
    return evidenceFromFault(
      { claim: claim!, recipe, commitments: [...mined.list], fromHeader, tokens: this.tokens },
      result.fault,
    );
  }

  /** Held-out losses of the models before and after, as a verifier measures them. */
  async #losses(chain: TestChain, mined: Mined): Promise<[number, number]> {
    const open = openClaimOf(chain.state, mined.header.claimNumber)!;
    const { trainer } = this;
    const heldOut = new HeldOutLoss(trainer, this.tokens, drawHeldOut(open.beacon2, open.claimRoot, this.recipe, 4));
    await restore(trainer, mined.start.saved);
    const before = (await trainer.packModel()).slice();
    return [await heldOut.of(before), await heldOut.of(mined.model)];
  }
}

async function rootOf(trainer: Trainer, at: Snapshot): Promise<Uint8Array> {
  const now = snapshot(trainer);
  await restore(trainer, at);
  const root = await trainer.stateRoot();
  await restore(trainer, now);
  return root;
}

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

/** A ledger that asks the claim what it was assigned. */
function believing(state: LedgerState, header: ClaimHeader, fields: NonNullable<Replaced['believes']>): LedgerState {
  const believed = { ...state, open: state.open.map((open) => ({ ...open })), job: { ...state.job } };
  const open = openClaimOf(believed, header.claimNumber)!;
  for (const field of fields) {
    if (field === 'recipeRoot') believed.job.recipeRoot = header.recipeRoot;
    else open[field] = header[field];
  }
  return believed;
}
