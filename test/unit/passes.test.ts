import { describe, expect, test } from 'vitest';
import { benchRecipe } from '../../bench/benchRecipe.js';
import { passCost, passesOf, passName } from '../../src/model/passes.js';
import { TapeBuilder } from '../../src/model/tape.js';
import { trainingTape } from '../../src/model/tapes.js';
import { modelPlan } from '../../src/model/unit.js';

function tapeOf(name: string) {
  const plan = modelPlan(benchRecipe(name));
  return { plan, tape: trainingTape(plan.recipe, plan.layout, plan.weights).tape };
}

describe('passes of a unit', () => {
  test.each(['tiny', 'moby', 'gpt-5m', 'gpt2-124m'])(
    '%s: three products a weight and token, seven of the causal attention, nothing else',
    (name) => {
      const { plan, tape } = tapeOf(name);
      const { recipe, layout } = plan;
      const tokens = recipe.sequencesPerUnit * recipe.context;
      const weights = layout.tensors.filter((tensor) => tensor.kind === 'matrix' || tensor.name === 'wte');
      const dense = 6 * tokens * weights.reduce((sum, { size }) => sum + size, 0);
      const attention = tokens * recipe.layers * 7 * recipe.width * (recipe.context + 64);
      expect(passesOf(tape).reduce((sum, { operations }) => sum + operations, 0)).toBe(dense + attention);
    },
  );

  test('every entry of the tape is counted once and moves at least a byte', () => {
    const { tape } = tapeOf('tiny');
    const passes = passesOf(tape);
    expect(passes.reduce((sum, { calls }) => sum + calls, 0)).toBe(tape.entries.length);
    for (const { name, bytes } of passes) expect(bytes, name).toBeGreaterThan(0);
    expect(new Set(passes.map(({ name }) => name))).toEqual(new Set(tape.entries.map(({ name }) => passName(name))));
  });

  test('an operand counts once, one that is updated in place twice, a table only where it is touched', () => {
    const builder = new TapeBuilder();
    const et = builder.buffer('et', 'i8', 64 * 128);
    const xt = builder.buffer('xt', 'i8', 64 * 128);
    const etScales = builder.buffer('etScales', 'f32', 64);
    const xtScales = builder.buffer('xtScales', 'f32', 64);
    const dw = builder.buffer('dw', 'f32', 64 * 64);
    const gradient = { et, etScales, xt, xtScales, dw, N: 64, K: 64, T: 128 };
    builder.push('weightGradient', 'first', { ...gradient, accumulate: false });
    builder.push('weightGradient', 'next', { ...gradient, accumulate: true });
    const tape = builder.build();
    const operands = 2 * 64 * 128 + 2 * 4 * 64;
    expect(tape.entries.map((entry) => passCost(tape, entry).bytes)).toEqual([
      operands + 4 * 64 * 64,
      operands + 2 * 4 * 64 * 64,
    ]);
    const { plan, tape: whole } = tapeOf('gpt2-124m');
    const embedding = whole.entries.find(({ kind }) => kind === 'embed');
    if (embedding === undefined) throw new Error('expected an embedding');
    const wte = 4 * (plan.layout.byName('wte').size as number);
    expect(passCost(whole, embedding).bytes).toBeLessThan(wte / 4);
  });
});
