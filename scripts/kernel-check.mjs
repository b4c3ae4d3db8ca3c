// Checks the CPU addon's sources without Node (native/cpu/test) against answers of the TypeScript reference: all vectors, the
// extreme codes, random odd shapes; every instruction set forced; again under a foreign floating-point mode.
//   node scripts/kernel-check.mjs [host] [sanitizers] [second-compiler] [arm]      default: all
//     host             the system's compiler, flags of binding.gyp
//     sanitizers       the same with AddressSanitizer and UndefinedBehaviorSanitizer
//     second-compiler  kernels by a pinned clang
//     arm              everything by that clang for AArch64, run by QEMU as a CPU without and one with SDOT; the addon's own
//                      file also compiled with Node's headers
// Exit code 0 all bits equal, 1 some differ, 5 a tool is missing. Needs `dist/`.
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { armEmulator } from './lib/emulator.mjs';
import { cpuAddonBuild } from './lib/gyp.mjs';
import { writeKernelCases } from './lib/kernelCases.mjs';
import { capture, cli, logExcerpt, progress, ROOT, runProgram, ScriptError, TOOLS, which } from './lib/project.mjs';
import { hashSources, readStamp, writeStamp } from './lib/stamp.mjs';
import { findCompiler, nodeDirectory } from './lib/toolchains.mjs';
import { zigCompiler } from './lib/zig.mjs';

const FOLDER = join(TOOLS, 'kernel-test');
const TEST = 'native/cpu/test';
const SANITIZED = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer', '-g', '-O1'];
/** CPUs that QEMU plays, with the sets that must have run there: HWCAP tells the choice, as on hardware. */
const ARM_CPUS = { 'cortex-a53': ['neon', 'scalar'], max: ['dotprod', 'neon', 'scalar'] };

async function hostCompiler() {
  const { cxx, missing } = findCompiler();
  if (missing.length > 0) throw new ScriptError(`error ENVIRONMENT: not found: ${missing.join(', ')}`, 5);
  return { command: [cxx], env: process.env };
}

