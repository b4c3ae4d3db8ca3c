/**
 * Receipts: what copying a verdict, guessing, and replaying only a part end in, each beside a weaker rule that lets it
 * through; and evidence against verifiers, which convicts lies and acquits the truth.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { equalBytes } from '../../src/hex.js';
import { createLayout } from '../../src/model/layout.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { samplesForDetection } from '../../src/protocol/detection.js';
import { drawUnits, signDraw } from '../../src/protocol/draws.js';
import { blobSource, buildUnitEvidence } from '../../src/protocol/evidence/build.js';
import { buildAttestationEvidence, buildHeldOutEvidence } from '../../src/protocol/evidence/buildVerifier.js';
import { checkEvidence, type Verdict } from '../../src/protocol/evidence.js';
import {
  drawRecheck,
  type ReceiptOpening,
  receiptCommitment,
  receiptDuty,
  unitReceiptPart,
  unitReceiptPlaces,
} from '../../src/protocol/receipt.js';
import { claimRoot } from '../../src/protocol/types.js';
import { honestTrace, lie, play } from '../support/disputes.js';
import {
  COMMITTEE,
  dutyOf,
  heldOutLosses,
  honestOpening,
  honestPart,
  receiptEvidence,
  receiptFor,
  voteFor,
} from '../support/receipts.js';
import { bls, referenceExecutor, SEED, type TrainedClaim, trainClaim } from '../support/trainedClaim.js';

const [alice, bob] = [0, 1].map((index) => bls.deriveKey(SEED, 'verifier', index));
const check = (file: Uint8Array): Promise<Verdict> => checkEvidence(file, { bls, executor: referenceExecutor });

let trained: TrainedClaim;
let openings: readonly [ReceiptOpening, ReceiptOpening];
beforeAll(async () => {
  // A claim of which each of four verifiers recomputes some units and not all.
  trained = trainClaim({}, { unitsPerStep: 4, detection: { fractionPpm: 250_000, targetPpm: 990_000 } });
  openings = [await honestOpening(trained, alice!), await honestOpening(trained, bob!)];
});

/** Indices of the parts that a third party finds false. */
async function falseParts(keys = alice!, opening: ReceiptOpening): Promise<number[]> {
  const found: number[] = [];
  for (let part = 0; part < opening.parts.length; part += 1) {
    if ((await check(receiptEvidence(trained, keys, opening, part))).verdict === 'guilty') found.push(part);
  }
  return found;
}

describe('what a receipt is', () => {
  it('has a part for each drawn unit and two for states; every part of an honest one holds', async () => {
    const [opening] = openings;
    const duty = dutyOf(trained, opening.drawSignature);
    expect(duty.units.length).toBe(samplesForDetection(8, 250_000, 990_000, COMMITTEE));
    expect(duty.parts).toBe(duty.units.length + 2);
    expect(duty.units).toEqual(drawUnits(opening.drawSignature, 2, 4, duty.units.length));
    expect(duty.units.some(({ stepIndex }) => stepIndex === duty.stateStep)).toBe(true);
    expect(await falseParts(alice!, opening)).toEqual([]);
  });

  it('looks at places that its draw signature chose, within the model', () => {
    for (const name of ['tiny', 'moby', 'gpt2-124m'] as const) {
      const recipe = loadRecipe(name);
      const layout = createLayout(recipe);
      const rows = recipe.sequencesPerUnit * recipe.context;
      const seen = new Set<string>();
      for (let i = 0; i < 40; i += 1) {
        const places = unitReceiptPlaces(new Uint8Array(96).fill(i), { stepIndex: 0, unit: 0 }, recipe, layout);
        expect(places.map((place) => place.kind)).toEqual(['linearResidual', 'normBackward', 'quantize4', 'quantize4']);
        expect(places[2]!.name).toBe('h0.qkv.weight.gradient');
        for (const place of places.slice(0, 2)) expect(place.row).toBeLessThan(rows);
        seen.add(JSON.stringify(places));
      }
      expect(seen.size).toBe(40);
    }
  });

  it('is the same whatever the number of steps looked at before, and never draws the first state where it can', () => {
    const { recipe } = trained;
    for (let i = 0; i < 50; i += 1) {
      const duty = receiptDuty(new Uint8Array(96).fill(i), recipe, 2, COMMITTEE);
      const later = duty.units.some(({ stepIndex }) => stepIndex > 0);
      expect(duty.stateStep).toBe(later ? 1 : 0);
    }
  });
});

