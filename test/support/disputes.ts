/**
 * Disputes over a small trained claim: honest traces with all their outputs, liars whose trace is wrong in one element,
 * and the game between a liar and a challenger to its end.
 */
import { equalBytes } from '../../src/hex.js';
import { portableHash, portableKernels } from '../../src/merkle/portable.js';
import { recipeHeader, recipeOfHeader } from '../../src/model/recipeHeader.js';
import { learningRateBits } from '../../src/model/state.js';
import { signAttestation } from '../../src/protocol/attestation.js';
import type { KeyPair } from '../../src/protocol/bls.js';
import { signClaim } from '../../src/protocol/claim.js';
import { encodeDiff } from '../../src/protocol/diff.js';
import { createProofBase, type ProofBase } from '../../src/protocol/dispute/buildProof.js';
import { checkElementProof, checkWitnessedProof } from '../../src/protocol/dispute/elementProof.js';
import { HeldOutWitnessType, heldOutSubject, isAfter, packsFirst } from '../../src/protocol/dispute/heldOut.js';
import { contest, movesLeft, nextOpening, openNode, opensNode } from '../../src/protocol/dispute/narrowing.js';
import { Challenger, disputedOutput, planChallenge } from '../../src/protocol/dispute/players.js';
import { committedResults, type SubjectContext, subjectProgram } from '../../src/protocol/dispute/subject.js';
import {
  openable,
  requireValidTrace,
  signTrace,
  type Trace,
  type TraceInputs,
  traceOf,
} from '../../src/protocol/dispute/trace.js';
import {
  type DisputeSubject,
  type ElementProof,
  hasStep,
  needsWitness,
  SUBJECT_KIND,
} from '../../src/protocol/dispute/types.js';
import { u64Bytes } from '../../src/protocol/domains.js';
import { encodeEvidence } from '../../src/protocol/evidence.js';
import type { ElementArray, Operation, Program } from '../../src/protocol/trace/program.js';
import { runProgram } from '../../src/protocol/trace/runProgram.js';
import {
  ClaimHeaderType,
  claimRoot,
  type SignedClaim,
  type StateHeader,
  type StepCommitment,
  StepCommitmentListType,
  stateRoot,
} from '../../src/protocol/types.js';
import { bls, bytesOf, SEED, type TrainedClaim } from './trainedClaim.js';

/** Who votes for a claim, in disputes over its held-out losses; and beacon 2 of the vote. */
const VOTER = bls.deriveKey(SEED, 'verifier', 0);
const BEACON_2 = new Uint8Array(32).fill(6);

export type SubjectName = keyof typeof SUBJECT_KIND;

/** A subject of an honest claim with the outputs of all its operations. */
export interface HonestTrace {
  readonly trained: TrainedClaim;
  readonly context: SubjectContext;
  readonly program: Program;
  readonly inputs: TraceInputs;
  readonly outputs: readonly Uint8Array[];
  readonly trace: Trace;
}

/** The voter's vote, with `lossBits` for both losses. */
function voteWith({ claim: { header } }: TrainedClaim, lossBits: number) {
  return signAttestation(bls, VOTER, {
    ...{ chainId: header.chainId, claimRoot: claimRoot(header), beacon2: BEACON_2, verdict: 'positive' },
    ...{ heldOutBeforeBits: lossBits, heldOutAfterBits: lossBits },
  });
}

/** Of a loss after the claim (`after` 1) or before it (0), whose bits are `lossBits`. */
function heldOutContext(trained: TrainedClaim, after: number, lossBits: number): SubjectContext {
  const { parent } = trained;
  return {
    claim: trained.claim.header,
    recipe: recipeOfHeader(recipeHeader(trained.recipe)),
    subject: heldOutSubject(voteWith(trained, lossBits).data, after === 1),
    commitment: undefined,
    header: trained.steps[0]!.preHeader,
    rate: () => 0,
    beacon2: BEACON_2,
    ...(parent === undefined ? {} : { parentModelRoot: parent.claim.header.modelRoot }),
  };
}

