// Writes what the cost analysis rests on and what it says: src/cost/measured.ts from the newest results of bench/results/,
// then, from the built code and what scripts/check-cost.mjs found, docs/cost.md and its charts. Twice where the points changed:
// --points-only, npm run build, then all.
//   node scripts/generate-cost.mjs [--check] [--points-only]      exit code 1 with --check if anything is out of date
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { capture, cli, isMain, progress, ROOT, ScriptError } from './lib/project.mjs';

const RESULTS = join(ROOT, 'bench', 'results');
const MEASURED = join(ROOT, 'src', 'cost', 'measured.ts');
/** What `scripts/check-cost.mjs --write` keeps. */
export const CHECKED = 'bench/results/cost/check.jsonl';

const built = (name) => import(pathToFileURL(join(ROOT, 'dist', 'cost', name)).href);

/** The newest file of a CPU that has steps: names begin with the date. */
export function newestResults() {
  const files = readdirSync(RESULTS).filter((name) => /^\d{4}-\d\d-\d\d-.*\.jsonl$/.test(name));
  for (const name of files.sort().reverse()) {
    const lines = readLines(join(RESULTS, name));
    if (lines.some((line) => line.name === 'step' && line.backend === 'cpu')) return `bench/results/${name}`;
  }
  throw new ScriptError('error: expected results of bench/measure.mjs in bench/results, found none');
}

export function readLines(file) {
  return readFileSync(file, 'utf8').trimEnd().split('\n').map(JSON.parse);
}

async function measuredText() {
  const { readPoints } = await built('points.js');
  const file = newestResults();
  const points = readPoints(readLines(join(ROOT, file)), file);
  const json = JSON.stringify(
    points,
    (_, value) => (typeof value === 'number' ? Number(value.toPrecision(6)) : value),
    2,
  );
  const text =
    `// Generated from ${file} by scripts/generate-cost.mjs. Do not edit.\n` +
    `import type { MeasuredPoints } from './points.js';\n\n` +
    `/** Points of the newest measured machine. */\nexport const MEASURED: MeasuredPoints = ${json};\n`;
  return formatted(text, MEASURED);
}

/** As the formatter writes it, so that both agree. */
async function formatted(text, file) {
  const before = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  writeFileSync(file, text);
  await capture('npx', ['biome', 'check', '--write', file]);
  const result = readFileSync(file, 'utf8');
  if (before !== undefined) writeFileSync(file, before);
  return result;
}

if (isMain(import.meta.url)) {
  await cli(async (args) => {
    const check = args.includes('--check');
    const stale = [];
    const put = (file, text) => {
      if (existsSync(file) && readFileSync(file, 'utf8') === text) return;
      if (check) stale.push(file);
      else writeFileSync(file, text);
    };
    if (!existsSync(join(ROOT, 'dist', 'cost', 'points.js'))) {
      throw new ScriptError('error ENVIRONMENT: expected the built code, found none; npm run setup', 5);
    }
    put(MEASURED, await measuredText());
    if (!args.includes('--points-only')) {
      const { costFiles } = await built('document.js');
      const checked = existsSync(join(ROOT, CHECKED)) ? readLines(join(ROOT, CHECKED)) : [];
      for (const [name, text] of costFiles(checked)) put(join(ROOT, 'docs', name), text);
    }
    for (const file of stale) process.stderr.write(`out of date: ${file}; run node scripts/generate-cost.mjs\n`);
    if (stale.length === 0) progress(`cost: ${check ? 'up to date' : 'written'}`);
    return stale.length > 0 ? 1 : 0;
  });
}
