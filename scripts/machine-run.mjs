// What this machine does, leg by leg, the most telling first, in the minutes that it is there: known answers, products against the
// peak, loops of AMX, steps beside PyTorch's bf16 (eager and compiled), long runs on its instruction sets. docs/measuring.md.
//   node scripts/machine-run.mjs --out FOLDER [--minutes 9] [--cores 0,1] [--legs LEG,…] [--sets SET,…] [--python FILE]
//                                [--cache FOLDER] [--again] [--quick] [--list]
//     --minutes  no leg begins that does not fit what is left, and none outlasts it
//     --cores    processors that everything is held to (taskset); all by default
//     --sets     instruction sets of the long runs: the chosen one and the reference by default
//     --python   an interpreter with PyTorch: POGO_TORCH_PYTHON, .venv, python3
//     --cache    where PyTorch keeps what it compiled, for the next call on the same machine
//     --again    legs that are done once more; --quick: short, to try it out
// FOLDER: legs.jsonl (a line a leg), measured.jsonl and compiled.jsonl (bench/measure.mjs), loops.jsonl, run.log. The same command
// goes on where it was stopped. Exit code 0 all done, 1 a leg failed, 3 time ran out before the last.
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { capture, cli, EXIT_INTERRUPTED, progress, ROOT, ScriptError, which } from './lib/project.mjs';
import { buildTileLoops } from './lib/tileLoops.mjs';

const EXIT_TIME = 3;
/** Least and most seconds of a leg of steps beside one mode of PyTorch. */
const RECIPES = { 'gpt-5m': [40, 120], 'gpt-19m': [40, 120], 'gpt2-124m': [90, 200] };
const STEPS = 1000;
const QUICK_STEPS = 20;

/** An interpreter that has PyTorch, or undefined. */
async function pythonWithTorch(named) {
  const own = join(ROOT, '.venv', 'bin', 'python');
  for (const python of [named, process.env.POGO_TORCH_PYTHON, existsSync(own) ? own : undefined, which('python3')]) {
    if (python === undefined) continue;
    if ((await capture(python, ['-c', 'import torch; print(torch.__version__)'])) !== undefined) return python;
  }
  return undefined;
}

/** The program of AMX's loops: a bundle has it built. @returns its path, or undefined without a compiler */
async function tileLoops() {
  const built = join(ROOT, 'bench', 'native', 'tileloops');
  return existsSync(built) ? built : buildTileLoops();
}

/**
 * The legs. `least`, `most`: seconds that one needs to say anything, and that it may take.
 * `lacks`: why it cannot run here.
 */
