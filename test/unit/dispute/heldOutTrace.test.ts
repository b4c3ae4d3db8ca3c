/**
 * Held-out losses as disputed computations: the program gives the executor's loss bit for bit in every family, and a proof
 * convicts only under the vote that it is about.
 */
import { describe, expect, it } from 'vitest';
import { referenceKernels } from '../../../src/backend/reference.js';
import { PogoError } from '../../../src/errors.js';
import { ADAPTER_TARGETS, loadRecipe, type Recipe } from '../../../src/model/recipe.js';
import { gatherSequences } from '../../../src/model/unit.js';
import { signAttestation } from '../../../src/protocol/attestation.js';
import { HeldOutWitnessType, heldOutBonds, heldOutSequences } from '../../../src/protocol/dispute/heldOut.js';
import { hasProgram, subjectProgram } from '../../../src/protocol/dispute/subject.js';
import { SUBJECT_KIND } from '../../../src/protocol/dispute/types.js';
import { drawHeldOut } from '../../../src/protocol/draws.js';
import { checkEvidence, encodeEvidence } from '../../../src/protocol/evidence.js';
import { evaluationOperations, evaluationProgram } from '../../../src/protocol/trace/evaluationProgram.js';
import { outputBytes, type Program, type Reader } from '../../../src/protocol/trace/program.js';
import { lossSumRule, unitLossRule } from '../../../src/protocol/trace/rulesHead.js';
import { SEGMENT } from '../../../src/protocol/trace/rulesLinear.js';
import { unitProgram } from '../../../src/protocol/trace/unitProgram.js';
import { type AttestationData, claimRoot, decodeStrict } from '../../../src/protocol/types.js';
import { adapterOver } from '../../support/adapters.js';
import { falseProof, type HonestTrace, honestTrace, lie, play, witnessOf } from '../../support/disputes.js';
import { gemmaChanges } from '../../support/optionRecipes.js';
import { seededBytes } from '../../support/random.js';
import { bls, referenceExecutor, SEED, smallRecipe, trainClaim } from '../../support/trainedClaim.js';

/** Sequences of the held-out part; six are three groups of two. */
function heldOutOf(sequences: number, changes: Partial<Recipe> = {}): Partial<Recipe> {
  const { data, context } = smallRecipe(changes).recipe;
  return { ...changes, data: { ...data, heldOutTokens: context + sequences } };
}

const LORA_GEMMA = gemmaChanges({ context: 64, layers: 1 });
const FAMILIES: Readonly<Record<string, Partial<Recipe>>> = {
  'gpt, three groups of two': heldOutOf(6, { sequencesPerUnit: 2, layers: 2 }),
  'gpt, LayerNorm, biases, two key blocks': heldOutOf(2, { norm: 'layer', bias: true, context: 128, heads: 2 }),
  gemma3: heldOutOf(2, gemmaChanges({ context: 128, layers: 2 })),
  adapters: heldOutOf(2, { adapter: adapterOver(smallRecipe().recipe, ADAPTER_TARGETS) }),
  'adapters, gemma3': heldOutOf(2, {
    ...LORA_GEMMA,
    adapter: adapterOver(smallRecipe(LORA_GEMMA).recipe, ADAPTER_TARGETS),
  }),
};

async function expectedLoss({ trained, context, inputs }: HonestTrace, packs: boolean): Promise<number> {
  const { recipe, claim, tokenFile } = trained;
  const [given] = inputs.externals as readonly [Uint8Array];
  const offsets = drawHeldOut(context.beacon2!, claimRoot(claim.header), recipe);
  const tokens = gatherSequences(new Uint16Array(tokenFile.buffer), offsets, recipe.context);
  const model = packs ? await referenceExecutor.packModel({ recipe, vector: given }) : given;
  return referenceExecutor.modelLoss({ recipe, model, tokens });
}

