/** Making a trace: what an accused does when it is challenged, and a challenger before it challenges. */
import { PogoError } from '../../errors.js';
import { equalBytes } from '../../hex.js';
import type { MerkleKernels } from '../../merkle/kernels.js';
import { type OpenableTree, treeOver } from '../../merkle/opening.js';
import { buildTree, type LongBytes } from '../../merkle/tree.js';
import type { Bls, KeyPair } from '../bls.js';
import { DOMAIN } from '../domains.js';
import type { FastKernels, Program, Source } from '../trace/program.js';
import { type RunResult, runProgram } from '../trace/runProgram.js';
import { claimRoot } from '../types.js';
import { type committedResults, isNullUnit, type SubjectContext, subjectProgram } from './subject.js';
import { type SignedStatement, type TraceEnd, type TraceStatement, TraceStatementType } from './types.js';

/** What runs a subject's program: the bytes of its externals, and what hashes and multiplies. */
export interface TraceInputs {
  readonly externals: readonly LongBytes[];
  readonly merkle: MerkleKernels;
  readonly kernels?: FastKernels;
  /**
   * Outputs that were committed to before anybody asked, by operation: they stand in place of what the run gives. For an
   * honest accused both are the same; who lied stands by its lie, which is then inconsistent at that operation.
   */
  readonly committed?: ReadonlyMap<number, Uint8Array>;
}

/** The list of roots, 32 bytes each, and where it ends. */
export interface Trace {
  readonly list: Uint8Array;
  readonly end: TraceEnd;
}

function hashOf(merkle: MerkleKernels): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    const out = new Uint8Array(32);
    merkle.hash(bytes, out);
    return out;
  };
}

function run(
  program: Program,
  inputs: TraceInputs,
  onOutput?: (index: number, bytes: Uint8Array) => void,
  last?: number,
) {
  return runProgram(program, {
    externals: inputs.externals,
    hash: hashOf(inputs.merkle),
    ...(inputs.kernels === undefined ? {} : { kernels: inputs.kernels }),
    onOutput: (index, bytes) => {
      const committed = inputs.committed?.get(index);
      if (committed?.length === bytes.length) bytes.set(committed);
      onOutput?.(index, bytes);
    },
    ...(last === undefined ? {} : { last }),
  });
}

/** The trace of a run. */
export function traceOf(program: Program, { roots, end }: RunResult): Trace {
  const list = new Uint8Array(32 * roots.length);
  roots.forEach((root, i) => {
    list.set(root, 32 * i);
  });
  return { list, end: end ?? { operation: program.operations.length, element: program.statedBytes ?? 0 } };
}

/** Runs a subject's program. @throws PogoError SHAPE for externals of a wrong length */
export function makeTrace(context: SubjectContext, inputs: TraceInputs): Trace {
  const program = subjectProgram(context);
  return traceOf(program, run(program, inputs));
}

/** Runs the program again up to `operation` and keeps what `wanted` names, and `operation` itself where it is made. */
export function captureOutputs(
  program: Program,
  inputs: TraceInputs,
  operation: number,
  wanted: readonly Source[],
): ReadonlyMap<number, Uint8Array> {
  const indices = new Set(wanted.filter(({ kind }) => kind === 'operation').map(({ index }) => index));
  indices.add(operation);
  const kept = new Map<number, Uint8Array>();
  const keep = (index: number, bytes: Uint8Array): void => {
    if (indices.has(index)) kept.set(index, bytes);
  };
  run(program, inputs, keep, operation);
  return kept;
}

/** A tree over bytes. */
export function openable(merkle: MerkleKernels, bytes: LongBytes): OpenableTree {
  return treeOver(bytes, buildTree(merkle, bytes));
}

/** Signs the list of a trace. */
export function signTrace(bls: Bls, keys: KeyPair, context: SubjectContext, trace: Trace, merkle: MerkleKernels) {
  const statement: TraceStatement = {
    domain: DOMAIN.trace,
    chainId: context.claim.chainId,
    claimRoot: claimRoot(context.claim),
    accused: keys.publicKey,
    subject: context.subject,
    listRoot: hashOf(merkle)(trace.list),
    end: trace.end,
  };
  const signature = bls.sign(keys.secret, TraceStatementType.hashTreeRoot(statement));
  return { statement, signature } satisfies SignedStatement;
}

/**
 * Whether a list of roots is one that the accused may answer a challenge with: as long as the program says, under the
 * statement's root, its results those that the claim committed to. Whoever publishes another has not answered.
 *
 * @param results from {@link committedResults}
 * @throws PogoError MISMATCH naming what does not fit
 */
export function requireValidTrace(
  context: SubjectContext,
  { list, end }: Trace,
  results: ReturnType<typeof committedResults>,
): void {
  const program = subjectProgram(context);
  const complete = program.operations.length;
  if (list.length !== 32 * Math.min(end.operation, complete)) {
    throw new PogoError('MISMATCH', `trace: expected ${end.operation} roots, found ${list.length / 32}`);
  }
  if (end.operation !== complete || end.element !== (program.statedBytes ?? 0)) {
    const operation = program.operations[end.operation];
    if (!isNullUnit(context) || operation === undefined || !(end.element < operation.length)) {
      throw new PogoError('MISMATCH', `trace: expected ${complete} operations, found an end at ${end.operation}`);
    }
    return;
  }
  for (const { name, operation } of program.results) {
    if (!equalBytes(list.subarray(32 * operation, 32 * operation + 32), results[name]!)) {
      throw new PogoError('MISMATCH', `trace: expected the committed ${name} as a result, found another root`, {
        name,
      });
    }
  }
}

/** First operation in which two traces differ; undefined where they are equal. */
export function firstDifference(a: Trace, b: Trace): number | undefined {
  const length = Math.max(a.list.length, b.list.length) / 32;
  for (let i = 0; i < length; i += 1) {
    if (!equalBytes(a.list.subarray(32 * i, 32 * i + 32), b.list.subarray(32 * i, 32 * i + 32))) return i;
  }
  const sameEnd = a.end.operation === b.end.operation && a.end.element === b.end.element;
  return sameEnd ? undefined : Math.min(a.end.operation, b.end.operation);
}
