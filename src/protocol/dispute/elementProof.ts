/**
 * Checking an element proof: one element of one operation is computed again from chunks under the accused's own roots.
 *
 * Nothing in a proof says what to read or where: the rule of the operation asks for bytes, the checker looks them up
 * among the opened chunks, and a chunk that is missing or that nothing asked for makes the proof malformed. Pure
 * TypeScript, for browsers too.
 */
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { rootOfSet } from '../../merkle/opening.js';
import { LEAF_BYTES } from '../../merkle/shape.js';
import { type HeaderRecipe, type OpenedRecipeHeader, openRecipeHeader } from '../../model/recipeHeader.js';
import type { Bls } from '../bls.js';
import { verifyClaimSignature } from '../claim.js';
import { DOMAIN } from '../domains.js';
import { openCommitment } from '../listProof.js';
import {
  type ReceiptDuty,
  receiptDuty,
  unitReceiptPart,
  verifyReceiptOpening,
  verifySignedReceipt,
} from '../receipt.js';
import { canonicalNaN, readerOver, typedView } from '../trace/arrays.js';
import {
  ELEMENT_BYTES,
  type Operation,
  outputBytes,
  type Program,
  type Reader,
  type Source,
} from '../trace/program.js';
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
import {
  externalRoots,
  hasUnit,
  listLength,
  rateOf,
  receiptProgram,
  receiptSubject,
  type SubjectContext,
  subjectProgram,
  subjectStateRoot,
} from './subject.js';
import {
  type BlobOpening,
  type DisputeSubject,
  type ElementProof,
  hasStep,
  needsWitness,
  type ReceiptProof,
  type SignedStatement,
  SUBJECT_KIND,
  TraceStatementType,
  type WitnessedProof,
} from './types.js';

const malformed = (message: string): PogoError => new PogoError('MALFORMED', `element proof: ${message}`);

/** Whether domain and signature of a statement hold, by the accused that it names. */
export function verifyStatement(bls: Bls, { statement, signature }: SignedStatement): boolean {
  return (
    equalBytes(statement.domain, DOMAIN.trace) &&
    bls.verify(statement.accused, TraceStatementType.hashTreeRoot(statement), signature)
  );
}

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
  const computed = compute(operation, start, stop, blobs);
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

/**
 * Checks a receipt proof, trusting nothing in it.
 *
 * @returns a sentence about what is false; undefined where the part follows from the verifier's own trace
 * @throws PogoError MALFORMED: the proof convicts nobody
 */
export function checkReceiptProof(bls: Bls, { receipt, opening, proof }: ReceiptProof): string | undefined {
  const recipe = openRecipe(proof);
  checkBindings(bls, proof, recipe.root);
  const { head, trace } = proof;
  const { message, verifier } = receipt;
  if (!equalBytes(verifier, head.accused)) throw malformed('expected a receipt of the accused, found another’s');
  const { chainId, claimRoot: root } = head;
  const { beacon2, committee } = message;
  failsAsMalformed(() => {
    verifySignedReceipt(bls, receipt, { chainId, claimRoot: root, beacon2, committee });
    verifyReceiptOpening(bls, receipt, opening);
  });
  const { drawSignature, parts } = opening;
  const context = openContext(bls, proof, recipe, undefined);
  const { subject } = trace.statement;
  const [proven] = proof.step;
  if ((subject.kind !== SUBJECT_KIND.unit && subject.kind !== SUBJECT_KIND.receipt) || proven === undefined) {
    throw malformed(`expected a unit or a receipt, found ${subject.kind}`);
  }
  const { steps } = openCommitment(head.claim.header.listRoot, proven);
  const duty = receiptDuty(drawSignature, recipe.recipe, steps, committee);
  const part = partOf(subject, duty, steps);
  if (part === undefined) throw malformed('expected a part that was drawn, found another');
  const found = parts[part];
  if (parts.length !== duty.parts || found === undefined) throw malformed(`expected ${duty.parts} parts`);
  const observed = observedIn(proof, context, drawSignature);
  const expected =
    subject.kind === SUBJECT_KIND.unit
      ? unitReceiptPart(drawSignature, subject, observed)
      : tracedPart(drawSignature, observed);
  if (equalBytes(expected, found)) return undefined;
  return `part ${part} of the receipt: expected ${toHex(expected)}, found ${toHex(found)}`;
}

/** The number of the part that a subject is about; undefined where none is. */
export function partOf(
  { kind, stepIndex, unit }: DisputeSubject,
  { units, stateStep }: Pick<ReceiptDuty, 'units' | 'stateStep'>,
  steps: number,
): number | undefined {
  if (kind === SUBJECT_KIND.unit) {
    const part = units.findIndex((drawn) => drawn.stepIndex === stepIndex && drawn.unit === unit);
    return part < 0 ? undefined : part;
  }
  const parts = [stateStep, steps].map((stepsDone) => receiptSubject(stepsDone, steps));
  const at = parts.findIndex((s) => s.kind === kind && s.stepIndex === stepIndex && s.unit === unit);
  return at < 0 ? undefined : units.length + at;
}

/** The part of a trace over a state, which must be one under this draw: who votes again has drawn again. */
function tracedPart(drawSignature: Uint8Array, observed: Uint8Array): Uint8Array {
  const { length } = drawSignature;
  if (!equalBytes(observed.subarray(0, length), drawSignature)) {
    throw malformed('expected a trace under the receipt’s draw signature, found another');
  }
  return observed.slice(length);
}

