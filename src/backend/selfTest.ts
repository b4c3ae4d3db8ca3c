/**
 * The known-answer test that every backend passes before it computes anything. Runs in a browser, too.
 */
import { PogoError } from '../errors.js';
import type { Kernels, OperationName } from './ops.js';
import { OPERATIONS } from './ops.js';
import { VECTOR_CASES, type VectorCase } from './vectorCases.js';
import { VECTOR_ANSWERS } from './vectorData.js';
import { digestOutput, runVector, vectorKey } from './vectorRun.js';

/** Outcome of one operation; `message` is empty, or says which case differs where. */
export interface SelfTestResult {
  readonly operation: OperationName;
  readonly cases: number;
  readonly ok: boolean;
  readonly message: string;
}

/** @returns what is wrong with this case, or undefined */
export function checkVector(kernels: Kernels, vector: VectorCase): string | undefined {
  const key = vectorKey(vector);
  const answer = VECTOR_ANSWERS[key];
  if (answer === undefined) return `${key}: no answer is stored; run node scripts/generate-vectors.mjs`;
  let result: ReturnType<typeof runVector>;
  try {
    result = runVector(kernels, vector);
  } catch (error) {
    return `${key}: the kernel failed: ${PogoError.from(error).message}`;
  }
  const expectedError = 'throws' in answer && typeof answer.throws === 'string' ? answer.throws : 'no error';
  const foundError = 'threw' in result ? result.threw : 'no error';
  if (expectedError !== foundError) return `${key}: expected ${expectedError}, found ${foundError}`;
  if ('threw' in result) return undefined;
  for (const [name, bytes] of result.outputs) {
    const [hash, head] = (answer as Record<string, readonly [string, string]>)[name] ?? ['none', 'none'];
    const [foundHash, foundHead] = digestOutput(bytes);
    if (hash !== foundHash) {
      return `${key}: ${name} expected ${hash} (begins ${head}), found ${foundHash} (begins ${foundHead})`;
    }
  }
  return undefined;
}

export interface SelfTestOptions {
  /** Only the cases for start-up; default all. */
  readonly quick?: boolean;
}

/** Checks kernels against the committed answers, operation by operation. */
export function selfTest(kernels: Kernels, options: SelfTestOptions = {}): SelfTestResult[] {
  return OPERATIONS.map((operation) => {
    const cases = VECTOR_CASES.filter((c) => c.operation === operation && (c.quick || options.quick !== true));
    const messages = cases.map((c) => checkVector(kernels, c)).filter((m) => m !== undefined);
    if (cases.length === 0) messages.push(`${operation}: no vector exists`);
    return { operation, cases: cases.length, ok: messages.length === 0, message: messages.join('; ') };
  });
}

/** @throws PogoError SELF_TEST naming every operation that differs */
export function assertSelfTest(kernels: Kernels, name: string, options: SelfTestOptions = {}): void {
  const failed = selfTest(kernels, options).filter((r) => !r.ok);
  if (failed.length === 0) return;
  throw new PogoError(
    'SELF_TEST',
    `${name}: expected the bits of the known-answer vectors, found others: ${failed.map((r) => r.message).join('; ')}; use another backend (POGO_BACKEND, POGO_ISA)`,
    { backend: name, operation: failed[0]!.operation },
  );
}
