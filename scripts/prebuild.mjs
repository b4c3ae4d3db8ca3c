// Stages the package as it is shipped in `.tools/package`: `dist/` compiled afresh, and the addons in
// `prebuilds/<platform>-<arch>/` (prebuildify), from which an installed package loads them.
//   node scripts/prebuild.mjs            stage; `npm pack ./.tools/package` makes the tarball
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
const NAPI = ['--napi', `--target=${process.versions.node}`];

/** Pages that go with the package. */
const PAGES = ['README.md', 'LICENSE'];

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
  for (const name of PAGES) copyFileSync(join(ROOT, name), join(STAGE, name));
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

/** A stranger's program: every entry, by `import` and from CommonJS. */
const CHECK_PROGRAM = `
import { createRequire } from 'node:module';
const entries = Object.keys(createRequire(import.meta.url)('./node_modules/proof-of-gradient/package.json').exports);
for (const entry of entries) {
  const name = entry.replace(/^[.]/, 'proof-of-gradient');
  if (Object.keys(await import(name)).length === 0) throw new Error(name + ' exports nothing');
}
`;
const COMMON_JS_PROGRAM = `
Promise.all(['', '/light', '/kernels'].map((entry) => import('proof-of-gradient' + entry))).then(([library]) => {
  if (library.loadRecipe('tiny').name !== 'tiny') throw new Error('no recipe');
});
`;
/** What an editor of a strict TypeScript project sees; our declarations may need no others' that are not installed. */
const TYPES_PROGRAM = `
import { type Backend, createMiner, type Ledger, loadRecipe, type MemberOptions, openBackend, PogoError, verifyBundle } from 'proof-of-gradient';
import { openBackend as openKernels } from 'proof-of-gradient/kernels';
import { checkEvidence, createNobleBls } from 'proof-of-gradient/light';
const backend: Backend = openBackend();
declare const ledger: Ledger;
export const chain: MemberOptions['ledger'] = ledger;
export { backend, checkEvidence, createMiner, createNobleBls, ledger, loadRecipe, openKernels, PogoError, verifyBundle };
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
    for (const [name, text] of [
      ['check.mjs', CHECK_PROGRAM],
      ['check.cjs', COMMON_JS_PROGRAM],
    ]) {
      writeFileSync(join(folder, name), text);
      demand(await runProgram(process.execPath, [name], inFolder), `import of the package (${name})`);
    }
    writeFileSync(join(folder, 'check.ts'), TYPES_PROGRAM);
    const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    const strict = [
      '--strict',
      '--exactOptionalPropertyTypes',
      '--noEmit',
      '--skipLibCheck',
      'false',
      '--target',
      'es2022',
    ];
    const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules', '@types')];
    demand(
      await runProgram(process.execPath, [tsc, ...strict, '--module', 'node16', ...types, 'check.ts'], inFolder),
      'types of the package',
    );
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
  // `npm pack` of the checkout itself would leave the addons out: the package would compute, but slowly.
  if (args.includes('--refuse')) {
    throw new ScriptError(
      'error USAGE: the checkout is not packed as it is, its addons would be missing; use: node scripts/prebuild.mjs && npm pack ./.tools/package',
      2,
    );
  }
  await prebuild();
  await stageLibrary();
  if (args.includes('--check')) await checkPackage();
});