describe('the program of a held-out loss', () => {
  it.each(Object.entries(FAMILIES))(
    '%s: the executor’s loss, of the claim’s model and of the one before',
    async (_name, changes) => {
      const trained = trainClaim({}, changes);
      const after = honestTrace(trained, 'heldOut', 1);
      expect(after.context.subject.unit).toBe(await expectedLoss(after, false));
      const before = honestTrace(trained, 'heldOut', 0);
      expect(before.context.subject.unit).toBe(await expectedLoss(before, true));
      const { recipe } = trained;
      const { length } = before.program.operations;
      expect(evaluationOperations(recipe, heldOutSequences(recipe))).toBe(length);
    },
  );

  it('of a claim with a parent is that of the parent’s model', async () => {
    const changes = heldOutOf(2);
    const honest = honestTrace(trainClaim({ parent: trainClaim({}, changes) }, changes), 'heldOut', 0);
    expect(honest.context.subject.unit).toBe(await expectedLoss(honest, false));
  });

  it('sums losses of several segments and groups as the kernel sums them all', () => {
    const T = SEGMENT + 192;
    const losses = Float32Array.from(seededBytes(2 * T, 3), (byte) => Math.fround(byte / 37));
    const source = { kind: 'external', index: 0, offset: 0 } as const;
    const out = new Float32Array(2);
    let before: Float32Array | undefined;
    for (const group of [losses.subarray(0, T), losses.subarray(T)]) {
      const rule = lossSumRule(source, source, T, SEGMENT, before === undefined ? undefined : source);
      const inputs = [group, out, ...(before === undefined ? [] : [before])];
      const f32 = (input: number, start: number, count: number) => inputs[input]!.subarray(start, start + count);
      for (const start of [0, 1]) rule.compute({ f32 } as unknown as Reader, start, out.subarray(start, start + 1));
      before = out.slice(1);
    }
    const mean = new Float32Array(1);
    unitLossRule(source, 2 * T).compute({ f32: () => before } as unknown as Reader, 0, mean);
    const expected = new Float32Array(1);
    referenceKernels.unitLoss({ loss: losses, out: expected, U: 2 * T });
    expect(mean).toEqual(expected);
  });

  it('costs less than the trace of a unit for every bond of a challenge, in every recipe', () => {
    const root = new Uint8Array(32);
    const bytesOf = ({ operations }: Program): number => operations.reduce((sum, made) => sum + outputBytes(made), 0);
    for (const name of [
      'tiny',
      'gemma-tiny',
      'moby',
      'sotu-lora',
      'gpt-5m',
      'gpt-19m',
      'gpt2-124m',
      'gemma3-1b',
    ] as const) {
      const recipe = loadRecipe(name);
      const unit = unitProgram(recipe, { recipeRoot: root, draw1: root, step: 0, unit: 0 });
      const subject = { sequences: heldOutSequences(recipe), offsets: () => [], packs: true };
      const bound = Number(heldOutBonds(recipe)) * bytesOf(unit);
      expect(bytesOf(evaluationProgram(recipe, subject)), name).toBeLessThan(bound);
    }
  });

  it('is no subject where its list of roots would be too long', () => {
    const kind = SUBJECT_KIND.heldOut;
    for (const name of ['tiny', 'moby', 'gpt2-124m'] as const)
      expect(hasProgram(loadRecipe(name), { kind })).toBe(true);
    const recipe = { ...loadRecipe('gpt3-175b'), sequencesPerUnit: 1 };
    expect(hasProgram(recipe, { kind })).toBe(false);
    const context = { ...honestTrace(trainClaim({}, heldOutOf(1)), 'heldOut', 1).context, recipe };
    expect(() => subjectProgram(context)).toThrow(/at most/);
    const shapes = evaluationProgram(loadRecipe('tiny'), { sequences: 2, offsets: () => [], packs: false });
    expect(shapes.results.map(({ name }) => name)).toEqual(['loss']);
  });
});

describe('a proof about a held-out loss', () => {
  const changes = heldOutOf(2);
  const voter = bls.deriveKey(SEED, 'verifier', 0);
  const outcome = (file: Uint8Array): Promise<string> =>
    checkEvidence(file, { bls }).then(
      ({ verdict }) => verdict,
      (error: unknown) => (error instanceof PogoError ? error.code : Promise.reject(error)),
    );

  it('convicts under the vote whose loss it is, and under no other', async () => {
    const parent = trainClaim({}, changes);
    const honest = honestTrace(trainClaim({ parent }, changes), 'heldOut', 0);
    const last = honest.program.operations.length - 1;
    const { proof, evidence } = play(honest, lie(honest, last, 0, false));
    expect(await outcome(evidence)).toBe('guilty');
    const witness = decodeStrict(HeldOutWitnessType, witnessOf(honest, proof.trace.statement.subject)!);
    const { data } = witness.attestation;
    const under = (other: Partial<typeof witness>): Promise<string> =>
      outcome(
        encodeEvidence('witnessed-element', { witness: HeldOutWitnessType.serialize({ ...witness, ...other }), proof }),
      );
    const vote = (other: Partial<AttestationData>, keys = voter) =>
      signAttestation(bls, keys, { ...data, verdict: 'positive', ...other } as Parameters<typeof signAttestation>[2]);
    expect(await under({})).toBe('guilty');
    // Of another round, another claim, with another loss, against the claim, of another verifier; and with another parent.
    expect(await under({ attestation: vote({ beacon2: new Uint8Array(32).fill(9) }) })).toBe('MALFORMED');
    expect(await under({ attestation: vote({ claimRoot: new Uint8Array(32) }) })).toBe('MALFORMED');
    expect(await under({ attestation: vote({ heldOutBeforeBits: data.heldOutBeforeBits + 1 }) })).toBe('MALFORMED');
    expect(await under({ attestation: vote({ verdict: 'negative' } as object) })).toBe('MALFORMED');
    expect(await under({ attestation: vote({}, bls.deriveKey(SEED, 'verifier', 1)) })).toBe('MALFORMED');
    expect(await under({ parent: [] })).toBe('MALFORMED');
    expect(await under({ parent: [honest.trained.claim.header] })).toBe('MALFORMED');
    // Without the vote it is no evidence at all.
    expect(await outcome(encodeEvidence('element', proof))).toBe('MALFORMED');
  });

  it('of the loss after a claim shows no parent; true losses acquit', async () => {
    const honest = honestTrace(trainClaim({}, changes), 'heldOut', 1);
    const proof = falseProof(honest, honest.program.operations.length - 1, 0);
    const witness = decodeStrict(HeldOutWitnessType, witnessOf(honest, proof.trace.statement.subject)!);
    const file = (parent: typeof witness.parent) =>
      encodeEvidence('witnessed-element', { witness: HeldOutWitnessType.serialize({ ...witness, parent }), proof });
    expect(await outcome(file([]))).toBe('false-accusation');
    expect(await outcome(file([honest.trained.claim.header]))).toBe('MALFORMED');
  });
});