function evaluated(trained: TrainedClaim, { claim, subject }: SubjectContext): Uint8Array {
  const { theta, ema } = trained.steps[0]!.before;
  if (packsFirst(claim, subject)) return trained.recipe.ema ? ema : theta;
  return isAfter(subject) ? trained.model : trained.parent!.model;
}

/** Of a verifier whose receipt is disputed, where a test has no other. */
const DRAW_SIGNATURE = new Uint8Array(96).fill(7);

/** Whether a subject is a receipt over a claim's last state. */
function isLastState(name: SubjectName, unit: number): boolean {
  return name === 'receipt' && unit === 1;
}

function contextOf(
  trained: TrainedClaim,
  name: SubjectName,
  stepIndex: number,
  unit: number,
  drawSignature: Uint8Array,
): SubjectContext {
  const kind = SUBJECT_KIND[name];
  if (name === 'heldOut') return heldOutContext(trained, stepIndex, 0);
  const stepless = !hasStep(kind);
  const step = trained.steps[stepIndex]!;
  const { parent } = trained;
  const isDiff = name === 'diff' && parent !== undefined;
  return {
    claim: trained.claim.header,
    recipe: recipeOfHeader(recipeHeader(trained.recipe)),
    subject: { kind, stepIndex: stepless ? 0 : stepIndex, unit },
    commitment: stepless ? undefined : trained.commitments[stepIndex]!,
    header: stepless || isLastState(name, unit) ? trained.steps.at(-1)!.postHeader : step.preHeader,
    drawSignature,
    rate: () => learningRateBits(trained.recipe, step.preHeader.step),
    ...(isDiff
      ? {
          fileBytes: encodeDiff(parent.model, trained.model).length,
          parentModelRoot: parent.claim.header.modelRoot,
        }
      : {}),
  };
}

export function honestTrace(
  trained: TrainedClaim,
  name: SubjectName,
  stepIndex = 0,
  unit = 0,
  drawSignature: Uint8Array = DRAW_SIGNATURE,
): HonestTrace {
  const context = contextOf(trained, name, stepIndex, unit, drawSignature);
  const program = subjectProgram(context);
  const step = trained.steps[name === 'heldOut' ? 0 : stepIndex]!;
  const { theta, m, v, ema } = isLastState(name, unit) ? step.after : step.before;
  const last = trained.steps.at(-1)!.after;
  const { frozen } = trained.plan;
  const externals = {
    unit: [theta, trained.tokenFile, ...(frozen === undefined ? [] : [bytesOf(frozen)])],
    state: [theta, m, v, ...(trained.recipe.ema ? [ema] : []), ...step.units],
    model: [trained.recipe.ema ? last.ema : last.theta],
    receipt: [theta, m, v],
    diff: [trained.parent?.model ?? new Uint8Array(0), trained.model],
    heldOut: [
      ...(name === 'heldOut' ? [evaluated(trained, context)] : []),
      trained.tokenFile,
      ...(frozen === undefined ? [] : [bytesOf(frozen)]),
    ],
  }[name].map((bytes) => Uint8Array.from(bytes));
  const outputs: Uint8Array[] = [];
  const run = runProgram(program, {
    externals,
    hash: portableHash,
    onOutput: (_index, bytes) => void outputs.push(bytes.slice()),
  });
  const loss = name === 'heldOut' ? new DataView(outputs.at(-1)!.buffer).getUint32(0, true) : undefined;
  return {
    trained,
    context: loss === undefined ? context : heldOutContext(trained, stepIndex, loss),
    program,
    inputs: { externals, merkle: portableKernels },
    outputs,
    trace: traceOf(program, run),
  };
}

/** The operations whose outputs rest on that of `operation`, directly or not. */
function reachedBy(program: Program, operation: number): ReadonlySet<number> {
  const reached = new Set([operation]);
  program.operations.forEach(({ rule }, index) => {
    if (rule.inputs.some((input) => input.kind === 'operation' && reached.has(input.index))) reached.add(index);
  });
  return reached;
}

