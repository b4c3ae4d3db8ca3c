/**
 * Subjects of disputes: a computation that a claim committed to, its program, and where its inputs and results stand
 * among the commitments. Everything here follows from the claim and the recipe.
 */
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import { portableHash } from '../../merkle/portable.js';
import { createLayout, packedModelLayout, unitFileBytes } from '../../model/layout.js';
import { type HeaderRecipe, type OpenedRecipeHeader, openLearningRate } from '../../model/recipeHeader.js';
import { NULL_LOSS_BITS } from '../../model/unit.js';
import { u64Bytes } from '../domains.js';
import { unitReceiptPlaces } from '../receipt.js';
import { diffProgram, isDiffLength } from '../trace/diffProgram.js';
import { evaluationOperations, evaluationProgram } from '../trace/evaluationProgram.js';
import { MAX_OPERATIONS, type Program, requireSmallProgram } from '../trace/program.js';
import { withReceipt } from '../trace/receiptProgram.js';
import { commitProgram, modelProgram } from '../trace/stateProgram.js';
import { stateReceiptProgram, withPart } from '../trace/stateReceiptProgram.js';
import { type ProgramRecipe, unitOperations, unitProgram } from '../trace/unitProgram.js';
import type { ClaimHeader, StateHeader, StepCommitment } from '../types.js';
import { evaluationOf, heldOutSequences, isAfter, packsFirst } from './heldOut.js';
import type { DisputeSubject, TraceEnd } from './types.js';
import { SUBJECT_KIND } from './types.js';

/** What a subject's program and roots are read from; every part was checked against the claim. */
export interface SubjectContext {
  readonly claim: ClaimHeader;
  readonly recipe: HeaderRecipe;
  readonly subject: DisputeSubject;
  /** Of the subject's step; absent for the model and the diff. */
  readonly commitment: StepCommitment | undefined;
  /** The pre-state; for the model and the diff the claim's last state; for a held-out loss the state that it starts from. */
  readonly header: StateHeader;
  /** The learning rate of the step, asked for by one operation. */
  readonly rate: () => number;
  /** For a diff: bytes of the file, as the accused states them. */
  readonly fileBytes?: number;
  /** For a diff or a loss of it: root of the parent's packed model. Whoever only looks at shapes needs none. */
  readonly parentModelRoot?: Uint8Array;
  /** For a receipt: its verifier's. Who checks a proof reads it from the trace. */
  readonly drawSignature?: Uint8Array;
  /** For a held-out loss: beacon 2 of the vote. Whoever only looks at shapes needs none. */
  readonly beacon2?: Uint8Array;
}

/** Whether a subject's `unit` is one that its kind can have. */
export function hasUnit({ kind, unit }: Pick<DisputeSubject, 'kind' | 'unit'>, unitsPerStep: number): boolean {
  if (kind === SUBJECT_KIND.unit) return unit < unitsPerStep;
  return unit === 0 || (kind === SUBJECT_KIND.receipt && unit === 1);
}

/** Root of the state that a subject starts from; of model, diff and a receipt's last part that of the claim's last state. */
export function subjectStateRoot(
  { fromRoot, toRoot }: Pick<ClaimHeader, 'fromRoot' | 'toRoot'>,
  { kind, unit }: Pick<DisputeSubject, 'kind' | 'unit'>,
  commitment: StepCommitment | undefined,
): Uint8Array {
  if (kind === SUBJECT_KIND.heldOut) return fromRoot;
  const isLast = commitment === undefined || (kind === SUBJECT_KIND.receipt && unit === 1);
  return isLast ? toRoot : commitment.preStateRoot;
}

/** The subject of a receipt's part over the state that `stepsDone` of the claim's `steps` steps lead to. */
export function receiptSubject(stepsDone: number, steps: number): DisputeSubject {
  const isLast = stepsDone === steps;
  return { kind: SUBJECT_KIND.receipt, stepIndex: isLast ? steps - 1 : stepsDone, unit: isLast ? 1 : 0 };
}

/** Whether a subject can be disputed: a unit or a loss whose list of roots would be longer than any may be cannot. */
export function hasProgram(recipe: ProgramRecipe, { kind }: Pick<DisputeSubject, 'kind'>): boolean {
  if (kind === SUBJECT_KIND.heldOut) return evaluationOperations(recipe, heldOutSequences(recipe)) <= MAX_OPERATIONS;
  return kind !== SUBJECT_KIND.unit || unitOperations(recipe) <= MAX_OPERATIONS;
}

/** @throws PogoError MALFORMED for a unit that the recipe does not have, RANGE for a program that is too large or a diff of no such length */
export function subjectProgram(context: SubjectContext): Program {
  const { claim, recipe, subject, commitment, header, rate } = context;
  if (subject.kind === SUBJECT_KIND.model) return modelProgram(recipe);
  if (subject.kind === SUBJECT_KIND.diff) return diffOf(context);
  if (subject.kind === SUBJECT_KIND.receipt) {
    const { drawSignature } = context;
    return stateReceiptProgram(recipe, subject.stepIndex + subject.unit, () => requireDraw(drawSignature));
  }
  if (subject.kind === SUBJECT_KIND.heldOut) {
    const evaluation = evaluationOf(claim, recipe, subject, context.beacon2);
    requireSmallProgram(evaluationOperations(recipe, evaluation.sequences));
    return evaluationProgram(recipe, evaluation);
  }
  const { step } = commitment as StepCommitment;
  if (subject.kind === SUBJECT_KIND.state) return commitProgram(recipe, header, rate);
  requireSmallProgram(unitOperations(recipe));
  const { recipeRoot, draw1 } = claim;
  return unitProgram(recipe, { recipeRoot, draw1, step, unit: subject.unit });
}

