/**
 * Receipts against their verifier's own traces: what a receipt hashes is what the trace of the unit has at its places, a
 * false part is convicted by a small proof without any vector, and a true one by none.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { equalBytes } from '../../../src/hex.js';
import { checkEvidence as checkInBrowser } from '../../../src/light.js';
import { loadRecipe } from '../../../src/model/recipe.js';
import { gatherSequences } from '../../../src/model/unit.js';
import { backwardPlaces, forwardPlaces, gradientPlaces, type UnitPlace } from '../../../src/model/unitPlaces.js';
import { createNobleBls } from '../../../src/protocol/blsNoble.js';
import { proveReceipt } from '../../../src/protocol/dispute/players.js';
import { proofSize } from '../../../src/protocol/dispute/proofSize.js';
import { receiptProgram } from '../../../src/protocol/dispute/subject.js';
import { MAX_ELEMENT_PROOF_BYTES, type ReceiptProof } from '../../../src/protocol/dispute/types.js';
import { drawBatch, signDraw, unitOffsets } from '../../../src/protocol/draws.js';
import { checkEvidence, encodeEvidence } from '../../../src/protocol/evidence.js';
import {
  type ReceiptOpening,
  receiptDuty,
  SignedReceiptType,
  unitReceiptPart,
  unitReceiptPlaces,
} from '../../../src/protocol/receipt.js';
import { CONSTRUCTORS, readerOver } from '../../../src/protocol/trace/arrays.js';
import { withReceipt } from '../../../src/protocol/trace/receiptProgram.js';
import { unitProgram } from '../../../src/protocol/trace/unitProgram.js';
import { claimRoot } from '../../../src/protocol/types.js';
import { adapterOver } from '../../support/adapters.js';
import { baseOf, type HonestTrace, honestAccused, honestTrace, lie, outputsOf } from '../../support/disputes.js';
import { gemmaChanges } from '../../support/optionRecipes.js';
import { BEACON_2, dutyOf, receiptFor } from '../../support/receipts.js';
import {
  bls,
  referenceExecutor,
  SEED,
  smallRecipe,
  type TrainedClaim,
  trainClaim,
} from '../../support/trainedClaim.js';

const alice = bls.deriveKey(SEED, 'verifier', 0);
/** Adapters over a model of the family gemma3. */
const LORA_GEMMA = gemmaChanges({ context: 64, layers: 1 });
const third = (file: Uint8Array) => checkEvidence(file, { bls });
const outcome = (file: Uint8Array): Promise<string> =>
  third(file).then(
    ({ verdict }) => verdict,
    (error: unknown) => (error instanceof PogoError ? error.code : Promise.reject(error)),
  );

/** First and last row of every place that a receipt may look at. */
function allPlaces({ recipe, plan }: TrainedClaim): UnitPlace[] {
  const ranges = [...forwardPlaces(recipe), ...backwardPlaces(recipe), ...gradientPlaces(plan.layout)];
  return ranges.flatMap(({ rows, ...range }) => [...new Set([0, rows - 1])].map((row) => ({ ...range, row })));
}

async function observedByBackend(trained: TrainedClaim, places: readonly UnitPlace[], stepIndex: number) {
  const { recipe, plan, draw1 } = trained;
  const offsets = unitOffsets(drawBatch(draw1, stepIndex, recipe), 0, recipe);
  const { observed } = await referenceExecutor.computeUnit({
    ...{ recipe, recipeRoot: plan.root, draw1, step: stepIndex, unit: 0 },
    theta: trained.steps[stepIndex]!.before.theta,
    tokens: gatherSequences(new Uint16Array(trained.tokenFile.buffer), offsets, recipe.context),
    places: [...places],
  });
  return observed!;
}

function observedInTrace({ program, outputs, trained }: HonestTrace, places: readonly UnitPlace[]): Uint8Array {
  const { layout } = trained.plan;
  const { rule, type, length } = withReceipt(program, places, (name) => layout.byName(name).size).operations.at(-1)!;
  const out = new CONSTRUCTORS[type](length);
  const bytes = (index: number, start: number, count: number) => outputs[index]!.slice(start, start + count);
  rule.compute(
    readerOver(rule.inputs, ({ index }, start, count) => bytes(index, start, count)),
    0,
    out,
  );
  return out as Uint8Array;
}

describe('what a receipt looks at', () => {
  it.each([
    ['gpt', {}],
    ['gpt, LayerNorm, biases', { norm: 'layer', bias: true, heads: 2 }],
    ['gemma3', gemmaChanges({ context: 128, layers: 1 })],
    [
      'adapters, gemma3',
      { ...LORA_GEMMA, adapter: adapterOver(smallRecipe(LORA_GEMMA).recipe, ['qkv', 'o', 'fc', 'proj']) },
    ],
    ['adapters', { adapter: adapterOver(smallRecipe().recipe, ['qkv', 'o', 'fc', 'proj']) }],
  ] as const)('%s: is in the trace, byte for byte, at every place', async (_name, changes) => {
    const trained = trainClaim({}, changes as Parameters<typeof trainClaim>[1]);
    const stepIndex = 'adapter' in changes ? 1 : 0;
    const honest = honestTrace(trained, 'unit', stepIndex);
    const places = allPlaces(trained);
    const expected = await observedByBackend(trained, places, stepIndex);
    let at = 0;
    for (const place of places) {
      const found = observedInTrace(honest, [place]);
      const bytes = expected.subarray(at, at + found.length);
      expect(equalBytes(found, bytes), `${place.name} ${place.row}`).toBe(true);
      at += found.length;
    }
    expect(at).toBe(expected.length);
  });
});

