// `npm test`: sets up, runs vitest with the given arguments, and ends with a line `N passed, N failed[, N skipped]`.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cli, isMain, ROOT, runProgram, TOOLS } from './lib/project.mjs';
import { setup } from './setup.mjs';

/** Counts of a vitest JSON report. A file that could not even be loaded has no tests in it and counts as one failure. */
export function countResults(report) {
  const broken = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** Runs vitest and prints the closing line. @returns vitest's exit code, never 0 if a test failed or none ran */
export async function runTests(args, { env = process.env } = {}) {
  const file = join(TOOLS, `test-results.${process.pid}.json`);
  mkdirSync(TOOLS, { recursive: true });
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const options = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const result = await runProgram(process.execPath, [vitest, ...options, ...args], { env, stdio: 'inherit' });
  let counts = { passed: 0, failed: 1, skipped: 0 };
  try {
    counts = countResults(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    process.stderr.write('no report was written: vitest ended early\n');
  }
  rmSync(file, { force: true });
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed${skipped}\n`);
  return result.code === 0 && (counts.failed > 0 || counts.passed === 0) ? 1 : result.code;
}

if (isMain(import.meta.url)) {
  await cli(async (args) => {
    await setup({ quiet: true });
    return runTests(args);
  });
}
