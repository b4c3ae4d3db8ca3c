/**
 * Receipts over states against their verifier's own traces: the program gives the part that a receipt holds, a lie in any
 * of its operations is convicted by a small proof, a false part by the trace itself, and who did the work by nothing.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { equalBytes } from '../../../src/hex.js';
import { checkEvidence as checkInBrowser } from '../../../src/light.js';
import { contextKey, derivedChunkInto, derivedParentInto } from '../../../src/merkle/compress.js';
import { loadRecipe } from '../../../src/model/recipe.js';
import { createNobleBls } from '../../../src/protocol/blsNoble.js';
import { movesLeft } from '../../../src/protocol/dispute/narrowing.js';
import { disputedOutput, proveReceipt } from '../../../src/protocol/dispute/players.js';
import { proofSize } from '../../../src/protocol/dispute/proofSize.js';
import { receiptProgram, receiptSubject } from '../../../src/protocol/dispute/subject.js';
import { MAX_ELEMENT_PROOF_BYTES, type ReceiptProof } from '../../../src/protocol/dispute/types.js';
import { CONTEXT, deriveHash } from '../../../src/protocol/domains.js';
import { signDraw } from '../../../src/protocol/draws.js';
import { checkEvidence, encodeEvidence } from '../../../src/protocol/evidence.js';
import { type ReceiptOpening, receiptDuty, SignedReceiptType } from '../../../src/protocol/receipt.js';
import { stateReceiptProgram } from '../../../src/protocol/trace/stateReceiptProgram.js';
import { claimRoot } from '../../../src/protocol/types.js';
import {
  baseOf,
  falseProof,
  type HonestTrace,
  honestAccused,
  honestTrace,
  lie,
  outputsOf,
  placesOf,
  play,
} from '../../support/disputes.js';
import { BEACON_2, dutyOf, honestPart, receiptFor } from '../../support/receipts.js';
import { bls, SEED, type TrainedClaim, trainClaim } from '../../support/trainedClaim.js';

const alice = bls.deriveKey(SEED, 'verifier', 0);
const third = (file: Uint8Array) => checkEvidence(file, { bls });
const outcome = (file: Uint8Array): Promise<string> =>
  third(file).then(
    ({ verdict }) => verdict,
    (error: unknown) => (error instanceof PogoError ? error.code : Promise.reject(error)),
  );

/** Both states that a receipt is about: the drawn one, the last one. */
function tracesOf(trained: TrainedClaim, beacon2: Uint8Array = BEACON_2) {
  const drawSignature = signDraw(bls, alice, beacon2, claimRoot(trained.claim.header));
  const duty = dutyOf(trained, drawSignature);
  const steps = trained.steps.length;
  const traces = [duty.stateStep, steps].map((stepsDone, i) => {
    const { stepIndex, unit } = receiptSubject(stepsDone, steps);
    const honest = honestTrace(trained, 'receipt', stepIndex, unit, drawSignature);
    return { honest, part: duty.units.length + i };
  });
  return { drawSignature, duty, traces };
}

describe('derive-key mode by nodes', () => {
  it('is BLAKE3 over any number of bytes', () => {
    const key = contextKey(new TextEncoder().encode(CONTEXT.receiptState));
    const hash = (bytes: Uint8Array, counter: number, isRoot: boolean): Uint8Array => {
      const out = new Uint8Array(32);
      if (bytes.length <= 1024) {
        derivedChunkInto(key, bytes, counter, isRoot, out);
        return out;
      }
      let left = 1024;
      while (2 * left < bytes.length) left *= 2;
      const pair = new Uint8Array(64);
      pair.set(hash(bytes.subarray(0, left), counter, false));
      pair.set(hash(bytes.subarray(left), counter + left / 1024, false), 32);
      derivedParentInto(key, pair, 0, isRoot, out, 0);
      return out;
    };
    for (const length of [0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 5000, 33 * 1024 + 7]) {
      const bytes = Uint8Array.from({ length }, (_, i) => i % 251);
      expect(equalBytes(hash(bytes, 0, true), deriveHash(CONTEXT.receiptState, bytes)), `${length}`).toBe(true);
    }
  });
});