/** The program in which all operations but those of `afresh` repeat their known outputs: half the work of most lies. */
function knowing(program: Program, outputs: readonly Uint8Array[], afresh: ReadonlySet<number>): Program {
  const operations = program.operations.map((operation, index) => {
    if (afresh.has(index)) return operation;
    const repeat = (_: unknown, out: ElementArray): void =>
      new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(outputs[index]!);
    return { ...operation, rule: { ...operation.rule, whole: repeat } };
  });
  return { ...program, operations };
}

/** A liar: what it publishes, and its output of the operation that it lies in. */
export interface Liar {
  readonly trace: Trace;
  readonly operation: number;
  readonly output: Uint8Array;
  /** Its claim, which commits to what its trace ends in. */
  readonly claim: SignedClaim;
  readonly commitments: readonly StepCommitment[];
  readonly context: SubjectContext;
  readonly post: StateHeader | undefined;
  readonly keys: KeyPair;
}

/**
 * Lies in one element.
 *
 * @param consistent everything after the lie follows from it; else only the one root is another
 */
export function lie(honest: HonestTrace, operation: number, element: number, consistent: boolean): Liar {
  const { program, inputs, outputs } = honest;
  const size = outputs[operation]!.length / program.operations[operation]!.length;
  const flip = (bytes: Uint8Array): void => {
    // The lowest bit of the element: the smallest lie there is. For floats it is one unit in the last place.
    bytes[element * size] = bytes[element * size]! ^ 1;
  };
  const output = outputs[operation]!.slice();
  flip(output);
  const result = (): Trace => {
    if (!consistent) {
      const list = honest.trace.list.slice();
      list.set(portableHash(output), 32 * operation);
      return { list, end: honest.trace.end };
    }
    const run = runProgram(knowing(program, outputs, reachedBy(program, operation)), {
      externals: inputs.externals,
      hash: portableHash,
      onOutput: (index, bytes) => {
        if (index === operation) flip(bytes);
      },
    });
    return traceOf(program, run);
  };
  return { ...commitTo(honest, result()), operation, output };
}

/** The claim of a liar: honest but for the results of the subject, which are those of its trace. */
export function commitTo(honest: HonestTrace, result: Trace): Omit<Liar, 'operation' | 'output'> {
  const { trained, context, program } = honest;
  const fileBytes = statedLength(honest, result);
  const trace = fileBytes === undefined ? result : { ...result, end: { ...result.end, element: fileBytes } };
  const { kind, stepIndex, unit } = context.subject;
  if (kind === SUBJECT_KIND.heldOut) {
    const after = isAfter(context.subject) ? 1 : 0;
    const { claim, commitments } = trained;
    const liarContext = heldOutContext(trained, after, lossBits(honest, trace));
    return { trace, claim, commitments, context: liarContext, post: undefined, keys: VOTER };
  }
  const root = (name: string): Uint8Array => {
    const operation = program.results.find((result) => result.name === name)!.operation;
    return trace.list.slice(32 * operation, 32 * operation + 32);
  };
  const commitments = trained.commitments.map((commitment) => ({ ...commitment }));
  let post: StateHeader | undefined = trained.steps[stepIndex]!.postHeader;
  let { header } = trained.claim;
  const isComplete = trace.end.operation === program.operations.length;
  if (kind === SUBJECT_KIND.model) header = { ...header, modelRoot: root('model') };
  if (kind === SUBJECT_KIND.diff) header = { ...header, diffRoot: root('diff') };
  if (kind === SUBJECT_KIND.unit) {
    const commitment = commitments[stepIndex]!;
    const unitRoots = [...commitment.unitRoots];
    const unitLosses = [...commitment.unitLosses];
    unitRoots[unit] = isComplete ? root('unit') : portableHash(new Uint8Array(trained.steps[0]!.units[0]!.length));
    unitLosses[unit] = isComplete ? lossBits(honest, trace) : 0x7fc00000;
    commitments[stepIndex] = { ...commitment, unitRoots, unitLosses };
  }
  if (kind === SUBJECT_KIND.state) {
    post = { ...post, thetaRoot: root('theta'), mRoot: root('m'), vRoot: root('v') };
    if (trained.recipe.ema) post = { ...post, emaRoot: root('ema') };
    commitments[stepIndex] = { ...commitments[stepIndex]!, postStateRoot: stateRoot(post) };
  }
  header = { ...header, listRoot: StepCommitmentListType.hashTreeRoot(commitments) };
  const liarContext = {
    ...context,
    claim: header,
    commitment: context.commitment === undefined ? undefined : commitments[stepIndex]!,
    ...(fileBytes === undefined ? {} : { fileBytes }),
  };
  return {
    trace,
    claim: signClaim(bls, trained.miner, header),
    commitments,
    context: liarContext,
    post,
    keys: trained.miner,
  };
}

