// Builds the CUDA kernels by the C++ compiler against the device model (native/cuda/model) and runs their tests on it; no GPU,
// no nvcc. The model's own test runs first.
//   node scripts/cuda-model.mjs [plain] [sanitizers] [-- ARGUMENTS OF kernel_test_model]      default: both
//     plain        order of threads ascending, descending and seeded
//     sanitizers   the same kernels under AddressSanitizer and UndefinedBehaviorSanitizer, seeded order
// Exit code 0 all equal, 1 something differs, 5 a tool is missing.
import { join } from 'node:path';
import { cli, logExcerpt, progress, ROOT, runProgram, ScriptError, TOOLS, which } from './lib/project.mjs';
import { findCompiler } from './lib/toolchains.mjs';

const SOURCES = join(ROOT, 'native', 'cuda');
const ORDERS = ['order=ascending', 'order=descending', 'order=seeded,seed=7'];
const PROGRAMS = ['kernel_test_model', 'gemm_test_model'];
const VARIANTS = {
  plain: { options: ['-DPOGO_MODEL_SANITIZE=OFF'], orders: ORDERS },
  sanitizers: { options: ['-DPOGO_MODEL_SANITIZE=ON'], orders: [ORDERS[2]] },
};

async function command(program, args, log, env = process.env) {
  const result = await runProgram(program, args, { env, log });
  if (result.code !== 0) throw new ScriptError(`cuda model: ${log} failed:\n${logExcerpt(result.log, 30)}`);
  return result;
}

/** @returns the folder that holds kernel_test_model and model_test */
export async function buildModel(variant) {
  const { missing } = findCompiler();
  if (which('cmake') === undefined) missing.push('CMake');
  if (missing.length > 0) throw new ScriptError(`error ENVIRONMENT: not found: ${missing.join(', ')}`, 5);
  const folder = join(TOOLS, 'cuda-model', variant);
  const configure = ['-S', SOURCES, '-B', folder, '-DPOGO_MODEL_ONLY=ON', ...VARIANTS[variant].options];
  await command('cmake', configure, `cuda-model-${variant}-configure`);
  await command('cmake', ['--build', folder, '--parallel', '2'], `cuda-model-${variant}-build`);
  return folder;
}

await cli(async (args) => {
  const split = args.indexOf('--');
  const extra = split < 0 ? [] : args.slice(split + 1);
  const names = split < 0 ? args : args.slice(0, split);
  const unknown = names.filter((name) => !(name in VARIANTS));
  if (unknown.length > 0) {
    throw new ScriptError(`expected ${Object.keys(VARIANTS).join(', ')}, found ${unknown.join(', ')}`, 2);
  }
  for (const variant of names.length > 0 ? names : Object.keys(VARIANTS)) {
    const folder = await buildModel(variant);
    await command(join(folder, 'model_test'), [], `cuda-model-${variant}-self`);
    for (const order of VARIANTS[variant].orders) {
      const env = { ...process.env, POGO_CUDA_MODEL: order };
      for (const program of PROGRAMS) {
        const log = `cuda-model-${variant}-${program}`;
        const result = await command(join(folder, program), program === PROGRAMS[0] ? extra : [], log, env);
        const line = logExcerpt(result.log, 1).trim();
        progress(`cuda model: ${program}, ${variant}, ${order}: ${line} in ${result.seconds.toFixed(1)} s`);
      }
    }
  }
});
