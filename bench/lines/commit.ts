/**
 * `commit`: Σ units → AdamW over a state larger than any cache, one core, hashing apart, against copy bandwidth;
 * `commit/ema` the same on a step that moves the EMA (every eighth).
 * `log-replay`: the same over the recipe's own state, as a verifier does it for a step, against the time to stream the
 * step's bytes at copy bandwidth.
 */

import type { Kernels } from '../../src/backend/types.js';
import { unitFileBytes } from '../../src/model/layout.js';
import { commitLeafRange, leafCount, START_SCALARS, type StateVectors } from '../../src/model/state.js';
import { type ModelPlan, modelPlan } from '../../src/model/unit.js';
import { copyBandwidth, copyOfFootprint } from '../ceilings.js';
import { makeUnits, newVectors, OPTIMIZER, startWeights, type UnitPlanes } from '../commitArguments.js';
import type { BenchGroup } from '../group.js';
import { bytesOf, measure, requireSameBytes, shared } from '../harness.js';
import { stateFrom } from '../trainer.js';

const ELEMENTS = 1 << 23;
const QUICK_ELEMENTS = 1 << 16;
const CHECKED_ELEMENTS = 1 << 12;
/** Leaves whose first step is compared with the reference in `log-replay`. */
const CHECKED_LEAVES = 16;
const UNITS = 2;
/** θ, m, v are read and written. */
const STATE_BYTES = 24;
/** The EMA too, where it moves. */
const EMA_BYTES = 8;
const UNIT_BYTES = 0.5 + 2 / 64;

/** The first leaves by the reference: leaves do not depend on each other. */
function checkCommit(reference: Kernels, units: UnitPlanes, n: number, updateEma: boolean, found: StateVectors): void {
  const some = Math.min(CHECKED_ELEMENTS, n);
  const head = {
    codes: units.codes.map((c) => c.slice(0, some / 2)),
    scales: units.scales.map((s) => s.slice(0, some / 64)),
  };
  const expected = newVectors(startWeights(n).slice(0, some));
  reference.commitLeaves({ ...expected, ...OPTIMIZER, updateEma, ...head, n: some });
  for (const name of ['theta', 'm', 'v', 'ema'] as const) {
    requireSameBytes(`commit ${name}`, found[name].subarray(0, some), expected[name]);
  }
}

/** Unit files of the recipe's layout. */
function unitFiles(plan: ModelPlan, kernels: Kernels): Uint8Array[] {
  const sizes = unitFileBytes(plan.layout);
  const planes = makeUnits(kernels, plan.layout.length, plan.recipe.unitsPerStep);
  return planes.codes.map((codes, u) => {
    const file = shared.u8(sizes.total);
    file.set(codes);
    file.set(bytesOf(planes.scales[u]), sizes.codes);
    return file;
  });
}

export const commit: BenchGroup = {
  names: ['commit', 'commit/ema', 'log-replay'],
  async *lines({ backend, reference, recipe, quick }, wanted) {
    const { kernels } = backend;
    const common = { backend: backend.name, isa: backend.isa, ceiling: copyBandwidth(), budgetMs: quick ? 50 : 700 };
    const n = quick ? QUICK_ELEMENTS : ELEMENTS;
    for (const [name, updateEma] of [
      ['commit', false],
      ['commit/ema', true],
    ] as const) {
      if (!wanted(name)) continue;
      const units = makeUnits(kernels, n, UNITS);
      const argument = { ...newVectors(startWeights(n)), ...OPTIMIZER, updateEma, ...units, n };
      const bytes = n * (STATE_BYTES + (updateEma ? EMA_BYTES : 0) + UNITS * UNIT_BYTES);
      yield await measure({
        ...common,
        name,
        unit: { name: 'GB/s', perCall: bytes },
        bytes,
        footprint: copyOfFootprint(n * (STATE_BYTES / 2 + (updateEma ? EMA_BYTES / 2 : 0) + UNITS * UNIT_BYTES)),
        details: { elements: n, units: UNITS, hashing: false },
        run: () => kernels.commitLeaves(argument),
        check: () => checkCommit(reference, units, n, updateEma, argument),
        result: () => bytesOf(argument.theta),
      });
    }
    if (!wanted('log-replay')) return;
    const plan = modelPlan(recipe);
    const length = plan.layout.length;
    const files = unitFiles(plan, kernels);
    const state = stateFrom(plan, startWeights(length));
    const bytes = length * STATE_BYTES + recipe.unitsPerStep * files[0].length;
    const { name, value } = copyBandwidth();
    yield await measure({
      ...common,
      name: 'log-replay',
      unit: { name: 'ms', perCall: 1 },
      bytes,
      footprint: copyOfFootprint((length * STATE_BYTES) / 2 + recipe.unitsPerStep * files[0].length),
      ceiling: { name: `streaming the step's bytes at ${name}`, value: bytes / value },
      details: { recipe: recipe.name, parameters: length, units: recipe.unitsPerStep, hashing: false },
      run: () => commitLeafRange(plan, kernels, state, START_SCALARS, files, 0, leafCount(plan.layout)),
      check: () => {
        const expected = stateFrom(plan, startWeights(length));
        commitLeafRange(plan, reference, expected, START_SCALARS, files, 0, CHECKED_LEAVES);
        const elements = 256 * CHECKED_LEAVES;
        requireSameBytes('log-replay', state.theta.subarray(0, elements), expected.theta.subarray(0, elements));
      },
      result: () => bytesOf(state.theta),
    });
  },
};
