/**
 * The bench program: `npm run bench -- [--only NAME,…] [--recipe R] [--json|--markdown] [--no-peers] [--quick]`.
 * With `--experiment FOLDER` it trains one convergence experiment instead (bench/experiments/README.md).
 */

import { setMaxListeners } from 'node:events';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { EXIT, PogoError } from '../src/errors.js';
import { benchBackend } from './backends.js';
import { benchRecipe } from './benchRecipe.js';
import { runExact } from './experiments/runExact.js';
import type { BenchContext, BenchGroup } from './group.js';
import type { BenchLine } from './harness.js';
import { boundary } from './lines/boundary.js';
import { codes } from './lines/codes.js';
import { commit } from './lines/commit.js';
import { diff } from './lines/diff.js';
import { gemm } from './lines/gemm.js';
import { leafCheck } from './lines/leafCheck.js';
import { merkle } from './lines/merkle.js';
import { step } from './lines/step.js';
import { unit } from './lines/unit.js';
import { peakResidentBytes } from './memory.js';
import { torchModes } from './peers.js';
import { markdownTable, textLine } from './table.js';

/** In the order of printing: from the smallest parts to whole steps. */
const GROUPS: readonly BenchGroup[] = [boundary, gemm, codes, diff, merkle, commit, leafCheck, unit, step];

const OPTIONS = {
  only: { type: 'string' },
  recipe: { type: 'string', default: 'moby' },
  json: { type: 'boolean', default: false },
  markdown: { type: 'boolean', default: false },
  peers: { type: 'boolean', default: true },
  'peer-modes': { type: 'string' },
  seconds: { type: 'string', default: '240' },
  quick: { type: 'boolean', default: false },
  lanes: { type: 'string' },
  folder: { type: 'string', default: 'bench' },
  experiment: { type: 'string' },
  run: { type: 'string', default: 'exact' },
  steps: { type: 'string' },
} as const;

function positive(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new PogoError('USAGE', `--${name}: expected a positive integer, found ${text}`);
}

/** Which names `--only` asks for: exact names, and groups by the part before a slash. */
function selection(only: string | undefined): (name: string) => boolean {
  if (only === undefined) return (name) => !name.startsWith('unit-profile/');
  const asked = only.split(',').map((name) => name.trim());
  const known = GROUPS.flatMap((group) => group.names);
  for (const name of asked) {
    const names = (one: string): boolean =>
      one === name || one.startsWith(`${name}/`) || (one.endsWith('/') && name.startsWith(one));
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

async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: OPTIONS, allowNegative: true, strict: true });
  const { backend, reference } = benchBackend();
  const steps = positive(values.steps, 'steps');
  if (values.experiment !== undefined) {
    const onLine = (line: string): void => void process.stdout.write(`${line}\n`);
    runExact(values.experiment, backend.kernels, {
      run: values.run,
      onLine,
      ...(steps === undefined ? {} : { steps }),
    });
    return;
  }
  const stop = new AbortController();
  // Every task of a step listens to it: more than the ten that Node takes for a leak.
  setMaxListeners(0, stop.signal);
  process.once('SIGINT', () => stop.abort());
  const context: BenchContext = {
    backend,
    reference,
    recipe: benchRecipe(values.recipe),
    lanes: positive(values.lanes ?? process.env.POGO_LANES, 'lanes') ?? availableParallelism(),
    quick: values.quick,
    peers: values.peers,
    seconds: positive(values.seconds, 'seconds') ?? 1,
    ...(values['peer-modes'] === undefined ? {} : { peerModes: values['peer-modes'] }),
    benchFolder: values.folder,
    signal: stop.signal,
  };
  const wanted = selection(values.only);
  torchModes(backend.isa, values['peer-modes']); // a wrong name is said before anything is measured
  const lines: BenchLine[] = [];
  for (const group of GROUPS) {
    if (!concerns(group, values.only, wanted)) continue;
    for await (const line of group.lines(context, wanted)) {
      if (stop.signal.aborted) throw new PogoError('INTERRUPTED', 'bench interrupted; the lines so far are complete');
      if (line.type === 'bench') lines.push(line);
      if (values.json) process.stdout.write(`${JSON.stringify(line)}\n`);
      else if (line.type === 'bench-skipped') process.stderr.write(`skipped ${line.name}: ${line.reason}\n`);
      else if (!values.markdown) process.stdout.write(`${textLine(line)}\n`);
    }
  }
  if (values.markdown) process.stdout.write(markdownTable(lines));
  if (!values.json)
    process.stderr.write(`peak memory of this process ${(peakResidentBytes() / 2 ** 20).toFixed(0)} MiB\n`);
}

main(process.argv.slice(2)).catch((cause: unknown) => {
  const error = PogoError.from(cause);
  process.stderr.write(`error ${error.code}: ${error.message}\n`);
  process.exitCode = error.exitCode ?? EXIT.internal;
});
