// Everything that is made from bench results, in order, after a file of bench/measure.mjs or the result of check-cost.mjs changed:
// tables of README.md and docs/performance.md, points of the cost analysis, the built code, docs/cost.md with its charts, and the
// ratios of bench/baseline.json.
//   node scripts/publish-results.mjs [--check]     --check changes nothing; exit code 1 and names if anything is out of date
// The baseline is written and not checked: it is what a machine reached, for later runs to be compared with.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { newestResults } from './generate-cost.mjs';
import { cli, progress, ROOT, runProgram, ScriptError } from './lib/project.mjs';

const script = (...path) => join(ROOT, ...path);

/** Steps to write everything. The points are compiled into the program that writes the page. */
const writing = () => [
  ['tables', script('bench', 'writeTables.mjs')],
  ['points of the cost analysis', script('scripts', 'generate-cost.mjs'), '--points-only'],
  ['build', script('node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json'],
  ['cost analysis', script('scripts', 'generate-cost.mjs')],
  ['baseline', script('scripts', 'bench.mjs'), '--from', script(newestResults()), '--write-baseline'],
];

const checking = () => [
  ['tables', script('bench', 'writeTables.mjs'), '--check'],
  ['cost analysis', script('scripts', 'generate-cost.mjs'), '--check'],
];

await cli(async (args) => {
  const check = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !check)
    throw new ScriptError(`error: expected --check or nothing, found ${args.join(' ')}`, 2);
  if (!existsSync(script('dist', 'cost', 'points.js'))) {
    throw new ScriptError('error ENVIRONMENT: expected the built code, found none; npm run setup', 5);
  }
  let stale = false;
  for (const [name, ...command] of check ? checking() : writing()) {
    const { code } = await runProgram(process.execPath, command);
    if (code === 0) continue;
    if (!check) throw new ScriptError(`error: ${name} ended with exit code ${code}; nothing after it was written`);
    stale = true;
  }
  if (stale) progress('results: out of date; run node scripts/publish-results.mjs');
  else progress(`results: ${check ? 'every page is up to date' : 'written'}, from ${newestResults()}`);
  return stale ? 1 : 0;
});
