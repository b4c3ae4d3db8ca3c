import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openCpuBackend } from '../../src/backend/cpu.js';
import { loadCpuAddon } from '../../src/backend/cpuAddon.js';
import { referenceKernels } from '../../src/backend/reference.js';

import { unitFileBytes } from '../../src/model/layout.js';
import { loadRecipe } from '../../src/model/recipes.js';
import {
  type CommitKernels,
  commitLeafRange,
  leafCount,
  START_SCALARS,
  type StateVectors,
  seedState,
} from '../../src/model/state.js';
import { modelPlan } from '../../src/model/unit.js';
import { seededBytes, seededRandom } from '../support/random.js';

const { addon } = loadCpuAddon();
const isas = Object.entries(addon?.describe().isas ?? {})
  .filter(([, { built, machine }]) => built && machine)
  .map(([isa]) => isa);

const plan = modelPlan(loadRecipe('tiny'));
const leaves = leafCount(plan.layout);
/** The seventh step leaves the EMA, the eighth moves it. */
const STEPS = [6, 7];

/** Units of any codes, scales that keep values small. */
function unit(seed: number): Uint8Array {
  const { codes, total } = unitFileBytes(plan.layout);
  const file = seededBytes(total, seed);
  const random = seededRandom(seed);
  const scales = new Uint16Array(file.buffer, file.byteOffset + codes);
  for (let i = 0; i < scales.length; i++) scales[i] = random() < 0.1 ? 0 : 0x3800 + Math.floor(random() * 256);
  return file;
}

function after(kernels: CommitKernels, step: number, seed: number, from: number, to: number): Buffer[] {
  const state: StateVectors = seedState(plan);
  const random = seededRandom(seed);
  for (let i = 0; i < state.m.length; i++) {
    state.m[i] = (random() - 0.5) * 1e-3;
    state.v[i] = random() * 1e-6;
  }
  commitLeafRange(plan, kernels, state, { ...START_SCALARS, step }, [unit(seed), unit(seed + 1)], from, to);
  return (['theta', 'm', 'v', 'ema'] as const).map((name) => Buffer.from(state[name].slice().buffer));
}

describe.skipIf(addon === undefined)('the commit pass of neighbouring tensors in one call', () => {
  it('leaves the bits of a call for each, from any leaf to any other', () => {
    expect(plan.layout.tensors.some(({ decay }) => decay) && plan.layout.tensors.some(({ decay }) => !decay)).toBe(
      true,
    );
    const leaf = fc.integer({ min: 0, max: leaves });
    fc.assert(
      fc.property(fc.nat(1000), fc.constantFrom(...STEPS), leaf, leaf, (seed, step, a, b) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const expected = after({ commitLeaves: referenceKernels.commitLeaves }, step, seed, from, to);
        for (const isa of isas) {
          const { kernels } = openCpuBackend(isa as 'scalar');
          expect(kernels.commitTensors).toBeDefined();
          const found = after(kernels, step, seed, from, to);
          for (const [i, bytes] of found.entries()) expect(bytes.equals(expected[i]), `${isa} ${i}`).toBe(true);
        }
      }),
      { numRuns: 12, examples: [[1, 7, 0, leaves]] },
    );
  });

  it('refuses leaves that are not those of the arrays', () => {
    const { kernels } = openCpuBackend();
    const n = 512;
    const [theta, m, v] = [new Float32Array(n), new Float32Array(n), new Float32Array(n)];
    const common = { beta1: 0.9, beta2: 0.95, b1t: 0.9, b2t: 0.95, epsilon: 1e-8, learningRate: 1e-3, emaDecay: 0.5 };
    const planes = { codes: [new Uint8Array(n / 2)], scales: [new Uint16Array(n / 64)] };
    const argument = { ...common, ...planes, theta, m, v, ema: theta, n, updateEma: false };
    const call = (counts: number[], decays: number[]) => () =>
      kernels.commitTensors?.(argument, Uint32Array.from(counts), Float32Array.from(decays));
    expect(call([1, 1], [0, 1])).not.toThrow();
    expect(call([1, 2], [0, 1])).toThrow();
    expect(call([1], [0])).toThrow();
    expect(call([1, 1], [0])).toThrow();
    expect(call([], [])).toThrow();
  });
});
