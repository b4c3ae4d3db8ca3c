// A folder for a machine with a GPU that has no compiler, no Node and no network: what was built here, and a script that runs it.
//   node scripts/gpu-bundle.mjs [--out FOLDER]      default native/cuda/bundle
//     needs a build with CUDA (npm run setup -- --cuda), which needs no GPU
// There: bash FOLDER/run.sh [RESULTS]      a driver of 580 or newer, glibc as new as here's, and xz or Python to unpack
// The folder holds at most 64 MiB: programs and addons (CUDA's runtime inside), test vectors, compiled TypeScript with the packages
// that it needs, PyTorch's peer, and Node itself. Exit code 0, 1 where it would be larger, 5 where something is missing.
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Bundle } from './lib/bundle.mjs';
import { cli, ROOT } from './lib/project.mjs';

const PROGRAMS = ['kernel_test', 'gemm_test', 'attention_test'];
const RUN = `nvidia-smi >"$results/nvidia-smi.txt" 2>&1 || true
bash scripts/gpu-run.sh programs "$results" --vectors test/vectors 2>&1 | tee "$results/kernels.log"
status=\${PIPESTATUS[0]}
if [ "$status" = 77 ]; then exit 77; fi
./node scripts/gpu-node.mjs --out "$results" 2>&1 | tee "$results/node.log"
code=\${PIPESTATUS[0]}
if [ "$code" != 0 ]; then status=$code; fi
exit "$status"
`;

await cli(async (args) => {
  const { values } = parseArgs({
    args,
    options: { out: { type: 'string' } },
  });
  const folder = resolve(values.out ?? join(ROOT, 'native', 'cuda', 'bundle'));
  const bundle = new Bundle('gpu-bundle', folder, 'npm run setup -- --cuda');
  const build = join('native', 'cuda', 'build');
  for (const name of PROGRAMS) bundle.program(join(ROOT, build, name), join('programs', name));
  const addon = join(build, 'Release', 'pogo_cuda.node');
  bundle.program(join(ROOT, addon), addon);
  await bundle.library();
  bundle.copy('scripts/gpu-node.mjs', 'scripts/gpu-run.sh');
  bundle.finish(RUN);
});