/** What the accused's own trace has at the places of its receipt; of a state its draw signature and the part. */
function observedIn(proof: ElementProof, context: SubjectContext, drawSignature: Uint8Array): Uint8Array {
  const unit = subjectProgram(context);
  const complete = unit.operations.length;
  if (proof.operation !== complete || proof.element !== 0 || proof.learningRate.length > 0) {
    throw malformed('expected the places behind the last operation, found others');
  }
  checkEnd(context, unit, proof);
  if (listLength(unit, proof.trace.statement.end) < complete) {
    if (proof.list.indices.length + proof.blobs.length > 0) throw malformed('expected nothing opened of a null unit');
    return new Uint8Array(0);
  }
  const program = receiptProgram(context, unit, drawSignature);
  const blobs = openBlobs(proof, program, context, complete);
  const operation = program.operations[complete] as Operation;
  const observed = compute(operation, 0, operation.length, blobs) as Uint8Array;
  blobs.requireAllUsed();
  return observed;
}

function failsAsMalformed<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw error instanceof PogoError ? malformed(error.message) : error;
  }
}

function checkBindings(bls: Bls, { head, trace }: ElementProof, recipeRoot: Uint8Array): void {
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

function openRecipe({ head }: ElementProof): OpenedRecipeHeader {
  try {
    return openRecipeHeader(head.recipe);
  } catch (error) {
    if (error instanceof PogoError) throw malformed(error.message);
    throw error;
  }
}

function openContext(
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
function checkEnd({ subject }: SubjectContext, program: Program, { trace }: ElementProof): void {
  const { end } = trace.statement;
  const complete = program.operations.length;
  if (end.operation === complete && end.element === (program.statedBytes ?? 0)) return;
  const operation = program.operations[end.operation];
  if (subject.kind !== SUBJECT_KIND.unit || operation === undefined || !(end.element < operation.length)) {
    throw malformed('expected a trace that ends where its program does, found another end');
  }
}

/** @returns the span's bytes; undefined where the rule meets an Inf or NaN */
function compute({ type, rule }: Operation, start: number, end: number, blobs: Blobs): Uint8Array | undefined {
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

/** Opened chunks by blob, with a record of what was asked for. */
class Blobs {
  readonly #chunks = new Map<string, Map<number, { readonly bytes: Uint8Array; used: boolean }>>();

  add(key: string, opening: BlobOpening): void {
    const chunks = new Map(opening.indices.map((index, i) => [index, { bytes: opening.chunks[i]!, used: false }]));
    this.#chunks.set(key, chunks);
  }

  /** @throws PogoError MALFORMED where a chunk was not opened */
  bytes(source: Source, start: number, count: number): Uint8Array {
    const chunks = this.#chunks.get(blobKey(source));
    const out = new Uint8Array(count);
    for (let at = start; at < start + count; ) {
      const index = Math.floor(at / LEAF_BYTES);
      const chunk = chunks?.get(index);
      if (chunk === undefined) throw malformed(`expected chunk ${index} of ${blobKey(source)}, found none`);
      chunk.used = true;
      const from = at - index * LEAF_BYTES;
      const part = chunk.bytes.subarray(from, Math.min(chunk.bytes.length, from + start + count - at));
      if (part.length === 0) throw malformed(`expected byte ${at} of ${blobKey(source)}, found the end`);
      out.set(part, at - start);
      at += part.length;
    }
    return out;
  }

  reader(inputs: readonly Source[]): Reader {
    return readerOver(inputs, (source, start, count) => this.bytes(source, start, count));
  }

  requireAllUsed(): void {
    for (const [key, chunks] of this.#chunks) {
      for (const [index, { used }] of chunks) if (!used) throw malformed(`chunk ${index} of ${key} is not needed`);
    }
  }
}

/** Name of a blob in messages and look-ups. */
export function blobKey({ kind, index }: Pick<Source, 'kind' | 'index'>): string {
  return `${kind} ${index}`;
}

const LIST: Pick<Source, 'kind' | 'index'> & { readonly offset: number } = { kind: 'external', index: -1, offset: 0 };

/** Checks every opened blob against its root, the list first. */
function openBlobs(proof: ElementProof, program: Program, context: SubjectContext, roots: number): Blobs {
  const blobs = new Blobs();
  if (proof.list.indices.length > 0) {
    requireRoot('the list of roots', 32 * roots, proof.trace.statement.listRoot, proof.list);
    blobs.add(blobKey(LIST), proof.list);
  }
  const externals = externalRoots(context);
  let before = -1;
  for (const { isExternal, index, opening } of proof.blobs) {
    if (isExternal > 1) throw malformed(`expected 0 or 1 for what is opened, found ${isExternal}`);
    const source = { kind: isExternal === 1 ? ('external' as const) : ('operation' as const), index };
    const rank = isExternal === 1 ? index : program.externals.length + index;
    if (rank <= before) throw malformed('expected blobs in order, each once');
    before = rank;
    const isInput = program.operations[proof.operation]!.rule.inputs.some(
      (input) => input.kind === source.kind && input.index === index,
    );
    if (!isInput && blobKey(source) !== `operation ${proof.operation}`) {
      throw malformed(`${blobKey(source)} is not read by operation ${proof.operation}`);
    }
    if (isExternal === 1) {
      requireRoot(program.externals[index]!.name, program.externals[index]!.bytes, externals[index]!, opening);
    } else {
      if (index >= roots) throw malformed(`expected an output before the trace ends, found operation ${index}`);
      const operation = program.operations[index]!;
      requireRoot(operation.name, outputBytes(operation), blobs.bytes(LIST, 32 * index, 32), opening);
    }
    blobs.add(blobKey(source), opening);
  }
  return blobs;
}

function requireRoot(name: string, totalBytes: number, root: Uint8Array, opening: BlobOpening): void {
  const found = rootOfSet(totalBytes, opening);
  if (found === undefined || !equalBytes(found, root)) {
    throw malformed(`${name}: expected chunks of ${toHex(root)}, found others`);
  }
}