describe('a part over a state', () => {
  it.each([
    ['gpt', {}],
    ['gpt, wider', { width: 128, heads: 2 }],
    ['gpt, two layers, biases', { norm: 'layer', bias: true, layers: 2 }],
  ] as const)('%s: is what its program ends in', async (_name, changes) => {
    const trained = trainClaim({}, changes as Parameters<typeof trainClaim>[1]);
    const { drawSignature, traces } = tracesOf(trained);
    for (const { honest, part } of traces) {
      expect(honest.program.operations.at(-1)!.name).toBe('part');
      const expected = await honestPart(trained, drawSignature, part);
      expect(equalBytes(honest.outputs.at(-1)!, expected)).toBe(true);
    }
  });

  describe('of a small claim', () => {
    let trained: TrainedClaim;
    let made: ReturnType<typeof tracesOf>;
    let opening: ReceiptOpening;

    beforeAll(() => {
      trained = trainClaim();
      made = tracesOf(trained);
      const parts = Array.from({ length: made.duty.parts }, (_, i) => new Uint8Array(32).fill(i));
      const { traces } = made;
      for (const { honest, part } of traces) parts[part] = Uint8Array.from(honest.outputs.at(-1)!);
      opening = { drawSignature: made.drawSignature, parts };
    });

    const falsely = (part: number): ReceiptOpening => ({
      ...opening,
      parts: opening.parts.with(
        part,
        opening.parts[part]!.map((byte, i) => (i === 31 ? byte ^ 1 : byte)),
      ),
    });

    function proofOf(honest: HonestTrace, opened: ReceiptOpening, accused = honestAccused(honest)): ReceiptProof {
      const base = baseOf(honest, { ...accused, keys: alice });
      const { context, program, inputs } = honest;
      const receipt = receiptFor(trained, alice, opened);
      const disputed = { program, trace: accused.trace };
      const kept = outputsOf(honest);
      return proveReceipt(base, trained.recipe, context, disputed, inputs, { receipt, opening: opened }, kept);
    }

    it('that is false in one bit is convicted by kilobytes, in the browser too; one that was worked for is not', async () => {
      for (const { honest, part } of made.traces) {
        const file = encodeEvidence('receipt-trace', proofOf(honest, falsely(part)));
        expect(file.length).toBeLessThan(MAX_ELEMENT_PROOF_BYTES);
        const verdict = await third(file);
        expect(verdict).toMatchObject({ verdict: 'guilty', kind: 'receipt-trace', against: 'verifier' });
        expect(equalBytes(verdict.accused, alice.publicKey)).toBe(true);
        expect((await checkInBrowser(file, { bls: createNobleBls() })).verdict).toBe('guilty');
        expect(await outcome(encodeEvidence('receipt-trace', proofOf(honest, opening)))).toBe('false-accusation');
      }
    });

    it('cannot be saved by a trace that fits it: a lie in any operation, at any place, is one false element', async () => {
      const { honest } = made.traces[1]!;
      const { operations } = honest.program;
      for (let operation = 1; operation < operations.length; operation += 1) {
        for (const element of placesOf(honest.program, operation)) {
          const liar = { ...lie(honest, operation, element, true), keys: alice };
          const { evidence, moves } = play(honest, liar);
          expect(moves).toBeLessThanOrEqual(4);
          expect(evidence.length).toBeLessThan(MAX_ELEMENT_PROOF_BYTES);
          const name = `${operations[operation]!.name} ${element}`;
          expect(await outcome(evidence), name).toBe('guilty');
          expect((await checkInBrowser(evidence, { bls: createNobleBls() })).verdict, name).toBe('guilty');
        }
      }
    });

    it('convicts no honest verifier, whatever element is named, draw signature included', async () => {
      const { honest } = made.traces[0]!;
      for (let operation = 0; operation < honest.program.operations.length; operation += 1) {
        for (const element of placesOf(honest.program, operation)) {
          const file = encodeEvidence('element', falseProof(honest, operation, element));
          expect(await outcome(file)).toBe(operation === 0 ? 'MALFORMED' : 'false-accusation');
        }
      }
    });

    it('convicts nobody of another round’s trace, another’s receipt, or a state that was not drawn', async () => {
      const again = tracesOf(trained, new Uint8Array(32).fill(0xb3)).traces[1]!.honest;
      const { part } = made.traces[1]!;
      const crossed = encodeEvidence('receipt-trace', proofOf(again, falsely(part)));
      expect(await outcome(crossed)).toBe('MALFORMED');
      expect(await outcome(encodeEvidence('receipt-trace', proofOf(again, opening)))).toBe('MALFORMED');
      const proof = proofOf(made.traces[1]!.honest, falsely(part));
      const bob = bls.deriveKey(SEED, 'verifier', 1);
      const theirs = { ...proof, receipt: receiptFor(trained, bob, falsely(part)) };
      expect(await outcome(encodeEvidence('receipt-trace', theirs))).toBe('MALFORMED');
      const short = { ...opening, parts: opening.parts.slice(1) };
      expect(await outcome(encodeEvidence('receipt-trace', proofOf(made.traces[1]!.honest, short)))).toBe('MALFORMED');
      const other = trained.steps.findIndex((_, i) => i !== made.duty.stateStep);
      const undrawn = honestTrace(trained, 'receipt', other, 0, made.drawSignature);
      expect(await outcome(encodeEvidence('receipt-trace', proofOf(undrawn, falsely(part))))).toBe('MALFORMED');
    });

    it('a changed bit never convicts', async () => {
      const { honest, part } = made.traces[1]!;
      const files = [opening, falsely(part)].map((opened) => encodeEvidence('receipt-trace', proofOf(honest, opened)));
      const change = fc.tuple(fc.nat(1), fc.nat(), fc.nat(7));
      await fc.assert(
        fc.asyncProperty(change, async ([file, at, bit]) => {
          const bytes = files[file]!.slice();
          bytes[at % bytes.length]! ^= 1 << bit;
          expect(['false-accusation', 'MALFORMED']).toContain(await outcome(bytes));
        }),
        { numRuns: 200 },
      );
    });
  });
});

