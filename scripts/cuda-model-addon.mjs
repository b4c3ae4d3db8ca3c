// Builds the CUDA addon over the device model (native/cuda/model) and prints its path: what the tests of the CUDA backend
// load where there is no GPU. It is never shipped, and no part of the program looks for it.
//   node scripts/cuda-model-addon.mjs
// Exit code 0 built or up to date, 1 a source does not compile, 5 a tool is missing.
import { dirname, join } from 'node:path';
import { cli, isMain, logExcerpt, ROOT, runProgram, ScriptError, TOOLS, which } from './lib/project.mjs';
import { withLock } from './lib/stamp.mjs';
import { findCompiler, nodeDirectory } from './lib/toolchains.mjs';

const SOURCES = join(ROOT, 'native', 'cuda');
// The folder of the plain variant of cuda-model.mjs: both use the same kernel objects.
const FOLDER = join(TOOLS, 'cuda-model', 'plain');

async function command(args, log) {
  const result = await runProgram('cmake', args, { log });
  if (result.code !== 0) throw new ScriptError(`cuda model addon: ${log} failed:\n${logExcerpt(result.log, 30)}`);
}

/** @returns path of the addon */
export async function buildModelAddon() {
  const { missing } = findCompiler();
  if (which('cmake') === undefined) missing.push('CMake');
  if (missing.length > 0) throw new ScriptError(`error ENVIRONMENT: not found: ${missing.join(', ')}`, 5);
  const includes = [
    join(nodeDirectory(), 'include', 'node'),
    dirname(join(ROOT, 'node_modules', 'node-addon-api', 'napi.h')),
  ];
  await withLock(async () => {
    const options = ['-DPOGO_MODEL_ONLY=ON', '-DPOGO_MODEL_SANITIZE=OFF', `-DPOGO_NODE_INCLUDE=${includes.join(';')}`];
    await command(['-S', SOURCES, '-B', FOLDER, ...options], 'cuda-model-addon-configure');
    const target = ['--target', 'pogo_cuda_model_addon', '--parallel', '2'];
    await command(['--build', FOLDER, ...target], 'cuda-model-addon-build');
  });
  return join(FOLDER, 'pogo_cuda_model_addon.node');
}

if (isMain(import.meta.url)) {
  await cli(async () => {
    process.stdout.write(`${await buildModelAddon()}\n`);
    return 0;
  });
}
