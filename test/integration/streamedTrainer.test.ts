/** A state on disk, window by window: the same bits as in memory, a crash leaves the state before, leaves check. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Trainer } from '../../bench/trainer.js';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { hashBytes, merkleKernels } from '../../src/backend/merkleAddon.js';
import { toHex } from '../../src/hex.js';
import { loadRecipe, type Recipe } from '../../src/model/recipe.js';
import { leafCount, seedState, vectorBytes } from '../../src/model/state.js';
import { modelPlan } from '../../src/model/unit.js';
import { readStateFolder } from '../../src/node/files/stateFolder.js';
import { StreamedTrainer, vectorChunks } from '../../src/node/streamedTrainer.js';
import { batchDigest, drawBatch } from '../../src/protocol/draws.js';
import { blobSource } from '../../src/protocol/evidence/build.js';
import { createLeafCheck, verifyLeaf } from '../../src/protocol/leafCheck.js';
import { StepCommitmentListType, stateRoot } from '../../src/protocol/types.js';
import { temporaryFolder } from '../support/bundles.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const kernels = openCpuBackend('auto', []).kernels;
const draw1 = new Uint8Array(32).fill(7);

function tokensOf(recipe: Recipe, step: number, unit: number): Uint32Array {
  const count = recipe.sequencesPerUnit * (recipe.context + 1);
  return Uint32Array.from({ length: count }, (_, i) => (i * 31 + step * 7 + unit * 13) % recipe.vocab);
}

function open(name: string, recipe: Recipe, windowLeaves?: number): StreamedTrainer {
  const plan = modelPlan(recipe);
  return StreamedTrainer.create({
    plan,
    kernels,
    merkle: merkleKernels(),
    folder: join(folder.path, name),
    ...(windowLeaves === undefined ? {} : { windowLeaves }),
  });
}

function stepOf(trainer: StreamedTrainer, recipe: Recipe) {
  const { step } = trainer.scalars;
  const units = Array.from({ length: recipe.unitsPerStep }, (_, unit) =>
    trainer.computeUnit(draw1, unit, tokensOf(recipe, step, unit)),
  );
  return { units, state: trainer.commit(units) };
}

describe('a state on disk', () => {
  it.each([16, 48, 1 << 12, undefined])(
    'has the bits of the trainer in memory, windows of %s leaves',
    (windowLeaves) => {
      const recipe = loadRecipe('tiny');
      const plan = modelPlan(recipe);
      const streamed = open(`bits-${windowLeaves}`, recipe, windowLeaves);
      const memory = new Trainer(plan, kernels, seedState(plan).theta);
      // Nine steps: the EMA moves once.
      for (let step = 0; step < 9; step += 1) {
        const { units, state } = stepOf(streamed, recipe);
        for (let unit = 0; unit < recipe.unitsPerStep; unit += 1) {
          memory.runner.compute({ draw1, step, unit, tokens: tokensOf(recipe, step, unit) });
          expect(toHex(hashBytes(memory.runner.file))).toBe(toHex((units[unit] as (typeof units)[number]).root));
          (memory.units[unit] as Uint8Array).set(memory.runner.file);
        }
        memory.commit();
        for (const [name, rootName] of [
          ['theta', 'thetaRoot'],
          ['m', 'mRoot'],
          ['v', 'vRoot'],
          ['ema', 'emaRoot'],
        ] as const) {
          expect(toHex(state.header[rootName]), `${name} after step ${step}`).toBe(
            toHex(hashBytes(vectorBytes(memory.state[name]))),
          );
        }
      }
      // What is on disk is an ordinary state folder.
      const stored = readStateFolder(streamed.state.folder, plan.layout);
      expect(stored.vectors.theta).toEqual(memory.state.theta);
      expect(readdirSync(join(folder.path, `bits-${windowLeaves}`)).sort()).toEqual(
        ['state-8', 'state-9', 'unit-8-0.bin', 'unit-8-1.bin'].sort(),
      );
    },
  );

  it('gives leaf checks that hold, at the first, a middle and the last leaf', () => {
    const recipe = loadRecipe('tiny');
    const { layout } = modelPlan(recipe);
    const trainer = open('leaves', recipe, 64);
    const before = trainer.state;
    const { units, state } = stepOf(trainer, recipe);
    const commitments = [
      {
        step: 0,
        preStateRoot: stateRoot(before.header),
        batchDigest: batchDigest(drawBatch(draw1, 0, recipe)),
        unitRoots: units.map(({ root }) => root),
        unitLosses: units.map(({ lossBits }) => lossBits),
        postStateRoot: stateRoot(state.header),
      },
    ];
    const names = ['theta', 'm', 'v', 'ema'] as const;
    for (const leaf of [0, Math.floor(leafCount(layout) / 2), leafCount(layout) - 1]) {
      const check = createLeafCheck(
        {
          commitments,
          stepIndex: 0,
          preHeader: before.header,
          postHeader: state.header,
          before: names.map((name) => vectorChunks(before, name)),
          after: names.map((name) => vectorChunks(state, name)),
          units: units.map(({ path }) => blobSource(readFileSync(path), merkleKernels())),
        },
        layout,
        leaf,
      );
      expect(verifyLeaf(StepCommitmentListType.hashTreeRoot(commitments), recipe, check)).toMatchObject({
        holds: true,
      });
    }
  });

  it('leaves the state before where a commit does not end', () => {
    const recipe = loadRecipe('tiny');
    const trainer = open('crash', recipe);
    stepOf(trainer, recipe);
    const unit = trainer.computeUnit(draw1, 0, tokensOf(recipe, 1, 0));
    rmSync(unit.path);
    expect(() => trainer.commit([unit, unit])).toThrow(/ENOENT/);
    const stored = readStateFolder(join(folder.path, 'crash', 'state-1'), modelPlan(recipe).layout);
    expect(stored.header.step).toBe(1);
    expect(existsSync(join(folder.path, 'crash', 'state-2'))).toBe(false);
  });

  it('refuses a folder in use and a window that cuts groups', () => {
    const recipe = loadRecipe('tiny');
    open('used', recipe);
    expect(() => open('used', recipe)).toThrow(/expected .*used to be free/);
    expect(() => open('window', recipe, 8)).toThrow(/multiple of 16/);
  });
});
