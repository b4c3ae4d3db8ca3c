/**
 * Assembling evidence: what a verifier writes after its own check failed. Each function returns the whole file.
 */

import type { MerkleKernels } from '../../merkle/kernels.js';
import { portableKernels } from '../../merkle/portable.js';
import { buildTree } from '../../merkle/tree.js';
import { createLayout, LEAF_ELEMENTS, packedModelLayout, unitFileBytes } from '../../model/layout.js';
import type { Recipe } from '../../model/recipe.js';
import { isInMemory, type TokenSequence, tokenBytes } from '../../model/tokens.js';
import { encodeEvidence } from '../evidence.js';
import type { LeafCheck } from '../leafCheck.js';
import { proveCommitment } from '../listProof.js';
import { CHUNK_BYTES, type ChunkOpening, type ChunkSource, openChunks } from '../openings.js';
import type { ClaimHeader, SignedClaim, StateHeader, StepCommitmentList } from '../types.js';
import { createEvidenceHead } from './head.js';
import { modelLeafRanges } from './quantization.js';
import { unitTokenRanges } from './unit.js';

/** The accused claim with its list. */
export interface Accusation {
  readonly claim: SignedClaim;
  readonly recipe: Recipe;
  readonly commitments: StepCommitmentList;
}

/** A blob whose chunks can be opened. */
export interface BlobSource extends ChunkSource {
  readonly totalBytes: number;
}

