// Finds nvcc, or installs the pinned compiler wheels into `.tools/cuda-<hash of the pins>`. Prints the path of nvcc.
// Order: CUDACXX, PATH, CUDA_HOME, the usual folders, the wheels. `--no-install` only looks; `--wheels` skips the search;
// `--newest` installs the newest release that was tried beside the pinned one, to see that the kernels compile with it.
// `--oldest` compiles every kernel by the front end and assembler of the oldest release: those of its runtime compiler (NVRTC), since
// its nvcc is in no registry. Exit code 0 all compiled, 1 not, 5 something is missing.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  capture,
  cli,
  isMain,
  logExcerpt,
  progress,
  ROOT,
  runProgram,
  ScriptError,
  TOOLS,
  which,
} from './lib/project.mjs';
import { findCompiler } from './lib/toolchains.mjs';
import { installWheels, wheelFolder } from './lib/wheels.mjs';

/**
 * CUDA 13.0 update 2 for x86-64 Linux: code for drivers from 580 on. The wheels' own dependencies are unpinned and mix
 * in newer parts (`ptxas fatal: Unsupported .version`), so all five are named here and pip adds none.
 */
export const CUDA_PINS = `\
nvidia-cuda-nvcc==13.0.88 --hash=sha256:56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
nvidia-cuda-crt==13.0.88 --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-nvvm==13.0.88 --hash=sha256:c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
nvidia-cuda-cccl==13.0.85 --hash=sha256:e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
`;

/** CUDA 13.5: only tried. What it makes for later devices (PTX) a driver of 580 may refuse. */
const NEWEST_PINS = `\
nvidia-cuda-nvcc==13.5.37 --hash=sha256:f5c4f7ead5d964fb4af42bbf1e6d3ec3c1e6e9d83b53749f691d387e7fcaa3a7
nvidia-cuda-crt==13.5.37 --hash=sha256:e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29
nvidia-nvvm==13.5.37 --hash=sha256:c41bfa362e407405163f103c2229f0765f8cc2ed7d148b754dc77f228bf7e070
nvidia-cuda-cccl==13.3.5.0.6 --hash=sha256:d5230098fa2df5021e1a00c0c4eee41797671a91119d31e892463e5ccf3ee326
nvidia-cuda-runtime==13.5.37 --hash=sha256:df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d
`;

/** The oldest release whose compiler was tried (docs/gpu.md). */
const MINIMUM_CUDA = 12.8;
const OLDEST_PINS = `\
nvidia-cuda-nvrtc-cu12==12.8.93 --hash=sha256:a7756528852ef889772a84c6cd89d41dfa74667e24cca16bb31f8f061e3e9994
`;
/** Kernel files of CMakeLists.txt that hold no kernel, only what the host calls. */
const HOST_ONLY = ['device.cu', 'product_forms.cu', 'tile_map.cu'];

/** nvcc of the system, without the wheels. @returns { nvcc, source } or undefined */
export function findSystemCompiler(env = process.env) {
  const candidates = [
    ['CUDACXX', env.CUDACXX],
    ['PATH', which('nvcc')],
    ['CUDA_HOME', env.CUDA_HOME && join(env.CUDA_HOME, 'bin', 'nvcc')],
    ['/usr/local/cuda', '/usr/local/cuda/bin/nvcc'],
  ];
  for (const [source, file] of candidates) {
    const nvcc = file ? which(file) : undefined;
    if (nvcc) return { nvcc, source };
  }
  return undefined;
}

/** True if an NVIDIA driver is loaded on this machine: the reason to build the CUDA addon unasked. */
export function hasNvidiaDriver() {
  return existsSync('/proc/driver/nvidia/version') || which('nvidia-smi') !== undefined;
}

const nvccOf = (folder) => join(folder, 'nvidia', 'cu13', 'bin', 'nvcc');

/** nvcc of the wheels if they were installed before. */
export function findInstalledWheels() {
  const nvcc = nvccOf(wheelFolder('cuda', CUDA_PINS));
  return existsSync(nvcc) ? { nvcc, source: 'pinned wheels' } : undefined;
}

