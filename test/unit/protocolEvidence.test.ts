/**
 * Evidence against a real (tiny) trained claim: every kind convicts its lie, acquits the truth, and no changed byte
 * convicts anybody.
 */

import { beforeAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { equalBytes } from '../../src/hex.js';
import { LEAF_ELEMENTS } from '../../src/model/layout.js';
import type { Recipe } from '../../src/model/recipe.js';
import { signClaim } from '../../src/protocol/claim.js';
import {
  type Accusation,
  blobSource,
  buildBatchEvidence,
  buildCommitmentsEvidence,
  buildDiffEvidence,
  buildEquivocationEvidence,
  buildLeafEvidence,
  buildLossEvidence,
  buildQuantizationEvidence,
  buildStateRootEvidence,
  buildUnitEvidence,
  firstDifferentChunk,
  firstDifferentModelLeaf,
} from '../../src/protocol/evidence/build.js';
import { checkEvidence, type EvidenceKind, encodeEvidence, type Verdict } from '../../src/protocol/evidence.js';
import {
  createLeafCheck,
  decodeLeafCheck,
  LeafCheckType,
  vectorNames,
  verifyLeaf,
} from '../../src/protocol/leafCheck.js';
import { claimRoot, type StateHeader } from '../../src/protocol/types.js';
import { falseProof, fileOf, honestTrace } from '../support/disputes.js';
import { codeOf } from '../support/refusal.js';
import { bls, referenceExecutor, type Tampering, type TrainedClaim, trainClaim } from '../support/trainedClaim.js';

const LAST = 1;
const check = (file: Uint8Array): Promise<Verdict> => checkEvidence(file, { bls, executor: referenceExecutor });

const accusation = (trained: TrainedClaim): Accusation => ({
  claim: trained.claim,
  recipe: trained.recipe,
  commitments: [...trained.commitments],
});

function leafCheckOf(trained: TrainedClaim, leaf: number) {
  const step = trained.steps[LAST]!;
  const names = vectorNames(trained.recipe);
  return createLeafCheck(
    {
      commitments: accusation(trained).commitments,
      stepIndex: LAST,
      preHeader: step.preHeader,
      postHeader: step.postHeader,
      before: names.map((name) => blobSource(step.before[name])),
      after: names.map((name) => blobSource(step.after[name])),
      units: step.units.map((unit) => blobSource(unit)),
    },
    trained.plan.layout,
    leaf,
  );
}

function unitSubject(trained: TrainedClaim, unit: number) {
  const step = trained.steps[LAST]!;
  return {
    stepIndex: LAST,
    unit,
    preHeader: step.preHeader,
    theta: step.before.theta,
    tokenFile: blobSource(trained.tokenFile),
  };
}

/** Kinds that accuse a miner; those against verifiers are in `protocolReceipts.test.ts`. */
type MinerKind = Exclude<EvidenceKind, 'attestation' | 'receipt' | 'held-out' | 'receipt-trace'>;

/** One file of evidence of each kind against the last step of a claim. */
const FILES: Record<MinerKind, (trained: TrainedClaim, chunk?: number) => Uint8Array> = {
  leaf: (trained, leaf = 3) => buildLeafEvidence(trained, leafCheckOf(trained, leaf)),
  quantization: (trained, leaf = 3) =>
    buildQuantizationEvidence(
      trained,
      trained.steps[LAST]!.postHeader,
      blobSource(trained.steps[LAST]!.after.ema),
      blobSource(trained.model),
      leaf,
    ),
  unit: (trained, chunk = 0) =>
    buildUnitEvidence(accusation(trained), unitSubject(trained, 1), blobSource(trained.steps[LAST]!.units[1]!), chunk),
  loss: (trained) => buildLossEvidence(accusation(trained), unitSubject(trained, 1)),
  batch: (trained) => buildBatchEvidence(accusation(trained), LAST),
  'state-root': (trained) => {
    const { before, preHeader, units } = trained.steps[LAST]!;
    return buildStateRootEvidence(accusation(trained), { stepIndex: LAST, preHeader, ...before, units });
  },
  equivocation: (trained) => {
    const second = signClaim(bls, trained.miner, { ...trained.claim.header, diffRoot: new Uint8Array(32).fill(9) });
    return buildEquivocationEvidence(trained.claim, second, trained.recipe);
  },
  commitments: (trained) => buildCommitmentsEvidence(accusation(trained), trained.steps[0]!.preHeader),
  diff: (trained) => buildDiffEvidence(trained, undefined, trained.model),
  element: (trained) => encodeEvidence('element', falseProof(honestTrace(trained, 'unit', LAST, 1), 40, 7)),
  'witnessed-element': (trained) => {
    const trace = honestTrace(trainClaim({ parent: trained }), 'diff');
    return fileOf(trace, falseProof(trace, 4, 81));
  },
};

let honest: TrainedClaim;
beforeAll(() => {
  honest = trainClaim();
});

const onLast =
  <T>(change: (value: T) => unknown) =>
  (value: T, step: number): void => {
    if (step === LAST) change(value);
  };

const setUnit = (index: number, change: (unit: Uint8Array) => Uint8Array) =>
  onLast((units: Uint8Array[]) => units.splice(index, 1, change(units[index]!)));

describe('evidence of each kind convicts its lie and acquits the truth', () => {
  const lies: readonly (readonly [string, MinerKind, Tampering])[] = [
    ['one bit of θ', 'leaf', { state: onLast(({ theta }) => flip(theta, 3 * LEAF_ELEMENTS + 5)) }],
    ['one bit of m', 'leaf', { state: onLast(({ m }) => flip(m, 3 * LEAF_ELEMENTS)) }],
    ['one bit of v', 'leaf', { state: onLast(({ v }) => flip(v, 3 * LEAF_ELEMENTS + 255)) }],
    ['one bit of the EMA', 'leaf', { state: onLast(({ ema }) => flip(ema, 3 * LEAF_ELEMENTS + 9)) }],
    ['the token count', 'leaf', { header: (h, step) => (step === LAST ? { ...h, tokens: h.tokens + 1 } : h) }],
    ['a power of β', 'leaf', { header: (h, step) => (step === LAST ? { ...h, beta2Power: h.beta2Power - 1 } : h) }],
    ['nibble −8', 'leaf', { units: setUnit(0, (unit) => mapByte(unit, 3 * 128, () => 0x80)) }],
    ['one code of a unit', 'unit', { units: setUnit(1, (unit) => mapByte(unit, 10, (byte) => byte ^ 1)) }],
    ['a longer unit', 'unit', { units: setUnit(1, (unit) => resized(unit, 40)) }],
    ['a shorter unit', 'unit', { units: setUnit(1, (unit) => resized(unit, -1)) }],
    ['an empty unit', 'unit', { units: setUnit(1, () => new Uint8Array(0)) }],
    ['one bit of a loss', 'loss', { losses: onLast((losses) => losses.push(losses.pop()! ^ 1)) }],
    ['another batch', 'batch', { offsets: (o, step) => (step === LAST ? [o[0]! === 0 ? 1 : 0, ...o.slice(1)] : o) }],
    ['a batch in another order', 'batch', { offsets: (o, step) => (step === LAST ? [...o].reverse() : o) }],
    ['one bit of θ', 'state-root', { state: onLast(({ theta }) => flip(theta, 77)) }],
    ['a NaN scale in a unit', 'state-root', { units: setUnit(0, (unit) => unit.slice().fill(0x7f, unit.length - 2)) }],
    ['one code of the model', 'quantization', { model: (m) => mapByte(m, 3 * 256, (byte) => byte ^ 2) }],
    ['a diff of a first claim', 'diff', { diff: () => Uint8Array.of(1) }],
    ['a longer model', 'quantization', { model: (m) => resized(m, 1) }],
    ['a broken chain', 'commitments', { commitments: ([a, b]) => [a!, { ...b!, preStateRoot: a!.preStateRoot }] }],
    ['too few steps', 'commitments', { commitments: ([a]) => [a!] }],
    ['a skipped step number', 'commitments', { commitments: ([a, b]) => [a!, { ...b!, step: 2 }] }],
    ['a missing loss', 'commitments', { commitments: ([a, b]) => [a!, { ...b!, unitLosses: [0] }] }],
  ];

  it.each(lies)('%s: %s', async (_name, kind, tampering) => {
    const liar = trainClaim(tampering);
    expect(await check(FILES[kind](liar))).toMatchObject({ verdict: 'guilty', kind });
    if (kind !== 'commitments') {
      const truth = await check(FILES[kind](honest));
      expect(truth).toMatchObject({ verdict: 'false-accusation', kind });
      expect(equalBytes(truth.claimRoot, claimRoot(honest.claim.header))).toBe(true);
    }
  });

  it('equivocation: two claims convict, the same claim twice does not, nor another turn', async () => {
    expect((await check(FILES.equivocation(honest))).verdict).toBe('guilty');
    const twice = buildEquivocationEvidence(honest.claim, honest.claim, honest.recipe);
    expect((await check(twice)).verdict).toBe('false-accusation');
    const later = signClaim(bls, honest.miner, { ...honest.claim.header, attempt: 1 });
    const turns = buildEquivocationEvidence(honest.claim, later, honest.recipe);
    expect((await check(turns)).verdict).toBe('false-accusation');
  });

  it('diff: a child’s diff to its parent’s model', async () => {
    const parent = { header: honest.claim.header, model: honest.model };
    const child = trainClaim({ parent: honest });
    const liar = trainClaim({ parent: honest, diff: (diff) => mapByte(diff, diff.length - 1, (byte) => byte ^ 1) });
    const file = buildDiffEvidence(liar, parent, liar.model);
    expect((await check(file)).verdict).toBe('guilty');
    expect((await check(buildDiffEvidence(child, parent, child.model))).verdict).toBe('false-accusation');
    for (let i = 0; i < file.length; i += 997) {
      expect(await codeOf(check(mapByte(file, i, (byte) => byte ^ 4)))).not.toBe('no error');
    }
    const otherParent = { ...parent, header: { ...parent.header, attempt: 7 } };
    expect(await codeOf(check(buildDiffEvidence(liar, otherParent, liar.model)))).toBe('MALFORMED');
    expect(await codeOf(check(buildDiffEvidence(liar, undefined, liar.model)))).toBe('MALFORMED');
  });

  it('commitments of an honest claim', async () => {
    expect((await check(FILES.commitments(honest))).verdict).toBe('false-accusation');
  });

  it('finds where files differ', () => {
    const unit = honest.steps[0]!.units[0]!;
    expect(firstDifferentChunk(unit, unit)).toBeUndefined();
    expect(
      firstDifferentChunk(
        unit,
        mapByte(unit, 5000, (byte) => byte ^ 1),
      ),
    ).toBe(4);
    expect(firstDifferentModelLeaf(honest.recipe, honest.model, honest.model)).toBeUndefined();
    const end = mapByte(honest.model, honest.model.length - 1, (byte) => byte ^ 1);
    expect(firstDifferentModelLeaf(honest.recipe, honest.model, end)).toBe(honest.plan.layout.length / 256 - 1);
  });
});

describe('evidence fails closed', () => {
  const kinds = Object.keys(FILES) as MinerKind[];

  it.each(kinds)('%s: no flipped bit, no cut and no added byte convicts', async (kind) => {
    const file = FILES[kind](honest);
    const guilty = kind === 'equivocation';
    // Dense in the head, then a stride that meets every container and plane.
    const stride = Math.max(1, Math.floor(file.length / 60));
    for (let i = 0; i < file.length; i += i < 700 ? 37 : stride) {
      const flipped = mapByte(file, i, (byte) => byte ^ (1 << (i % 8)));
      const result = await outcome(flipped);
      expect([i, result]).not.toEqual([i, 'guilty']);
    }
    expect(await outcome(file)).toBe(guilty ? 'guilty' : 'false-accusation');
    expect(await outcome(file.subarray(0, file.length - 1))).toBe('MALFORMED');
    expect(await outcome(resized(file, 1))).toBe('MALFORMED');
    expect(await outcome(new Uint8Array(0))).toBe('MALFORMED');
    expect(await outcome(file.subarray(0, 1))).toBe('MALFORMED');
  });

  it('convicts nobody of evidence whose claim somebody else signed', async () => {
    const other = bls.deriveKey(new Uint8Array(32).fill(8), 'miner', 0);
    const header = { ...honest.claim.header, miner: other.publicKey };
    const stolen = { header, signature: honest.claim.signature };
    expect(await codeOf(check(buildBatchEvidence({ ...accusation(honest), claim: stolen }, LAST)))).toBe('MALFORMED');
  });

  it('names the backend that is missing instead of guessing', async () => {
    expect(await codeOf(checkEvidence(FILES.unit(honest), { bls }))).toBe('ENVIRONMENT');
  });

  async function outcome(file: Uint8Array): Promise<string> {
    try {
      return (await check(file)).verdict;
    } catch (error) {
      return error instanceof PogoError ? error.code : String(error);
    }
  }
});

describe('the leaf check', () => {
  it('passes every leaf of an honest step within 80 KiB, through its encoding', () => {
    for (let leaf = 0; leaf < honest.plan.layout.length / LEAF_ELEMENTS; leaf += 11) {
      const bytes = LeafCheckType.serialize(leafCheckOf(honest, leaf));
      expect(bytes.length).toBeLessThan(80 * 1024);
      const result = verifyLeaf(honest.claim.header.listRoot, honest.recipe, decodeLeafCheck(bytes));
      expect(result).toEqual({ holds: true, step: LAST, leaf });
    }
  });

  it('refuses a leaf that is shown at another place', () => {
    const moved = { ...leafCheckOf(honest, 3), leaf: 4 };
    expect(() => verifyLeaf(honest.claim.header.listRoot, honest.recipe, moved)).toThrow(/does not|do not lead/);
  });

  const one = new Uint8Array(32).fill(1);
  const scalars: readonly (readonly [string, (header: StateHeader) => StateHeader, Partial<Recipe>])[] = [
    ['state version', (header) => ({ ...header, version: header.version + 1 }), {}],
    ['recipe root', (header) => ({ ...header, recipeRoot: one }), {}],
    ['step', (header) => ({ ...header, step: header.step + 1 }), {}],
    ['tokens', (header) => ({ ...header, tokens: header.tokens - 1 }), {}],
    ['beta1Power', (header) => ({ ...header, beta1Power: header.beta1Power ^ 1 }), {}],
    ['zero EMA root', (header) => ({ ...header, emaRoot: one }), { ema: false }],
  ];
  it.each(scalars)('names a false %s of the state after', (name, change, recipe) => {
    const liar = trainClaim({ header: (header, step) => (step === LAST ? change(header) : header) }, recipe);
    const result = verifyLeaf(liar.claim.header.listRoot, liar.recipe, leafCheckOf(liar, 3));
    expect(result).toMatchObject({ holds: false, fault: expect.stringContaining(name) });
  });

  it('finds a scale in the padding behind a tensor, which moves nothing', () => {
    const { layout } = honest.plan;
    const tensor = layout.tensors.find(({ size }) => size % LEAF_ELEMENTS !== 0)!;
    const padding = tensor.offset + tensor.size;
    const scale = layout.length / 2 + (2 * padding) / 64;
    const liar = trainClaim({ units: setUnit(0, (unit) => mapByte(unit, scale + 1, () => 0x3f)) });
    expect(liar.steps[LAST]!.after.theta).toEqual(honest.steps[LAST]!.after.theta);
    const check = leafCheckOf(liar, Math.floor(padding / LEAF_ELEMENTS));
    expect(verifyLeaf(liar.claim.header.listRoot, liar.recipe, check)).toMatchObject({
      holds: false,
      fault: 'expected canonical codes in unit 0, found others',
    });
  });
});

function flip(values: Float32Array, index: number): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  bits[index]! ^= 1;
}

function mapByte(bytes: Uint8Array, index: number, change: (byte: number) => number): Uint8Array {
  const copy = bytes.slice();
  copy[index] = change(copy[index]!);
  return copy;
}

function resized(bytes: Uint8Array, by: number): Uint8Array {
  const out = new Uint8Array(bytes.length + by);
  out.set(bytes.subarray(0, out.length));
  return out;
}
