/**
 * The trace is the tape: every array that both have is equal, for every shape of model; and the fast forms of rules are
 * the rules.
 */

import { blake3 } from '@noble/hashes/blake3.js';
import { describe, expect, it } from 'vitest';
import { openBackend } from '../../../src/backend/open.js';
import { toHex } from '../../../src/hex.js';
import { portableHash } from '../../../src/merkle/portable.js';
import type { Recipe } from '../../../src/model/recipe.js';
import { learningRateBits } from '../../../src/model/state.js';
import type { HostArray } from '../../../src/model/tape.js';
import { type RunResult, runProgram } from '../../../src/protocol/trace/runProgram.js';
import { commitProgram, modelProgram } from '../../../src/protocol/trace/stateProgram.js';
import { gemmaChanges } from '../../support/optionRecipes.js';
import { seededBytes } from '../../support/random.js';
import { smallRecipe, trainClaim } from '../../support/trainedClaim.js';
import { runTape, runTrace, traceUnit } from '../../support/unitTrace.js';

const DRAW = new Uint8Array(32).fill(3);

/** Recipes that reach every branch of the program. */
const CASES: Readonly<Record<string, Partial<Recipe>>> = {
  'one layer': {},
  'LayerNorm, biases, masked vocabulary, two heads': {
    norm: 'layer',
    bias: true,
    vocab: 300,
    heads: 2,
    width: 128,
    hidden: 128,
    layers: 2,
  },
  'two blocks of keys, two sequences, odd head size': { context: 128, sequencesPerUnit: 2, heads: 2 },
  'a vocabulary beyond one segment': { vocab: 4200 },
  'two panels of the hidden width': { hidden: 1088 },
  'two panels of tokens and of look-ups': { sequencesPerUnit: 17 },
  'gemma3: a window over three blocks, two sequences': gemmaChanges({ context: 192, sequencesPerUnit: 2 }),
  'gemma3: heads of 64, all layers global, a panel of both halves': gemmaChanges({
    heads: 2,
    hidden: 576,
    gemma: { headSize: 64, globalEvery: 1, keyValueHeads: 2 } as Recipe['gemma'] & object,
  }),
};

function recipeOf(changes: Partial<Recipe>) {
  const { recipe, tokenFile } = smallRecipe({ ...changes });
  // Tokens must exist in the vocabulary.
  const values = Uint16Array.from(seededBytes(tokenFile.length / 2, 1), (byte) => byte % recipe.vocab);
  const file = new Uint8Array(values.buffer);
  return {
    recipe: { ...recipe, data: { ...recipe.data, tokensRoot: blake3(file) } },
    tokenFile: file,
  };
}

/** Where an array of a tape operation stands in the trace: output name, and whether it is its end. */
function traceName(operation: string, argument: string, isGemma: boolean): string | undefined {
  const layer = operation.split('.')[0] as string;
  if (operation.endsWith('.plusOne')) return argument === 'out' ? operation : undefined;
  const gemma: Record<string, Record<string, string>> = {
    [`${layer}.qkv.forward`]: { y: `${layer}.qkv.rows` },
    [`${layer}.o.forward`]: { y: `${layer}.o.rows` },
    [`${layer}.fc.forward`]: { y: `${layer}.fc.rows` },
    [`${layer}.proj.forward`]: { y: `${layer}.proj.rows` },
    [`${layer}.postNorm1.forward`]: { y: `${layer}.xMid`, rstd: `${layer}.postNorm1.rstd` },
    [`${layer}.postNorm2.forward`]: { y: `${layer}.out`, rstd: `${layer}.postNorm2.rstd` },
    [`${layer}.geglu.forward`]: { codes: `${layer}.hidden.codes`, scales: `${layer}.hidden.scales` },
    [`${layer}.proj.inputGradient`]: { dx: `${layer}.proj.dy` },
    [`${layer}.heads.backward`]: {
      dy: `${layer}.heads.dy`,
      dGainQ: `${layer}.qNorm.gain.gradient`,
      dGainK: `${layer}.kNorm.gain.gradient`,
    },
  };
  if (isGemma && gemma[operation] !== undefined) return gemma[operation][argument];
  const direct: Record<string, Record<string, string>> = {
    'embedding.forward': { x: 'embedding' },
    'head.forward': { codes: 'head.codes', eScales: 'head.scales', loss: 'losses' },
    'head.inputGradient': { dx: 'head.dy' },
    'embedding.backward': { dWte: 'wte.gradient', dWpe: 'wpe.sums' },
    loss: { out: 'loss' },
    [`${layer}.qkv.forward`]: { codes: `${layer}.qkv.codes`, scales: `${layer}.qkv.scales` },
    [`${layer}.attention.forward`]: { o: `${layer}.attention`, lambda: `${layer}.lambda` },
    [`${layer}.attention.quantize`]: { codes: `${layer}.o.codes`, scales: `${layer}.o.scales` },
    [`${layer}.o.forward`]: { y: `${layer}.xMid` },
    [`${layer}.fc.forward`]: {
      codes: `${layer}.hidden.codes`,
      scales: `${layer}.hidden.scales`,
      derivative: `${layer}.derivative`,
    },
    [`${layer}.proj.forward`]: { y: `${layer}.out` },
    [`${layer}.fc.inputGradient`]: { dx: `${layer}.fc.dy` },
    [`${layer}.qkv.inputGradient`]: { dx: `${layer}.qkv.dy` },
    [`${layer}.o.inputGradient`]: { codes: `${layer}.dO.codes`, scales: `${layer}.dO.scales` },
    [`${layer}.attention.backward`]: { dqkv: `${layer}.dqkv` },
  };
  if (direct[operation] !== undefined) return direct[operation][argument];
  const [base, part] = [operation.slice(0, operation.lastIndexOf('.')), operation.split('.').at(-1)];
  const suffixes: Record<string, Record<string, string>> = {
    forward: { codes: 'codes', scales: 'scales', rstd: 'rstd', mean: 'mean' },
    backward: { dx: 'dx', dGain: 'gain.gradient', dBias: 'bias.gradient' },
    recodeError: { out: 'error.codes', outScales: 'error.scales' },
    recodeInput: { out: 'input.codes', outScales: 'input.scales' },
    error: { codes: 'error.codes', scales: 'error.scales', bias: 'bias.gradient' },
    gradient: { dw: 'gradient.product', codes: 'gradient.codes', scales: 'gradient.scales' },
  };
  const suffix = suffixes[part as string]?.[argument];
  return suffix === undefined ? undefined : `${base}.${suffix}`;
}

