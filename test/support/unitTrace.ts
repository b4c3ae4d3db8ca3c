/** Runs the tape and the trace of one unit side by side. */

import type { Kernels } from '../../src/backend/ops.js';
import { referenceKernels } from '../../src/backend/reference.js';
import { portableHash } from '../../src/merkle/portable.js';
import type { Recipe } from '../../src/model/recipe.js';
import { recipeRope } from '../../src/model/rope.js';
import { ditherSeed } from '../../src/model/seeds.js';
import { seedState, vectorBytes } from '../../src/model/state.js';
import { BoundTape, type HostArray } from '../../src/model/tape.js';
import { trainingTape } from '../../src/model/tapes.js';
import { allocateWeights, gatherSequences, modelPlan, quantizeWeights, splitSequences } from '../../src/model/unit.js';
import { drawBatch, unitOffsets } from '../../src/protocol/draws.js';
import type { Program } from '../../src/protocol/trace/program.js';
import { type RunOptions, type RunResult, runProgram } from '../../src/protocol/trace/runProgram.js';
import { type UnitSubject, unitProgram } from '../../src/protocol/trace/unitProgram.js';

export interface TracedUnit {
  readonly program: Program;
  readonly externals: readonly Uint8Array[];
  readonly subject: UnitSubject;
}

/** The program and inputs of a unit of the first step. */
export function traceUnit(recipe: Recipe, tokenFile: Uint8Array, draw1: Uint8Array, unit = 0): TracedUnit {
  const plan = modelPlan(recipe);
  const theta = vectorBytes(seedState(plan).theta).slice();
  const subject = { recipeRoot: plan.root, draw1, step: 0, unit };
  return { program: unitProgram(recipe, subject), externals: [theta, tokenFile], subject };
}

export function runTrace(trace: TracedUnit, options: Partial<RunOptions> = {}): RunResult {
  return runProgram(trace.program, { externals: trace.externals, hash: portableHash, ...options });
}

/** Every buffer of the tape after a run, and the unit file, by name. */
export function runTape(
  recipe: Recipe,
  trace: TracedUnit,
  observe: (operation: string, arrays: ReadonlyMap<string, HostArray>) => void,
  kernels: Kernels = referenceKernels,
): { readonly file: Uint8Array; readonly loss: number } {
  const plan = modelPlan(recipe);
  const bytes = trace.externals[0] as Uint8Array;
  const theta = new Float32Array(new SharedArrayBuffer(bytes.length));
  vectorBytes(theta).set(bytes);
  const shared = allocateWeights(plan, theta);
  quantizeWeights(plan, kernels, shared);
  const gpt = trainingTape(recipe, plan.layout, plan.weights);
  const file = new Uint8Array(new SharedArrayBuffer(plan.layout.length / 2 + plan.layout.length / 32));
  const entries = gpt.tape.entries;
  const given = {
    theta: shared.theta,
    weightCodes: shared.codes,
    weightScales: shared.scales,
    unitCodes: new Uint8Array(file.buffer, 0, plan.layout.length / 2),
    unitScales: new Uint16Array(file.buffer, plan.layout.length / 2, plan.layout.length / 64),
    rope: recipeRope(recipe),
  };
  const bound: { tape?: BoundTape } = {};
  let ran = 0;
  const observed = Object.fromEntries(
    Object.entries(kernels).map(([kind, kernel]) => [
      kind,
      (a: Record<string, HostArray>): void => {
        (kernel as (argument: object) => void)(a);
        const entry = entries[ran] as (typeof entries)[number];
        ran += 1;
        observe(entry.name, new Map(Object.entries(a)));
      },
    ]),
  ) as unknown as Kernels;
  bound.tape = new BoundTape(gpt.tape, observed, given);
  const { draw1, step, unit, recipeRoot } = trace.subject;
  const offsets = unitOffsets(drawBatch(draw1, step, recipe), unit, recipe);
  const tokenBytes = (trace.externals[1] as Uint8Array).slice();
  const tokens = recipe.vocab > 65_536 ? new Uint32Array(tokenBytes.buffer) : new Uint16Array(tokenBytes.buffer);
  splitSequences(
    gatherSequences(tokens, offsets, recipe.context),
    recipe.context,
    bound.tape.array('tokens') as Uint32Array,
    bound.tape.array('targets') as Uint32Array,
  );
  const seeds = bound.tape.array('seeds') as Uint32Array;
  gpt.seeds.forEach((use, i) => {
    seeds.set(ditherSeed(recipeRoot, draw1, step, unit, use.tensorId, use.purpose), 4 * i);
  });
  bound.tape.run();
  return { file, loss: (bound.tape.array('unitLoss') as Float32Array)[0] as number };
}