async function installCompiler() {
  await installWheels('cuda', CUDA_PINS, 'the pinned CUDA 13.0 compiler (104 MB)');
  return findInstalledWheels();
}

/**
 * @param install fetch the wheels if nothing is found
 * @param wheels skip the search on the system: the same compiler everywhere (CI)
 * @returns {Promise<{nvcc: string, source: string, version: string} | undefined>} undefined if none was found and none was installed
 */
export async function cudaCompiler({ install = true, wheels = false } = {}) {
  let found = wheels ? undefined : findSystemCompiler();
  if (found) {
    if (!(Number.parseFloat(await release(found.nvcc)) >= MINIMUM_CUDA)) {
      progress(`cuda: ${found.nvcc} (${found.source}) is older than CUDA ${MINIMUM_CUDA}; looking further`);
      found = undefined;
    }
  }
  found ??= findInstalledWheels();
  if (found === undefined && install) found = await installCompiler();
  return found && { ...found, version: await release(found.nvcc) };
}

/** "13.0" from `nvcc --version`. */
async function release(nvcc) {
  return (await capture(nvcc, ['--version']))?.match(/release (\d+\.\d+)/)?.[1] ?? 'unknown';
}

/** The files of a list in CMakeLists.txt. */
function kernelFiles(list) {
  const text = readFileSync(join(ROOT, 'native', 'cuda', 'CMakeLists.txt'), 'utf8');
  const files = new RegExp(`set\\(${list}\\s([^)]*)\\)`).exec(text)?.[1].match(/\w+\.cu/g) ?? [];
  return files.filter((file) => !HOST_ONLY.includes(file));
}

/** Compiles every kernel by NVRTC of the oldest release for each architecture; nothing is kept. */
async function compileByOldest() {
  const { cxx: compiler } = findCompiler();
  if (compiler === undefined) throw new ScriptError('error ENVIRONMENT: no C++ compiler found; install g++', 5);
  const wheels = await installWheels('cuda-nvrtc', OLDEST_PINS, 'the runtime compiler of CUDA 12.8 (88 MB)');
  const library = join(wheels, 'nvidia', 'cuda_nvrtc', 'lib', 'libnvrtc.so.12');
  const sources = join(ROOT, 'native', 'cuda');
  const program = join(TOOLS, 'nvrtc_compile');
  mkdirSync(TOOLS, { recursive: true });
  const run = async (command, args, log) => {
    const result = await runProgram(command, args, { log });
    if (result.code !== 0) throw new ScriptError(`cuda: ${log} failed:\n${logExcerpt(result.log, 30)}`);
  };
  const source = join(sources, 'test', 'nvrtc_compile.cc');
  await run(compiler, ['-std=c++17', '-O1', '-o', program, source, '-ldl'], 'nvrtc-build');
  const every = kernelFiles('POGO_KERNELS');
  const later = kernelFiles('POGO_KERNELS_90A');
  for (const [architecture, files] of [
    ['sm_80', every],
    ['sm_90', every],
    ['sm_90a', later],
  ]) {
    if (files.length === 0) throw new ScriptError(`cuda: no kernel file for ${architecture} in CMakeLists.txt`);
    await run(program, [library, architecture, sources, ...files], `nvrtc-${architecture}`);
    progress(`cuda: NVRTC 12.8.93 compiled ${files.length} files for ${architecture}`);
  }
}

if (isMain(import.meta.url)) {
  await cli(async (args) => {
    if (args.includes('--newest')) {
      process.stdout.write(`${nvccOf(await installWheels('cuda-newest', NEWEST_PINS, 'CUDA 13.5 (129 MB)'))}\n`);
      return;
    }
    if (args.includes('--oldest')) {
      await compileByOldest();
      return;
    }
    const found = await cudaCompiler({ install: !args.includes('--no-install'), wheels: args.includes('--wheels') });
    if (found === undefined) {
      throw new ScriptError('error ENVIRONMENT: no nvcc found; run node scripts/cuda-compiler.mjs to install one', 5);
    }
    process.stdout.write(`${found.nvcc}\n`);
  });
}
