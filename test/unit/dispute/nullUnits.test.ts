/**
 * Traces that end early: a unit that would hold an Inf or NaN is the null unit, and where its trace ends is committed. Two
 * lies are possible, and both are convicted: going on behind an Inf or NaN, and stopping without one.
 */
import { describe, expect, it } from 'vitest';
import { portableHash } from '../../../src/merkle/portable.js';
import { planChallenge } from '../../../src/protocol/dispute/players.js';
import { committedResults, isNullUnit } from '../../../src/protocol/dispute/subject.js';
import { requireValidTrace, traceOf } from '../../../src/protocol/dispute/trace.js';
import { checkEvidence, encodeEvidence } from '../../../src/protocol/evidence.js';
import { runProgram } from '../../../src/protocol/trace/runProgram.js';
import { stateRoot } from '../../../src/protocol/types.js';
import { commitTo, falseProof, type HonestTrace, honestAccused, honestTrace, play } from '../../support/disputes.js';
import { bls, type TrainedClaim, trainClaim } from '../../support/trainedClaim.js';

/** A claim whose first step starts from a θ that overflows in the first norm of the last layer. */
function overflowing(): TrainedClaim {
  const trained = trainClaim();
  const theta = trained.steps[0]!.before.theta.slice();
  const { offset, size } = trained.plan.layout.byName('norm.gain');
  new Float32Array(theta.buffer).fill(3e38, offset, offset + size);
  const preHeader = { ...trained.steps[0]!.preHeader, thetaRoot: portableHash(theta) };
  const first = { ...trained.steps[0]!, preHeader, before: { ...trained.steps[0]!.before, theta } };
  const commitments = [{ ...trained.commitments[0]!, preStateRoot: stateRoot(preHeader) }, trained.commitments[1]!];
  return { ...trained, steps: [first, trained.steps[1]!], commitments };
}

const verdictOf = async (evidence: Uint8Array): Promise<string> => (await checkEvidence(evidence, { bls })).verdict;

describe('a trace that ends early', () => {
  it('is that of the null unit, and an honest one is not convicted', async () => {
    const honest = honestTrace(overflowing(), 'unit');
    expect(honest.trace.end.operation).toBeLessThan(honest.program.operations.length);
    const accused = commitTo(honest, honest.trace);
    expect(isNullUnit(accused.context)).toBe(true);
    requireValidTrace(accused.context, accused.trace, committedResults(accused.context, undefined));
    expect(planChallenge(honest.trace, accused.trace)).toEqual({ kind: 'nothing' });
    const { operation, element } = honest.trace.end;
    const own = { ...honest, trained: { ...honest.trained, claim: accused.claim, commitments: accused.commitments } };
    const named: HonestTrace = { ...own, context: accused.context };
    expect(await verdictOf(encodeEvidence('element', falseProof(named, operation, element)))).toBe('false-accusation');
    expect(await verdictOf(encodeEvidence('element', falseProof(named, operation - 1, 0)))).toBe('false-accusation');
  });

  it('convicts who goes on behind an Inf or NaN', async () => {
    const honest = honestTrace(overflowing(), 'unit');
    // The liar computes on with a gain of one, and states all its roots under the θ of the claim.
    const trained = trainClaim();
    const sane = runProgram(honest.program, {
      externals: [trained.steps[0]!.before.theta.slice(), trained.tokenFile.slice()],
      hash: portableHash,
    });
    const trace = traceOf(honest.program, sane);
    const end = honest.trace.end.operation;
    expect(trace.list.subarray(0, 32 * end)).toEqual(honest.trace.list);
    const complete = honestTrace(trained, 'unit');
    const liar = {
      ...commitTo({ ...honest, outputs: complete.outputs }, trace),
      operation: end,
      output: new Uint8Array(0),
    };
    const { evidence, moves } = play(honest, liar);
    expect(moves).toBe(1);
    const verdict = await checkEvidence(evidence, { bls });
    expect(verdict.verdict).toBe('guilty');
    expect(verdict.reason).toMatch(/Inf or NaN at element/);
  });

  it('convicts who stops without one', async () => {
    const honest = honestTrace(trainClaim(), 'unit');
    const operation = honest.program.operations.findIndex(({ name }) => name === 'norm.codes');
    const trace = { list: honest.trace.list.slice(0, 32 * operation), end: { operation, element: 0 } };
    const liar = { ...commitTo(honest, trace), operation, output: new Uint8Array(0) };
    requireValidTrace(liar.context, trace, committedResults(liar.context, undefined));
    const { evidence, moves } = play(honest, liar);
    expect(moves).toBe(1);
    const verdict = await checkEvidence(evidence, { bls });
    expect(verdict.verdict).toBe('guilty');
    expect(verdict.reason).toMatch(/found none/);
  });

  it('is no answer for a unit that is not null', () => {
    const honest = honestTrace(trainClaim(), 'unit');
    const accused = honestAccused(honest);
    const trace = { list: honest.trace.list.slice(0, 64), end: { operation: 2, element: 0 } };
    expect(() => requireValidTrace(accused.context, trace, committedResults(accused.context, undefined))).toThrow(
      /expected \d+ operations/,
    );
  });
});