/** The length of a diff that a trace ends in: the honest one, or one bit beside it. */
function statedLength({ context, program, outputs }: HonestTrace, trace: Trace): number | undefined {
  const { fileBytes } = context;
  if (fileBytes === undefined) return undefined;
  const operation = program.results.find(({ name }) => name === 'length')!.operation;
  const wanted = trace.list.subarray(32 * operation, 32 * operation + 32);
  for (const bit of [...outputs[operation]!.keys()].flatMap((byte) => [0, 2 ** (8 * byte)])) {
    for (const candidate of [fileBytes + bit, fileBytes - bit]) {
      if (candidate >= 0 && equalBytes(portableHash(u64Bytes(candidate)), wanted)) return candidate;
    }
  }
  throw new Error('the liar’s length is too far away to be found');
}

/** Bits whose four bytes have the trace's loss root: the honest ones, or one of their neighbours. */
function lossBits(honest: HonestTrace, trace: Trace): number {
  const operation = honest.program.results.find(({ name }) => name === 'loss')!.operation;
  const wanted = trace.list.subarray(32 * operation, 32 * operation + 32);
  const bits = new DataView(honest.outputs[operation]!.buffer).getUint32(0, true);
  for (let distance = 0; distance < 1 << 16; distance += 1) {
    for (const candidate of [bits + distance, bits - distance, bits ^ distance]) {
      const bytes = bytesOf(Float32Array.of(0));
      new DataView(bytes.buffer).setUint32(0, candidate >>> 0, true);
      if (equalBytes(portableHash(bytes), wanted)) return candidate >>> 0;
    }
  }
  throw new Error('the liar’s loss is too far away to be found');
}

/** The liar's signed statement and what binds a proof to it. */
export function baseOf(honest: HonestTrace, liar: Omit<Liar, 'operation' | 'output'>): ProofBase {
  const statement = signTrace(bls, liar.keys, liar.context, liar.trace, portableKernels);
  return createProofBase(liar.claim, honest.trained.recipe, [...liar.commitments], liar.context, statement);
}

export interface PlayedDispute {
  readonly proof: ElementProof;
  readonly evidence: Uint8Array;
  /** Moves of the accused: the list, then its openings. */
  readonly moves: number;
}

/** Plays a dispute to its end; the challenger knows the honest run only, the accused its own. */
export function play(honest: HonestTrace, liar: Liar): PlayedDispute {
  const { program, inputs } = honest;
  requireValidTrace(liar.context, liar.trace, committedResults(liar.context, liar.post));
  const plan = planChallenge(honest.trace, liar.trace);
  if (plan.kind === 'nothing') throw new Error('the challenger found nothing');
  // The challenger's outputs are at hand: a run for each lie would take minutes.
  const challenger = new Challenger({ program, trace: liar.trace }, inputs, plan.operation, outputsOf(honest));
  const base = baseOf(honest, liar);
  let moves = 1;
  let element = plan.kind === 'prove' ? plan.element : -1;
  if (plan.kind === 'name') {
    let node = disputedOutput({ program, trace: liar.trace }, plan.operation);
    const bound = movesLeft(node);
    const tree = openable(portableKernels, liar.output);
    for (;;) {
      const opened = openNode(node, liar.output, tree);
      if (!opensNode(node, opened)) throw new Error('the accused’s answer does not open the node');
      moves += 1;
      const answer = challenger.answer(node, opened);
      if (answer === undefined) throw new Error('the challenger lost the trail');
      if ('element' in answer) {
        element = answer.element;
        break;
      }
      if (nextOpening(node).kind === 'bytes') throw new Error('bytes have no children');
      node = contest(node, opened, answer.child);
    }
    if (moves > 1 + bound) throw new Error(`expected at most ${1 + bound} moves, found ${moves}`);
  }
  const proof = challenger.prove(base, honest.trained.recipe, element);
  return { proof, evidence: fileOf(honest, proof), moves };
}

