// `npm run check`: everything to run before a commit, format first. `--fix` lets Biome write its changes.
// Each part runs even if an earlier one failed; the summary says which failed.
import { join } from 'node:path';
import { cli, isMain, progress, ROOT, runProgram } from './lib/project.mjs';
import { setup } from './setup.mjs';

const tool = (...path) => join(ROOT, 'node_modules', ...path);

/** The parts of the check: a name, and arguments of `node`. */
export function checks({ fix = false } = {}) {
  return [
    ['format and lint', [tool('@biomejs', 'biome', 'bin', 'biome'), 'check', ...(fix ? ['--write'] : []), '.']],
    ['exact arithmetic', ['scripts/lint-fround.mjs']],
    ['constants', ['scripts/generate-constants.mjs', '--check']],
    ['types', [tool('typescript', 'bin', 'tsc'), '-p', 'tsconfig.json', '--noEmit']],
    ['unit tests', [tool('vitest', 'vitest.mjs'), 'run', 'test/unit']],
  ];
}

/** Runs the parts one after the other. @returns number of parts that failed */
export async function runChecks(parts) {
  const failed = [];
  for (const [name, args] of parts) {
    progress(`check: ${name}`);
    const result = await runProgram(process.execPath, args, { stdio: ['ignore', 2, 2] });
    progress(`check: ${name} ${result.code === 0 ? 'passed' : 'FAILED'} in ${result.seconds.toFixed(1)} s`);
    if (result.code !== 0) failed.push(name);
  }
  if (failed.length > 0) progress(`check: failed: ${failed.join(', ')}`);
  return failed.length;
}

if (isMain(import.meta.url)) {
  await cli(async (args) => {
    // A native part that no longer compiles fails the check; one whose tool chain is absent is only reported.
    const report = await setup({ quiet: true });
    const broken = report.filter((entry) => entry.status === 'failed').length;
    return broken + (await runChecks(checks({ fix: args.includes('--fix') }))) > 0 ? 1 : 0;
  });
}
