// The native parts: how each is built, what it needs, and where its sources are. A part that cannot be built is reported,
// not fatal: the program then uses the next backend.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cudaCompiler, findInstalledWheels, findSystemCompiler, hasNvidiaDriver } from '../cuda-compiler.mjs';
import { logExcerpt, progress, ROOT, runProgram, which } from './project.mjs';
import { hashSources, readStamp, writeStamp } from './stamp.mjs';
import { findCargo, findCompiler, installCommand, nodeDirectory, versionOf } from './toolchains.mjs';

/**
 * State of a component after set-up.
 * status: `built` now, `current` (nothing changed), `missing` (no tool chain), `failed` (sources did not compile), `skipped` (not asked for).
 * @typedef {{component: string, status: 'built'|'current'|'missing'|'failed'|'skipped', reason: string, fix: string, seconds: number}} ComponentReport
 */

const NODE_ABI = `${process.platform}-${process.arch}-${process.version}`;
const report = (component, status, seconds = 0, reason = '', fix = '') => ({ component, status, reason, fix, seconds });

/** Runs one build unless its stamp says that nothing changed. */
async function build({ component, sources, extra, output, command, args, rebuild, env }) {
  const hash = hashSources(sources, [NODE_ABI, ...extra]);
  if (readStamp(component) === hash && output() !== undefined) return report(component, 'current');
  progress(`set-up: building ${component}`);
  const result = await runProgram(command, args, { log: component, env: { ...process.env, ...env } });
  if (result.code === 0 && output() !== undefined) {
    writeStamp(component, hash);
    return report(component, 'built', result.seconds);
  }
  const detail = result.reason ?? logExcerpt(result.log, 3);
  return report(component, 'failed', result.seconds, `${detail}\nfull output: ${result.log}`, rebuild);
}

/** The C++ addon, by node-gyp. */
export async function buildCpu({ force = false } = {}) {
  const component = 'native/cpu';
  if (!existsSync(join(ROOT, 'binding.gyp'))) return report(component, 'skipped', 0, 'no binding.gyp in this package');
  const tools = findCompiler();
  if (tools.missing.length > 0) {
    return report(component, 'missing', 0, `not found: ${tools.missing.join(', ')}`, installCommand('compiler'));
  }
  const file = join(ROOT, 'build', 'Release', 'pogo_cpu.node');
  const gyp = join(ROOT, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  return build({
    component,
    sources: ['native/cpu', 'native/exact', 'binding.gyp'],
    extra: [force ? String(Date.now()) : '', (await versionOf(tools.cxx)) ?? '', process.env.CXXFLAGS ?? ''],
    output: () => (existsSync(file) ? file : undefined),
    command: process.execPath,
    args: [gyp, 'configure', 'build', '--release', `--nodedir=${nodeDirectory()}`, '--jobs=2'],
    rebuild: 'fix what the compiler says, or use another by CXX=clang++, then: npm run setup',
  });
}

/** The Rust addon, by napi-rs (`native/merkle/build.mjs`). */
export async function buildMerkle({ force = false } = {}) {
  const component = 'native/merkle';
  const folder = join(ROOT, 'native', 'merkle');
  if (!existsSync(join(folder, 'Cargo.toml'))) return report(component, 'skipped', 0, 'no sources in this package');
  const cargo = findCargo();
  if (cargo === undefined) return report(component, 'missing', 0, 'not found: Rust (cargo)', installCommand('rust'));
  const version = await versionOf(cargo);
  if (version === undefined) {
    return report(
      component,
      'missing',
      0,
      `${cargo} does not run (a rustup without a default tool chain?)`,
      'rustup default stable',
    );
  }
  const compiler = which(process.env.CC?.split(' ')[0] ?? 'cc') ?? which('gcc') ?? which('clang');
  if (compiler === undefined && process.platform !== 'win32') {
    return report(component, 'missing', 0, 'not found: a C compiler for BLAKE3 (cc)', installCommand('compiler'));
  }
  return build({
    component,
    sources: ['native/merkle'],
    extra: [force ? String(Date.now()) : '', version],
    output: () => readdirSync(folder).find((name) => name.endsWith('.node')),
    command: process.execPath,
    args: [join(folder, 'build.mjs')],
    rebuild: 'Rust 1.88 or newer is needed: rustup update stable, then: npm run setup',
  });
}

/**
 * The CUDA addon, by cmake-js: only where asked for (then a missing compiler is fetched), or where a driver and an nvcc are.
 * It needs no GPU to build and none to load.
 */
export async function buildCuda({ force = false, wanted = false } = {}) {
  const component = 'native/cuda';
  const folder = join(ROOT, 'native', 'cuda');
  if (!existsSync(join(folder, 'CMakeLists.txt'))) return report(component, 'skipped', 0, 'no sources in this package');
  if (!wanted && !hasNvidiaDriver()) {
    return report(
      component,
      'skipped',
      0,
      'no NVIDIA driver on this machine',
      'npm run setup -- --cuda builds it all the same',
    );
  }
  if (!wanted && !findSystemCompiler() && !findInstalledWheels()) {
    return report(
      component,
      'missing',
      0,
      'an NVIDIA driver but no nvcc',
      'npm run setup -- --cuda fetches a CUDA 13.0 compiler (104 MB)',
    );
  }
  const tools = findCompiler();
  if (which('cmake') === undefined) tools.missing.push('CMake');
  if (tools.missing.length > 0) {
    const part = tools.missing.includes('CMake') && tools.missing.length === 1 ? 'cmake' : 'compiler';
    return report(component, 'missing', 0, `not found: ${tools.missing.join(', ')}`, installCommand(part));
  }
  let compiler;
  try {
    compiler = await cudaCompiler({ install: wanted });
  } catch (error) {
    return report(component, 'missing', 0, error.message, 'npm run setup -- --cuda');
  }
  if (compiler === undefined) {
    return report(
      component,
      'missing',
      0,
      'no nvcc of CUDA 13',
      'npm run setup -- --cuda fetches a CUDA 13.0 compiler',
    );
  }
  const file = join(folder, 'build', 'Release', 'pogo_cuda.node');
  const cmakeJs = join(ROOT, 'node_modules', 'cmake-js', 'bin', 'cmake-js');
  return build({
    component,
    sources: ['native/cuda', 'native/exact'],
    extra: [force ? String(Date.now()) : '', compiler.version, (await versionOf(tools.cxx)) ?? ''],
    output: () => (existsSync(file) ? file : undefined),
    command: process.execPath,
    args: [
      cmakeJs,
      'compile',
      '-d',
      folder,
      '-O',
      join(folder, 'build'),
      '-p',
      '2',
      `--CDCMAKE_CUDA_COMPILER=${compiler.nvcc}`,
    ],
    rebuild: 'see docs/troubleshooting.md (CUDA), then: npm run setup -- --cuda',
  });
}
