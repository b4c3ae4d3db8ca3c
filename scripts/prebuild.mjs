// Stages the package as it is shipped in `.tools/package`: `dist/` compiled afresh, and the addons in
// `prebuilds/<platform>-<arch>/` (prebuildify), from which an installed package loads them.
//   node scripts/prebuild.mjs            stage; `npm pack ./.tools/package` makes the tarball
//   node scripts/prebuild.mjs --check    also pack it, install it in an empty folder and use it there (lib/packageCheck.mjs)
// Nothing is put into the checkout itself: the doors look into `prebuilds/` first, and an old one would hide later builds.
// prebuildify builds native/cpu in a copy of the sources, because it moves the result out of the build folder.
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkPackage } from './lib/packageCheck.mjs';
import { cli, logExcerpt, progress, ROOT, runProgram, ScriptError, TOOLS, which } from './lib/project.mjs';
import { scratchTree } from './lib/scratch.mjs';
import { nodeDirectory } from './lib/toolchains.mjs';
import { setup } from './setup.mjs';

const STAGE = join(TOOLS, 'package');
const TARGET = `${process.platform}-${process.arch}`;
/** Node-API addons run on every newer Node: one build is enough. */
const NAPI = ['--napi', `--target=${process.versions.node}`];

/** Pages that go with the package, and what they link to: an installed package has no other place for its answers. */
const PAGES = [
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'docs',
  'examples',
  'bench/README.md',
  'bench/results/convergence.md',
  'native/cpu/README.md',
  'native/cuda/README.md',
];

/** `package.json` as it is shipped: whoever installs it has no use for what a checkout does. */
function shippedManifest() {
  const { scripts, devDependencies, gypfile, ...manifest } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  );
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** Builds the addons and stages them. @returns names of the packed files */
export async function prebuild() {
  await setup({ quiet: true, required: ['cpu', 'merkle'], typescript: false });
  const artifacts = join(TOOLS, 'prebuild-artifacts');
  rmSync(artifacts, { recursive: true, force: true });
  mkdirSync(artifacts, { recursive: true });
  const merkle = join(ROOT, 'native', 'merkle');
  for (const file of readdirSync(merkle).filter((name) => name.endsWith('.node'))) {
    copyFileSync(join(merkle, file), join(artifacts, file));
  }
  // The CUDA runtime is linked in, so the addon also loads, and says why it is of no use, where there is no GPU.
  const cuda = join(ROOT, 'native', 'cuda', 'build', 'Release', 'pogo_cuda.node');
  if (existsSync(cuda)) copyFileSync(cuda, join(artifacts, 'pogo_cuda.node'));

  rmSync(STAGE, { recursive: true, force: true });
  mkdirSync(STAGE, { recursive: true });
  writeFileSync(join(STAGE, 'package.json'), shippedManifest());
  for (const name of PAGES) cpSync(join(ROOT, name), join(STAGE, name), { recursive: true });
  const strip = process.platform !== 'linux' || which('strip') !== undefined;
  const args = [
    join(ROOT, 'node_modules', 'prebuildify', 'bin.js'),
    ...NAPI,
    ...(strip ? ['--strip'] : []),
    '--name=pogo_cpu',
    `--artifacts=${artifacts}`,
    `--out=${STAGE}`,
    `--cache=${TOOLS}`,
  ];
  const nodeGyp = join(ROOT, 'node_modules', '.bin', process.platform === 'win32' ? 'node-gyp.cmd' : 'node-gyp');
  const env = { ...process.env, PREBUILD_NODE_GYP: nodeGyp, npm_config_nodedir: nodeDirectory(), JOBS: '2' };
  const folder = scratchTree('prebuild');
  const result = await runProgram(process.execPath, args, { cwd: folder, env, log: 'prebuild' });
  if (result.code !== 0) throw new ScriptError(`prebuild: failed (${result.log}):\n${logExcerpt(result.log)}`);
  rmSync(folder, { recursive: true });
  const files = readdirSync(join(STAGE, 'prebuilds', TARGET)).sort();
  progress(`prebuild: prebuilds/${TARGET}: ${files.join(', ')} in ${result.seconds.toFixed(1)} s`);
  return files;
}

/** `dist/` of the package: compiled from nothing, so that no output of a deleted source is shipped. */
async function stageLibrary() {
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const args = [
    tsc,
    '-p',
    'tsconfig.build.json',
    '--outDir',
    join(STAGE, 'dist'),
    '--incremental',
    'false',
    '--tsBuildInfoFile',
    'null',
  ];
  const result = await runProgram(process.execPath, args, { log: 'package' });
  if (result.code !== 0) throw new ScriptError(`prebuild: TypeScript does not compile:\n${logExcerpt(result.log, 12)}`);
}

await cli(async (args) => {
  // `npm pack` of the checkout itself would leave the addons out: the package would compute, but slowly.
  if (args.includes('--refuse')) {
    throw new ScriptError(
      'error USAGE: the checkout is not packed as it is, its addons would be missing; use: node scripts/prebuild.mjs && npm pack ./.tools/package',
      2,
    );
  }
  await prebuild();
  await stageLibrary();
  if (args.includes('--check')) await checkPackage(STAGE);
});