describe('a part of a receipt', () => {
  let honest: HonestTrace;
  let opening: ReceiptOpening;
  let part: number;

  beforeAll(async () => {
    const trained = trainClaim();
    const drawSignature = signDraw(bls, alice, BEACON_2, claimRoot(trained.claim.header));
    const duty = dutyOf(trained, drawSignature);
    part = 0;
    const drawn = duty.units[part]!;
    honest = honestTrace(trained, 'unit', drawn.stepIndex, drawn.unit);
    const places = unitReceiptPlaces(drawSignature, drawn, trained.recipe, trained.plan.layout);
    const observed = observedInTrace(honest, places);
    const parts = Array.from({ length: duty.parts }, (_, i) =>
      i === part ? unitReceiptPart(drawSignature, drawn, observed) : new Uint8Array(32).fill(i),
    );
    opening = { drawSignature, parts };
  });

  /** What a challenger makes of an opened receipt and the verifier's published trace. */
  function proofOf(opened: ReceiptOpening, accused = honestAccused(honest)): ReceiptProof {
    const base = baseOf(honest, { ...accused, keys: alice });
    const { trained, context, program, inputs } = honest;
    const receipt = receiptFor(trained, alice, opened);
    const disputed = { program, trace: accused.trace };
    const kept = outputsOf(honest);
    return proveReceipt(base, trained.recipe, context, disputed, inputs, { receipt, opening: opened }, kept);
  }
  const falsely = (): ReceiptOpening => ({ ...opening, parts: opening.parts.with(part, new Uint8Array(32).fill(9)) });

  it('that is guessed is convicted by kilobytes, in the browser too; one that was worked for is not', async () => {
    const file = encodeEvidence('receipt-trace', proofOf(falsely()));
    expect(file.length).toBeLessThan(MAX_ELEMENT_PROOF_BYTES);
    const verdict = await third(file);
    expect(verdict).toMatchObject({ verdict: 'guilty', kind: 'receipt-trace', against: 'verifier' });
    expect(equalBytes(verdict.accused, alice.publicKey)).toBe(true);
    expect((await checkInBrowser(file, { bls: createNobleBls() })).verdict).toBe('guilty');
    expect(await outcome(encodeEvidence('receipt-trace', proofOf(opening)))).toBe('false-accusation');
  });

  it('convicts nobody of another’s receipt, another’s trace, or parts over units that were not drawn', async () => {
    const proof = proofOf(falsely());
    const bob = bls.deriveKey(SEED, 'verifier', 1);
    const theirs = { ...proof, receipt: receiptFor(honest.trained, bob, falsely()) };
    expect(await outcome(encodeEvidence('receipt-trace', theirs))).toBe('MALFORMED');
    const blamed = { ...proof, proof: { ...proof.proof, head: { ...proof.proof.head, accused: bob.publicKey } } };
    expect(await outcome(encodeEvidence('receipt-trace', blamed))).toBe('MALFORMED');
    const short = { ...opening, parts: opening.parts.slice(1) };
    expect(await outcome(encodeEvidence('receipt-trace', proofOf(short)))).toBe('MALFORMED');
    expect(await outcome(encodeEvidence('element', proof.proof))).toBe('MALFORMED');
  });

  it('cannot be saved by a trace that fits it: that trace is false', async () => {
    const { program } = honest;
    const index = program.operations.findIndex(({ name }) => name === 'h0.out');
    const liar = lie(honest, index, 5, false);
    // The list names another root than the challenger's bytes have: nothing is shown, and the element is convicted.
    expect(await outcome(encodeEvidence('receipt-trace', proofOf(opening, liar)))).toMatch(
      /MALFORMED|false-accusation/,
    );
  });

  it('a changed bit never convicts', async () => {
    const files = [proofOf(opening), proofOf(falsely())].map((proof) => encodeEvidence('receipt-trace', proof));
    const change = fc.tuple(fc.nat(1), fc.nat(), fc.nat(7));
    await fc.assert(
      fc.asyncProperty(change, async ([file, at, bit]) => {
        const bytes = files[file]!.slice();
        bytes[at % bytes.length]! ^= 1 << bit;
        expect(['false-accusation', 'MALFORMED']).toContain(await outcome(bytes));
      }),
      { numRuns: 300 },
    );
  });
});

it.each(['moby', 'gpt2-124m', 'gemma3-27b', 'gpt3-175b'] as const)('%s: the proof is at most 64 KiB', (name) => {
  const recipe = { ...loadRecipe(name), layers: 2 };
  const subject = { kind: 1, stepIndex: 0, unit: 0 };
  const root = new Uint8Array(32);
  const unit = unitProgram(recipe, { recipeRoot: root, draw1: root, step: 0, unit: 0 });
  const { parts } = receiptDuty(new Uint8Array(96), recipe, recipe.stepsPerClaim, 1);
  const context = { recipe, subject } as unknown as Parameters<typeof receiptProgram>[0];
  let largest = 0;
  for (let i = 0; i < 8; i += 1) {
    const program = receiptProgram(context, unit, new Uint8Array(96).fill(i));
    const { bytes } = proofSize(recipe, program, unit.operations.length, 0, true);
    // Beside the proof: three offsets, a signed receipt, its draw signature, and as many parts as one verifier alone has.
    largest = Math.max(largest, bytes + 8 + SignedReceiptType.maxSize + 4 + 96 + 32 * parts);
  }
  expect(largest).toBeLessThanOrEqual(MAX_ELEMENT_PROOF_BYTES);
});
