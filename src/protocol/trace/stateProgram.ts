/**
 * The programs of a step's commit pass and of the packed model (docs/disputes.md §2): from a state's vectors and the
 * step's units to the next state's vectors, and from the last state's vector to the model's file.
 */
import { bitsToFloat } from '../../model/fp32.js';
import { createLayout, LEAF_ELEMENTS, packedModelLayout, unitFileBytes } from '../../model/layout.js';
import { advanceScalars, EMA_INTERVAL, type StateScalars } from '../../model/state.js';
import { type Program, ProgramBuilder, type Source } from './program.js';
import * as C from './rulesCommit.js';
import { packedModelRule } from './rulesUnit.js';
import type { ProgramRecipe } from './unitProgram.js';

/**
 * One step's commit pass. Externals: θ, m, v, EMA (where the recipe has one), then the M unit files. Results: `theta`,
 * `m`, `v`, and `ema`.
 *
 * @param before scalars of the pre-state
 * @param rate fp32 bits of the step's learning rate, asked for by one rule only
 */
export function commitProgram(recipe: ProgramRecipe, before: StateScalars, rate: () => number): Program {
  const layout = createLayout(recipe);
  const { length } = layout;
  const b = new ProgramBuilder();
  const vector = (name: string): Source => b.external(name, 4 * length);
  const theta = vector('theta');
  const m = vector('m');
  const v = vector('v');
  const ema = recipe.ema ? vector('ema') : undefined;
  const { total } = unitFileBytes(layout);
  const units = Array.from({ length: recipe.unitsPerStep }, (_, j) => b.external(`unit ${j}`, total));
  const { optimizer } = recipe;
  const after = advanceScalars(recipe, before);
  const scalars: C.StepScalars = {
    beta1: bitsToFloat(optimizer.beta1Bits),
    beta2: bitsToFloat(optimizer.beta2Bits),
    beta1t: bitsToFloat(after.beta1Power),
    beta2t: bitsToFloat(after.beta2Power),
    epsilon: bitsToFloat(optimizer.epsilonBits),
    emaDecay: bitsToFloat(recipe.emaDecayBits),
  };
  let sum: Source | undefined;
  units.forEach((unit, j) => {
    sum = b.add(`sum.${j}`, 'f32', length, C.unitSumRule(unit, sum, length));
  });
  const gradient = b.add('gradient', 'f32', length, C.meanGradientRule(sum as Source, recipe.unitsPerStep));
  const nextV = b.add('v', 'f32', length, C.secondMomentRule(gradient, v, scalars));
  const clip = b.add('clip', 'f32', length / LEAF_ELEMENTS, C.clipRule(gradient, nextV, scalars));
  const nextM = b.add('m', 'f32', length, C.firstMomentRule(gradient, clip, m, scalars));
  const weightDecay = bitsToFloat(optimizer.weightDecayBits);
  const decay = (element: number): number => (layout.locate(element)?.tensor.decay === true ? weightDecay : 0);
  const thetaRule = C.parameterRule(nextM, nextV, theta, scalars, decay, () => bitsToFloat(rate()));
  const nextTheta = b.add('theta', 'f32', length, thetaRule);
  b.result('theta', nextTheta);
  b.result('m', nextM);
  b.result('v', nextV);
  if (ema !== undefined) {
    const source = after.step % EMA_INTERVAL === 0 ? nextTheta : undefined;
    b.result('ema', b.add('ema', 'f32', length, C.averageRule(ema, source, scalars)));
  }
  return b.build();
}

/** The packed model. External: the EMA of the claim's last state (θ without one). Result: `model`. */
export function modelProgram(recipe: ProgramRecipe): Program {
  const layout = createLayout(recipe);
  const packed = packedModelLayout(layout);
  const b = new ProgramBuilder();
  const vector = b.external(recipe.ema ? 'ema' : 'theta', 4 * layout.length);
  b.result('model', b.add('model', 'u8', packed.bytes, packedModelRule(vector, packed)));
  return b.build();
}