async function legsOf({ set, tiles, python, quick, sets }) {
  const node = process.execPath;
  const only =
    (part, names, ...flags) =>
    (seconds, measured) => [
      node,
      join(ROOT, 'bench', 'measure.mjs'),
      ...['--out', measured, '--parts', `${set}/${part}`, '--only', names, '--minutes', String(seconds / 60)],
      ...flags,
      ...(quick ? ['--quick'] : []),
    ];
  const noTiles = tiles.reason === '' ? undefined : `amx: ${tiles.reason}`;
  const noTorch = python === undefined ? 'no Python with PyTorch; --python FILE names one' : undefined;
  const loops = noTiles === undefined ? await tileLoops() : undefined;
  const torch = join(ROOT, 'bench', 'peers', 'torch_step.py');
  const compile = (recipe) => {
    const cpuForm = recipe === 'gpt2-124m' ? ['--context', '512', '--sequences', '2', '--units', '2'] : [];
    const flags = ['--recipe', recipe, '--mode', 'bf16', '--compile', '--warmup', '2', ...cpuForm];
    return () => [python, torch, ...flags, '--threads', String(availableParallelism())];
  };
  // Each mode is a leg of its own with a file of its own: a leg that is ended keeps nothing, and a line takes the place of the one before.
  const step = (recipe, [least, most], mode, into) => ({
    name: `step/${recipe}/${mode}`,
    least: quick ? 10 : least,
    most,
    into,
    command: (seconds, measured) => {
      const flags = ['--peer-modes', mode, '--seconds', String(Math.round(seconds / 2))];
      return only(recipe, 'step', ...flags)(seconds, measured);
    },
  });
  const steps = Object.entries(RECIPES).flatMap(([recipe, seconds]) => [
    step(recipe, seconds, 'bf16', 'measured.jsonl'),
    { name: `compile/${recipe}`, least: 30, most: 240, lacks: noTorch, command: compile(recipe) },
    { ...step(recipe, seconds, 'bf16-compiled', 'compiled.jsonl'), lacks: noTorch },
  ]);
  const long = ['--steps', String(quick ? QUICK_STEPS : STEPS), '--sets', sets ?? set];
  return [
    { name: 'doctor', least: 10, most: 120, command: () => [node, join(ROOT, 'dist', 'cli', 'main.js'), 'doctor'] },
    { name: 'products', least: 30, most: 120, command: only('kernels', 'ceiling/,gemm/', '--no-peers') },
    {
      name: 'loops',
      least: 20,
      most: 90,
      lacks: noTiles ?? (loops === undefined ? 'no C++ compiler that knows AMX' : undefined),
      command: () => [loops, quick ? '0.01' : '0.2'],
      keep: 'loops.jsonl',
    },
    ...steps.slice(0, 3),
    {
      name: 'long-exactness',
      least: 60,
      most: 300,
      command: () => [node, join(ROOT, 'scripts', 'long-exactness.mjs'), ...long],
    },
    ...steps.slice(3),
    { name: 'profile/gpt2-124m', least: 60, most: 180, command: only('gpt2-124m', 'unit-profile/', '--no-peers') },
    { name: 'scaling/gpt-5m', least: 30, most: 120, command: only('gpt-5m', 'pipeline/scaling', '--no-peers') },
  ];
}

/** Runs a command to its end or to its limit, with all that it started; output into files. @returns exit code, or 'late' */
function runLeg([program, ...args], { seconds, env, log, keep }) {
  const child = spawn(program, args, { cwd: ROOT, env, detached: true, stdio: ['ignore', keep ?? log, log] });
  const end = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // It has just ended by itself.
    }
  };
  return new Promise((done) => {
    let late = false;
    const interrupt = () => {
      end('SIGTERM');
      process.exit(EXIT_INTERRUPTED);
    };
    process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
    const timer = setTimeout(() => {
      late = true;
      end('SIGTERM');
      setTimeout(() => end('SIGKILL'), 3000).unref();
    }, seconds * 1e3);
    const finish = (code) => {
      clearTimeout(timer);
      process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
      done(late ? 'late' : code);
    };
    child.once('error', () => finish(127));
    child.once('close', (code) => finish(code ?? 1));
  });
}

const OPTIONS = {
  out: { type: 'string' },
  minutes: { type: 'string', default: '9' },
  cores: { type: 'string' },
  legs: { type: 'string' },
  sets: { type: 'string' },
  python: { type: 'string' },
  cache: { type: 'string', default: join(tmpdir(), 'pogo-inductor') },
  again: { type: 'boolean', default: false },
  quick: { type: 'boolean', default: false },
  list: { type: 'boolean', default: false },
};

