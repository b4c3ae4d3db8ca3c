/**
 * Writes the folder of one convergence experiment: everything that a run needs, as plain little-endian files, so that
 * PyTorch and our own backends read the same tokens, batches, initial weights and learning rates. The format is stated
 * in README.md beside this file.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Elements of a leaf; every tensor starts at a multiple of it. */
const LEAF = 256;

/**
 * A deterministic generator of 32-bit integers (SHA-256 in counter mode), the same on every machine.
 *
 * @param {string} label names the stream
 * @returns {() => number} uniform uint32
 */
export function uint32Stream(label) {
  let block = Buffer.alloc(0);
  let offset = 0;
  let counter = 0;
  return () => {
    if (offset === block.length) {
      // One big block of 32 digests at a time keeps the call cheap.
      const digests = [];
      for (let i = 0; i < 32; i++) {
        digests.push(createHash('sha256').update(`${label}/${counter++}`).digest());
      }
      block = Buffer.concat(digests);
      offset = 0;
    }
    const value = block.readUInt32LE(offset);
    offset += 4;
    return value;
  };
}

/**
 * A fast generator for bulk weights: sfc32 seeded from {@link uint32Stream}.
 *
 * @param {string} label
 * @returns {() => number} uniform uint32
 */
function fastStream(label) {
  const seed = uint32Stream(label);
  let [a, b, c, d] = [seed(), seed(), seed(), 1];
  const next = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

/**
 * Uniform integer in [0, bound) by rejection.
 *
 * @param {() => number} next
 * @param {number} bound at most 2^32
 */
export function below(next, bound) {
  const limit = Math.floor(2 ** 32 / bound) * bound;
  for (;;) {
    const value = next();
    if (value < limit) return value % bound;
  }
}

/**
 * The flat layout of a model: the order and the names of `src/model/layout.ts`.
 *
 * @param {{vocab:number,layers:number,width:number,heads?:number,hidden:number,context:number,norm:string,bias:boolean,gemma?:{keyValueHeads:number,headSize:number}}} model
 */
export function layoutOf(model) {
  const tensors = [];
  let length = 0;
  const add = (name, rows, cols, decay) => {
    tensors.push({ name, offset: length, rows, cols, decay });
    length = Math.ceil((length + rows * cols) / LEAF) * LEAF;
  };
  const norm = (name, size = model.width) => {
    add(`${name}.gain`, 1, size, false);
    if (model.norm === 'layer') add(`${name}.bias`, 1, model.width, false);
  };
  const linear = (name, rows, cols) => {
    add(`${name}.weight`, rows, cols, true);
    if (model.bias) add(`${name}.bias`, 1, rows, false);
  };
  add('wte', Math.ceil(model.vocab / 64) * 64, model.width, true);
  if (model.gemma !== undefined) {
    const { keyValueHeads, headSize } = model.gemma;
    for (let i = 0; i < model.layers; i++) {
      norm(`h${i}.norm1`);
      linear(`h${i}.qkv`, (model.heads + 2 * keyValueHeads) * headSize, model.width);
      norm(`h${i}.qNorm`, headSize);
      norm(`h${i}.kNorm`, headSize);
      linear(`h${i}.o`, model.width, model.heads * headSize);
      norm(`h${i}.postNorm1`);
      norm(`h${i}.norm2`);
      linear(`h${i}.fc`, 2 * model.hidden, model.width);
      linear(`h${i}.proj`, model.width, model.hidden);
      norm(`h${i}.postNorm2`);
    }
    norm('norm');
    return { tensors, length };
  }
  add('wpe', model.context, model.width, true);
  for (let i = 0; i < model.layers; i++) {
    norm(`h${i}.norm1`);
    linear(`h${i}.qkv`, 3 * model.width, model.width);
    linear(`h${i}.o`, model.width, model.width);
    norm(`h${i}.norm2`);
    linear(`h${i}.fc`, model.hidden, model.width);
    linear(`h${i}.proj`, model.width, model.hidden);
  }
  norm('norm');
  return { tensors, length };
}

/**
 * Initial weights: standard deviation 0.02, 0.01 for positions, divided by √(2·layers) where a matrix writes to the
 * residual stream; gains 1, biases 0. Sums of four uniform integers, scaled to unit variance.
 *
 * @returns {Float32Array} flat, [layout.length]
 */
function initialWeights(model, label) {
  const { tensors, length } = layoutOf(model);
  const next = fastStream(label);
  const out = new Float32Array(length);
  for (const { name, offset, rows, cols, decay } of tensors) {
    const size = rows * cols;
    if (!decay) {
      // The family gemma3 multiplies with 1 + gain.
      if (name.endsWith('.gain') && model.gemma === undefined) out.fill(1, offset, offset + size);
      continue;
    }
    const residual = name.endsWith('.o.weight') || name.endsWith('.proj.weight');
    const deviation = (name === 'wpe' ? 0.01 : 0.02) / (residual ? Math.sqrt(2 * model.layers) : 1);
    // Var(sum of 4 uniforms on [0,1)) = 4/12, mean 2.
    const scale = deviation * Math.sqrt(3);
    for (let i = 0; i < size; i++) {
      const sum = (next() + next() + next() + next()) / 2 ** 32;
      out[offset + i] = (sum - 2) * scale;
    }
  }
  return out;
}

/** Linear warm-up of 40 steps times a cosine from the peak to a tenth of it; fp32 [steps]. */
function learningRates(peak, steps) {
  const rates = new Float32Array(steps);
  for (let s = 0; s < steps; s++) {
    rates[s] = peak * Math.min(1, (s + 1) / 40) * (0.1 + 0.45 * (1 + Math.cos((Math.PI * s) / steps)));
  }
  return rates;
}

/**
 * Writes one folder a seed: `<root>/<name>/seed-<n>/`, and the shared token file `<root>/<name>/tokens.bin`.
 *
 * @param {object} options
 * @param {string} options.root
 * @param {string} options.name [a-z0-9-]
 * @param {object} options.model shape
 * @param {Uint16Array} options.tokens
 * @param {number} options.heldOutTokens the last tokens, never trained on
 * @param {number} options.heldOutSequences
 * @param {number} options.sequencesPerUnit
 * @param {number} options.unitsPerStep
 * @param {number} options.steps
 * @param {number} options.seeds
 * @param {number} [options.measureEvery] steps between two held-out losses, default 50
 * @param {number} options.peakLearningRate
 * @param {object} options.data where the tokens come from, in words
 */
export function writeExperiments(options) {
  const { root, name, model, tokens, heldOutTokens, steps } = options;
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'tokens.bin'), tokens);
  const trained = tokens.length - heldOutTokens;
  // A held-out sequence lies wholly in the last heldOutTokens tokens, its target beyond the context included.
  const pick = uint32Stream(`held-out/${name}`);
  const heldOut = BigUint64Array.from({ length: options.heldOutSequences }, () =>
    BigInt(trained + below(pick, heldOutTokens - model.context)),
  );
  writeFileSync(join(folder, 'held-out.bin'), heldOut);
  writeFileSync(join(folder, 'learning-rates.bin'), learningRates(options.peakLearningRate, steps));
  const { tensors, length } = layoutOf(model);
  for (let seed = 0; seed < options.seeds; seed++) {
    const own = join(folder, `seed-${seed}`);
    mkdirSync(own, { recursive: true });
    const next = uint32Stream(`batches/${name}/${seed}`);
    const perStep = options.sequencesPerUnit * options.unitsPerStep;
    const batches = BigUint64Array.from({ length: steps * perStep }, () =>
      BigInt(below(next, trained - model.context)),
    );
    writeFileSync(join(own, 'batches.bin'), batches);
    writeFileSync(join(own, 'initial.bin'), initialWeights(model, `weights/${name}/${seed}`));
    const shared = (file) => relative(own, join(folder, file));
    const experiment = {
      name,
      seed,
      model,
      sequencesPerUnit: options.sequencesPerUnit,
      unitsPerStep: options.unitsPerStep,
      steps,
      measureEvery: options.measureEvery ?? 50,
      optimizer: { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 },
      peakLearningRate: options.peakLearningRate,
      ema: { every: 8, decay: Math.fround(0.95 ** 8) },
      data: { ...options.data, tokens: tokens.length, heldOutTokens },
      files: {
        tokens: shared('tokens.bin'),
        heldOut: shared('held-out.bin'),
        learningRates: shared('learning-rates.bin'),
        batches: 'batches.bin',
        initial: 'initial.bin',
      },
      layout: { length, tensors },
    };
    writeFileSync(join(own, 'experiment.json'), `${JSON.stringify(experiment, null, 1)}\n`);
  }
  return { folder, parameters: tensors.reduce((n, t) => n + t.rows * t.cols, 0), trained };
}
