// The whole measurement of a machine: every instruction set, the recipes, the peers, into one file of lines.
//   node bench/measure.mjs --out bench/results/2026-11-26-zen5-2cores.jsonl [--minutes 20] [--parts PART,…] [--quick] [--list]
//
// The machine must be idle. Parts run one after the other, the important ones first; a part's lines are written when it is
// complete, so the same command goes on where it was stopped. Parts that do not fit the minutes are skipped and said so:
// a second call with more minutes adds them. Then: node bench/writeTables.mjs, and npm run bench -- --from FILE --write-baseline.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildBench } from './build.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** Of a forced set, after `gpt-5m` with its peers. */
const RECIPES = ['gpt-19m', 'moby', 'gpt2-124m'];
/** Lines of a recipe; `log-replay` and `commit` of the set are part of `kernels`. */
const RECIPE_LINES = 'step,pipeline/scaling,unit-replay,unit-profile/,log-replay';
/** Of the chosen set: what processes add, for the cost analysis. */
const PROCESS_LINES = 'claim/';
const SET_LINES = 'boundary,ceiling/,gemm/,quantize4,dequantize4,pack-model,commit,commit/ema';
/** What no instruction set of the CPU kernels changes: measured once. */
const COMMON_LINES = 'merkle/,hash,diff,patch,leaf-check';
/** A part that hangs must not take the rest with it. */
const PART_MINUTES = 9;

/** Instruction sets that build and machine have, the one that would be chosen first, without the slow fallback. */
async function instructionSets() {
  const { loadCpuAddon } = await import(pathToFileURL(join(ROOT, 'dist', 'backend', 'cpuAddon.js')).href);
  const { addon, reason } = loadCpuAddon();
  if (addon === undefined) throw new Error(`expected the CPU addon, found none: ${reason}`);
  const usable = Object.entries(addon.describe().isas)
    .filter(([name, isa]) => isa.reason === '' && name !== 'scalar')
    .map(([name]) => name);
  const chosen = addon.setIsa('auto');
  return [chosen, ...usable.filter((name) => name !== chosen).reverse()];
}

/** PyTorch's modes beside a forced set: those that its target names, and the fastest without a hold. */
const FORCED_MODES = { avx2: ['fp32-avx2', 'fp32-avx2-compiled'], avx512: ['fp32', 'fp32-compiled'] };

/** Parts in the order of importance. `peers`: flags from the lines so far, or false. */
function partsOf(sets) {
  const [chosen, ...others] = sets;
  const all = () => [];
  const forced = (set) => {
    const modes = FORCED_MODES[set];
    if (modes === undefined) return false;
    return (lines) => ['--peer-modes', [...new Set([...modes, bestMode(lines, 'gpt-5m')])].filter(Boolean).join(',')];
  };
  const recipe = (set, name, peers) => ({
    set,
    recipe: name,
    only: set === chosen ? `${RECIPE_LINES},${PROCESS_LINES}` : RECIPE_LINES,
    peers,
  });
  const parts = [
    recipe(chosen, 'gpt-5m', all),
    recipe(chosen, 'gpt-19m', all),
    { set: chosen, recipe: 'kernels', only: `${SET_LINES},${COMMON_LINES}`, peers: all },
    ...others.map((set) => recipe(set, 'gpt-5m', forced(set))),
    ...others.map((set) => ({ set, recipe: 'kernels', only: SET_LINES, peers: false })),
    recipe(chosen, 'moby', all),
    recipe(chosen, 'gpt2-124m', all),
    ...others.filter((set) => FORCED_MODES[set]).flatMap((set) => RECIPES.map((name) => recipe(set, name, false))),
  ];
  return parts.map((part) => ({ ...part, name: `${part.set}/${part.recipe}` }));
}

/** The name of PyTorch's fastest mode without a hold, as it was measured beside the chosen set. */
function bestMode(lines, recipe) {
  const peers = lines
    .filter(({ name, details }) => name === 'step' && details?.recipe === recipe)
    .flatMap((line) => line.peers);
  const free = peers.filter(({ kind }) => kind === 'fp32' || kind === 'bf16').sort((a, b) => b.value - a.value);
  if (free.length === 0) return undefined;
  return `${free[0].kind}${free[0].name.includes('compiled') ? '-compiled' : ''}`;
}

/** Runs one part. @returns its lines of text, or why there are none */
function run(program, part, flags, minutes) {
  const env = { ...process.env, POGO_BACKEND: 'cpu', POGO_ISA: part.set };
  const child = spawn(process.execPath, [program, '--json', '--only', part.only, ...flags], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stop = () => child.kill('SIGINT');
  process.on('SIGINT', stop);
  const timer = setTimeout(() => child.kill('SIGKILL'), minutes * 60e3);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (data) => {
    text += data;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      process.off('SIGINT', stop);
      resolve({ lines: text.split('\n').filter((line) => line !== ''), code, signal });
    });
  });
}

const { values } = parseArgs({
  options: {
    out: { type: 'string' },
    minutes: { type: 'string', default: '20' },
    parts: { type: 'string' },
    quick: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: true },
    seconds: { type: 'string', default: '120' },
  },
  allowNegative: true,
});
const parts = partsOf(await instructionSets());
if (values.list) {
  for (const { name, only, peers } of parts) process.stdout.write(`${name}: ${only}${peers ? ', peers' : ''}\n`);
  process.exit(0);
}
if (values.out === undefined) throw new Error('expected --out FILE, found none');
mkdirSync(dirname(values.out), { recursive: true });
const program = await buildBench();
const before = existsSync(values.out)
  ? readFileSync(values.out, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
  : [];
const lines = before.map((line) => JSON.parse(line));
const done = new Set(lines.filter(({ type }) => type === 'bench-part').map(({ part }) => part));
const asked = values.parts?.split(',');
const end = Date.now() + Number(values.minutes) * 60e3;
for (const part of parts) {
  if (done.has(part.name) || (asked !== undefined && !asked.includes(part.name))) continue;
  const left = (end - Date.now()) / 60e3;
  if (left <= 0) {
    process.stderr.write(`${part.name}: no time left; the same command with more --minutes adds it\n`);
    continue;
  }
  const flags = part.recipe === 'kernels' ? ['--recipe', 'moby'] : ['--recipe', part.recipe];
  flags.push('--seconds', values.seconds);
  if (part.peers === false || !values.peers) flags.push('--no-peers');
  else flags.push(...part.peers(lines));
  if (values.quick) flags.push('--quick');
  process.stderr.write(`${part.name}: ${part.only} ${flags.join(' ')}\n`);
  const start = Date.now();
  const result = await run(program, part, flags, PART_MINUTES);
  const seconds = Math.round((Date.now() - start) / 1e3);
  if (result.code === 130 || result.signal === 'SIGINT') {
    process.stderr.write('interrupted; the same command goes on with this part\n');
    process.exit(130);
  }
  if (result.code !== 0) {
    process.stderr.write(`${part.name}: ended with ${result.code ?? result.signal} after ${seconds} s; not written\n`);
    process.exitCode = 1;
    continue;
  }
  const closing = { type: 'bench-part', time: new Date().toISOString(), part: part.name, seconds };
  appendFileSync(values.out, [...result.lines, JSON.stringify(closing)].map((line) => `${line}\n`).join(''));
  lines.push(...result.lines.map((line) => JSON.parse(line)), closing);
  process.stderr.write(`${part.name}: ${result.lines.length} lines in ${seconds} s\n`);
}