/** What a proof about the subject shows beside itself. */
export function witnessOf({ trained }: HonestTrace, subject: DisputeSubject): Uint8Array | undefined {
  if (!needsWitness(subject.kind)) return undefined;
  if (subject.kind === SUBJECT_KIND.heldOut) {
    const { claim, parent } = trained;
    const shows = parent !== undefined && !isAfter(subject) && !packsFirst(claim.header, subject);
    const attestation = voteWith(trained, subject.unit);
    return HeldOutWitnessType.serialize({ attestation, parent: shows ? [parent.claim.header] : [] });
  }
  return ClaimHeaderType.serialize(trained.parent!.claim.header);
}

/** The file of evidence around a proof. */
export function fileOf(honest: HonestTrace, proof: ElementProof): Uint8Array {
  const witness = witnessOf(honest, proof.trace.statement.subject);
  return witness === undefined
    ? encodeEvidence('element', proof)
    : encodeEvidence('witnessed-element', { witness, proof });
}

/** Checks a proof, with other programs than the shipped ones where a test hands them in. */
export function checkProofOf(
  honest: HonestTrace,
  proof: ElementProof,
  programOf?: (context: SubjectContext) => Program,
): string | undefined {
  const witness = witnessOf(honest, proof.trace.statement.subject);
  return witness === undefined
    ? checkElementProof(bls, proof, programOf)
    : checkWitnessedProof(bls, { witness, proof }, programOf);
}

/** Outputs that a challenger has already. */
export function outputsOf(honest: HonestTrace): ReadonlyMap<number, Uint8Array> {
  return new Map(honest.outputs.map((bytes, index) => [index, bytes]));
}

/** The middle element of an operation's output. */
export function middleOf({ length, rule }: Operation): number {
  // The high word of a length: no ledger takes such a length, and no proof.
  return rule.kind === 'diff.length' ? 0 : Math.floor(length / 2);
}

/** First, middle and last element of an operation's output. */
export function placesOf(program: Program, operation: number): number[] {
  const { length, rule } = program.operations[operation]!;
  if (rule.kind === 'diff.length') return [0];
  return [...new Set([0, Math.floor(length / 2), length - 1])];
}

/** The key that answers for a subject. */
export function accusedKey({ trained, context }: HonestTrace): Uint8Array {
  return (context.subject.kind === SUBJECT_KIND.heldOut ? VOTER : trained.miner).publicKey;
}

/** An accused that did not lie. */
export function honestAccused(honest: HonestTrace): Omit<Liar, 'operation' | 'output'> {
  const { trained, context, trace } = honest;
  if (context.subject.kind === SUBJECT_KIND.heldOut) return commitTo(honest, trace);
  const post = trained.steps[context.subject.stepIndex]!.postHeader;
  const { claim, commitments, miner: keys } = trained;
  return { trace, claim, commitments, context, post, keys };
}

/** A proof about an element of an honest trace: a false accusation, whatever it names. */
export function falseProof(honest: HonestTrace, operation: number, element: number): ElementProof {
  const { program, inputs, trace, trained } = honest;
  const challenger = new Challenger({ program, trace }, inputs, operation, outputsOf(honest));
  return challenger.prove(baseOf(honest, honestAccused(honest)), trained.recipe, element);
}
