// Fuzzing for as long as one likes; findings and minutes go into docs/fuzzing.md by hand.
//   node scripts/fuzz.mjs [--minutes N] [--only cpp,rust,typescript]     exit code 1 if something was found
// cpp: clang with libFuzzer, address and undefined-behaviour sanitizers. rust: cargo-fuzz's driver, which needs a nightly
// toolchain. typescript: test/property/decoders.test.ts with many runs; needs dist/. A tool that is missing is reported and skipped.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { cli, progress, ROOT, runProgram, TOOLS } from './lib/project.mjs';

const PLACE = join(TOOLS, 'fuzz');
const MAX_INPUT_BYTES = 4096;

const has = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

async function run(command, args, options = {}) {
  const { code } = await runProgram(command, args, { stdio: 'inherit', cwd: ROOT, ...options });
  return code;
}

/** Options of libFuzzer for so many minutes. */
function fuzzerArguments(corpus, minutes) {
  mkdirSync(corpus, { recursive: true });
  return [
    corpus,
    `-max_total_time=${Math.round(60 * minutes)}`,
    `-max_len=${MAX_INPUT_BYTES}`,
    `-artifact_prefix=${corpus}-`,
  ];
}

async function cpp(minutes) {
  if (!has('clang++', '--version')) return 'clang++ is missing: apt-get install clang libclang-rt-14-dev';
  const out = join(PLACE, 'cpp');
  mkdirSync(out, { recursive: true });
  const flags =
    '-std=c++17 -O1 -g1 -ffp-contract=off -fno-math-errno -DPOGO_X86=1 -fno-sanitize-recover=undefined'.split(' ');
  const watched = ['-fsanitize=fuzzer-no-link,address,undefined'];
  const units = { arena: [], 'isa/scalar': [], 'isa/avx2': ['-mavx2'], 'fuzz/kernels_fuzz': [] };
  const objects = [];
  for (const [name, more] of Object.entries(units)) {
    const object = join(out, `${name.replace('/', '-')}.o`);
    const source = join(ROOT, 'native', 'cpu', `${name}.cc`);
    const code = await run('clang++', [...flags, ...watched, ...more, '-c', source, '-o', object]);
    if (code !== 0) return `${name}.cc does not compile`;
    objects.push(object);
  }
  const program = join(out, 'kernels_fuzz');
  if ((await run('clang++', ['-fsanitize=fuzzer,address,undefined', ...objects, '-o', program])) !== 0)
    return 'no link';
  return (await run(program, fuzzerArguments(join(PLACE, 'cpp-corpus'), minutes))) === 0 ? undefined : 'FOUND';
}

async function rust(minutes) {
  if (!has('cargo', '+nightly', 'fuzz', '--version')) {
    return 'cargo-fuzz is missing: cargo +nightly install cargo-fuzz (and rustup toolchain install nightly)';
  }
  const crate = join(ROOT, 'native', 'merkle');
  const args = [
    '+nightly',
    'fuzz',
    'run',
    '--fuzz-dir',
    'fuzz',
    'tree',
    ...fuzzerArguments(join(PLACE, 'rust-corpus'), minutes),
  ];
  // cargo-fuzz hands everything after `--` to libFuzzer; the corpus goes before it.
  args.splice(7, 0, '--');
  return (await run('cargo', args, { cwd: crate })) === 0 ? undefined : 'FOUND';
}

/** Runs a minute of the property test take on two busy cores of 2026, by a wide margin. */
const RUNS_A_MINUTE = 10_000;

async function typescript(minutes) {
  const env = { ...process.env, POGO_FUZZ_RUNS: String(Math.ceil(RUNS_A_MINUTE * minutes)) };
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const timeout = String(Math.ceil(minutes * 600_000));
  const files = ['decoders', 'importers'].map((name) => `test/property/${name}.test.ts`);
  const args = [vitest, 'run', ...files, '--testTimeout', timeout];
  return (await run(process.execPath, args, { env })) === 0 ? undefined : 'FOUND';
}

const TARGETS = { cpp, rust, typescript };

await cli(async (args) => {
  const value = (name, fallback) => (args.includes(name) ? args[args.indexOf(name) + 1] : fallback);
  const minutes = Number(value('--minutes', '1'));
  let found = 0;
  for (const name of value('--only', Object.keys(TARGETS).join(',')).split(',')) {
    const started = Date.now();
    const result = await TARGETS[name](minutes);
    if (result === 'FOUND') found += 1;
    progress(`fuzz ${name}: ${result ?? 'nothing found'} in ${((Date.now() - started) / 60_000).toFixed(1)} minutes`);
  }
  return found === 0 ? 0 : 1;
});
