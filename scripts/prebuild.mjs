// Stages the package as it is shipped in `.tools/package`: `dist/` compiled afresh, and the addons in
// `prebuilds/<platform>-<arch>/` (prebuildify), from which an installed package loads them.
//   node scripts/prebuild.mjs            stage; `npm pack .tools/package` makes the tarball
//   node scripts/prebuild.mjs --check    also pack it, install it in an empty folder and run it there
// Nothing is put into the checkout itself: the doors look into `prebuilds/` first, and an old one would hide later builds.
// prebuildify builds native/cpu in a copy of the sources, because it moves the result out of the build folder.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capture, cli, logExcerpt, progress, ROOT, runProgram, ScriptError, TOOLS, which } from './lib/project.mjs';
import { scratchTree } from './lib/scratch.mjs';
import { nodeDirectory } from './lib/toolchains.mjs';
import { npmCommand, setup } from './setup.mjs';

const STAGE = join(TOOLS, 'package');
const TARGET = `${process.platform}-${process.arch}`;
/** Node-API addons run on every newer Node: one build is enough. */
const NAPI = ['--napi', '--strip', `--target=${process.versions.node}`];

/** Pages that go with the package. */
const PAGES = ['README.md', 'LICENSE'];

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
  for (const name of ['package.json', ...PAGES.filter((page) => existsSync(join(ROOT, page)))]) {
    copyFileSync(join(ROOT, name), join(STAGE, name));
  }
  const folder = scratchTree('prebuild');
  const prebuildify = join(ROOT, 'node_modules', 'prebuildify', 'bin.js');
  const args = [
    prebuildify,
    ...NAPI,
    '--name=pogo_cpu',
    `--artifacts=${artifacts}`,
    `--out=${STAGE}`,
    `--cache=${TOOLS}`,
  ];
  const nodeGyp = join(ROOT, 'node_modules', '.bin', process.platform === 'win32' ? 'node-gyp.cmd' : 'node-gyp');
  const env = { ...process.env, PREBUILD_NODE_GYP: nodeGyp, npm_config_nodedir: nodeDirectory(), JOBS: '2' };
  const result = await runProgram(process.execPath, args, { cwd: folder, env, log: 'prebuild' });
  if (result.code !== 0) throw new ScriptError(`prebuild: failed (${result.log}):\n${logExcerpt(result.log)}`);
  rmSync(folder, { recursive: true });
  const files = readdirSync(join(STAGE, 'prebuilds', TARGET)).sort();
  progress(`prebuild: prebuilds/${TARGET}: ${files.join(', ')} in ${result.seconds.toFixed(1)} s`);
  return files;
}

const CHECK_PROGRAM = `
import * as library from 'proof-of-gradient';
if (Object.keys(library).length === 0) throw new Error('the package exports nothing');
`;

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

/** Packs the staged package and uses it as a stranger would: no scripts, no compiler on PATH, an empty folder. */
export async function checkPackage() {
  const folder = mkdtempSync(join(tmpdir(), 'pogo-package-'));
  try {
    const [npm, prefix] = npmCommand();
    const demand = (result, what) => {
      if (result.code !== 0) throw new ScriptError(`prebuild: ${what} failed:\n${logExcerpt(result.log, 12)}`);
    };
    const options = { log: 'package' };
    demand(
      await runProgram(npm, [...prefix, 'pack', STAGE, '--ignore-scripts', '--pack-destination', folder], options),
      'npm pack',
    );
    const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
    writeFileSync(join(folder, 'package.json'), '{ "name": "stranger", "private": true, "type": "module" }\n');
    const inFolder = { ...options, cwd: folder };
    const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `./${tarball}`];
    demand(await runProgram(npm, [...prefix, ...install], inFolder), 'npm install of the package');
    // With a lockfile npm ignores "gypfile": a binding.gyp in the package would now start a build.
    const noCompiler = { ...process.env, CXX: '/nonexistent', CC: '/nonexistent' };
    demand(
      await runProgram(npm, [...prefix, 'ci', '--no-audit', '--no-fund'], { ...inFolder, env: noCompiler }),
      'npm ci there',
    );
    writeFileSync(join(folder, 'check.mjs'), CHECK_PROGRAM);
    demand(await runProgram(process.execPath, ['check.mjs'], inFolder), 'import of the package');
    const installed = join(folder, 'node_modules', 'proof-of-gradient');
    const { bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
    const text = await capture(process.execPath, [join(installed, bin.pogo), 'doctor', '--json', '--quick'], {
      cwd: folder,
    });
    const report = JSON.parse(text ?? '{"backends":[]}');
    for (const backend of ['cpu', 'merkle']) {
      if (!report.backends.some((entry) => entry.backend === backend && entry.state === 'ok')) {
        throw new ScriptError(
          `prebuild: the installed package has no working ${backend} addon: ${text ?? 'doctor failed'}`,
        );
      }
    }
    progress('prebuild: the packed package installs without a compiler, and its addons pass their vectors');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await cli(async (args) => {
  if (process.platform === 'linux' && which('strip') === undefined) NAPI.splice(NAPI.indexOf('--strip'), 1);
  await prebuild();
  await stageLibrary();
  if (args.includes('--check')) await checkPackage();
});