describe('copying another verifier’s verdict', () => {
  it('a copied commitment does not open under another key, and copied parts are false parts', async () => {
    const [first] = openings;
    const own = signDraw(bls, bob!, receiptFor(trained, bob!, first).message.beacon2, claimRoot(trained.claim.header));
    expect(equalBytes(receiptCommitment(first), receiptCommitment({ ...first, drawSignature: own }))).toBe(false);
    const copied = { drawSignature: own, parts: first.parts };
    expect(await falseParts(bob!, copied)).toEqual(first.parts.map((_, part) => part));
  });

  it('weakened: parts that the draw signature does not key are as good for whoever copies them', async () => {
    const nobody = new Uint8Array(96);
    const drawn = dutyOf(trained, openings[0].drawSignature).units[0]!;
    const observed = new Uint8Array(512).fill(3);
    // The twin hashes what stands at fixed places under no key: both verifiers hand in the same bytes.
    expect(unitReceiptPart(nobody, drawn, observed)).toEqual(unitReceiptPart(nobody, drawn, observed));
    const [a, b] = openings.map(({ drawSignature }) => unitReceiptPart(drawSignature, drawn, observed));
    expect(equalBytes(a!, b!)).toBe(false);
  });
});

describe('guessing, and replaying only a part', () => {
  it('a part without its work is false, and the others hold', async () => {
    const [opening] = openings;
    for (const part of [0, opening.parts.length - 2, opening.parts.length - 1]) {
      const parts = opening.parts.map((value, i) => (i === part ? new Uint8Array(32).fill(1) : value));
      const guessed = { ...opening, parts };
      expect(await falseParts(alice!, guessed)).toEqual([part]);
    }
  });

  it('whoever computes on another state, or stops before the end, has other parts', async () => {
    const [opening] = openings;
    const duty = dutyOf(trained, opening.drawSignature);
    const last = duty.units.length + 1;
    const lazy: TrainedClaim = {
      ...trained,
      // It never applied the last step, and took the from state's vectors everywhere.
      steps: trained.steps.map((step) => ({
        ...step,
        before: trained.steps[0]!.before,
        after: trained.steps[1]!.before,
      })),
    };
    const parts: Uint8Array[] = [];
    for (let part = 0; part < duty.parts; part += 1) parts.push(await honestPart(lazy, opening.drawSignature, part));
    const found = await falseParts(alice!, { ...opening, parts });
    const later = duty.units.flatMap(({ stepIndex }, part) => (stepIndex > 0 ? [part] : []));
    expect(found).toEqual([...later, ...(duty.stateStep > 0 ? [last - 1] : []), last]);
  });

  it('fewer parts than were drawn convict by their number', async () => {
    const [opening] = openings;
    const short = { ...opening, parts: opening.parts.slice(1) };
    expect(await check(receiptEvidence(trained, alice!, short, 0))).toMatchObject({
      verdict: 'guilty',
      kind: 'receipt',
    });
  });

  it('every opened receipt is looked at once, by another; weakened: without rechecks nobody looks', () => {
    const root = claimRoot(trained.claim.header);
    const all = Array.from({ length: 7 }, (_, i) => {
      const keys = bls.deriveKey(SEED, 'verifier', i);
      return { verifier: keys.publicKey, drawSignature: signDraw(bls, keys, root, root) };
    });
    const looked = all.map(({ verifier }) => drawRecheck(root, all, verifier)!.verifier);
    expect(new Set(looked.map((key) => key.join())).size).toBe(7);
    for (const [i, key] of looked.entries()) expect(equalBytes(key, all[i]!.verifier)).toBe(false);
    expect(drawRecheck(root, all.slice(0, 1), all[0]!.verifier)).toBeUndefined();
    expect(drawRecheck(root, all.slice(1), all[0]!.verifier)).toBeUndefined();
  });
});

