/** Assembling an element proof: the rule is run once over the author's bytes, and every chunk that it read is opened. */
import { PogoError } from '../../errors.js';
import { type OpenableTree, openSet } from '../../merkle/opening.js';
import { LEAF_BYTES } from '../../merkle/shape.js';
import type { Recipe } from '../../model/recipe.js';
import { proveLearningRate, recipeHeader } from '../../model/recipeHeader.js';
import { type ProvenCommitment, proveCommitment } from '../listProof.js';
import { CONSTRUCTORS, canonicalNaN, readerOver } from '../trace/arrays.js';
import { ELEMENT_BYTES, type Operation, type Program, type Reader, type Source } from '../trace/program.js';
import { claimRoot, type SignedClaim, type StateHeader, type StepCommitmentList } from '../types.js';
import type { SubjectContext } from './subject.js';
import { type ElementProof, hasStep, type NamedOpening, type ProofHead, type SignedStatement } from './types.js';

/** Which blob, without an offset. */
export type BlobName = Pick<Source, 'kind' | 'index'>;

/** What an author of a proof holds. */
export interface ProofSources {
  /** The accused's list of roots. */
  readonly list: OpenableTree;
  /** An input of the disputed operation, or its output, under the accused's root. */
  blob(name: BlobName): OpenableTree;
}

/** The chunks that a rule reads: numbers by blob. */
export type ReadChunks = ReadonlyMap<string, { readonly name: BlobName; readonly indices: readonly number[] }>;

/** A reader that fetches chunks of trees and notes their numbers. */
class RecordingReader {
  readonly read = new Map<string, { readonly name: BlobName; readonly chunks: Map<number, Uint8Array> }>();

  constructor(readonly blob: (name: BlobName) => OpenableTree) {}

  bytes(name: BlobName, start: number, count: number): Uint8Array {
    const key = `${name.kind} ${name.index}`;
    const entry = this.read.get(key) ?? { name: { kind: name.kind, index: name.index }, chunks: new Map() };
    this.read.set(key, entry);
    const out = new Uint8Array(count);
    for (let at = start; at < start + count; ) {
      const index = Math.floor(at / LEAF_BYTES);
      const chunk = entry.chunks.get(index) ?? this.blob(name).chunk(index);
      entry.chunks.set(index, chunk);
      const from = at - index * LEAF_BYTES;
      const part = chunk.subarray(from, Math.min(chunk.length, from + start + count - at));
      if (part.length === 0) throw new PogoError('RANGE', `expected byte ${at} of ${key}, found the end`);
      out.set(part, at - start);
      at += part.length;
    }
    return out;
  }

  reader(inputs: readonly Source[]): Reader {
    return readerOver(inputs, (source, start, count) => this.bytes(source, start, count));
  }
}

/**
 * Runs the rule of one element over an author's bytes.
 *
 * @param withOutput whether the chunk of the element itself is needed too
 * @returns the element's value as bytes (undefined where the rule meets an Inf or NaN), and what was read
 */
export function readElement(
  operation: Operation,
  index: number,
  element: number,
  blob: (name: BlobName) => OpenableTree,
  withOutput: boolean,
): { readonly value: Uint8Array | undefined; readonly chunks: ReadChunks } {
  const recorder = new RecordingReader(blob);
  const [start, end] = operation.rule.span(element);
  const out = new CONSTRUCTORS[operation.type](end - start);
  const size = ELEMENT_BYTES[operation.type];
  let value: Uint8Array | undefined;
  try {
    operation.rule.compute(recorder.reader(operation.rule.inputs), start, out);
    canonicalNaN(operation.type, new Uint8Array(out.buffer));
    value = new Uint8Array(out.buffer, (element - start) * size, size);
  } catch (error) {
    if (!(error instanceof PogoError && error.code === 'NON_FINITE')) throw error;
  }
  if (withOutput && value !== undefined) recorder.bytes({ kind: 'operation', index }, element * size, size);
  const sorted = [...recorder.read].map(
    ([key, { name, chunks }]) => [key, { name, indices: [...chunks.keys()].sort((a, b) => a - b) }] as const,
  );
  return { value, chunks: new Map(sorted) };
}

/** What binds a proof to a claim and a subject. */
export interface ProofBase {
  readonly head: ProofHead;
  readonly step: ProvenCommitment | undefined;
  readonly header: StateHeader;
  readonly trace: SignedStatement;
}

export function createProofBase(
  claim: SignedClaim,
  recipe: Recipe,
  commitments: StepCommitmentList,
  context: SubjectContext,
  trace: SignedStatement,
): ProofBase {
  const { subject } = context;
  return {
    head: {
      chainId: claim.header.chainId,
      claimRoot: claimRoot(claim.header),
      accused: trace.statement.accused,
      claim,
      recipe: recipeHeader(recipe),
    },
    step: !hasStep(subject.kind) ? undefined : proveCommitment(commitments, subject.stepIndex),
    header: context.header,
    trace,
  };
}

/**
 * Assembles the proof of one element.
 *
 * @param recipe whole, for the learning rate
 * @throws PogoError whatever the sources throw for bytes that they do not have
 */
export function buildElementProof(
  base: ProofBase,
  recipe: Recipe,
  program: Program,
  index: number,
  element: number,
  sources: ProofSources,
): ElementProof {
  const operation = program.operations[index] as Operation;
  const isEnd = index === base.trace.statement.end.operation;
  const { chunks } = readElement(operation, index, element, sources.blob, !isEnd);
  const blobs = [...chunks.values()]
    .sort((a, b) => rank(program, a.name) - rank(program, b.name))
    .map(({ name, indices }): NamedOpening => {
      const isExternal = name.kind === 'external' ? 1 : 0;
      return { isExternal, index: name.index, opening: opened(sources.blob(name), indices) };
    });
  const entries = blobs.filter(({ isExternal }) => isExternal === 0).map(({ index: made }) => Math.floor(made / 32));
  const listChunks = [...new Set(entries)];
  const nothing = { indices: [], chunks: [], siblings: new Uint8Array(0) };
  return {
    head: base.head,
    step: base.step === undefined ? [] : [base.step],
    header: base.header,
    trace: base.trace,
    operation: index,
    element,
    learningRate: operation.rule.kind === 'commit.theta' ? [proveLearningRate(recipe, base.header.step)] : [],
    list: listChunks.length === 0 ? nothing : opened(sources.list, listChunks),
    blobs,
  };
}

function rank(program: Program, { kind, index }: BlobName): number {
  return kind === 'external' ? index : program.externals.length + index;
}

function opened(tree: OpenableTree, indices: readonly number[]): NamedOpening['opening'] {
  const { chunks, siblings } = openSet(tree, indices);
  return { indices: [...indices], chunks: [...chunks], siblings };
}
