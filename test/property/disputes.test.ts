/**
 * Disputes to one element, over the registry of operations: a lie in every operation of every program, at its first, a
 * middle and its last element, ends in a proof of at most 64 KiB that convicts; an honest accused is convicted by nothing.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { equalBytes } from '../../src/hex.js';
import { checkEvidence as checkInBrowser } from '../../src/light.js';
import { ADAPTER_TARGETS, type Recipe } from '../../src/model/recipe.js';
import { createNobleBls } from '../../src/protocol/blsNoble.js';
import { type SubjectContext, subjectProgram } from '../../src/protocol/dispute/subject.js';
import { MAX_ELEMENT_PROOF_BYTES } from '../../src/protocol/dispute/types.js';
import { checkEvidence, encodeEvidence } from '../../src/protocol/evidence.js';
import type { Program, Rule } from '../../src/protocol/trace/program.js';
import { adapterOver } from '../support/adapters.js';
import {
  accusedKey,
  checkProofOf,
  falseProof,
  fileOf,
  type HonestTrace,
  honestTrace,
  lie,
  middleOf,
  placesOf,
  play,
  type SubjectName,
} from '../support/disputes.js';
import { gemmaChanges } from '../support/optionRecipes.js';
import { bls, smallRecipe, trainClaim } from '../support/trainedClaim.js';

const noble = createNobleBls();
const third = (evidence: Uint8Array) => checkEvidence(evidence, { bls });

/** One local layer: its rules are those of a global one, over other blocks. */
const SMALLEST_GEMMA = gemmaChanges({ context: 128, layers: 1 });
const LORA_GEMMA = gemmaChanges({ context: 64, layers: 1 });

const WITH_BIASES = { norm: 'layer', bias: true, context: 128, heads: 2 } as const;
const LORA = { adapter: adapterOver(smallRecipe().recipe, ADAPTER_TARGETS) };

/** A recipe whose held-out part has room for a number of sequences. */
function heldOutOf(sequences: number, changes: Partial<Recipe> = {}): Partial<Recipe> {
  const { data, context } = smallRecipe(changes).recipe;
  return { ...changes, data: { ...data, heldOutTokens: context + sequences } };
}

/** Subjects of claims that between them reach every rule. */
const CASES: readonly (readonly [string, SubjectName, Parameters<typeof trainClaim>[1], number])[] = [
  ['unit', 'unit', {}, 0],
  ['unit, LayerNorm, biases, two key blocks', 'unit', WITH_BIASES, 0],
  ['unit, gemma3: a window over two blocks, grouped heads', 'unit', SMALLEST_GEMMA, 0],
  ['commit pass', 'state', {}, 0],
  ['packed model', 'model', {}, 0],
  ['diff', 'diff', {}, 0],
  // Of adapters the second step: in the first one Bᵀ is zero, and nothing comes through it.
  ['unit of adapters', 'unit', LORA, 1],
  [
    'unit of adapters, gemma3',
    'unit',
    { ...LORA_GEMMA, adapter: adapterOver(smallRecipe(LORA_GEMMA).recipe, ADAPTER_TARGETS) },
    1,
  ],
  ['held-out loss after a claim, two groups', 'heldOut', heldOutOf(2), 1],
  ['held-out loss before a first claim, LayerNorm, biases', 'heldOut', heldOutOf(1, { ...WITH_BIASES }), 0],
  ['held-out loss, gemma3', 'heldOut', heldOutOf(1, SMALLEST_GEMMA), 1],
  ['held-out loss before a claim, adapters', 'heldOut', heldOutOf(1, LORA), 0],
];

const kinds = new Set<string>();

/** A parent's model whose difference has a chunk of each encoding: none, few, many. */
function somewhatChanged(model: Uint8Array): Uint8Array {
  return model.map((byte, i) => (i < 16_384 || (i < 32_768 && i % 97 !== 0) ? byte : byte ^ (i % 256)));
}

/** The program with one rule that takes one element from the accused's own output. */
function believing(program: Program, index: number, element: number): Program {
  const { rule, ...operation } = program.operations[index]!;
  const self = { kind: 'operation' as const, index, offset: 0 };
  const credulous: Rule = {
    ...rule,
    inputs: [...rule.inputs, self],
    compute(read, start, out) {
      rule.compute(read, start, out);
      out[element - start] = read[operation.type](rule.inputs.length, element, 1)[0]!;
    },
  };
  const operations = program.operations.with(index, { ...operation, rule: credulous });
  return { ...program, operations };
}

