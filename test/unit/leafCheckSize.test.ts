/**
 * How large a leaf check can be, from its SSZ type and the recipe's layout: at M 16 at most 64 KiB up to 124 M parameters
 * and at most 80 KiB up to 1.03·10^12, where a unit has 2^29 chunks: each doubling from there on adds 1.25 KiB of paths (94 KiB
 * at vectors of 2^53 bytes, the largest that types here count).
 */
import { describe, expect, it } from 'vitest';
import { createLayout, unitFileBytes } from '../../src/model/layout.js';
import { loadRecipe, type Recipe } from '../../src/model/recipe.js';
import { blobSource } from '../../src/protocol/evidence/build.js';
import { createLeafCheck, LeafCheckType, unitLeafRanges, vectorNames } from '../../src/protocol/leafCheck.js';
import { coveringChunks } from '../../src/protocol/openings.js';
import { MAX_STEPS_PER_CLAIM, type StepCommitment, ZERO_ROOT } from '../../src/protocol/types.js';
import { trainClaim } from '../support/trainedClaim.js';

const KIB = 1024;

/** A check of a leaf whose chunks are full and whose paths are as long as they can be. */
function largest(unitsPerStep: number, vectorBytes: number, unitBytes: number, chunksPerUnit: number): number {
  const depth = (bytes: number): number => Math.ceil(Math.log2(Math.max(1, Math.ceil(bytes / KIB))));
  const chunk = (bytes: number) => ({ bytes: new Uint8Array(KIB), path: new Uint8Array(32 * depth(bytes)) });
  const commitment: StepCommitment = {
    step: 0,
    preStateRoot: ZERO_ROOT,
    batchDigest: ZERO_ROOT,
    unitRoots: Array.from({ length: unitsPerStep }, () => ZERO_ROOT),
    unitLosses: Array.from({ length: unitsPerStep }, () => 0),
    postStateRoot: ZERO_ROOT,
  };
  const check = LeafCheckType.defaultValue();
  return LeafCheckType.serialize({
    ...check,
    step: {
      index: 0,
      commitment,
      branch: Array.from({ length: Math.log2(MAX_STEPS_PER_CLAIM) + 1 }, () => ZERO_ROOT),
    },
    before: Array.from({ length: 4 }, () => chunk(vectorBytes)),
    after: Array.from({ length: 4 }, () => chunk(vectorBytes)),
    units: Array.from({ length: unitsPerStep }, () => Array.from({ length: chunksPerUnit }, () => chunk(unitBytes))),
  }).length;
}

function sizeOf(recipe: Recipe): number {
  const layout = createLayout(recipe);
  const leaves = layout.length / 256;
  // The leaves at both ends and the places where a chunk's border may fall.
  const samples = [...Array.from({ length: 64 }, (_, i) => i), leaves - 1].filter((leaf) => leaf < leaves);
  const chunks = Math.max(...samples.map((leaf) => coveringChunks(unitLeafRanges(layout, leaf)).length));
  return largest(recipe.unitsPerStep, 4 * layout.length, unitFileBytes(layout).total, chunks);
}

describe('a leaf check', () => {
  it('at M 16 is at most 64 KiB for 124 M parameters', () => {
    const recipe = loadRecipe('gpt2-124m');
    expect(recipe.unitsPerStep).toBe(16);
    expect(sizeOf(recipe)).toBeLessThanOrEqual(64 * KIB);
  });

  it('at M 16 is at most 80 KiB at 175 billion parameters, and at a trillion', () => {
    for (const parameters of [175e9, 1e12]) {
      const vector = 4 * parameters;
      expect(largest(16, vector, vector / 8 + vector / 128, 2)).toBeLessThanOrEqual(80 * KIB);
    }
  });

  it('at M 16 passes 80 KiB exactly where a unit grows beyond 2^39 bytes', () => {
    const at = (unitBytes: number): number => largest(16, (unitBytes * 8) / (1 + 1 / 16), unitBytes, 2);
    expect(at(2 ** 39)).toBeLessThanOrEqual(80 * KIB);
    expect(at(2 ** 39 + KIB)).toBeGreaterThan(80 * KIB);
    // In parameters: half a byte and 1/32 of one for each.
    expect(Math.floor(2 ** 39 / (0.5 + 1 / 32) / 1e9)).toBe(1034);
  });

  it('a real one is never larger than what is counted here', () => {
    const { recipe, plan, steps, commitments } = trainClaim();
    const step = steps[1]!;
    const names = vectorNames(recipe);
    const sources = {
      commitments: [...commitments],
      stepIndex: 1,
      preHeader: step.preHeader,
      postHeader: step.postHeader,
      before: names.map((name) => blobSource(step.before[name])),
      after: names.map((name) => blobSource(step.after[name])),
      units: step.units.map((unit) => blobSource(unit)),
    };
    const sizes = [0, 3, 17].map((leaf) => LeafCheckType.serialize(createLeafCheck(sources, plan.layout, leaf)).length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(sizeOf(recipe));
    expect(Math.max(...sizes)).toBeGreaterThan(sizeOf(recipe) - 2 * KIB);
  });
});
