/** Proofs stay below 64 KiB at sizes that nobody trains here: arithmetic over shapes. */
import { describe, expect, it } from 'vitest';
import { createLayout, packedModelLayout } from '../../../src/model/layout.js';
import { loadRecipe, type Recipe, validateRecipe } from '../../../src/model/recipe.js';
import { START_SCALARS } from '../../../src/model/state.js';
import { maxDiffBytes } from '../../../src/protocol/diff.js';
import { contest, movesLeft, nextOpening, startNarrowing } from '../../../src/protocol/dispute/narrowing.js';
import { largestProofs, proofSize } from '../../../src/protocol/dispute/proofSize.js';
import { MAX_OPENED_BYTES } from '../../../src/protocol/dispute/transactions.js';
import { MAX_ELEMENT_PROOF_BYTES } from '../../../src/protocol/dispute/types.js';
import { diffProgram } from '../../../src/protocol/trace/diffProgram.js';
import { evaluationProgram } from '../../../src/protocol/trace/evaluationProgram.js';
import { outputBytes, type Program } from '../../../src/protocol/trace/program.js';
import { commitProgram, modelProgram } from '../../../src/protocol/trace/stateProgram.js';
import { unitOperations, unitProgram } from '../../../src/protocol/trace/unitProgram.js';
import { falseProof, fileOf, honestTrace } from '../../support/disputes.js';
import { trainClaim } from '../../support/trainedClaim.js';

const ROOT = new Uint8Array(32);

function large(changes: Partial<Recipe>): Recipe {
  const base = loadRecipe('gpt2-124m');
  return validateRecipe({
    ...base,
    name: 'large',
    layers: 2,
    width: 4096,
    heads: 32,
    hidden: 16_384,
    vocab: 262_144,
    context: 2048,
    sequencesPerUnit: 8,
    ...changes,
  });
}

/** Of two models that differ everywhere. */
function largestDiff(recipe: Recipe): Program {
  const { bytes } = packedModelLayout(createLayout(recipe));
  const roots = () => ({ older: ROOT, newer: ROOT });
  return diffProgram({ modelBytes: bytes, fileBytes: maxDiffBytes(bytes), roots });
}

describe('the size of a proof', () => {
  it.each([
    ['width 4096, vocabulary 262,144', {}],
    ['heads of 256', { heads: 16 }],
    ['width 8192, rows longer than a segment', { width: 8192, heads: 64, hidden: 32_768 }],
    ['gemma3-27b, local and global layers', { ...loadRecipe('gemma3-27b'), layers: 6 }],
    ['gemma3-1b, heads of 256', { ...loadRecipe('gemma3-1b'), layers: 6 }],
    ['gpt3-175b', { ...loadRecipe('gpt3-175b'), layers: 1 }],
  ])('%s: every operation below 64 KiB, at most four moves', (_name, changes) => {
    const recipe = large(changes);
    const programs = {
      unit: unitProgram(recipe, { recipeRoot: ROOT, draw1: ROOT, step: 0, unit: 0 }),
      state: commitProgram(recipe, START_SCALARS, () => 0),
      model: modelProgram(recipe),
      diff: largestDiff(recipe),
      loss: evaluationProgram(recipe, { sequences: 16, offsets: () => new Array<number>(16).fill(0), packs: true }),
    };
    expect(programs.unit.operations.length).toBeLessThanOrEqual(unitOperations(recipe));
    for (const [name, program] of Object.entries(programs)) {
      for (const [kind, { bytes }] of largestProofs(recipe, program, name === 'unit' || name === 'state')) {
        expect(bytes, kind).toBeLessThanOrEqual(MAX_ELEMENT_PROOF_BYTES);
      }
      for (const operation of program.operations) {
        const moves = 1 + movesLeft(startNarrowing(outputBytes(operation), ROOT));
        expect(moves, operation.name).toBeLessThanOrEqual(4);
      }
    }
  });

  it.each(['gemma3-27b', 'gpt3-175b'] as const)('%s whole: at most four moves, the widest of 128 KiB', (name) => {
    const recipe = loadRecipe(name);
    const programs = [
      commitProgram(recipe, START_SCALARS, () => 0),
      modelProgram(recipe),
      largestDiff(recipe),
      unitProgram({ ...recipe, layers: 1 }, { recipeRoot: ROOT, draw1: ROOT, step: 0, unit: 0 }),
    ];
    let widest = 0;
    for (const operation of programs.flatMap(({ operations }) => operations)) {
      let node = startNarrowing(outputBytes(operation), ROOT);
      expect(1 + movesLeft(node), operation.name).toBeLessThanOrEqual(4);
      let moves = 1;
      for (let opening = nextOpening(node); ; opening = nextOpening(node)) {
        moves += 1;
        if (opening.kind === 'bytes') break;
        expect(32 * opening.count).toBeLessThanOrEqual(node.totalBytes > 2 ** 36 ? MAX_OPENED_BYTES : 2 ** 15);
        widest = Math.max(widest, 32 * opening.count);
        node = contest(node, new Uint8Array(32 * opening.count), 0);
      }
      expect(moves).toBeLessThanOrEqual(4);
    }
    expect(widest).toBeGreaterThan(2 ** 15);
  });

  it('is that of a real proof', () => {
    const parent = trainClaim();
    const trained = trainClaim({ parent });
    for (const subject of ['unit', 'state', 'model', 'diff'] as const) {
      const honest = honestTrace(trained, subject);
      const { program } = honest;
      for (let index = 0; index < program.operations.length; index += 7) {
        const element = program.operations[index]!.length - 1;
        const file = fileOf(honest, falseProof(honest, index, element));
        // Where a rule follows what it reads (a token's row), another token may open another chunk.
        const { bytes } = proofSize(trained.recipe, program, index, element, subject === 'unit' || subject === 'state');
        expect(Math.abs(file.length - bytes), program.operations[index]!.name).toBeLessThanOrEqual(2 * 1100);
      }
    }
  });
});
