/**
 * Both sides of a dispute as functions: what an accused answers, what a challenger does with the answers. Whoever runs
 * them (a node on a ledger, a test) carries the messages.
 */
import { PogoError } from '../../errors.js';
import type { OpenableTree } from '../../merkle/opening.js';
import type { LongBytes } from '../../merkle/tree.js';
import type { Recipe } from '../../model/recipe.js';
import { ELEMENT_BYTES, type Operation, outputBytes, type Program } from '../trace/program.js';
import { type BlobName, buildElementProof, type ProofBase, readElement } from './buildProof.js';
import {
  firstContested,
  type Narrowing,
  type NarrowingMove,
  narrowedTree,
  nextOpening,
  openNode,
  startNarrowing,
} from './narrowing.js';
import { receiptProgram, type SubjectContext } from './subject.js';
import { captureOutputs, firstDifference, openable, type Trace, type TraceInputs } from './trace.js';
import type { ElementProof, ReceiptProof } from './types.js';

/** What both sides know of a dispute. */
export interface DisputedTrace {
  readonly program: Program;
  /** As the accused published it. */
  readonly trace: Trace;
}

/** The node that narrowing starts from. */
export function disputedOutput({ program, trace }: DisputedTrace, operation: number): Narrowing {
  const root = trace.list.slice(32 * operation, 32 * operation + 32);
  return startNarrowing(outputBytes(program.operations[operation] as Operation), root);
}

/** An accused that keeps nothing: the disputed output is computed again when it is asked for. */
export class Accused {
  readonly #outputs = new Map<number, { readonly bytes: Uint8Array; readonly tree: OpenableTree }>();

  /** @param inputs of the run that the accused published the trace of */
  constructor(
    readonly program: Program,
    readonly inputs: TraceInputs,
  ) {}

  /** The answer to a node of an operation's output. */
  open(operation: number, node: Narrowing): Uint8Array {
    const { bytes, tree } = this.#output(operation);
    return openNode(node, bytes, tree);
  }

  #output(operation: number) {
    const known = this.#outputs.get(operation);
    if (known !== undefined) return known;
    const bytes = captureOutputs(this.program, this.inputs, operation, []).get(operation);
    if (bytes === undefined) throw new PogoError('RANGE', `expected an operation of the trace, found ${operation}`);
    const output = { bytes, tree: openable(this.inputs.merkle, bytes) };
    this.#outputs.set(operation, output);
    return output;
  }
}

/**
 * The proof that a verifier's receipt is not what its own trace of a unit, or of the part over a state, gives. The trace agrees with the challenger's, so
 * the challenger's outputs are the verifier's.
 *
 * @param kept outputs that are at hand; computed when left out
 */
export function proveReceipt(
  base: ProofBase,
  recipe: Recipe,
  context: SubjectContext,
  { program: unit, trace }: DisputedTrace,
  inputs: TraceInputs,
  { receipt, opening }: Pick<ReceiptProof, 'receipt' | 'opening'>,
  kept?: ReadonlyMap<number, Uint8Array>,
): ReceiptProof {
  const index = unit.operations.length;
  if (trace.end.operation < index) {
    const nothing = { indices: [], chunks: [], siblings: new Uint8Array(0) };
    const { head, header, trace: statement } = base;
    const step = base.step === undefined ? [] : [base.step];
    const frame = { head, step, header, trace: statement, operation: index, element: 0, learningRate: [] };
    return { receipt, opening, proof: { ...frame, list: nothing, blobs: [] } };
  }
  const program = receiptProgram(context, unit, opening.drawSignature);
  const wanted = (program.operations[index] as Operation).rule.inputs;
  const outputs = kept ?? captureOutputs(unit, inputs, index - 1, wanted);
  const list = openable(inputs.merkle, trace.list);
  const blob = ({ index: made }: BlobName): OpenableTree => openable(inputs.merkle, outputs.get(made) as Uint8Array);
  const proof = buildElementProof(base, recipe, program, index, 0, { list, blob });
  return { receipt, opening, proof };
}

/** What a challenger does next. */
export type ChallengerMove =
  /** Its own trace agrees with the accused's: it has nothing to contest. */
  | { readonly kind: 'nothing' }
  /** Narrow the output of this operation. */
  | { readonly kind: 'name'; readonly operation: number }
  /** The proof is there without narrowing: one side's trace ends here. */
  | { readonly kind: 'prove'; readonly operation: number; readonly element: number };