/** Chunks and paths of bytes in memory; the tree is built once, at once. */
export function blobSource(bytes: Uint8Array, kernels: MerkleKernels = portableKernels): BlobSource {
  const tree = buildTree(kernels, bytes);
  return {
    totalBytes: bytes.length,
    chunk: (index) => ({
      bytes: bytes.slice(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
      path: tree.proveLeaf(index),
    }),
  };
}

/** The token file as evidence opens it: a file that is read by ranges has its tree already. */
export function tokenSource(tokens: TokenSequence, kernels: MerkleKernels = portableKernels): BlobSource {
  return isInMemory(tokens) ? blobSource(tokenBytes(tokens), kernels) : tokens;
}

/** Index of the first chunk in which two files differ; undefined when they are equal. */
export function firstDifferentChunk(a: Uint8Array, b: Uint8Array): number | undefined {
  const length = Math.max(a.length, b.length);
  for (let i = 0; i < length; i += 1) if (a[i] !== b[i]) return Math.floor(i / CHUNK_BYTES);
  return undefined;
}

const NO_CHUNK: ChunkOpening = { bytes: new Uint8Array(0), path: new Uint8Array(0) };

function lastChunk(source: BlobSource): ChunkOpening {
  return source.chunk(Math.max(0, Math.ceil(source.totalBytes / CHUNK_BYTES) - 1));
}

export function buildLeafEvidence(accusation: Omit<Accusation, 'commitments'>, check: LeafCheck): Uint8Array {
  return encodeEvidence('leaf', { head: createEvidenceHead(accusation.claim, accusation.recipe), check });
}

export function buildBatchEvidence({ claim, recipe, commitments }: Accusation, stepIndex: number): Uint8Array {
  const head = createEvidenceHead(claim, recipe);
  return encodeEvidence('batch', { head, step: proveCommitment(commitments, stepIndex) });
}

/** @param fromHeader header of the claim's from state */
export function buildCommitmentsEvidence(
  { claim, recipe, commitments }: Accusation,
  fromHeader: StateHeader,
): Uint8Array {
  return encodeEvidence('commitments', { head: createEvidenceHead(claim, recipe), fromHeader, commitments });
}

/** @param recipe that of the claims */
export function buildEquivocationEvidence(first: SignedClaim, second: SignedClaim, recipe: Recipe): Uint8Array {
  return encodeEvidence('equivocation', { head: createEvidenceHead(first, recipe), other: second });
}

export interface UnitSubject {
  /** Index of the step inside the claim, and of the unit inside the step. */
  readonly stepIndex: number;
  readonly unit: number;
  /** Header and θ (little-endian fp32) of the step's pre-state. */
  readonly preHeader: StateHeader;
  readonly theta: Uint8Array;
  /** The recipe's token file. */
  readonly tokenFile: ChunkSource;
}

function recomputation({ claim, recipe, commitments }: Accusation, subject: UnitSubject) {
  const step = proveCommitment(commitments, subject.stepIndex);
  const ranges = unitTokenRanges(recipe, claim.header.draw1, step.commitment.step, subject.unit);
  return {
    head: createEvidenceHead(claim, recipe),
    step,
    unit: subject.unit,
    preHeader: subject.preHeader,
    theta: subject.theta,
    tokenChunks: openChunks(subject.tokenFile, ranges),
  };
}

/**
 * @param committed the unit file under the claim's root
 * @param chunkIndex a chunk in which it differs from the recomputed unit; ignored for a file of a wrong length
 */
export function buildUnitEvidence(
  accusation: Accusation,
  subject: UnitSubject,
  committed: BlobSource,
  chunkIndex: number,
): Uint8Array {
  const expectedBytes = unitFileBytes(createLayout(accusation.recipe)).total;
  if (committed.totalBytes === expectedBytes) {
    return encodeEvidence('unit', {
      ...recomputation(accusation, subject),
      unitBytes: expectedBytes,
      chunkIndex,
      chunk: committed.chunk(chunkIndex),
    });
  }
  return encodeEvidence('unit', {
    head: createEvidenceHead(accusation.claim, accusation.recipe),
    step: proveCommitment(accusation.commitments, subject.stepIndex),
    unit: subject.unit,
    preHeader: subject.preHeader,
    theta: new Uint8Array(0),
    tokenChunks: [],
    unitBytes: committed.totalBytes,
    chunkIndex: Math.max(0, Math.ceil(committed.totalBytes / CHUNK_BYTES) - 1),
    chunk: lastChunk(committed),
  });
}

export function buildLossEvidence(accusation: Accusation, subject: UnitSubject): Uint8Array {
  return encodeEvidence('loss', recomputation(accusation, subject));
}

export interface StateRootSubject {
  readonly stepIndex: number;
  readonly preHeader: StateHeader;
  /** The pre-state's vectors, little-endian fp32; `ema` empty without an EMA. */
  readonly theta: Uint8Array;
  readonly m: Uint8Array;
  readonly v: Uint8Array;
  readonly ema: Uint8Array;
  /** The M committed unit files. */
  readonly units: readonly Uint8Array[];
}

export function buildStateRootEvidence(
  { claim, recipe, commitments }: Accusation,
  { stepIndex, units, ...state }: StateRootSubject,
): Uint8Array {
  return encodeEvidence('state-root', {
    head: createEvidenceHead(claim, recipe),
    step: proveCommitment(commitments, stepIndex),
    ...state,
    units: [...units],
  });
}

/** First leaf in which a packed model differs from the right one; undefined when all leaves agree. */
export function firstDifferentModelLeaf(recipe: Recipe, a: Uint8Array, b: Uint8Array): number | undefined {
  const layout = createLayout(recipe);
  for (let leaf = 0; leaf < layout.length / LEAF_ELEMENTS; leaf += 1) {
    for (const [start, end] of modelLeafRanges(layout, leaf).ranges) {
      for (let i = start; i < end; i += 1) if (a[i] !== b[i]) return leaf;
    }
  }
  return undefined;
}

/**
 * @param toHeader header of the claim's to state
 * @param vector its EMA (θ without one)
 * @param model the packed model under the claim's root
 * @param leaf a leaf whose codes or scales are wrong; ignored for a file of a wrong length
 */
export function buildQuantizationEvidence(
  { claim, recipe }: Omit<Accusation, 'commitments'>,
  toHeader: StateHeader,
  vector: ChunkSource,
  model: BlobSource,
  leaf: number,
): Uint8Array {
  const head = createEvidenceHead(claim, recipe);
  const layout = createLayout(recipe);
  const modelBytes = model.totalBytes;
  if (modelBytes !== packedModelLayout(layout).bytes) {
    const modelChunks = [lastChunk(model)];
    return encodeEvidence('quantization', { head, toHeader, leaf: 0, vectorLeaf: NO_CHUNK, modelBytes, modelChunks });
  }
  return encodeEvidence('quantization', {
    head,
    toHeader,
    leaf,
    vectorLeaf: vector.chunk(leaf),
    modelBytes,
    modelChunks: openChunks(model, modelLeafRanges(layout, leaf).ranges),
  });
}

/** The parent's claim and packed model. */
export interface ParentModel {
  readonly header: ClaimHeader;
  readonly model: Uint8Array;
}

/**
 * @param parent undefined for a chain's first claim
 * @param model the packed model under the claim's root
 */
export function buildDiffEvidence(
  { claim, recipe }: Omit<Accusation, 'commitments'>,
  parent: ParentModel | undefined,
  model: Uint8Array,
): Uint8Array {
  const nothing = new Uint8Array(0);
  return encodeEvidence('diff', {
    head: createEvidenceHead(claim, recipe),
    parent: parent === undefined ? [] : [parent.header],
    parentModel: parent?.model ?? nothing,
    model: parent === undefined ? nothing : model,
  });
}
