/**
 * Adapters merged into the model that they stand on: W' = W + s·(B·A), for programs that know no adapters. Products and
 * sums are fp32 in the order of the rank, so two people merge the same bits; training and checking never read them.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashBytes } from '../files/digest.js';
import { adapterNames, adapterScale, baseRecipe, targetShape } from '../model/adapter.js';
import { type Recipe, recipeRoot, validateRecipe } from '../model/recipe.js';
import { rootState, START_SCALARS, vectorBytes } from '../model/state.js';
import { type ModelPlan, modelPlan } from '../model/unit.js';
import { headerOf } from '../protocol/stateHeader.js';
import { readStateFolder, writeStateFolder } from './files/stateFolder.js';
import { FrozenModels } from './frozenModels.js';

/** @param plan with its frozen model. @returns θ of the whole model, f32 [model.length] */
export function mergeAdapters({ recipe, layout, model, frozen }: ModelPlan, adapters: Float32Array): Float32Array {
  const merged = new Float32Array(new SharedArrayBuffer(4 * model.length));
  const { adapter } = recipe;
  if (adapter === undefined || frozen === undefined) throw new TypeError('a plan with adapters and their model');
  merged.set(frozen);
  const s = adapterScale(adapter);
  const { rank } = adapter;
  for (let layer = 0; layer < recipe.layers; layer += 1) {
    for (const target of adapter.targets) {
      const linear = `h${layer}.${target}`;
      const names = adapterNames(linear);
      const [a, b, w] = [layout.byName(names.a), layout.byName(names.b), model.byName(`${linear}.weight`)];
      const { outputs, inputs } = targetShape(recipe, target);
      for (let n = 0; n < outputs; n += 1) {
        for (let k = 0; k < inputs; k += 1) {
          let sum = 0;
          for (let r = 0; r < rank; r += 1) {
            const product = Math.fround(
              (adapters[b.offset + r * outputs + n] as number) * (adapters[a.offset + r * inputs + k] as number),
            );
            sum = Math.fround(sum + product);
          }
          const at = w.offset + n * inputs + k;
          merged[at] = Math.fround((merged[at] as number) + Math.fround(sum * s));
        }
      }
    }
  }
  return merged;
}

/**
 * Merges a state folder of adapters into a state folder of the whole model, in a temporary place.
 *
 * @returns the folder, the recipe of the merged model, and what removes the folder
 * @throws PogoError MISSING without the model that the adapters stand on
 */
export function mergedState(
  folder: string,
  recipe: Recipe,
  weights: 'ema' | 'theta',
  home: string,
): { readonly folder: string; readonly recipe: Recipe; remove(): void } {
  const plan = new FrozenModels(home).complete(modelPlan(recipe));
  const { vectors } = readStateFolder(folder, plan.layout);
  const theta = mergeAdapters(plan, (weights === 'ema' ? vectors.ema : vectors.theta) ?? vectors.theta);
  const root = hashBytes(vectorBytes(theta));
  const merged = validateRecipe({ ...baseRecipe(recipe), ema: false, start: { kind: 'root', root } });
  const { ema, ...state } = rootState(modelPlan(merged), theta);
  const place = mkdtempSync(join(tmpdir(), 'pogo-merge-'));
  const target = join(place, 'state');
  writeStateFolder(target, headerOf(recipeRoot(merged), START_SCALARS, { ...state, ema }, hashBytes), state);
  return { folder: target, recipe: merged, remove: () => rmSync(place, { recursive: true, force: true }) };
}
