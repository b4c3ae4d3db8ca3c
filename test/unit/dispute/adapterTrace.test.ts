/** The trace of a unit of adapters ends in the tape's unit and loss, for every choice of targets and shape of model. */
import { describe, expect, it } from 'vitest';
import { openBackend } from '../../../src/backend/open.js';
import { toHex } from '../../../src/hex.js';
import { portableHash } from '../../../src/merkle/portable.js';
import type { AdapterTarget, Recipe } from '../../../src/model/recipe.js';
import { runProgram } from '../../../src/protocol/trace/runProgram.js';
import { unitOperations } from '../../../src/protocol/trace/unitProgram.js';
import { adapterOver } from '../../support/adapters.js';
import { honestTrace } from '../../support/disputes.js';
import { gemmaChanges } from '../../support/optionRecipes.js';
import { smallRecipe, trainClaim } from '../../support/trainedClaim.js';

const CASES: readonly (readonly [string, readonly AdapterTarget[], Partial<Recipe>, number])[] = [
  ['all targets, two layers', ['qkv', 'o', 'fc', 'proj'], { layers: 2 }, 8],
  ['qkv alone', ['qkv'], {}, 8],
  ['proj alone, LayerNorm and biases', ['proj'], { norm: 'layer', bias: true }, 24],
  ['o and fc, two heads, two blocks of keys', ['o', 'fc'], { context: 128, heads: 2 }, 65],
  ['gemma3: all targets, a local and a global layer', ['qkv', 'o', 'fc', 'proj'], gemmaChanges({ context: 128 }), 8],
  ['gemma3: fc alone', ['fc'], gemmaChanges({ layers: 1 }), 8],
];

describe.each(CASES)('trace of a unit of adapters: %s', (_name, targets, changes, rank) => {
  const { recipe } = smallRecipe(changes);
  const trained = trainClaim({}, { ...changes, adapter: adapterOver(recipe, targets, rank) });
  const honest = honestTrace(trained, 'unit', 1);

  it('ends in the unit and the loss', () => {
    const { program, outputs } = honest;
    const result = (name: string): Uint8Array =>
      outputs[program.results.find((one) => one.name === name)!.operation] as Uint8Array;
    const step = trained.steps[1]!;
    expect(toHex(result('unit'))).toBe(toHex(step.units[0]!));
    expect(new DataView(result('loss').slice().buffer).getUint32(0, true)).toBe(step.commitment.unitLosses[0]);
    expect(step.units[0]!.some((byte) => byte !== 0)).toBe(true);
    expect(program.operations.length).toBeLessThanOrEqual(unitOperations(trained.recipe));
  });

  it('has the same roots from rules alone and from a backend’s kernels', () => {
    const { program, inputs, trace } = honest;
    const same = (more: object): void => {
      const { roots } = runProgram(program, { externals: inputs.externals, hash: portableHash, ...more });
      expect(roots.map(toHex).join('')).toBe(toHex(trace.list));
    };
    same({ rulesOnly: true });
    same({ kernels: openBackend().kernels });
  });
});
