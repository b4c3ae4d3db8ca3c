/**
 * How large a proof is, from shapes alone: the rule is run over zeros and asked which chunks it reads. Nothing is trained
 * and no array of the model's size is made, so the answer is there for any recipe.
 */

import { siblingBytes } from '../../merkle/opening.js';
import { nodeSpan } from '../../merkle/shape.js';
import type { Recipe } from '../../model/recipe.js';
import { proveLearningRate, recipeHeader } from '../../model/recipeHeader.js';
import { type Operation, outputBytes, type Program } from '../trace/program.js';
import { ClaimHeaderType, ZERO_ROOT } from '../types.js';
import { type BlobName, readElement } from './buildProof.js';
import { HeldOutWitnessType } from './heldOut.js';
import { type BlobOpening, type ElementProof, ElementProofType } from './types.js';

const KEY = new Uint8Array(48);
const SIGNATURE = new Uint8Array(96);

/** Sizes of a proof: `bytes` of its SSZ form, and chunks that it opens. */
export interface ProofSize {
  readonly bytes: number;
  readonly chunks: number;
}

/**
 * @param recipe whose program it is
 * @param withStep whether the subject has a step: all but the model and the diff
 * @returns the size of the proof about one element, the file's kind byte included
 */
export function proofSize(
  recipe: Recipe,
  program: Program,
  index: number,
  element: number,
  withStep: boolean,
): ProofSize {
  const bytesOf = ({ kind, index: i }: BlobName): number =>
    kind === 'external' ? program.externals[i]!.bytes : outputBytes(program.operations[i]!);
  const operation = program.operations[index] as Operation;
  const zeros = (name: BlobName) => {
    const totalBytes = bytesOf(name);
    return { totalBytes, chunk: (i: number) => zeroChunk(totalBytes, i), value: () => ZERO_ROOT };
  };
  const { chunks } = readElement(operation, index, element, zeros, true);
  const opening = (totalBytes: number, indices: readonly number[]): BlobOpening => ({
    indices: [...indices],
    chunks: indices.map((i) => zeroChunk(totalBytes, i)),
    siblings: new Uint8Array(siblingBytes(totalBytes, indices)),
  });
  const blobs = [...chunks.values()].map(({ name, indices }) => ({
    isExternal: name.kind === 'external' ? 1 : 0,
    index: name.index,
    opening: opening(bytesOf(name), indices),
  }));
  const made = blobs.filter(({ isExternal }) => isExternal === 0).map((blob) => Math.floor(blob.index / 32));
  const list = opening(
    32 * program.operations.length,
    [...new Set(made)].sort((a, b) => a - b),
  );
  const proof: ElementProof = {
    ...frame(recipe, withStep),
    operation: index,
    element,
    learningRate: operation.rule.kind === 'commit.theta' ? [proveLearningRate(recipe, 0)] : [],
    list,
    blobs,
  };
  const opened = blobs.reduce((sum, blob) => sum + blob.opening.indices.length, list.indices.length);
  const beside = witnessBytes(program);
  return { bytes: 1 + beside + ElementProofType.value_serializedSize(proof), chunks: opened };
}

/** Of a diff two offsets and the parent claim's header, of a held-out loss two offsets and its largest witness. */
function witnessBytes({ statedBytes, results }: Program): number {
  if (statedBytes !== undefined) return 8 + ClaimHeaderType.maxSize;
  const isHeldOut = results.length === 1 && results[0]?.name === 'loss';
  return isHeldOut ? 8 + HeldOutWitnessType.maxSize : 0;
}

function zeroChunk(totalBytes: number, index: number): Uint8Array {
  const { start, end } = nodeSpan(totalBytes, index);
  return new Uint8Array(end - start);
}

