/** What a proof is about, and that it is bound to it: claim, chain, recipe, step, state, the accused's signed statement. */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { type HeaderRecipe, type OpenedRecipeHeader, openRecipeHeader } from '../../model/recipeHeader.js';
import type { Bls } from '../bls.js';
import { verifyClaimSignature } from '../claim.js';
import { DOMAIN } from '../domains.js';
import { openCommitment } from '../listProof.js';
import type { Program } from '../trace/program.js';
import {
  type ClaimHeader,
  ClaimHeaderType,
  claimRoot,
  decodeStrict,
  type StateHeader,
  type StepCommitment,
  stateRoot,
} from '../types.js';
import { openHeldOutWitness } from './heldOut.js';
import { malformed } from './openedBlobs.js';
import { hasUnit, rateOf, type SubjectContext, subjectStateRoot } from './subject.js';
import { type ElementProof, hasStep, type SignedStatement, SUBJECT_KIND, TraceStatementType } from './types.js';

/** Whether domain and signature of a statement hold, by the accused that it names. */
export function verifyStatement(bls: Bls, { statement, signature }: SignedStatement): boolean {
  return (
    equalBytes(statement.domain, DOMAIN.trace) &&
    bls.verify(statement.accused, TraceStatementType.hashTreeRoot(statement), signature)
  );
}

/** What breaks below a check is, in a proof, a malformed proof. */
export function failsAsMalformed<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw error instanceof PogoError ? malformed(error.message) : error;
  }
}

/** Everything that a proof names must be the same claim, chain and accused, under both signatures. */
export function checkBindings(bls: Bls, { head, trace }: ElementProof, recipeRoot: Uint8Array): void {
  const { header } = head.claim;
  const root = claimRoot(header);
  const { statement } = trace;
  const bindings = [
    ['chain id', head.chainId, header.chainId],
    ['claim root', head.claimRoot, root],
    ['chain id of the statement', statement.chainId, header.chainId],
    ['claim of the statement', statement.claimRoot, root],
    ['accused of the statement', statement.accused, head.accused],
    ['recipe', recipeRoot, header.recipeRoot],
  ] as const;
  for (const [name, found, expected] of bindings) {
    if (!equalBytes(found, expected)) {
      throw malformed(`expected the ${name} ${toHex(expected)}, found ${toHex(found)}`);
    }
  }
  if (!verifyClaimSignature(bls, head.claim)) throw malformed('expected a signed claim, found a wrong signature');
  if (!verifyStatement(bls, trace)) throw malformed('expected a statement signed by the accused, found another');
}

/** The recipe as the proof carries it. */
export function openRecipe({ head }: ElementProof): OpenedRecipeHeader {
  return failsAsMalformed(() => openRecipeHeader(head.recipe));
}

/** The subject with what its program follows from. @param witness of subjects that show something beside the proof */
export function openContext(
  bls: Bls,
  proof: ElementProof,
  opened: OpenedRecipeHeader,
  witness: Uint8Array | undefined,
): SubjectContext {
  const { recipe } = opened;
  const { header: claim } = proof.head.claim;
  const { subject, end } = proof.trace.statement;
  const commitment = openSubject(proof, recipe);
  requireState(proof.header, subjectStateRoot(claim, subject, commitment));
  const [rateProof] = proof.learningRate;
  const rate = rateOf(opened, proof.header.step, rateProof);
  const context = { claim, recipe, subject, commitment, header: proof.header, rate };
  if (witness === undefined) return context;
  if (subject.kind === SUBJECT_KIND.heldOut) {
    const { accused } = proof.head;
    return failsAsMalformed(() => ({ ...context, ...openHeldOutWitness(bls, claim, accused, subject, witness) }));
  }
  return { ...context, fileBytes: end.element, parentModelRoot: openParent(claim, witness).modelRoot };
}

/** The parent claim of a diff. */
function openParent({ parentClaimRoot }: ClaimHeader, witness: Uint8Array): ClaimHeader {
  const parent = decodeStrict(ClaimHeaderType, witness);
  if (!equalBytes(claimRoot(parent), parentClaimRoot)) {
    throw malformed(`expected the parent claim ${toHex(parentClaimRoot)}, found another`);
  }
  return parent;
}

function openSubject({ trace, step, head }: ElementProof, { unitsPerStep }: HeaderRecipe): StepCommitment | undefined {
  const { subject } = trace.statement;
  const { kind, stepIndex, unit } = subject;
  const [proven] = step;
  if (!hasStep(kind)) {
    const isHeldOut = kind === SUBJECT_KIND.heldOut;
    if (!isHeldOut && kind !== SUBJECT_KIND.model && kind !== SUBJECT_KIND.diff) {
      throw malformed(`expected a subject, found ${kind}`);
    }
    if (proven !== undefined || (!isHeldOut && (stepIndex !== 0 || unit !== 0))) {
      throw malformed('expected no step for this subject');
    }
    return undefined;
  }
  if (proven === undefined || proven.index !== stepIndex) throw malformed(`expected step ${stepIndex} of the claim`);
  const { commitment } = openCommitment(head.claim.header.listRoot, proven);
  const units = Math.min(commitment.unitRoots.length, commitment.unitLosses.length);
  if (units !== unitsPerStep) throw malformed(`expected ${unitsPerStep} units, found ${units}`);
  if (!hasUnit(subject, units)) throw malformed(`expected a unit below ${units}`);
  return commitment;
}

function requireState(header: StateHeader, root: Uint8Array): void {
  if (!equalBytes(stateRoot(header), root)) {
    throw malformed(`expected the header of state ${toHex(root)}, found another`);
  }
}

/** Only a unit's trace may end early. */
export function checkEnd({ subject }: SubjectContext, program: Program, { trace }: ElementProof): void {
  const { end } = trace.statement;
  const complete = program.operations.length;
  if (end.operation === complete && end.element === (program.statedBytes ?? 0)) return;
  const operation = program.operations[end.operation];
  if (subject.kind !== SUBJECT_KIND.unit || operation === undefined || !(end.element < operation.length)) {
    throw malformed('expected a trace that ends where its program does, found another end');
  }
}