describe.each(CASES)('a lie in any operation: %s', (name, subject, changes, step) => {
  let honest: HonestTrace;
  beforeAll(() => {
    const parent =
      subject === 'diff' || name.includes('before a claim')
        ? { parent: trainClaim({ model: somewhatChanged }, changes) }
        : {};
    honest = honestTrace(trainClaim(parent, changes), subject, step);
  });

  it('first, middle and last element: convicted by a small proof after at most four moves', async () => {
    const { program } = honest;
    let largest = 0;
    for (const [index, operation] of program.operations.entries()) {
      const isNew = !kinds.has(operation.rule.kind);
      kinds.add(operation.rule.kind);
      for (const element of placesOf(program, index)) {
        // One consistent liar for each rule: all that follows the lie is computed from it.
        const consistent = isNew && element === middleOf(operation);
        const { evidence, moves } = play(honest, lie(honest, index, element, consistent));
        const verdict = await third(evidence);
        const kind = subject === 'diff' || subject === 'heldOut' ? 'witnessed-element' : 'element';
        expect(verdict, `${operation.name} ${element}`).toMatchObject({ verdict: 'guilty', kind });
        expect(equalBytes(verdict.accused, accusedKey(honest))).toBe(true);
        expect(moves).toBeLessThanOrEqual(4);
        largest = Math.max(largest, evidence.length);
        if (consistent) {
          const light = await checkInBrowser(evidence, { bls: noble });
          expect(light.verdict, `${operation.name} ${element} in the browser`).toBe('guilty');
        }
      }
    }
    expect(largest).toBeLessThanOrEqual(MAX_ELEMENT_PROOF_BYTES);
  }, 1_200_000);

  it('every rule matters: where one believes the accused, its lie passes', () => {
    const { program } = honest;
    const seen = new Set<string>();
    for (const [index, operation] of program.operations.entries()) {
      if (seen.has(operation.rule.kind)) continue;
      seen.add(operation.rule.kind);
      const element = middleOf(operation);
      const { proof } = play(honest, lie(honest, index, element, false));
      expect(checkProofOf(honest, proof), operation.rule.kind).toBeDefined();
      const believed = (context: SubjectContext) => believing(subjectProgram(context), index, element);
      expect(checkProofOf(honest, proof, believed), `${operation.rule.kind} replaced`).toBeUndefined();
    }
  });

  it('an honest accused wins, whatever the challenger names', async () => {
    const { program } = honest;
    const place = fc
      .nat(program.operations.length - 1)
      .chain((index) => fc.tuple(fc.constant(index), fc.nat(program.operations[index]!.length - 1)));
    await fc.assert(
      fc.asyncProperty(place, async ([index, element]) => {
        const verdict = await third(fileOf(honest, falseProof(honest, index, element)));
        expect(verdict.verdict).toBe('false-accusation');
      }),
      { numRuns: 150 },
    );
  });

  it('a changed bit of a proof never convicts', async () => {
    const { program } = honest;
    const files = new Map<string, Uint8Array>();
    program.operations.forEach((operation, index) => {
      const { rule } = operation;
      if (files.has(rule.kind)) return;
      const element = middleOf(operation);
      files.set(rule.kind, fileOf(honest, falseProof(honest, index, element)));
      files.set(`lie in ${rule.kind}`, play(honest, lie(honest, index, element, false)).evidence);
    });
    const all = [...files.values()];
    const change = fc.tuple(fc.nat(all.length - 1), fc.nat(), fc.nat(7));
    await fc.assert(
      fc.asyncProperty(change, async ([file, at, bit]) => {
        const bytes = all[file]!.slice();
        bytes[at % bytes.length]! ^= 1 << bit;
        const outcome = await third(bytes).then(
          ({ verdict }) => verdict,
          (error: unknown) => (error instanceof PogoError ? error.code : Promise.reject(error)),
        );
        expect(['false-accusation', 'MALFORMED']).toContain(outcome);
      }),
      { numRuns: 800 },
    );
  });
});

it('accuses whoever signed the trace: a verifier as well as a miner, and nobody by another’s signature', async () => {
  const honest = honestTrace(trainClaim(), 'unit');
  const verifier = bls.deriveKey(new Uint8Array(32).fill(9), 'verifier', 0);
  const liar = { ...lie(honest, 40, 3, false), keys: verifier };
  const { proof } = play(honest, liar);
  const verdict = await third(encodeEvidence('element', proof));
  expect(verdict).toMatchObject({ verdict: 'guilty', against: 'verifier' });
  expect(equalBytes(verdict.accused, verifier.publicKey)).toBe(true);
  const blamed = { ...proof, head: { ...proof.head, accused: honest.trained.miner.publicKey } };
  await expect(third(encodeEvidence('element', blamed))).rejects.toMatchObject({ code: 'MALFORMED' });
});