it.each(['moby', 'gpt2-124m', 'gemma3-27b', 'gpt3-175b'] as const)(
  '%s: every proof over a state is at most 64 KiB, after at most four moves',
  (name) => {
    const recipe = loadRecipe(name);
    const draw = (): Uint8Array => new Uint8Array(96);
    const program = stateReceiptProgram(recipe, 1, draw);
    const { parts } = receiptDuty(draw(), recipe, recipe.stepsPerClaim, 1);
    const list = new Uint8Array(32 * program.operations.length);
    program.operations.forEach((_operation, index) => {
      if (index === 0) return;
      for (const element of placesOf(program, index)) {
        expect(proofSize(recipe, program, index, element, true).bytes).toBeLessThanOrEqual(MAX_ELEMENT_PROOF_BYTES);
      }
      const trace = { list, end: { operation: program.operations.length, element: 0 } };
      expect(1 + movesLeft(disputedOutput({ program, trace }, index))).toBeLessThanOrEqual(4);
    });
    const context = { recipe, subject: receiptSubject(1, 2) } as unknown as Parameters<typeof receiptProgram>[0];
    const last = receiptProgram(context, program, draw());
    const { bytes } = proofSize(recipe, last, program.operations.length, 0, true);
    // Beside the proof: three offsets, a signed receipt, its draw signature, and as many parts as one verifier alone has.
    const beside = 8 + SignedReceiptType.maxSize + 4 + 96 + 32 * parts;
    expect(bytes + beside).toBeLessThanOrEqual(MAX_ELEMENT_PROOF_BYTES);
  },
);