/** The parts of a proof whose size does not depend on the operation. */
function frame(recipe: Recipe, withStep: boolean): Pick<ElementProof, 'head' | 'step' | 'header' | 'trace'> {
  const root = ZERO_ROOT;
  const domain = new Uint8Array(4);
  const claim = {
    header: {
      domain,
      chainId: root,
      job: 0,
      claimNumber: 0,
      attempt: 0,
      parentClaimRoot: root,
      recipeRoot: root,
      miner: KEY,
      fromRoot: root,
      toRoot: root,
      listRoot: root,
      modelRoot: root,
      diffRoot: root,
      draw1: root,
      bond: 0n,
    },
    signature: SIGNATURE,
  };
  const commitment = {
    step: 0,
    preStateRoot: root,
    batchDigest: root,
    unitRoots: Array.from({ length: recipe.unitsPerStep }, () => root),
    unitLosses: Array.from({ length: recipe.unitsPerStep }, () => 0),
    postStateRoot: root,
  };
  const branch = Array.from({ length: BRANCH }, () => root);
  const statement = {
    domain,
    chainId: root,
    claimRoot: root,
    accused: KEY,
    subject: { kind: 0, stepIndex: 0, unit: 0 },
    listRoot: root,
    end: { operation: 0, element: 0 },
  };
  return {
    head: { chainId: root, claimRoot: root, accused: KEY, claim, recipe: recipeHeader(recipe) },
    step: withStep ? [{ index: 0, commitment, branch }] : [],
    header: {
      version: 0,
      recipeRoot: root,
      step: 0,
      tokens: 0,
      beta1Power: 0,
      beta2Power: 0,
      thetaRoot: root,
      mRoot: root,
      vRoot: root,
      emaRoot: root,
    },
    trace: { statement, signature: SIGNATURE },
  };
}

/** Roots of a step's branch in a claim's list. */
const BRANCH = 17;

/** Bytes that the opened chunks of the list of roots take for these operations. */
function listBytes(operations: number, indices: Iterable<number>): number {
  const totalBytes = 32 * operations;
  const chunks = [...new Set([...indices].map((index) => Math.floor(index / 32)))].sort((a, b) => a - b);
  const bytes = chunks
    .map((chunk) => nodeSpan(totalBytes, chunk))
    .reduce((sum, { start, end }) => sum + end - start, 0);
  // SSZ: eight bytes for each number, four for each chunk's offset.
  return bytes + 12 * chunks.length + siblingBytes(totalBytes, chunks);
}

/**
 * The largest proof of each rule of a program, over the first, middle and last element of each operation. Operations with
 * the same rule and the same sizes (the layers) read the same chunks of their blobs: those are found once, and only the
 * chunks of the list of roots, which lie elsewhere for each, are found for all.
 */
export function largestProofs(recipe: Recipe, program: Program, withStep: boolean): ReadonlyMap<string, ProofSize> {
  const shapes = new Map<string, number[]>();
  program.operations.forEach(({ rule, length }, index) => {
    const inputs = rule.inputs.map(({ kind, index: from, offset }) => {
      const bytes = kind === 'external' ? 0 : outputBytes(program.operations[from]!);
      return `${bytes} ${kind === 'external' ? 'x' : offset}`;
    });
    const shape = [rule.kind, length, ...inputs].join();
    shapes.set(shape, [...(shapes.get(shape) ?? []), index]);
  });
  const count = program.operations.length;
  const made = (index: number): number[] => [
    index,
    ...program.operations[index]!.rule.inputs.flatMap(({ kind, index: from }) => (kind === 'operation' ? [from] : [])),
  ];
  const largest = new Map<string, ProofSize>();
  for (const indices of shapes.values()) {
    const [index] = indices as [number];
    const { rule, length } = program.operations[index]!;
    // An upper bound where an element does not read all inputs: a masked block reads fewer.
    const spread = Math.max(...indices.map((other) => listBytes(count, made(other)))) - listBytes(count, made(index));
    for (const element of new Set([0, Math.floor(length / 2), length - 1])) {
      const size = proofSize(recipe, program, index, element, withStep);
      const bytes = size.bytes + spread;
      if (bytes > (largest.get(rule.kind)?.bytes ?? 0)) largest.set(rule.kind, { ...size, bytes });
    }
  }
  return largest;
}