/** Runs jobs, as many at a time as there are processors. */
async function pool(jobs) {
  const left = [...jobs];
  const worker = async () => {
    for (let job = left.shift(); job !== undefined; job = left.shift()) await job();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

async function compile({ command, env }, args, log) {
  const [program, ...first] = command;
  const result = await runProgram(program, [...first, ...args], { env, log });
  if (result.code !== 0) throw new ScriptError(`kernel check: ${log}: ${result.log}:\n${logExcerpt(result.log)}`);
}

/**
 * An instruction set exports its table and nothing else: of an inline function with a symbol of its own the linker keeps one
 * copy for all sets, compiled for whichever.
 */
async function expectOneSymbol(set, object) {
  const symbols = (await capture('nm', ['-g', '--defined-only', object])) ?? '';
  const names = symbols.split('\n').filter((line) => line !== '' && !line.includes('DW.ref.'));
  if (names.length === 1 && names[0].endsWith(` pogo_kernels_${set}`)) return;
  throw new ScriptError(`kernel check: ${object}: expected pogo_kernels_${set} alone, found\n${names.join('\n')}`);
}

/**
 * Builds the test program.
 * @param kernels compiler of the instruction sets; `rest` of everything else, and it links
 * @param flags what the variant adds to every command; `link` to the last
 */
async function build({
  variant,
  arch,
  kernels,
  rest,
  flags = [],
  kernelFlags = flags,
  link = [],
  translate = (f) => f,
}) {
  const gyp = cpuAddonBuild(arch);
  const folder = join(FOLDER, variant);
  const program = join(folder, 'kernel_test');
  const versions = await Promise.all(
    [kernels, rest].map(({ command }) => capture(command[0], command[1] ? ['version'] : ['--version'])),
  );
  const stamp = hashSources(['native/cpu', 'native/exact', 'binding.gyp', 'scripts/kernel-check.mjs'], versions);
  if (readStamp(`kernel-test-${variant}`) === stamp) return program;
  mkdirSync(folder, { recursive: true });
  const objects = [];
  const jobs = [];
  const add = (compiler, source, extra) => {
    const object = join(folder, `${basename(source, '.cc')}.o`);
    objects.push(object);
    const args = [...gyp.flags, ...extra, '-c', source, '-o', object];
    jobs.push(() => compile(compiler, args, `kernel-test-${variant}-${basename(source, '.cc')}`));
  };
  for (const set of gyp.sets) {
    for (const source of set.sources) add(kernels, source, [...translate(set.flags), ...kernelFlags]);
  }
  for (const source of [...gyp.sources, `${TEST}/kernel_test.cc`]) {
    add(rest, source, [...gyp.ownFlags, '-I', TEST, ...flags]);
  }
  await pool(jobs);
  if (flags !== SANITIZED && which('nm') !== undefined) {
    const own = ({ sources }) => sources.map((source) => join(folder, `${basename(source, '.cc')}.o`));
    for (const set of gyp.sets) for (const object of own(set)) await expectOneSymbol(set.name, object);
  }
  await compile(rest, [...objects, ...flags, ...link, '-o', program], `kernel-test-${variant}-link`);
  writeStamp(`kernel-test-${variant}`, stamp);
  return program;
}

/** Runs the program on all cases, then shows that it notices one wrong bit. @returns the sets that ran */
async function check(name, command, cases, env = process.env) {
  const [program, ...first] = command;
  const begin = performance.now();
  const log = `kernel-test-run-${name}`;
  const result = await runProgram(program, [...first, cases], { env, log });
  const text = (await capture('cat', [result.log])) ?? '';
  progress(`== ${name} (${((performance.now() - begin) / 1000).toFixed(1)} s)\n${text.trimEnd().slice(-4000)}`);
  if (result.code !== 0) throw new ScriptError(`kernel check: ${name} failed with exit code ${result.code}`);
  const flipped = await runProgram(program, [...first, cases, '--flip'], { env, log: `${log}-flip` });
  if (flipped.code !== 1) throw new ScriptError(`kernel check: ${name} did not notice a flipped bit`);
  return [...text.matchAll(/^(\w+): \d+ cases/gm)].map((match) => match[1]);
}

function expectSets(name, found, expected) {
  if (found.join() === expected.join()) return;
  throw new ScriptError(`kernel check: ${name}: expected the sets ${expected.join(', ')}, found ${found.join(', ')}`);
}

/** Zig names CPUs and features by -mcpu. */
const zigFlags = (flags) => flags.map((flag) => flag.replace(/^-march=armv8\.2-a\+/, '-mcpu=generic+'));

const VARIANTS = {
  async host(cases) {
    const compiler = await hostCompiler();
    const program = await build({ variant: 'host', arch: process.arch, kernels: compiler, rest: compiler });
    await check('host', [program], cases);
  },

  async sanitizers(cases) {
    const compiler = await hostCompiler();
    const program = await build({
      variant: 'sanitizers',
      arch: process.arch,
      kernels: compiler,
      rest: compiler,
      flags: SANITIZED,
    });
    // Exit code 1 means different bits: a finding must not look like one.
    const env = {
      ...process.env,
      ASAN_OPTIONS: 'exitcode=99:detect_leaks=1',
      UBSAN_OPTIONS: 'exitcode=99:print_stacktrace=1',
    };
    await check('sanitizers', [program], cases, env);
  },

  async 'second-compiler'(cases) {
    const [zig, host] = [await zigCompiler(), await hostCompiler()];
    const program = await build({
      variant: 'second-compiler',
      arch: process.arch,
      kernels: zig,
      rest: host,
      kernelFlags: ['-target', 'x86_64-linux-gnu', '-Wno-unknown-warning-option'],
    });
    await check('second-compiler', [program], cases);
  },

  async arm(cases) {
    const zig = await zigCompiler();
    const flags = ['-target', 'aarch64-linux-musl'];
    const headers = [join(ROOT, 'node_modules', 'node-addon-api'), join(nodeDirectory(), 'include', 'node')];
    const { flags: all, ownFlags } = cpuAddonBuild('arm64');
    const [program] = await Promise.all([
      build({ variant: 'arm', arch: 'arm64', kernels: zig, rest: zig, flags, translate: zigFlags, link: ['-static'] }),
      compile(
        zig,
        [...all, ...ownFlags, ...flags, ...headers.flatMap((folder) => ['-I', folder])].concat([
          ...['-c', 'native/cpu/addon.cc', '-o', join(FOLDER, 'addon-aarch64.o')],
        ]),
        'kernel-test-arm-addon',
      ),
    ]);
    const { emulator, reason } = await armEmulator();
    if (emulator === undefined) {
      progress(`== arm: compiled for AArch64 only, not run: ${reason}`);
      return;
    }
    const play = async ([cpu, sets]) => {
      expectSets(cpu, await check(`arm-${cpu}`, [emulator, '-cpu', cpu, program], cases), sets);
    };
    await Promise.all(Object.entries(ARM_CPUS).map(play));
  },
};

await cli(async (args) => {
  const unknown = args.filter((name) => !(name in VARIANTS));
  if (unknown.length > 0) {
    throw new ScriptError(`expected ${Object.keys(VARIANTS).join(', ')}, found ${unknown.join(', ')}`, 2);
  }
  const { path, counts } = await writeKernelCases();
  progress(
    `kernel check: ${Object.entries(counts)
      .map(([group, n]) => `${n} ${group}`)
      .join(', ')} cases`,
  );
  for (const name of args.length > 0 ? args : Object.keys(VARIANTS)) await VARIANTS[name](path);
});