function requireDraw(drawSignature: Uint8Array | undefined): Uint8Array {
  if (drawSignature === undefined) throw new PogoError('MISSING', 'expected the receipt’s draw signature, found none');
  return drawSignature;
}

/** A subject's program with what a receipt looks at behind it. */
export function receiptProgram({ recipe, subject }: SubjectContext, unit: Program, drawSignature: Uint8Array): Program {
  if (subject.kind === SUBJECT_KIND.receipt) return withPart(unit);
  const layout = createLayout(recipe);
  const places = unitReceiptPlaces(drawSignature, subject, recipe, layout);
  return withReceipt(unit, places, (name) => layout.byName(name).size);
}

function diffOf({ claim, recipe, fileBytes = 0, parentModelRoot }: SubjectContext): Program {
  const { bytes } = packedModelLayout(createLayout(recipe));
  if (!isDiffLength(bytes, fileBytes)) {
    throw new PogoError('RANGE', `expected the length of a diff of models of ${bytes} bytes, found ${fileBytes}`);
  }
  const roots = () => ({ older: requireParent(parentModelRoot), newer: claim.modelRoot });
  return diffProgram({ modelBytes: bytes, fileBytes, roots });
}

function requireParent(parentModelRoot: Uint8Array | undefined): Uint8Array {
  if (parentModelRoot === undefined) throw new PogoError('MISSING', 'expected the parent claim, found none');
  return parentModelRoot;
}

/** Roots of the program's externals, in its order. */
export function externalRoots(context: SubjectContext): readonly Uint8Array[] {
  const { claim, recipe, subject, commitment, header } = context;
  if (subject.kind === SUBJECT_KIND.unit) {
    const { data, adapter } = recipe;
    return [header.thetaRoot, data.tokensRoot, ...(adapter === undefined ? [] : [adapter.base])];
  }
  if (subject.kind === SUBJECT_KIND.model) return [recipe.ema ? header.emaRoot : header.thetaRoot];
  if (subject.kind === SUBJECT_KIND.heldOut) {
    const { data, adapter } = recipe;
    return [evaluatedRoot(context), data.tokensRoot, ...(adapter === undefined ? [] : [adapter.base])];
  }
  if (subject.kind === SUBJECT_KIND.diff) return [requireParent(context.parentModelRoot), claim.modelRoot];
  if (subject.kind === SUBJECT_KIND.receipt) return [header.thetaRoot, header.mRoot, header.vRoot];
  const vectors = [header.thetaRoot, header.mRoot, header.vRoot, ...(recipe.ema ? [header.emaRoot] : [])];
  return [...vectors, ...(commitment as StepCommitment).unitRoots];
}

/** Root of the packed model that is evaluated, or of the vector that is packed first. */
function evaluatedRoot({ claim, recipe, subject, header, parentModelRoot }: SubjectContext): Uint8Array {
  if (packsFirst(claim, subject)) return recipe.ema ? header.emaRoot : header.thetaRoot;
  return isAfter(subject) ? claim.modelRoot : requireParent(parentModelRoot);
}

/**
 * What the trace's results must be: roots by result name.
 *
 * @param post header of the state after the step; needed for a state only
 */
export function committedResults(
  { claim, subject, commitment, recipe, fileBytes = 0, drawSignature }: SubjectContext,
  post: StateHeader | undefined,
): Readonly<Record<string, Uint8Array>> {
  // A receipt's part is compared when it is opened: `checkReceiptProof`.
  if (subject.kind === SUBJECT_KIND.receipt) return { draw: portableHash(requireDraw(drawSignature)) };
  if (subject.kind === SUBJECT_KIND.model) return { model: claim.modelRoot };
  if (subject.kind === SUBJECT_KIND.heldOut) return { loss: lossRoot(subject.unit) };
  if (subject.kind === SUBJECT_KIND.diff) {
    return { length: portableHash(u64Bytes(fileBytes)), diff: claim.diffRoot };
  }
  if (subject.kind === SUBJECT_KIND.unit) {
    const { unitRoots, unitLosses } = commitment as StepCommitment;
    return { unit: unitRoots[subject.unit]!, loss: lossRoot(unitLosses[subject.unit]!) };
  }
  const { thetaRoot, mRoot, vRoot, emaRoot } = post as StateHeader;
  return { theta: thetaRoot, m: mRoot, v: vRoot, ...(recipe.ema ? { ema: emaRoot } : {}) };
}

/** Root of the four bytes of a loss. */
function lossRoot(bits: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, bits, true);
  return portableHash(bytes);
}

/** Whether the commitment is that of the null unit, as it must be where a trace ends early. */
export function isNullUnit({ recipe, subject, commitment }: SubjectContext): boolean {
  if (subject.kind !== SUBJECT_KIND.unit || commitment === undefined) return false;
  if (commitment.unitLosses[subject.unit] !== NULL_LOSS_BITS) return false;
  const file = new Uint8Array(unitFileBytes(createLayout(recipe)).total);
  return equalBytes(commitment.unitRoots[subject.unit]!, portableHash(file));
}

/** Number of roots that a statement with this end lists. */
export function listLength(program: Program, end: TraceEnd): number {
  return Math.min(end.operation, program.operations.length);
}

/** The learning rate of a proof, as {@link SubjectContext.rate}. */
export function rateOf(
  header: OpenedRecipeHeader,
  step: number,
  proof: Parameters<typeof openLearningRate>[2] | undefined,
): () => number {
  return () => {
    if (proof === undefined) throw new PogoError('MALFORMED', 'expected the step’s learning rate, found none');
    return openLearningRate(header, step, proof);
  };
}
