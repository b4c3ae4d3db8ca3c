/**
 * Trains an experiment folder with the exact arithmetic, in one thread, and writes `result-<run>.jsonl` beside
 * PyTorch's (format: README.md). The held-out loss is the exact one (integer forward pass) of θ and of the EMA; the
 * final vectors are kept as `final-<run>-theta.bin` and `final-<run>-ema.bin`, so that
 * `bench/peers/train_fp32.py --evaluate FILE` gives their fp32 loss as well.
 *
 *   node scripts/bench.mjs --experiment .pogo/experiments/moby/seed-0 [--run exact] [--steps N]
 */

import { closeSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { blake3 } from '@noble/hashes/blake3.js';
import type { Kernels } from '../../src/backend/types.js';
import { PogoError } from '../../src/errors.js';
import { bitsToFloat, decimalToBits, floatToBits } from '../../src/model/fp32.js';
import type { GemmaOptions, Recipe } from '../../src/model/recipe.js';
import { ropeRootOf } from '../../src/model/rope.js';
import {
  allocateWeights,
  gatherSequences,
  LossRunner,
  type ModelPlan,
  modelPlan,
  quantizeWeights,
} from '../../src/model/unit.js';
import { shared } from '../harness.js';
import { Trainer } from '../trainer.js';

/** Sequences of one forward pass of the held-out loss. */
const HELD_OUT_GROUP = 16;
const EMPTY_ROOT = new Uint8Array(32);

export interface ExperimentSpec {
  readonly name: string;
  readonly seed: number;
  readonly model: Pick<Recipe, 'vocab' | 'layers' | 'width' | 'heads' | 'hidden' | 'context' | 'norm' | 'bias'> & {
    readonly normEpsilon: number;
    /** Options of the family gemma3. */
    readonly gemma?: Omit<GemmaOptions, 'ropeRoot' | 'embeddingScaleBits'> & { readonly embeddingScale: number };
  };
  readonly sequencesPerUnit: number;
  readonly unitsPerStep: number;
  readonly steps: number;
  readonly measureEvery: number;
  readonly optimizer: {
    readonly beta1: number;
    readonly beta2: number;
    readonly epsilon: number;
    readonly weightDecay: number;
  };
  readonly ema: { readonly every: number; readonly decay: number };
  readonly data: { readonly tokens: number; readonly heldOutTokens: number };
  readonly files: Readonly<Record<'tokens' | 'heldOut' | 'learningRates' | 'batches' | 'initial', string>>;
}

/** The experiment as a recipe; data roots are empty, since nothing here is claimed. */
function recipeOf(spec: ExperimentSpec, rates: Float32Array): Recipe {
  const { normEpsilon, gemma, ...model } = spec.model;
  const { optimizer } = spec;
  return {
    ...model,
    name: spec.name,
    numerics: 1,
    ...familyOf(gemma, model.context),
    normEpsilonBits: decimalToBits(String(normEpsilon)),
    tokenizer: 'bytes',
    sequencesPerUnit: spec.sequencesPerUnit,
    unitsPerStep: spec.unitsPerStep,
    stepsPerClaim: 20,
    minStepsPerClaim: 20,
    maxStepsPerClaim: 20,
    optimizer: {
      beta1Bits: floatToBits(optimizer.beta1),
      beta2Bits: floatToBits(optimizer.beta2),
      epsilonBits: floatToBits(optimizer.epsilon),
      weightDecayBits: floatToBits(optimizer.weightDecay),
    },
    learningRateBits: Uint32Array.from(rates, floatToBits),
    ema: true,
    emaDecayBits: floatToBits(spec.ema.decay),
    data: {
      name: spec.name,
      textRoot: EMPTY_ROOT,
      tokensRoot: EMPTY_ROOT,
      tokenizerRoot: EMPTY_ROOT,
      tokens: spec.data.tokens,
      heldOutTokens: spec.data.heldOutTokens,
    },
    start: { kind: 'root', root: EMPTY_ROOT },
    sampling: 'uniform',
    detection: { fractionPpm: 100_000, targetPpm: 990_000 },
  };
}

function familyOf(gemma: ExperimentSpec['model']['gemma'], context: number): Pick<Recipe, 'family' | 'gemma'> {
  if (gemma === undefined) return { family: 'gpt' };
  const { embeddingScale, ...options } = gemma;
  const ropeRoot = ropeRootOf({ ...options, context });
  return { family: 'gemma3', gemma: { ...options, ropeRoot, embeddingScaleBits: floatToBits(embeddingScale) } };
}

function readArray<A>(file: string, make: (buffer: ArrayBuffer) => A): A {
  const bytes = readFileSync(file);
  return make(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer);
}

/** u64 offsets of a file, as numbers: a token file is far shorter than 2^53. */
function offsets(file: string): number[] {
  return Array.from(
    readArray(file, (b) => new BigUint64Array(b)),
    Number,
  );
}

/** What an experiment folder holds, its arrays checked against its model. */
export interface Experiment {
  readonly spec: ExperimentSpec;
  readonly plan: ModelPlan;
  readonly tokens: Uint16Array;
  /** Offsets in the tokens. */
  readonly heldOut: readonly number[];
  readonly batches: readonly number[];
  readonly initial: Float32Array;
}

/** @param folder of one seed, written by buildBytes.mjs or buildBpe.mjs */
export function readExperiment(folder: string): Experiment {
  const spec = JSON.parse(readFileSync(join(folder, 'experiment.json'), 'utf8')) as ExperimentSpec;
  const file = (key: keyof ExperimentSpec['files']): string => join(folder, spec.files[key]);
  const initial = readArray(file('initial'), (b) => new Float32Array(b));
  const rates = readArray(file('learningRates'), (b) => new Float32Array(b));
  const plan = modelPlan(recipeOf(spec, rates));
  if (initial.length !== plan.layout.length) {
    throw new PogoError(
      'SHAPE',
      `${file('initial')}: expected ${plan.layout.length} elements, found ${initial.length}; build the experiment again`,
    );
  }
  const tokens = readArray(file('tokens'), (b) => new Uint16Array(b));
  return { spec, plan, tokens, heldOut: offsets(file('heldOut')), batches: offsets(file('batches')), initial };
}

export interface ExactOptions {
  /** Names the result file: `exact`, or the variant of the rules that the kernels implement. */
  readonly run: string;
  readonly steps?: number;
  readonly microBatches?: number;
  readonly onLine?: (line: string) => void;
}

/** @param folder of one seed, written by buildBytes.mjs or buildBpe.mjs */
export function runExact(folder: string, kernels: Kernels, options: ExactOptions): void {
  const { spec, tokens, heldOut, batches, initial, plan } = readExperiment(folder);
  const trainer = new Trainer(plan, kernels, initial, options.microBatches ?? 1);
  const draw1 = blake3(new TextEncoder().encode(`experiment/${spec.name}/${spec.seed}`));

  // The held-out loss quantizes its own weights: those of the trainer belong to the next step.
  const scratch = shared.f32(initial.length);
  const evaluated = allocateWeights(plan, scratch);
  const loss = new LossRunner(plan, kernels, evaluated, HELD_OUT_GROUP);
  const sequences = gatherSequences(tokens, heldOut, plan.recipe.context);
  const lossOf = (vector: Float32Array): number => {
    scratch.set(vector);
    quantizeWeights(plan, kernels, evaluated);
    return bitsToFloat(loss.lossBits(sequences));
  };

  const final = join(folder, `result-${options.run}.jsonl`);
  const out = openSync(`${final}.partial`, 'w');
  const emit = (fields: object): void => {
    const line = JSON.stringify({ run: options.run, experiment: spec.name, seed: spec.seed, ...fields });
    writeSync(out, `${line}\n`);
    options.onLine?.(line);
  };
  const start = performance.now();
  const measure = (step: number): void => {
    const raw = lossOf(trainer.state.theta);
    const ema = lossOf(trainer.state.ema);
    emit({ type: 'heldOut', step, raw, ema, seconds: Number(((performance.now() - start) / 1e3).toFixed(1)) });
  };
  measure(0);
  const steps = Math.min(options.steps ?? spec.steps, spec.steps);
  const perUnit = spec.sequencesPerUnit;
  for (let step = 0; step < steps; step++) {
    let mean = 0;
    for (let unit = 0; unit < spec.unitsPerStep; unit++) {
      const from = (step * spec.unitsPerStep + unit) * perUnit;
      const bits = trainer.computeUnit(tokens, batches.slice(from, from + perUnit), unit, draw1);
      mean += bitsToFloat(bits) / spec.unitsPerStep;
    }
    trainer.commit();
    const done = step + 1;
    if (done % 10 === 0 || done === 1) emit({ type: 'train', step: done, loss: mean });
    if (done % spec.measureEvery === 0 || done === steps) measure(done);
  }
  closeSync(out);
  writeFileSync(join(folder, `final-${options.run}-theta.bin`), trainer.state.theta);
  writeFileSync(join(folder, `final-${options.run}-ema.bin`), trainer.state.ema);
  renameSync(`${final}.partial`, final);
}
