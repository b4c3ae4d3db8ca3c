/**
 * `commit`: Σ units → AdamW over a state larger than any cache, one core, hashing apart, against copy bandwidth.
 * `log-replay`: the same over the recipe's own state, as a verifier does it for a step, against the time to stream the
 * step's bytes at copy bandwidth.
 */

import type { Kernels } from '../../src/backend/types.js';
import { unitFileBytes } from '../../src/model/layout.js';
import { commitLeafRange, leafCount, START_SCALARS } from '../../src/model/state.js';
import { modelPlan } from '../../src/model/unit.js';
import { copyBandwidth } from '../ceilings.js';
import type { BenchGroup } from '../group.js';
import { bytesOf, fillGaussian, measure, requireSameBytes, shared } from '../harness.js';
import { stateFrom } from '../trainer.js';

const ELEMENTS = 1 << 23;
const QUICK_ELEMENTS = 1 << 16;
const CHECKED_ELEMENTS = 1 << 12;
const UNITS = 2;
/** θ, m, v are read and written; the EMA moves every eighth step and is left out here. */
const STATE_BYTES = 24;
const UNIT_BYTES = 0.5 + 2 / 64;
const SEED = Uint32Array.of(1, 2, 3, 4);

interface Units {
  readonly codes: Uint8Array[];
  readonly scales: Uint16Array[];
}

/** Unit planes of n elements with realistic codes, made by the measured backend itself. */
function makeUnits(kernels: Kernels, n: number, count: number): Units {
  const units: Units = { codes: [], scales: [] };
  for (let u = 0; u < count; u++) {
    const x = fillGaussian(shared.f32(n), 11 + u, 1e-3);
    const codes = shared.u8(n / 2);
    const scales = shared.u16(n / 64);
    kernels.quantize4({ x, codes, scales, seed: SEED, rows: n / 256, cols: 256 });
    units.codes.push(codes);
    units.scales.push(scales);
  }
  return units;
}

const OPTIMIZER = {
  beta1: Math.fround(0.9),
  beta2: Math.fround(0.95),
  b1t: Math.fround(0.9),
  b2t: Math.fround(0.95),
  epsilon: Math.fround(1e-8),
  weightDecay: Math.fround(0.1),
  learningRate: Math.fround(1e-3),
  emaDecay: Math.fround(0.95 ** 8),
  updateEma: false,
};

/** θ of n elements with zero moments. */
function newVectors(theta: Float32Array) {
  const n = theta.length;
  const vectors = { theta: shared.f32(n), m: shared.f32(n), v: shared.f32(n), ema: shared.f32(n) };
  vectors.theta.set(theta);
  return vectors;
}

function startWeights(n: number): Float32Array {
  return fillGaussian(new Float32Array(n), 5, 0.02);
}

/** The first leaves by the reference: leaves do not depend on each other. */
function checkCommit(reference: Kernels, units: Units, n: number, theta: Float32Array): void {
  const some = Math.min(CHECKED_ELEMENTS, n);
  const head = {
    codes: units.codes.map((c) => c.slice(0, some / 2)),
    scales: units.scales.map((s) => s.slice(0, some / 64)),
  };
  const expected = newVectors(startWeights(n).slice(0, some));
  reference.commitLeaves({ ...expected, ...OPTIMIZER, ...head, n: some });
  requireSameBytes('commit', theta.subarray(0, some), expected.theta);
}

export const commit: BenchGroup = {
  names: ['commit', 'log-replay'],
  async *lines({ backend, reference, recipe, quick }, wanted) {
    const { kernels } = backend;
    const common = { backend: backend.name, isa: backend.isa, ceiling: copyBandwidth(), budgetMs: quick ? 50 : 700 };
    if (wanted('commit')) {
      const n = quick ? QUICK_ELEMENTS : ELEMENTS;
      const units = makeUnits(kernels, n, UNITS);
      const argument = { ...newVectors(startWeights(n)), ...OPTIMIZER, ...units, n };
      const bytes = n * (STATE_BYTES + UNITS * UNIT_BYTES);
      yield await measure({
        ...common,
        name: 'commit',
        unit: { name: 'GB/s', perCall: bytes },
        bytes,
        details: { elements: n, units: UNITS },
        run: () => kernels.commitLeaves(argument),
        check: () => checkCommit(reference, units, n, argument.theta),
        result: () => bytesOf(argument.theta),
      });
    }
    if (wanted('log-replay')) {
      const plan = modelPlan(recipe);
      const n = plan.layout.length;
      const sizes = unitFileBytes(plan.layout);
      const planes = makeUnits(kernels, n, recipe.unitsPerStep);
      const units = planes.codes.map((codes, u) => {
        const file = shared.u8(sizes.total);
        file.set(codes);
        file.set(bytesOf(planes.scales[u]), sizes.codes);
        return file;
      });
      const state = stateFrom(plan, startWeights(n));
      const bytes = n * STATE_BYTES + recipe.unitsPerStep * sizes.total;
      const { name, value } = copyBandwidth();
      yield await measure({
        ...common,
        name: 'log-replay',
        unit: { name: 'ms', perCall: 1 },
        bytes,
        ceiling: { name: `streaming the step's bytes at ${name}`, value: bytes / value },
        details: { recipe: recipe.name, parameters: n, units: recipe.unitsPerStep, hashing: false },
        run: () => commitLeafRange(plan, kernels, state, START_SCALARS, units, 0, leafCount(plan.layout)),
        result: () => bytesOf(state.theta),
      });
    }
  },
};
