/**
 * Checking an element proof: one element of one operation is computed again from chunks under the accused's own roots.
 * Pure TypeScript, for browsers too.
 */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import type { Bls } from '../bls.js';
import { canonicalNaN, typedView } from '../trace/arrays.js';
import { ELEMENT_BYTES, type Operation, type Program } from '../trace/program.js';
import { malformed, type OpenedBlobs, openBlobs } from './openedBlobs.js';
import { checkBindings, checkEnd, openContext, openRecipe } from './proofSubject.js';
import { listLength, type SubjectContext, subjectProgram } from './subject.js';
import { type ElementProof, needsWitness, type WitnessedProof } from './types.js';

/** What computes a subject; only who shows that a rule matters hands in another than {@link subjectProgram}. */
type ProgramOf = (context: SubjectContext) => Program;

/**
 * Checks an element proof, trusting nothing in it.
 *
 * @returns a sentence about what is false; undefined when the element is right
 * @throws PogoError MALFORMED: the proof convicts nobody
 */
export function checkElementProof(
  bls: Bls,
  proof: ElementProof,
  programOf: ProgramOf = subjectProgram,
): string | undefined {
  const { kind } = proof.trace.statement.subject;
  if (needsWitness(kind)) throw malformed(`expected a subject that needs no witness, found ${kind}`);
  return checkProof(bls, proof, undefined, programOf);
}

/** {@link checkElementProof} where something is shown beside the proof. */
export function checkWitnessedProof(
  bls: Bls,
  { witness, proof }: WitnessedProof,
  programOf: ProgramOf = subjectProgram,
): string | undefined {
  const { kind } = proof.trace.statement.subject;
  if (!needsWitness(kind)) throw malformed(`expected a subject with a witness, found ${kind}`);
  return checkProof(bls, proof, witness, programOf);
}

function checkProof(
  bls: Bls,
  proof: ElementProof,
  witness: Uint8Array | undefined,
  programOf: ProgramOf,
): string | undefined {
  const recipe = openRecipe(proof);
  checkBindings(bls, proof, recipe.root);
  const context = openContext(bls, proof, recipe, witness);
  const program = programOf(context);
  const { end } = proof.trace.statement;
  const operation = program.operations[proof.operation];
  const roots = listLength(program, end);
  if (operation === undefined || proof.operation > roots || !(proof.element < operation.length)) {
    throw malformed('expected an element of an operation of the trace, found another');
  }
  // Who publishes a trace has shown its draw signature to the ledger; a proof has none to compare it with.
  if (operation.rule.kind === 'receipt.draw') throw malformed('expected no proof about a draw signature, found one');
  // One rule reads the rate, always: no other proof carries one.
  if (proof.learningRate.length > 0 && operation.rule.kind !== 'commit.theta') {
    throw malformed('expected no learning rate for this operation, found one');
  }
  checkEnd(context, program, proof);
  const isEnd = proof.operation === roots;
  const blobs = openBlobs(proof, program, context, roots);
  const [start, stop] = operation.rule.span(proof.element);
  const computed = computeSpan(operation, start, stop, blobs);
  const name = `operation ${proof.operation} (${operation.name})`;
  if (isEnd) {
    if (proof.element !== end.element) throw malformed('expected the element at which the trace ends, found another');
    blobs.requireAllUsed();
    return computed === undefined ? undefined : `${name}: expected an Inf or NaN at element ${end.element}, found none`;
  }
  if (computed === undefined) {
    blobs.requireAllUsed();
    return `${name}: an Inf or NaN at element ${start}, where the trace goes on`;
  }
  const size = ELEMENT_BYTES[operation.type];
  const at = (proof.element - start) * size;
  const expected = computed.slice(at, at + size);
  const found = blobs.bytes({ kind: 'operation', index: proof.operation, offset: 0 }, proof.element * size, size);
  canonicalNaN(operation.type, found);
  blobs.requireAllUsed();
  if (equalBytes(expected, found)) return undefined;
  return `${name}, element ${proof.element}: expected ${toHex(expected)}, found ${toHex(found)}`;
}

/** @returns the span's bytes; undefined where the rule meets an Inf or NaN */
export function computeSpan(
  { type, rule }: Operation,
  start: number,
  end: number,
  blobs: OpenedBlobs,
): Uint8Array | undefined {
  const bytes = new Uint8Array((end - start) * ELEMENT_BYTES[type]);
  try {
    rule.compute(blobs.reader(rule.inputs), start, typedView(type, bytes));
  } catch (error) {
    if (error instanceof PogoError && error.code === 'NON_FINITE') return undefined;
    throw error;
  }
  canonicalNaN(type, bytes);
  return bytes;
}