describe('evidence against verifiers', () => {
  it('attestation: a positive vote over a false unit convicts who was drawn for it, and nobody else', async () => {
    const wrong = trainClaim(
      {
        units: (units, step) =>
          step === 1 &&
          units.splice(
            1,
            1,
            units[1]!.map((byte, i) => (i === 9 ? byte ^ 1 : byte)),
          ),
      },
      { unitsPerStep: 4, detection: { fractionPpm: 250_000, targetPpm: 990_000 } },
    );
    const { claim, recipe, commitments } = wrong;
    const step = wrong.steps[1]!;
    const subject = { stepIndex: 1, unit: 1, preHeader: step.preHeader, theta: step.before.theta };
    const proof = buildUnitEvidence(
      { claim, recipe, commitments: [...commitments] },
      { ...subject, tokenFile: blobSource(wrong.tokenFile) },
      blobSource(step.units[1]!),
      0,
    );
    expect((await check(proof)).verdict).toBe('guilty');
    const verdicts = new Set<string>();
    for (let index = 0; index < 8; index += 1) {
      const keys = bls.deriveKey(SEED, 'verifier', index);
      const opening = { drawSignature: drawOf(wrong, keys), parts: [] };
      const drawn = dutyOf(wrong, opening.drawSignature).units.some((u) => u.stepIndex === 1 && u.unit === 1);
      const receipt = receiptFor(wrong, keys, opening);
      const accusation = { claim, recipe, receipt, drawSignature: opening.drawSignature };
      const file = buildAttestationEvidence(accusation, await voteFor(wrong, keys, [1, 2]), proof);
      const verdict = await check(file);
      expect(verdict.verdict).toBe(drawn ? 'guilty' : 'false-accusation');
      expect(verdict).toMatchObject({ kind: 'attestation', against: 'verifier' });
      expect(equalBytes(verdict.accused, keys.publicKey)).toBe(true);
      verdicts.add(verdict.verdict);
    }
    expect(verdicts.size).toBe(2);
  });

  it('attestation: a miner that signs a false trace of a true unit cannot accuse its verifiers with it', async () => {
    const honest = honestTrace(trained, 'unit');
    const operation = honest.program.operations.findIndex(({ name }) => name === 'h0.fc.product');
    // The miner sacrifices its bond: one root of its trace is false, everything that the claim commits to is true.
    const framing = play(honest, lie(honest, operation, 77, false)).evidence;
    expect(await check(framing)).toMatchObject({ verdict: 'guilty', against: 'miner', kind: 'element' });
    const { claim, recipe } = trained;
    for (let index = 0; index < 4; index += 1) {
      const keys = bls.deriveKey(SEED, 'verifier', index);
      const opening = { drawSignature: drawOf(trained, keys), parts: [] };
      const accusation = { claim, recipe, receipt: receiptFor(trained, keys, opening), ...opening };
      const file = buildAttestationEvidence(accusation, await voteFor(trained, keys, [1, 2]), framing);
      await expect(check(file)).rejects.toMatchObject({ code: 'MALFORMED' });
    }
  });

  it('held-out: a loss that the model does not have convicts; the true ones acquit', async () => {
    const [before, after] = await heldOutLosses(trained);
    const { claim, recipe } = trained;
    const fromHeader = trained.steps[0]!.preHeader;
    const vector = trained.steps[0]!.before.ema;
    const subjects = [
      { after: true, model: trained.model },
      { after: false, fromHeader, vector },
    ] as const;
    const tokenFile = blobSource(trained.tokenFile);
    for (const subject of subjects) {
      const truth = buildHeldOutEvidence(
        { claim, recipe },
        await voteFor(trained, alice!, [before, after]),
        subject,
        tokenFile,
      );
      expect(await check(truth)).toMatchObject({ verdict: 'false-accusation', kind: 'held-out', against: 'verifier' });
      const lie = await voteFor(trained, alice!, [before + 1, after - 1]);
      expect((await check(buildHeldOutEvidence({ claim, recipe }, lie, subject, tokenFile))).verdict).toBe('guilty');
    }
  });

  it('no flipped bit, no cut and no added byte convicts an honest verifier', async () => {
    const { claim, recipe } = trained;
    const tokenFile = blobSource(trained.tokenFile);
    const [opening] = openings;
    const files = [
      receiptEvidence(trained, alice!, opening, 0),
      receiptEvidence(trained, alice!, opening, opening.parts.length - 1),
      buildHeldOutEvidence(
        { claim, recipe },
        await voteFor(trained, alice!),
        { after: true, model: trained.model },
        tokenFile,
      ),
    ];
    for (const file of files) {
      expect(await outcome(file)).toBe('false-accusation');
      const stride = Math.max(1, Math.floor(file.length / 40));
      for (let i = 1; i < file.length; i += i < 1400 ? 61 : stride) {
        const flipped = file.slice();
        flipped[i]! ^= 1 << (i % 8);
        expect([i, await outcome(flipped)]).not.toEqual([i, 'guilty']);
      }
      expect(await outcome(file.subarray(0, file.length - 1))).toBe('MALFORMED');
      expect(await outcome(Uint8Array.of(...file.subarray(0, 1)))).toBe('MALFORMED');
    }
  });
});

function drawOf(
  claim: TrainedClaim,
  keys: { readonly secret: Uint8Array; readonly publicKey: Uint8Array },
): Uint8Array {
  const { message } = receiptFor(claim, keys, { drawSignature: new Uint8Array(96), parts: [] });
  return signDraw(bls, keys, message.beacon2, message.claimRoot);
}

async function outcome(file: Uint8Array): Promise<string> {
  try {
    return (await check(file)).verdict;
  } catch (error) {
    return error instanceof PogoError ? error.code : String(error);
  }
}
