/** What evidence is checked with: a backend's executor does the work of the miner again, bit for bit, and copies what it is given. */
import { beforeAll, expect, it } from 'vitest';
import { openBackend } from '../../src/backend/open.js';
import { toHex } from '../../src/hex.js';
import { portableHash } from '../../src/merkle/portable.js';
import { gatherSequences } from '../../src/model/unit.js';
import { BackendExecutor } from '../../src/pipeline/unitExecutor.js';
import { drawBatch, unitOffsets } from '../../src/protocol/draws.js';
import { stateRoot } from '../../src/protocol/types.js';
import { refusal } from '../support/refusal.js';
import { type TrainedClaim, trainClaim } from '../support/trainedClaim.js';

let trained: TrainedClaim;
let executor: BackendExecutor;
beforeAll(() => {
  trained = trainClaim();
  executor = new BackendExecutor(openBackend({ backend: 'reference', isa: 'auto' }), portableHash);
});

/** Bytes at an odd place, as they may lie inside a file. */
function moved(bytes: Uint8Array): Uint8Array {
  const place = new Uint8Array(bytes.length + 1).subarray(1);
  place.set(bytes);
  return place;
}

it('computes the committed units and losses', async () => {
  const { recipe, plan, draw1, tokenFile } = trained;
  const tokens = new Uint16Array(tokenFile.buffer);
  for (const [step, { before, commitment }] of trained.steps.entries()) {
    const offsets = drawBatch(draw1, step, recipe);
    for (const [unit, root] of commitment.unitRoots.entries()) {
      const sequences = gatherSequences(tokens, unitOffsets(offsets, unit, recipe), recipe.context);
      const request = { recipe, recipeRoot: plan.root, theta: moved(before.theta), draw1, step, unit };
      const computed = await executor.computeUnit({ ...request, tokens: sequences });
      expect(toHex(portableHash(computed.unit))).toBe(toHex(root));
      expect(computed.lossBits).toBe(commitment.unitLosses[unit]);
    }
  }
});

it('commits a step, and packs the model, to the committed roots', async () => {
  const { recipe } = trained;
  for (const { before, preHeader, units, postHeader } of trained.steps) {
    const [theta, m, v, ema] = [before.theta, before.m, before.v, before.ema].map(moved);
    const request = { recipe, header: preHeader, theta: theta!, m: m!, v: v!, ema: ema!, units: units.map(moved) };
    const { header } = await executor.commitStep(request);
    expect(toHex(stateRoot(header))).toBe(toHex(stateRoot(postHeader)));
  }
  const model = await executor.packModel({ recipe, vector: moved(trained.steps.at(-1)!.after.ema) });
  expect(toHex(portableHash(model))).toBe(toHex(portableHash(trained.model)));
});

it('refuses vectors of another length', async () => {
  const vector = trained.steps[0]!.before.theta.subarray(4);
  expect(await refusal(executor.packModel({ recipe: trained.recipe, vector }))).toMatch(
    /^SHAPE: model vector: expected/,
  );
});
