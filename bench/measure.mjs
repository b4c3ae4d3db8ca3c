// The whole measurement of a machine: every instruction set, the recipes, the peers, into one file of lines.
//   node bench/measure.mjs --out bench/results/2026-11-27-zen5-2cores.jsonl [--minutes 20] [--parts PART,…] [--only NAME,…] [--again]
//                          [--quick] [--no-peers] [--peer-modes MODE,…] [--list]
//
// The machine must be idle. Parts run one after the other, the important ones first; a part's lines are written when it is
// complete, so the same command goes on where it was stopped, also after a kill. A part that does not fit the minutes that are left
// (by what it took before, where that is known) is skipped and said so: a second call with more minutes adds it. --again measures
// complete parts once more, --only some of their lines; what is measured takes the place of the lines that were there, all others
// stay with their own time. Then: node bench/writeTables.mjs, and npm run bench -- --from FILE --write-baseline.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { buildBench } from './build.mjs';
import { isComplete, namesAsked, partsText, readParts, withMeasured } from './resultParts.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** Of a forced set, after `gpt-5m` with its peers. */
const RECIPES = ['gpt-19m', 'moby', 'gpt2-124m'];
/** Lines of a recipe; `log-replay` and `commit` of the set are part of `kernels`. */
const RECIPE_LINES = 'step,pipeline/scaling,unit-replay,unit-profile/,log-replay';
/** Of the chosen set: the loss of a sequence, and what processes add, for the cost analysis. */
const PROCESS_LINES = 'loss-profile/,claim/';
/** What a process pays to start and end: the smallest model, and one between `gpt-19m` and `gpt2-124m` (bench/benchRecipe.ts). */
const START_RECIPES = ['tiny', 'gpt2-53m'];
const SET_LINES = 'boundary,ceiling/,gemm/,quantize4,dequantize4,pack-model,commit,commit/ema';
/** What no instruction set of the CPU kernels changes: measured once. */
const COMMON_LINES = 'merkle/,hash,diff,patch,leaf-check,element-check,aggregate';
/** A part that hangs must not take the rest with it; gpt2-124m with llm.c beside PyTorch may take ten. */
const PART_MINUTES = 15;

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
    ...START_RECIPES.map((name) => ({ set: chosen, recipe: name, only: 'claim/', peers: false })),
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

/** The text of the newest file of bench/results, or none. */
function readNewest() {
  const folder = join(ROOT, 'bench', 'results');
  const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));
  const last = files.sort().at(-1);
  return last === undefined ? '' : readFileSync(join(folder, last), 'utf8');
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
    only: { type: 'string' },
    again: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: true },
    'peer-modes': { type: 'string' },
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
// Lines that no part closes are those of a part that was cut: it is measured again.
let known = readParts(existsSync(values.out) ? readFileSync(values.out, 'utf8') : '').filter(({ name }) => name !== '');
/** The newest results that are committed: what their parts took. */
const former = readParts(readNewest());
const asked = values.parts?.split(',');
const names = values.only?.split(',');
const end = Date.now() + Number(values.minutes) * 60e3;
for (const part of parts) {
  if (asked !== undefined && !asked.includes(part.name)) continue;
  if (names !== undefined) part.only = namesAsked(part.only, names).join(',');
  if (part.only === '' || (!values.again && names === undefined && isComplete(known, part.name))) continue;
  const left = (end - Date.now()) / 60e3;
  const earlierParts = [...known, ...former];
  // A part that was never measured: what the recipe took under another instruction set.
  const one =
    earlierParts.find(({ name }) => name === part.name) ??
    earlierParts.find(({ name }) => name.endsWith(`/${part.recipe}`));
  const took = one?.closings[0]?.seconds;
  const earlier = names === undefined ? took : undefined;
  if (left <= (earlier ?? 0) / 60) {
    const why = earlier === undefined ? '' : ` for ${earlier} s`;
    process.stderr.write(`${part.name}: no time left${why}; the same command with more --minutes adds it\n`);
    continue;
  }
  const flags = part.recipe === 'kernels' ? ['--recipe', 'moby'] : ['--recipe', part.recipe];
  flags.push('--seconds', values.seconds);
  if (part.peers === false || !values.peers) flags.push('--no-peers');
  else if (values['peer-modes'] !== undefined) flags.push('--peer-modes', values['peer-modes']);
  else flags.push(...part.peers(known.flatMap(({ lines }) => lines)));
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
  const only = names === undefined ? {} : { only: part.only };
  const closing = { type: 'bench-part', time: new Date().toISOString(), part: part.name, seconds, ...only };
  const measured = result.lines.map((line) => JSON.parse(line));
  known = withMeasured(known, measured, closing);
  // Whole or not at all: a kill while it is written leaves the file as it was.
  writeFileSync(`${values.out}.partial`, partsText(known));
  renameSync(`${values.out}.partial`, values.out);
  process.stderr.write(`${part.name}: ${result.lines.length} lines in ${seconds} s\n`);
}