const OUTPUTS = [
  'x',
  'codes',
  'scales',
  'rstd',
  'mean',
  'o',
  'lambda',
  'y',
  'derivative',
  'eScales',
  'loss',
  'dx',
  'out',
];
const GRADIENTS = ['outScales', 'dy', 'dGainQ', 'dGainK', 'dw', 'dGain', 'dBias', 'bias', 'dqkv', 'dWte', 'dWpe'];

const bytesOf = (array: HostArray): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

describe.each(Object.entries(CASES))('trace of a unit: %s', (_name, changes) => {
  const { recipe, tokenFile } = recipeOf(changes);
  const trace = traceUnit(recipe, tokenFile, DRAW);
  const names = new Map(trace.program.operations.map(({ name }, i) => [name, i]));

  // One run by the fast forms, which both tests look at.
  let known: { readonly outputs: ReadonlyMap<string, Uint8Array>; readonly run: RunResult } | undefined;
  const fastForms = () => {
    if (known === undefined) {
      const outputs = new Map<string, Uint8Array>();
      const run = runTrace(trace, {
        onOutput: (index, bytes) => outputs.set(trace.program.operations[index]!.name, bytes.slice()),
      });
      known = { outputs, run };
    }
    return known;
  };

  it('has every array of the tape, bit for bit, and the unit and loss at its end', () => {
    const { outputs, run } = fastForms();
    expect(run.end).toBeUndefined();
    let compared = 0;
    const { file, loss } = runTape(recipe, trace, (operation, arrays) => {
      let found = 0;
      for (const argument of [...OUTPUTS, ...GRADIENTS]) {
        const array = arrays.get(argument);
        const name = traceName(operation, argument, recipe.family === 'gemma3');
        if (array === undefined || name === undefined || array.length === 0) continue;
        const output = outputs.get(name);
        // Operations that read an argument of this name: the trace has it elsewhere.
        if (output === undefined) continue;
        const bytes = bytesOf(array);
        // Running sums end with the sum; files end with padding.
        const isEnd = name.endsWith('.gradient') || name === 'wpe.sums';
        const part = isEnd ? output.subarray(output.length - bytes.length) : output.subarray(0, bytes.length);
        expect(toHex(blake3(part)), `${operation} ${argument}`).toBe(toHex(blake3(bytes)));
        found += 1;
      }
      if (!operation.endsWith('.qkv.bias.gradient')) expect(found, operation).toBeGreaterThan(0);
      compared += found;
    });
    expect(compared).toBeGreaterThan(60);
    expect(toHex(blake3(outputs.get('unit')!))).toBe(toHex(blake3(file)));
    expect(new Float32Array(outputs.get('loss')!.buffer)[0]).toBe(loss);
    expect(trace.program.results.map(({ operation }) => operation)).toEqual([names.get('loss'), names.get('unit')]);
  });

  it('has one root for each operation, the same from rules alone and from a backend’s kernels', () => {
    const { roots } = fastForms().run;
    const same = (other: readonly Uint8Array[]): void => {
      expect(other.map(toHex)).toEqual(roots.map(toHex));
    };
    expect(roots.length).toBe(trace.program.operations.length);
    same(runTrace(trace, { rulesOnly: true }).roots);
    const best = openBackend();
    same(runTrace(trace, { kernels: best.kernels }).roots);
  });
});

describe.each([
  ['with EMA', {}],
  ['without EMA, LayerNorm and biases', { ema: false, norm: 'layer', bias: true }],
] as const)('trace of a commit pass and of the packed model, %s', (_name, changes) => {
  it('gives the states and the model of a claim', () => {
    // Eight steps, so that the EMA moves once.
    const claim = trainClaim({}, { ...changes, stepsPerClaim: 8, minStepsPerClaim: 8, maxStepsPerClaim: 8 });
    const { recipe } = claim;
    const hash = portableHash;
    const names = recipe.ema ? (['theta', 'm', 'v', 'ema'] as const) : (['theta', 'm', 'v'] as const);
    for (const step of [claim.steps[0]!, claim.steps[7]!]) {
      const rate = (): number => learningRateBits(recipe, step.preHeader.step);
      const program = commitProgram(recipe, step.preHeader, rate);
      const externals = [...names.map((name) => step.before[name]), ...step.units];
      const { roots } = runProgram(program, { externals, hash });
      const expected = names.map((name) => toHex(blake3(step.after[name])));
      expect(program.results.map(({ operation }) => toHex(roots[operation]!))).toEqual(expected);
    }
    const program = modelProgram(recipe);
    const last = claim.steps[7]!.after;
    const { roots } = runProgram(program, { externals: [recipe.ema ? last.ema : last.theta], hash });
    expect(toHex(roots[0]!)).toBe(toHex(blake3(claim.model)));
  });
});