await cli(async (args) => {
  const { values } = parseArgs({ args, options: OPTIONS });
  const begin = performance.now();
  if (values.cores !== undefined && process.env.POGO_HELD !== values.cores) {
    if (which('taskset') === undefined)
      throw new ScriptError('error ENVIRONMENT: --cores needs taskset (util-linux)', 5);
    // Once more under taskset, so that everything counts the processors that it may use.
    const env = { ...process.env, POGO_HELD: values.cores };
    const child = spawn('taskset', ['-c', values.cores, process.execPath, process.argv[1], ...args], {
      stdio: 'inherit',
      env,
    });
    const forward = (signal) => process.on(signal, () => child.kill(signal));
    for (const signal of ['SIGINT', 'SIGTERM']) forward(signal);
    return new Promise((done) => child.once('close', (code) => done(code ?? 1)));
  }
  const { loadCpuAddon } = await import('../dist/backend/cpuAddon.js');
  const { addon, reason } = loadCpuAddon();
  if (addon === undefined) throw new ScriptError(`error ENVIRONMENT: expected the CPU addon, found none: ${reason}`, 5);
  const { isas } = addon.describe();
  const set = addon.setIsa('auto');
  const tiles = isas.amx ?? { reason: 'not an x86 build' };
  const asked = values.legs?.split(',');
  const needsTorch = asked === undefined || asked.some((name) => /^(compile|step)\//.test(name));
  const python = needsTorch ? await pythonWithTorch(values.python) : undefined;
  const legs = await legsOf({ set, tiles, python, quick: values.quick, sets: values.sets });
  const unknown = asked?.filter((name) => !legs.some((leg) => leg.name === name)) ?? [];
  if (unknown.length > 0) {
    throw new ScriptError(
      `expected --legs of ${legs.map(({ name }) => name).join(', ')}, found ${unknown.join(', ')}`,
      2,
    );
  }
  if (values.list) {
    for (const { name, least, most, lacks } of legs) {
      process.stdout.write(`${name}: ${lacks ? `not here, ${lacks}` : `${least} to ${most} s`}\n`);
    }
    return 0;
  }
  if (values.out === undefined) throw new ScriptError('expected --out FOLDER, found none', 2);
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  const record = join(out, 'legs.jsonl');
  const earlier = existsSync(record)
    ? readFileSync(record, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
    : [];
  const done = new Set(values.again ? [] : earlier.filter(({ code }) => code === 0).map(({ leg }) => leg));
  const log = openSync(join(out, 'run.log'), 'a');
  const env = {
    ...process.env,
    TORCHINDUCTOR_CACHE_DIR: values.cache,
    ...(python ? { POGO_TORCH_PYTHON: python } : {}),
  };
  const about = {
    cpu: cpus()[0].model.trim(),
    cores: availableParallelism(),
    set,
    ...(tiles.reason ? { lacks: tiles.reason } : {}),
  };
  progress(
    `machine-run: ${about.cpu}, ${about.cores} processors, ${set}${tiles.reason ? `; no amx: ${tiles.reason}` : ''}`,
  );
  const end = begin + Number(values.minutes) * 60e3;
  const told = { failed: 0, left: 0 };
  for (const { name, least, most, lacks, command, keep, into = 'measured.jsonl' } of legs) {
    if (asked !== undefined && !asked.includes(name)) continue;
    if (done.has(name)) {
      progress(`${name}: done before`);
      continue;
    }
    const say = (result) => {
      const line = { type: 'leg', leg: name, time: new Date().toISOString(), ...about, ...result };
      appendFileSync(record, `${JSON.stringify(line)}\n`);
    };
    if (lacks !== undefined) {
      progress(`${name}: not here, ${lacks}`);
      say({ code: null, why: lacks });
      continue;
    }
    const left = Math.floor((end - performance.now()) / 1e3);
    if (left < least) {
      told.left += 1;
      progress(`${name}: not begun, ${left} s are left and it needs ${least}; the same command goes on here`);
      continue;
    }
    const seconds = Math.min(most, left);
    writeSync(log, `\n== ${name} (at most ${seconds} s)\n`);
    const start = performance.now();
    const keeping = keep === undefined ? undefined : join(out, keep);
    if (keeping !== undefined) writeFileSync(keeping, '');
    const files = { log, keep: keeping === undefined ? undefined : openSync(keeping, 'w') };
    // It ends itself a little before it would be ended, so that it keeps what it has.
    const code = await runLeg(command(Math.max(5, seconds - 5), join(out, into)), { seconds, env, ...files });
    const took = Math.round((performance.now() - start) / 1e3);
    say({
      code: code === 'late' ? null : code,
      seconds: took,
      ...(code === 'late' ? { why: `ended after ${took} s` } : {}),
    });
    progress(`${name}: ${code === 0 ? 'done' : code === 'late' ? 'ended' : `failed with ${code}`} after ${took} s`);
    if (code !== 0) told.failed += 1;
  }
  return told.failed > 0 ? 1 : told.left > 0 ? EXIT_TIME : 0;
});
