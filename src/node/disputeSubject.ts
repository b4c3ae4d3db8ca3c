/** A disputed computation as a node has it: the subject's context, and the bytes that its program runs on. */
import { hashBytes, merkleKernels } from '../backend/merkleAddon.js';
import { invariant, PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import type { LongBytes } from '../merkle/tree.js';
import { packedModelLayout, unitFileBytes } from '../model/layout.js';
import type { Recipe } from '../model/recipe.js';
import { recipeHeader, recipeOfHeader } from '../model/recipeHeader.js';
import { learningRateBits, vectorBytes } from '../model/state.js';
import { isInMemory, longTokenBytes, type TokenSequence, tokenBytes } from '../model/tokens.js';
import type { Trainer } from '../pipeline/trainer.js';
import type { Committer } from '../pipeline/trainSteps.js';
import { encodeDiff, maxDiffBytes } from '../protocol/diff.js';
import { HeldOutWitnessType, isAfter, packsFirst } from '../protocol/dispute/heldOut.js';
import { type SubjectContext, subjectProgram } from '../protocol/dispute/subject.js';
import type { TraceInputs } from '../protocol/dispute/trace.js';
import { type DisputeSubject, hasStep, SUBJECT_KIND } from '../protocol/dispute/types.js';
import { u64Bytes } from '../protocol/domains.js';
import type { FastKernels, Program } from '../protocol/trace/program.js';
import {
  type Attestation,
  type ClaimHeader,
  ClaimHeaderType,
  claimRoot,
  type SignedClaim,
  type StateHeader,
  type StepCommitment,
} from '../protocol/types.js';
import { type CapturedState, type ClaimSource, capture } from './checkClaim.js';

/** What both sides of a dispute work with. */
export interface DisputedWork {
  readonly claim: SignedClaim;
  readonly recipe: Recipe;
  readonly source: ClaimSource;
  readonly context: SubjectContext;
  readonly program: Program;
  readonly inputs: TraceInputs;
  /** Header of the state after a disputed step, as this side has it. */
  readonly post: StateHeader | undefined;
  /** What proofs about the subject show beside themselves; undefined where they show nothing. */
  readonly witness: Uint8Array | undefined;
}

export interface DisputedClaim {
  readonly claim: SignedClaim;
  readonly recipe: Recipe;
  readonly source: ClaimSource;
  readonly tokens: TokenSequence;
  /** Header of the claim's parent, where it has one that is known. */
  readonly parent: ClaimHeader | undefined;
  /** The accused's vote, where a loss in it is disputed. */
  readonly vote?: Attestation | undefined;
  /** At the claim's from state; left further on. */
  readonly trainer: Trainer;
  /** The accused's own: what it committed instead of what it computed is what it stands by. */
  readonly committer?: Committer;
  /** Of the accused verifier, for its receipt. */
  readonly drawSignature?: Uint8Array;
}

/** Goes through the log up to the subject and gathers what its program reads. @throws PogoError MISSING */
export async function openDisputed(
  options: DisputedClaim,
  subject: DisputeSubject,
  standsBy: boolean,
): Promise<DisputedWork> {
  const { claim, recipe, source, trainer } = options;
  const { header } = claim;
  const { kind, stepIndex, unit } = subject;
  if (kind === SUBJECT_KIND.heldOut) return openHeldOut(options, subject, standsBy);
  const parentModel = kind === SUBJECT_KIND.diff ? await trainer.packModel() : undefined;
  await replayTo(options, hasStep(kind) ? stepIndex + (kind === SUBJECT_KIND.receipt ? unit : 0) : source.list.length);
  const pre = await capture(trainer);
  const commitment = hasStep(kind) ? source.list[stepIndex] : undefined;
  const models = parentModel === undefined ? [] : [parentModel, await trainer.packModel()];
  const context: SubjectContext = {
    claim: header,
    recipe: recipeOfHeader(recipeHeader(recipe)),
    subject,
    commitment,
    header: pre.header,
    rate: () => learningRateBits(recipe, pre.header.step),
    ...(parentModel === undefined ? {} : diffContext(options, models, standsBy)),
    ...(options.drawSignature === undefined ? {} : { drawSignature: options.drawSignature }),
  };
  const program = subjectProgram(context);
  const units = kind === SUBJECT_KIND.state ? readUnits(options, commitment as StepCommitment) : [];
  let post: CapturedState | undefined;
  if (kind === SUBJECT_KIND.state && standsBy) {
    await replayTo(options, stepIndex + 1, stepIndex);
    post = await capture(trainer);
  }
  const inputs: TraceInputs = {
    externals: parentModel === undefined ? externalsOf(options, kind, pre, units) : models,
    merkle: merkleKernels(),
    kernels: fastKernels(trainer),
    ...(standsBy ? { committed: committedOutputs(options, context, program, post) } : {}),
  };
  const witness = witnessOf(options, kind);
  return { claim, recipe, source, context, program, inputs, post: post?.header, witness };
}

/** A held-out loss: of the claim's model, its parent's, or that of the state that a first claim starts from. */
async function openHeldOut(options: DisputedClaim, subject: DisputeSubject, standsBy: boolean): Promise<DisputedWork> {
  const { claim, recipe, source, tokens, parent, vote, trainer } = options;
  if (vote === undefined) throw new PogoError('MISSING', 'expected the vote whose loss is disputed, found none');
  const { header } = claim;
  const pre = await capture(trainer);
  const packs = packsFirst(header, subject);
  const parentModel = packs || isAfter(subject) ? undefined : await trainer.packModel();
  const context: SubjectContext = {
    claim: header,
    recipe: recipeOfHeader(recipeHeader(recipe)),
    subject,
    commitment: undefined,
    header: pre.header,
    rate: () => learningRateBits(recipe, pre.header.step),
    beacon2: vote.data.beacon2,
    ...(parentModel === undefined ? {} : { parentModelRoot: hashBytes(parentModel) }),
  };
  const program = subjectProgram(context);
  const { bytes } = packedModelLayout(trainer.plan.layout);
  const vector = recipe.ema ? pre.ema : pre.theta;
  const evaluated = packs ? vector : (parentModel ?? source.blob(header.modelRoot, bytes));
  const { frozen } = trainer.plan;
  const inputs: TraceInputs = {
    externals: [evaluated, disputedTokens(tokens), ...(frozen === undefined ? [] : [vectorBytes(frozen)])],
    merkle: merkleKernels(),
    kernels: fastKernels(trainer),
    ...(standsBy ? { committed: new Map([[operationOf(program, 'loss'), lossBytes(subject.unit)]]) } : {}),
  };
  const witness = HeldOutWitnessType.serialize({
    attestation: vote,
    parent: parentModel === undefined || parent === undefined ? [] : [parent],
  });
  return { claim, recipe, source, context, program, inputs, post: undefined, witness };
}

/** What a diff's program follows from: for its maker the length of the file that it committed to. */
function diffContext(
  { claim, source, trainer }: DisputedClaim,
  models: readonly Uint8Array[],
  standsBy: boolean,
): Pick<SubjectContext, 'fileBytes' | 'parentModelRoot'> {
  const [older, newer] = models as readonly [Uint8Array, Uint8Array];
  const file = standsBy
    ? source.blob(claim.header.diffRoot, maxDiffBytes(newer.length))
    : encodeDiff(older, newer, hashBytes, trainer.pool.kernels);
  return { fileBytes: file.length, parentModelRoot: hashBytes(older) };
}

function witnessOf({ claim, parent }: DisputedClaim, kind: number): Uint8Array | undefined {
  if (kind !== SUBJECT_KIND.diff || parent === undefined) return undefined;
  return equalBytes(claimRoot(parent), claim.header.parentClaimRoot) ? ClaimHeaderType.serialize(parent) : undefined;
}

function fastKernels(trainer: Trainer): FastKernels {
  return trainer.pool.kernels;
}

/** Applies the committed units of steps `from` to `until`, and what the committer did to the states. */
async function replayTo(
  { source, trainer, committer, ...rest }: DisputedClaim,
  until: number,
  from = 0,
): Promise<void> {
  for (const commitment of source.list.slice(from, until)) {
    await trainer.commit(readUnits({ source, trainer, ...rest }, commitment));
    if (committer?.state === undefined) continue;
    await committer.state(commitment.step, trainer);
    trainer.vectorsChanged();
  }
}

function readUnits({ source, trainer }: Pick<DisputedClaim, 'source' | 'trainer'>, commitment: StepCommitment) {
  const { total } = unitFileBytes(trainer.plan.layout);
  return commitment.unitRoots.map((root) => {
    const shared = new Uint8Array(new SharedArrayBuffer(total));
    shared.set(source.blob(root, total));
    return shared;
  });
}

/** Tokens in memory as an array of this thread's own, aligned to its elements; a file stays one. */
function disputedTokens(tokens: TokenSequence): LongBytes {
  return isInMemory(tokens) ? tokenBytes(tokens).slice() : longTokenBytes(tokens);
}

function externalsOf(
  { recipe, tokens, trainer }: DisputedClaim,
  kind: number,
  { theta, m, v, ema }: CapturedState,
  units: readonly Uint8Array[],
): readonly LongBytes[] {
  if (kind === SUBJECT_KIND.unit) {
    const { frozen } = trainer.plan;
    return [theta, disputedTokens(tokens), ...(frozen === undefined ? [] : [vectorBytes(frozen)])];
  }
  if (kind === SUBJECT_KIND.model) return [recipe.ema ? ema : theta];
  if (kind === SUBJECT_KIND.receipt) return [theta, m, v];
  return [theta, m, v, ...(recipe.ema ? [ema] : []), ...units];
}

/** The outputs that a claim commits to, as its maker has them, by operation. */
function committedOutputs(
  { source }: DisputedClaim,
  { claim, subject, commitment }: SubjectContext,
  program: Program,
  post: CapturedState | undefined,
): ReadonlyMap<number, Uint8Array> {
  const bytesOf = (name: string): Uint8Array | undefined => {
    const expected = program.operations[operationOf(program, name)];
    invariant(expected !== undefined, `a program without its result ${name}`);
    if (name === 'length') return u64Bytes(program.statedBytes as number);
    if (name === 'diff') return source.blob(claim.diffRoot, expected.length);
    if (subject.kind === SUBJECT_KIND.model) return source.blob(claim.modelRoot, 4 * expected.length);
    if (name === 'unit') return source.blob(commitment!.unitRoots[subject.unit]!, 4 * expected.length);
    if (name === 'loss') return lossBytes(commitment!.unitLosses[subject.unit]!);
    return post?.[name as 'theta' | 'm' | 'v' | 'ema'];
  };
  return new Map(
    program.results.flatMap(({ name, operation }): [number, Uint8Array][] => {
      const bytes = bytesOf(name);
      return bytes === undefined ? [] : [[operation, bytes]];
    }),
  );
}

function lossBytes(bits: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, bits, true);
  return bytes;
}

function operationOf(program: Program, result: string): number {
  return program.results.find(({ name }) => name === result)?.operation ?? -1;
}

/** Name of a subject, for messages and look-ups. */
export function subjectName({ kind, stepIndex, unit }: DisputeSubject): string {
  if (kind === SUBJECT_KIND.receipt)
    return `receipt over the state ${unit === 1 ? 'after' : 'before'} step ${stepIndex}`;
  if (kind === SUBJECT_KIND.unit) return `unit ${unit} of step ${stepIndex}`;
  if (kind === SUBJECT_KIND.diff) return 'diff';
  if (kind === SUBJECT_KIND.heldOut) return `held-out loss ${stepIndex % 2 === 1 ? 'after' : 'before'} the claim`;
  return kind === SUBJECT_KIND.state ? `state after step ${stepIndex}` : 'model';
}
