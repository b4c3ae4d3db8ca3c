/**
 * The bench program: `npm run bench -- [--only NAME,…] [--recipe R] [--json|--markdown] [--no-peers] [--quick]
 * [--compare [FILE]] [--write-baseline [FILE]] [--from RESULTS]` (bench/README.md).
 * With `--experiment FOLDER` it trains one convergence experiment instead (bench/experiments/README.md), with `--timed` as a
 * miner does, against the clock (bench/convergence/).
 */

import { setMaxListeners } from 'node:events';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { EXIT, PogoError } from '../src/errors.js';
import { benchBackend } from './backends.js';
import { compare, comparisonText, readBaseline, withLines, writeBaseline } from './baseline.js';
import { benchRecipe } from './benchRecipe.js';
import { useBenchFolder } from './ceilings.js';
import { runTimed } from './convergence/runTimed.js';
import { runExact } from './experiments/runExact.js';
import type { BenchContext, BenchGroup, GroupOutput } from './group.js';
import type { BenchLine } from './harness.js';
import { aggregate } from './lines/aggregate.js';
import { boundary } from './lines/boundary.js';
import { ceiling } from './lines/ceiling.js';
import { claim } from './lines/claim.js';
import { codes } from './lines/codes.js';
import { commit } from './lines/commit.js';
import { diff } from './lines/diff.js';
import { elementCheck } from './lines/elementCheck.js';
import { gemm } from './lines/gemm.js';
import { hashing } from './lines/hashFile.js';
import { leafCheck } from './lines/leafCheck.js';
import { merkle } from './lines/merkle.js';
import { step } from './lines/step.js';
import { unit } from './lines/unit.js';
import { peakResidentBytes } from './memory.js';
import { type Flags, parseFlags, positive } from './options.js';
import { torchModes } from './peers.js';
import { readResults } from './results.js';
import { textLine } from './table.js';
import { completeTables } from './tables.js';

/** In the order of printing: from the smallest parts to whole steps. */
const GROUPS: readonly BenchGroup[] = [
  ceiling,
  boundary,
  gemm,
  codes,
  diff,
  merkle,
  hashing,
  commit,
  leafCheck,
  elementCheck,
  aggregate,
  unit,
  step,
  claim,
];

/** Which names `--only` asks for: exact names, and groups by the part before a slash. */
function selection(only: string | undefined): (name: string) => boolean {
  // Profiles, and the runs of whole processes that the cost analysis wants, are made where they are asked for.
  if (only === undefined) return (name) => !/^(unit-profile|loss-profile|claim)\//.test(name);
  const asked = only.split(',').map((name) => name.trim());
  const known = GROUPS.flatMap((group) => group.names);
  for (const name of asked) {
    const names = (one: string): boolean =>
      one === name ||
      one.startsWith(name.endsWith('/') ? name : `${name}/`) ||
      (one.endsWith('/') && name.startsWith(one));
    if (!known.some(names)) {
      throw new PogoError('USAGE', `--only: expected names of ${known.join(', ')}, found ${name}`, { found: name });
    }
  }
  return (name) => asked.some((one) => name === one || name.startsWith(one.endsWith('/') ? one : `${one}/`));
}

/** Whether a group has any wanted line: `gemm/` is wanted where `gemm/1024x1024x1024` is asked for. */
function concerns(group: BenchGroup, only: string | undefined, wanted: (name: string) => boolean): boolean {
  const asked = only?.split(',').map((name) => name.trim()) ?? [];
  return group.names.some((name) => wanted(name) || asked.some((one) => name.endsWith('/') && one.startsWith(name)));
}

