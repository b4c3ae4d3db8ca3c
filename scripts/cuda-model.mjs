// Builds the CUDA kernels by the C++ compiler against the device model (native/cuda/model) and runs their tests on it; no GPU,
// no nvcc. The model's own test runs first.
//   node scripts/cuda-model.mjs [plain] [sanitizers] [-- ARGUMENTS OF kernel_test_model]      default: both
//     plain        three orders of threads, as sm_90 (clusters, wgmma) and as sm_80 (what stands in for them)
//     sanitizers   the same kernels under AddressSanitizer and UndefinedBehaviorSanitizer, both architectures
// Exit code 0 all equal, 1 something differs, 5 a tool is missing.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { cli, logExcerpt, progress, ROOT, runProgram, ScriptError, TOOLS, which } from './lib/project.mjs';
import { findCompiler } from './lib/toolchains.mjs';

const SOURCES = join(ROOT, 'native', 'cuda');
const PROGRAMS = ['kernel_test_model', 'gemm_test_model', 'attention_test_model'];
/** Settings of the model, the kernel of products that have two, and the random cases of an operation then: other ones each time, fewer where they are slow. */
const VARIANTS = {
  plain: {
    options: ['-DPOGO_MODEL_SANITIZE=OFF'],
    runs: [
      { model: 'sm=90,order=ascending', cases: ['--seed', '1', '--cases', '12', '--time', '--require-all'] },
      { model: 'sm=80,order=descending', cases: ['--seed', '2', '--cases', '12'] },
      { model: 'sm=90,order=seeded,seed=7', products: 'pingpong', cases: ['--seed', '3', '--cases', '6'] },
      { model: 'sm=80,order=seeded,seed=8', cases: ['--seed', '4', '--cases', '6'] },
    ],
  },
  sanitizers: {
    options: ['-DPOGO_MODEL_SANITIZE=ON'],
    runs: [
      { model: 'sm=90,order=seeded,seed=9', products: 'pingpong', cases: ['--seed', '5', '--cases', '6'] },
      { model: 'sm=80,order=seeded,seed=10', cases: ['--seed', '6', '--cases', '6'] },
    ],
  },
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
    const jobs = [];
    for (const { model, cases, products = 'auto' } of VARIANTS[variant].runs) {
      // The products' test plays every architecture itself, on a model that has all of them.
      for (const program of model.startsWith('sm=90') ? PROGRAMS : PROGRAMS.slice(0, 1)) {
        const args = program === PROGRAMS[0] ? [...cases, ...extra] : [];
        jobs.push({ program, model, products, args, log: `cuda-model-${variant}-${jobs.length}` });
      }
    }
    const run = async ({ program, model, products, args, log }) => {
      const result = await command(join(folder, program), args, log, {
        ...process.env,
        POGO_CUDA_MODEL: model,
        POGO_CUDA_PRODUCTS: products,
      });
      const line = logExcerpt(result.log, 1).trim();
      progress(`cuda model: ${program}, ${variant}, ${model}: ${line} in ${result.seconds.toFixed(1)} s`);
    };
    const worker = async () => {
      for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) await run(job);
    };
    await Promise.all(Array.from({ length: availableParallelism() }, worker));
  }
});