/** Decides on a published trace from the challenger's own. */
export function planChallenge(own: Trace, accused: Trace): ChallengerMove {
  const operation = firstDifference(own, accused);
  if (operation === undefined) return { kind: 'nothing' };
  if (operation === accused.end.operation) {
    // Equal up to where the accused stops: the challenger's own run went on, or stopped at another element.
    const stopsToo = operation === own.end.operation;
    return stopsToo ? { kind: 'nothing' } : { kind: 'prove', operation, element: accused.end.element };
  }
  if (operation === own.end.operation) return { kind: 'prove', operation, element: own.end.element };
  return { kind: 'name', operation };
}

/** A challenger of one operation: its own output and the inputs of the rule, computed once. */
export class Challenger {
  readonly #bytes = new Map<string, LongBytes>();
  /** Made when a proof reads them. */
  readonly #trees = new Map<string, OpenableTree>();
  readonly #moves: NarrowingMove[] = [];
  readonly #operation: Operation;

  /** @param kept outputs that are at hand: those of the operation and of its inputs; computed when left out */
  constructor(
    readonly disputed: DisputedTrace,
    readonly inputs: TraceInputs,
    readonly index: number,
    kept?: ReadonlyMap<number, Uint8Array>,
  ) {
    const { program } = disputed;
    this.#operation = program.operations[index] as Operation;
    const sources = this.#operation.rule.inputs;
    const outputs = kept ?? captureOutputs(program, inputs, index, sources);
    for (const source of sources) this.#keep(source, outputs);
    this.#keep({ kind: 'operation', index }, outputs);
  }

  #keep({ kind, index }: BlobName, kept: ReadonlyMap<number, Uint8Array>): void {
    const bytes = kind === 'external' ? this.inputs.externals[index] : kept.get(index);
    const key = `${kind} ${index}`;
    // A run that ends at this operation has no output of it.
    if (bytes !== undefined) this.#bytes.set(key, bytes);
  }

  #tree({ kind, index }: BlobName): OpenableTree {
    const key = `${kind} ${index}`;
    const known = this.#trees.get(key);
    if (known !== undefined) return known;
    const bytes = this.#bytes.get(key);
    if (bytes === undefined) throw new PogoError('MISSING', `expected the bytes of ${key}, found none`);
    const tree = openable(this.inputs.merkle, bytes);
    this.#trees.set(key, tree);
    return tree;
  }

  /** Takes an answer: the contested value's index, or the first wrong element where bytes were opened. */
  answer(node: Narrowing, opened: Uint8Array): { readonly child: number } | { readonly element: number } | undefined {
    this.#moves.push({ node, opened });
    const own = this.#tree({ kind: 'operation', index: this.index });
    const child = firstContested(node, opened, own);
    if (child !== undefined) return { child };
    const element = this.#firstWrong(node, opened, own);
    return element === undefined ? undefined : { element };
  }

  #firstWrong(node: Narrowing, opened: Uint8Array, own: OpenableTree): number | undefined {
    if (nextOpening(node).kind !== 'bytes') return undefined;
    const start = node.index * 2 ** node.level;
    for (let at = 0; at < opened.length; at += 1024) {
      const chunk = own.chunk(start + at / 1024);
      const byte = chunk.findIndex((value, i) => value !== opened[at + i]);
      if (byte >= 0) return Math.floor((start * 1024 + at + byte) / ELEMENT_BYTES[this.#operation.type]);
    }
    return undefined;
  }

  /** The proof about an element, under the accused's roots as far as they were opened. */
  prove(base: ProofBase, recipe: Recipe, element: number): ElementProof {
    const { program, trace } = this.disputed;
    const output = `operation ${this.index}`;
    const hasOutput = this.#bytes.has(output) && this.#moves.length > 0;
    const narrowed = hasOutput
      ? narrowedTree(this.#moves, this.#tree({ kind: 'operation', index: this.index }))
      : undefined;
    const blob = (name: BlobName): OpenableTree =>
      narrowed !== undefined && name.kind === 'operation' && name.index === this.index ? narrowed : this.#tree(name);
    const list = openable(this.inputs.merkle, trace.list);
    return buildElementProof(base, recipe, program, this.index, element, { list, blob });
  }

  /** The element's right value, for messages: undefined where the numerics end. */
  expected(element: number): Uint8Array | undefined {
    return readElement(this.#operation, this.index, element, (name) => this.#tree(name), false).value;
  }
}
