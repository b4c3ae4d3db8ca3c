/**
 * Compiles `bench/` into `.tools/bench` and runs it: `node bench/build.mjs [flags of bench/main.ts]`.
 *
 * The compiled bench must use the compiled library in `dist`, not a copy of it: addons and workers are found from there.
 * So `.tools/bench/src` is a link to `dist`, and both are written by one compiler run.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Compiles; output of the compiler goes to stderr. @returns path of the program, or undefined where it failed */
export function buildBench() {
  const out = join(ROOT, '.tools', 'bench');
  mkdirSync(out, { recursive: true });
  mkdirSync(join(ROOT, 'dist'), { recursive: true });
  const link = join(out, 'src');
  if (!existsSync(link)) symlinkSync(join(ROOT, 'dist'), link, 'junction');
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const result = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.bench.json'], {
    cwd: ROOT,
    stdio: ['ignore', process.stderr.fd, process.stderr.fd],
  });
  return result.status === 0 ? join(out, 'bench', 'main.js') : undefined;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const program = buildBench();
  if (program === undefined) process.exit(1);
  const run = spawnSync(process.execPath, [program, ...process.argv.slice(2)], { cwd: ROOT, stdio: 'inherit' });
  process.exit(run.status ?? 130);
}
