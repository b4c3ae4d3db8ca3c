/**
 * `pogo bench`: results as ratios to ceilings that are measured in the same run. The bench files are part of the
 * repository, not of the shipped package; the command compiles and runs them in a child process.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../backend/packageRoot.js';
import { EXIT, PogoError } from '../errors.js';
import { interruptible } from './interrupt.js';

/** This file lies two folders below the root of the package, in `src` as in `dist`. */

interface BenchFlags {
  readonly only?: string;
  readonly recipe?: string;
  readonly lanes?: string;
  readonly json?: boolean;
  readonly markdown?: boolean;
  readonly quick?: boolean;
  readonly peers: boolean;
  readonly peerModes?: string;
  readonly seconds?: string;
  readonly compare?: string | true;
  readonly writeBaseline?: string | true;
  readonly from?: string;
}

/** Flags of `bench/main.ts` for the flags of the command. */
function benchArguments(flags: BenchFlags): string[] {
  const out: string[] = [];
  if (flags.only !== undefined) out.push('--only', flags.only);
  if (flags.recipe !== undefined) out.push('--recipe', flags.recipe);
  if (flags.lanes !== undefined) out.push('--lanes', flags.lanes);
  if (flags.json) out.push('--json');
  if (flags.markdown) out.push('--markdown');
  if (flags.quick) out.push('--quick');
  if (!flags.peers) out.push('--no-peers');
  if (flags.peerModes !== undefined) out.push('--peer-modes', flags.peerModes);
  if (flags.seconds !== undefined) out.push('--seconds', flags.seconds);
  if (flags.from !== undefined) out.push('--from', resolve(flags.from));
  // The program runs in the package's folder: paths are those of this one.
  const withFile = (name: string, file: string | true | undefined): void => {
    if (file !== undefined) out.push(name, ...(file === true ? [] : [resolve(file)]));
  };
  withFile('--compare', flags.compare);
  withFile('--write-baseline', flags.writeBaseline);
  return out;
}

/** @returns the exit code of the bench program @throws PogoError ENVIRONMENT where there are no bench files */
async function runBench(flags: BenchFlags): Promise<number> {
  const program = join(packageRoot, 'bench', 'build.mjs');
  if (!existsSync(program)) {
    throw new PogoError(
      'ENVIRONMENT',
      `expected the bench files at ${program}, found none: the shipped package leaves them out; clone the repository and run: npm run bench`,
    );
  }
  return await interruptible(
    (signal) =>
      new Promise((resolve, reject) => {
        const options = { cwd: packageRoot, stdio: 'inherit' } as const;
        const child = spawn(process.execPath, [program, ...benchArguments(flags)], options);
        // Its own message and exit code are the answer. After Ctrl-C on a terminal it has heard already, and listens no more.
        signal.addEventListener('abort', () => child.kill('SIGTERM'));
        child.on('error', (error) => reject(PogoError.from(error)));
        child.on('close', (code) => resolve(code ?? EXIT.interrupted));
      }),
  );
}

export function register(program: Command): void {
  program
    .command('bench')
    .option('--only <names>', 'lines to measure, comma-separated; gemm stands for gemm/…')
    .option('--recipe <name>', 'recipe of the lines that train', 'moby')
    .option('--lanes <n>', 'lanes of step and pipeline/scaling')
    .option('--json', 'one JSON object a line')
    .option('--markdown', 'a Markdown table')
    .option('--compare [file]', 'say what got slower than the ratios of a baseline (bench/baseline.json)')
    .option('--write-baseline [file]', 'keep the ratios as the baseline of this class of machines')
    .option('--from <results>', 'take the lines of a file instead of measuring')
    .option('--quick', 'short budgets: a smoke test, no measurement')
    .option('--no-peers', 'leave other programs out')
    .option('--peer-modes <names>', 'modes of PyTorch: fp32, fp32-compiled, bf16, bf16-compiled, fp32-avx2, …')
    .option('--seconds <n>', 'longest start and warm-up of a peer')
    .action(async (flags: BenchFlags) => {
      process.exitCode = await runBench(flags);
    });
}