/** Measures what is asked for. */
async function* measured(flags: Flags): AsyncGenerator<GroupOutput> {
  const stop = new AbortController();
  // Every task of a step listens to it: more than the ten that Node takes for a leak.
  setMaxListeners(0, stop.signal);
  process.once('SIGINT', () => stop.abort());
  // From `pogo bench`, which passes on what it gets: after the terminal's Ctrl-C a second time.
  process.on('SIGTERM', () => stop.abort());
  useBenchFolder(flags.folder);
  const { backend, reference } = benchBackend();
  const context: BenchContext = {
    backend,
    reference,
    recipe: benchRecipe(flags.recipe),
    lanes: positive(flags.lanes ?? process.env.POGO_LANES, 'lanes') ?? availableParallelism(),
    quick: flags.quick,
    peers: flags.peers,
    seconds: positive(flags.seconds, 'seconds') ?? 1,
    ...(flags['peer-modes'] === undefined ? {} : { peerModes: flags['peer-modes'] }),
    benchFolder: flags.folder,
    signal: stop.signal,
  };
  const wanted = selection(flags.only);
  torchModes(backend.isa, flags['peer-modes']); // a wrong name is said before anything is measured
  for (const group of GROUPS) {
    if (!concerns(group, flags.only, wanted)) continue;
    for await (const line of group.lines(context, wanted)) {
      if (stop.signal.aborted) throw new PogoError('INTERRUPTED', 'bench interrupted; the lines so far are complete');
      yield line;
    }
  }
}

async function main(args: readonly string[]): Promise<void> {
  const flags = parseFlags(args);
  if (flags.experiment !== undefined) {
    if (flags.timed) {
      const lanes = positive(flags.lanes, 'lanes') ?? availableParallelism();
      const { backend } = benchBackend();
      for await (const line of runTimed(flags.experiment, backend, lanes))
        process.stdout.write(`${JSON.stringify(line)}\n`);
      return;
    }
    const steps = positive(flags.steps, 'steps');
    const onLine = (line: string): void => void process.stdout.write(`${line}\n`);
    const kernels = benchBackend().backend.kernels;
    runExact(flags.experiment, kernels, { run: flags.run, onLine, ...(steps === undefined ? {} : { steps }) });
    return;
  }
  const file = flags.baseline ?? join(flags.folder, 'baseline.json');
  const before = flags.compare ? readBaseline(file) : undefined;
  const lines: BenchLine[] = [];
  // Lines of a file that are only compared, tabled or kept are not said again.
  const isInput = flags.from !== undefined && (flags.compare || flags.markdown || flags['write-baseline']);
  for await (const line of flags.from === undefined ? measured(flags) : readResults(flags.from)) {
    if (line.type === 'bench') lines.push(line);
    if (isInput) continue;
    if (flags.json) process.stdout.write(`${JSON.stringify(line)}\n`);
    else if (line.type === 'bench-skipped') process.stderr.write(`skipped ${line.name}: ${line.reason}\n`);
    else if (!flags.markdown) process.stdout.write(`${textLine(line)}\n`);
  }
  if (flags.from !== undefined && lines.length === 0) {
    throw new PogoError(
      'USAGE',
      `--from: expected bench lines in ${flags.from}, found none; measure some: npm run bench -- --json > FILE`,
      { path: flags.from },
    );
  }
  if (flags.markdown) process.stdout.write(completeTables(lines));
  if (before !== undefined) {
    // Exit code 0 whatever it says: a timing on a machine that others use is a hint, no verdict.
    const comparison = compare(before, lines);
    process.stdout.write(flags.json ? `${JSON.stringify(comparison)}\n` : comparisonText(comparison));
  }
  if (flags['write-baseline']) {
    writeBaseline(file, withLines(existsSync(file) ? readBaseline(file) : { classes: {} }, lines));
    process.stderr.write(`wrote the ratios of ${lines.length} lines to ${file}\n`);
  }
  if (!flags.json && flags.from === undefined) {
    process.stderr.write(`peak memory of this process ${(peakResidentBytes() / 2 ** 20).toFixed(0)} MiB\n`);
  }
}

// A reader that closed the pipe wants no more.
process.stdout.on('error', () => process.exit(EXIT.interrupted));

main(process.argv.slice(2)).catch((cause: unknown) => {
  const error = PogoError.from(cause);
  process.stderr.write(`error ${error.code}: ${error.message}\n`);
  process.exitCode = error.exitCode ?? EXIT.internal;
});
