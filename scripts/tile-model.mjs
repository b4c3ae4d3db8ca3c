// Runs the AMX kernels on a machine without AMX: a copy of native/cpu in which the tile instructions of isa/tiles.h are
// replaced by the plain C++ model test/native/tile_model.h, everything else as it is, and the addon that comes of it
// checked against every vector and the property tests. Nothing of it is shipped.
//   node scripts/tile-model.mjs [--plain] [--build]
// --plain: without the sanitizers that otherwise watch every byte a tile load reads and a tile store writes
// --build: only build, and print the addon's path (for POGO_CPU_ADDON)
// Needs `npm run setup` before, and AVX-512 with VNNI (the model replaces the tiles alone): without that it says so and
// ends with 0.
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { capture, cli, logExcerpt, progress, ROOT, runProgram, ScriptError } from './lib/project.mjs';
import { scratchTree } from './lib/scratch.mjs';
import { buildTileLoops } from './lib/tileLoops.mjs';
import { nodeDirectory } from './lib/toolchains.mjs';

/** Replaces a text that must be there, so that a change of the sources cannot turn this check into nothing. */
function replace(file, before, after) {
  const text = readFileSync(file, 'utf8');
  if (!text.includes(before)) throw new ScriptError(`tile model: ${file} no longer holds: ${before}`);
  writeFileSync(file, text.replace(before, after));
}

/** @returns path of the addon whose set `amx` computes on the model */
async function build(sanitize) {
  const folder = scratchTree('tile-model');
  copyFileSync(join(ROOT, 'test', 'native', 'tile_model.h'), join(folder, 'native', 'cpu', 'isa', 'tiles.h'));
  // The set then needs no instruction of AMX, and its row in the copy says so.
  replace(join(folder, 'native', 'cpu', 'dispatch.cc'), 'kAvx512 | POGO_HAS_AMX_TILE | POGO_HAS_AMX_INT8', 'kAvx512');
  const gyp = join(folder, 'binding.gyp');
  replace(
    gyp,
    '"cflags_cc": ["<@(pogo_avx512_cflags)", "-mamx-tile", "-mamx-int8"]',
    '"cflags_cc": ["<@(pogo_avx512_cflags)"]',
  );
  replace(gyp, /"pogo_amx": ".*",/.exec(readFileSync(gyp, 'utf8'))?.[0] ?? '"pogo_amx"', '"pogo_amx": "1",');
  const env = { ...process.env };
  if (sanitize) {
    const flags = '-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1';
    env.CXXFLAGS = `${env.CXXFLAGS ?? ''} ${flags}`;
    env.LDFLAGS = `${env.LDFLAGS ?? ''} -fsanitize=address,undefined`;
  }
  const args = ['configure', 'build', '--release', `--nodedir=${nodeDirectory()}`, '--jobs=2'];
  const nodeGyp = join(ROOT, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  const result = await runProgram(process.execPath, [nodeGyp, ...args], { cwd: folder, env, log: 'tile-model' });
  if (result.code !== 0) throw new ScriptError(`tile model: the build failed:\n${logExcerpt(result.log)}`);
  return join(folder, 'build', 'Release', 'pogo_cpu.node');
}

await cli(async (args) => {
  const { loadCpuAddon } = await import('../dist/backend/cpuAddon.js');
  const loaded = loadCpuAddon();
  if (loaded.addon === undefined) throw new ScriptError(`error ENVIRONMENT: ${loaded.reason}; ${loaded.fix}`, 5);
  const { avx512 } = loaded.addon.describe().isas;
  if (avx512 === undefined) {
    progress('tile model: not run, it is for x86');
    return 0;
  }
  if (!avx512.machine) {
    progress(`tile model: not run, ${avx512.reason}: the lanes around the tiles need it`);
    return 0;
  }
  const sanitize = !args.includes('--plain');
  const file = await build(sanitize);
  if (args.includes('--build')) {
    process.stdout.write(`${file}\n`);
    return 0;
  }
  const env = { ...process.env, POGO_CPU_ADDON: file, POGO_TEST_ISA: 'amx' };
  if (sanitize) {
    const compiler = (process.env.CXX ?? 'c++').split(' ')[0];
    const library = (await capture(compiler, ['-print-file-name=libasan.so']))?.trim();
    if (library === undefined || !existsSync(library)) {
      throw new ScriptError('tile model: the compiler has no AddressSanitizer library; use --plain', 5);
    }
    env.LD_PRELOAD = library;
    env.ASAN_OPTIONS = 'detect_leaks=0:abort_on_error=1';
  }
  const check = async (what, command, list, log) => {
    const result = await runProgram(command, list, { env, log });
    if (result.code !== 0) throw new ScriptError(`tile model: ${what} failed:\n${logExcerpt(result.log, 30)}`);
    progress(`tile model: ${what} passed in ${result.seconds.toFixed(1)} s`);
  };
  const vectors = join(ROOT, 'scripts', 'vector-check.mjs');
  const model = join(dirname(file), '..', '..', 'native', 'cpu', 'isa', 'tiles.h');
  // What bench/native/tileloops.cc times is checked here: every order of its sweep gives the bits of plain sums.
  const sanitizers = sanitize ? ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'] : [];
  const loops = await buildTileLoops({ model, flags: sanitizers });
  if (loops === undefined)
    throw new ScriptError('tile model: bench/native/tileloops.cc does not build (.tools/logs/tileloops.log)');
  await check('orders of the sweep', loops, ['--check'], 'tile-model-loops');
  await check('vectors', process.execPath, [vectors, '--require', 'amx'], 'tile-model-vectors');
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const tests = ['unit/cpu', 'unit/cpuEdges', 'property/cpuKernels', 'property/cpuFusions', 'property/cpuProducts'].map(
    (x) => `test/${x}.test.ts`,
  );
  await check(
    'property tests',
    process.execPath,
    [vitest, 'run', '--testTimeout=600000', ...tests],
    'tile-model-tests',
  );
  return 0;
});
