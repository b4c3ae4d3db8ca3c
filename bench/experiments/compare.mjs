/**
 * Compares the results of the convergence experiments with PyTorch fp32, seed by seed, and prints a Markdown table.
 *
 *   node bench/experiments/compare.mjs [--root .pogo/experiments] [--step N] [--reference fp32] [--seeds N]
 *
 * `--seeds 3` takes only seeds 0, 1, 2.
 *
 * The verdict is the acceptance rule of docs/numerics.md: paired mean difference at most 0.02 nats plus two standard
 * errors, over at least three seeds.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const ALLOWED_NATS = 0.02;

const { values } = parseArgs({
  options: {
    root: { type: 'string', default: '.pogo/experiments' },
    step: { type: 'string' },
    seeds: { type: 'string' },
    reference: { type: 'string', default: 'fp32' },
  },
});

/** @returns {Map<string, Map<number, {raw:number, ema:number, step:number}>>} run → seed → last (or asked) measurement */
function readResults(folder) {
  const runs = new Map();
  for (const entry of readdirSync(folder).filter((name) => name.startsWith('seed-'))) {
    if (values.seeds && Number(entry.slice('seed-'.length)) >= Number(values.seeds)) continue;
    for (const file of readdirSync(join(folder, entry)).filter((name) => /^result-.*\.jsonl$/.test(name))) {
      const lines = readFileSync(join(folder, entry, file), 'utf8')
        .trim()
        .split('\n')
        .map(JSON.parse);
      const measured = lines.filter((line) => line.type === 'heldOut');
      const chosen = values.step ? measured.find((line) => line.step === Number(values.step)) : measured.at(-1);
      if (!chosen) continue;
      if (!runs.has(chosen.run)) runs.set(chosen.run, new Map());
      runs.get(chosen.run).set(chosen.seed, chosen);
    }
  }
  return runs;
}

function meanAndError(differences) {
  const n = differences.length;
  const mean = differences.reduce((a, b) => a + b, 0) / n;
  const variance = differences.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, n - 1);
  return { mean, error: Math.sqrt(variance / n) };
}

if (!existsSync(values.root)) {
  process.stderr.write(
    `expected experiments in ${values.root}, found nothing; run buildBytes.mjs and buildBpe.mjs first\n`,
  );
  process.exit(2);
}
const out = [
  '| experiment | step | run | seeds | raw | EMA | paired raw difference | verdict |',
  '|---|---|---|---|---|---|---|---|',
];
for (const name of readdirSync(values.root).sort()) {
  const folder = join(values.root, name);
  if (!existsSync(join(folder, 'tokens.bin'))) continue;
  const runs = readResults(folder);
  const reference = runs.get(values.reference);
  for (const [run, seeds] of [...runs].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
    const list = [...seeds.values()].sort((a, b) => a.seed - b.seed);
    const show = (key) => list.map((line) => line[key].toFixed(3)).join(', ');
    let difference = '–';
    let verdict = run === values.reference ? 'reference' : '–';
    // Only a measurement at the same step of the same seed makes a pair.
    const paired = list.filter((line) => reference?.get(line.seed)?.step === line.step);
    if (run !== values.reference && paired.length > 0) {
      const { mean, error } = meanAndError(paired.map((line) => line.raw - reference.get(line.seed).raw));
      difference = `${mean >= 0 ? '+' : ''}${mean.toFixed(4)} ± ${error.toFixed(4)}`;
      const holds = mean <= ALLOWED_NATS + 2 * error;
      verdict = paired.length < 3 ? `${paired.length} of 3 seeds` : holds ? 'accepted' : 'missed';
    }
    const steps = [...new Set(list.map((line) => line.step))].join('/');
    const count = list.map((line) => line.seed).join(' ');
    out.push(
      `| ${name} | ${steps} | ${run} | ${count} | ${show('raw')} | ${show('ema')} | ${difference} | ${verdict} |`,
    );
  }
}
process.stdout.write(`${out.join('\n')}\n`);
