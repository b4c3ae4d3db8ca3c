// A folder for a machine with a GPU that has no compiler, no Node and no network: what was built here, and a script that runs it.
//   node scripts/gpu-bundle.mjs [--out FOLDER]      default native/cuda/bundle
//     needs a build with CUDA (npm run setup -- --cuda), which needs no GPU
// There: bash FOLDER/run.sh [RESULTS]      a driver of 580 or newer, glibc as new as here's, and xz or Python to unpack
// The folder holds at most 64 MiB: programs and addons (CUDA's runtime inside), test vectors, compiled TypeScript with the packages
// that it needs, PyTorch's peer, and Node itself. Exit code 0, 1 where it would be larger, 5 where something is missing.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { capture, cli, progress, ROOT, ScriptError, which } from './lib/project.mjs';

const MOST_BYTES = 64 * 2 ** 20;
const PROGRAMS = ['kernel_test', 'gemm_test', 'attention_test'];
/** Data and tools that no test on a GPU reads. */
const LEFT_OUT =
  /^(@stdlib|gpt-tokenizer|@huggingface|hyparquet|hyparquet-compressors|node-addon-api|asciichart)(\/|$)/;
const ARCHIVE = 'pogo.tar.xz';
const RUN = `#!/usr/bin/env bash
# Written by scripts/gpu-bundle.mjs. Results go to the folder that is named, as soon as they are there.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=$(mkdir -p "\${1:-results}" && cd "\${1:-results}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
tar xJf "$here/${ARCHIVE}" 2>/dev/null ||
  python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall()' "$here/${ARCHIVE}" || exit 5
nvidia-smi >"$results/nvidia-smi.txt" 2>&1 || true
bash scripts/gpu-run.sh programs "$results" --vectors test/vectors 2>&1 | tee "$results/kernels.log"
status=\${PIPESTATUS[0]}
if [ "$status" = 77 ]; then exit 77; fi
./node scripts/gpu-node.mjs --out "$results" 2>&1 | tee "$results/node.log"
code=\${PIPESTATUS[0]}
if [ "$code" != 0 ]; then status=$code; fi
exit "$status"
`;

/** The newest of some files that exist. */
function newest(files) {
  return files.filter((file) => existsSync(file)).sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

/** Copies without symbols, where there is a tool to take them away. */
function copyProgram(from, to) {
  if (from === undefined || !existsSync(from)) {
    throw new ScriptError(`error ENVIRONMENT: expected ${relative(ROOT, to)}'s build; run npm run setup -- --cuda`, 5);
  }
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
  if (which('strip') !== undefined) spawnSync('strip', ['--strip-unneeded', to], { stdio: 'ignore' });
  chmodSync(to, 0o755);
}

await cli(async (args) => {
  const { values } = parseArgs({
    args,
    options: { out: { type: 'string' } },
  });
  const bundle = resolve(values.out ?? join(ROOT, 'native', 'cuda', 'bundle'));
  if (!existsSync(join(ROOT, 'dist', 'index.js'))) {
    throw new ScriptError('error ENVIRONMENT: expected dist/; run npm run setup -- --cuda', 5);
  }
  rmSync(bundle, { recursive: true, force: true });
  const out = join(bundle, 'content');
  mkdirSync(out, { recursive: true });
  const build = join(ROOT, 'native', 'cuda', 'build');
  for (const name of PROGRAMS) copyProgram(join(build, name), join(out, 'programs', name));
  copyProgram(
    join(build, 'Release', 'pogo_cuda.node'),
    join(out, 'native', 'cuda', 'build', 'Release', 'pogo_cuda.node'),
  );
  const cpu = join('build', 'Release', 'pogo_cpu.node');
  copyProgram(join(ROOT, cpu), join(out, cpu));
  const merkle = newest(
    readdirSync(join(ROOT, 'native', 'merkle'))
      .filter((name) => name.endsWith('.node'))
      .map((name) => join(ROOT, 'native', 'merkle', name)),
  );
  copyProgram(
    merkle,
    join(out, 'native', 'merkle', merkle === undefined ? 'merkle.node' : relative(dirname(merkle), merkle)),
  );

  for (const path of [
    'dist',
    'package.json',
    'test/vectors',
    'bench/peers',
    'scripts/gpu-node.mjs',
    'scripts/gpu-run.sh',
    'scripts/lib',
  ]) {
    cpSync(join(ROOT, path), join(out, path), { recursive: true });
  }
  const listed = await capture('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: ROOT });
  const modules = join(ROOT, 'node_modules');
  for (const folder of (listed ?? '').trim().split('\n')) {
    const name = relative(modules, folder);
    if (name.startsWith('..') || name === '' || LEFT_OUT.test(name) || !existsSync(folder)) continue;
    cpSync(folder, join(out, 'node_modules', name), { recursive: true });
  }
  copyProgram(process.execPath, join(out, 'node'));
  // The three programs hold the same machine code: xz finds that where its dictionary holds them, gzip does not.
  const env = { ...process.env, XZ_OPT: '--lzma2=preset=1,dict=64MiB' };
  const packed = spawnSync('tar', ['cJf', join(bundle, ARCHIVE), '-C', out, '.'], { stdio: 'inherit', env });
  if (packed.status !== 0) throw new ScriptError('error ENVIRONMENT: expected tar and xz; install xz-utils', 5);
  rmSync(out, { recursive: true });
  writeFileSync(join(bundle, 'run.sh'), RUN, { mode: 0o755 });
  const { size } = statSync(join(bundle, ARCHIVE));
  progress(`gpu-bundle: ${(size / 2 ** 20).toFixed(1)} MiB in ${bundle}; there: bash run.sh RESULTS`);
  if (size + RUN.length > MOST_BYTES)
    throw new ScriptError(`gpu-bundle: expected at most 64 MiB, found ${size} bytes`, 1);
});
