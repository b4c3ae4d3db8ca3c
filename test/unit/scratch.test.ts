/** Scratch memory of the kernels is taken once: a step allocates none after the first. */
import { expect, it } from 'vitest';
import { Trainer } from '../../bench/trainer.js';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import type { CpuIsa } from '../../src/backend/types.js';
import { loadRecipe } from '../../src/model/recipe.js';
import { seedState } from '../../src/model/state.js';
import { modelPlan } from '../../src/model/unit.js';

const { addon } = loadCpuAddon();
const sets = addon === undefined ? [] : Object.entries(addon.describe().isas).filter(([, isa]) => isa.reason === '');

it.runIf(sets.length > 0).each(sets.map(([name]) => name))(
  '%s: no step after the first takes scratch memory',
  (isa) => {
    // Plain code is slow: the small recipe shows the same of it.
    const plan = modelPlan(loadRecipe(isa === 'scalar' ? 'tiny' : 'moby'));
    const { recipe } = plan;
    const trainer = new Trainer(plan, openCpuBackend(isa as CpuIsa, []).kernels, seedState(plan).theta);
    const tokens = Uint16Array.from({ length: 4096 }, (_, i) => (i * 37) % recipe.vocab);
    const offsets = Array.from({ length: recipe.sequencesPerUnit }, (_, i) => i * 64);
    const step = (): number => {
      for (let unit = 0; unit < recipe.unitsPerStep; unit += 1) {
        trainer.computeUnit(tokens, offsets, unit, new Uint8Array(32));
      }
      trainer.commit();
      return addon?.scratchAllocations() ?? Number.NaN;
    };
    const first = step();
    expect(first).toBeGreaterThan(0);
    expect([step(), step()]).toEqual([first, first]);
  },
);
