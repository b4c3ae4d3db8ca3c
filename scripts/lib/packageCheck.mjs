// Uses the staged package as a stranger would: packed, installed without scripts and without a compiler into an empty folder,
// imported, type-checked, the examples of its pages compiled and run as they are printed, and asked what it can compute with.
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { npmCommand } from '../setup.mjs';
import { capture, logExcerpt, progress, ROOT, runProgram, ScriptError } from './project.mjs';

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
const STRICT = ['--strict', '--exactOptionalPropertyTypes', '--skipLibCheck', 'false', '--target', 'es2022'];

/** The page whose examples are whole programs or modules. */
const EXAMPLES_PAGE = 'docs/embedding.md';
/** The longest program among them trains two claims of the smallest recipe. */
const CHAIN_EXAMPLE = 'examples/embed.ts';

/** TypeScript of a page, block by block. */
export function examplesOf(markdown) {
  return [...markdown.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, text]) => text);
}

/** Links of the package's pages to files that it should hold and does not. `src/` and `test/` are in checkouts alone. */
export function deadLinks(folder) {
  const pages = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.md') && !name.includes('node_modules'),
  );
  return pages.flatMap((page) =>
    [...readFileSync(join(folder, page), 'utf8').matchAll(/\]\(([^)\s#]+)(?:#[^)\s]*)?\)/g)]
      .map(([, link]) => link)
      .filter((link) => !/^\w+:/.test(link) && !existsSync(join(folder, dirname(page), link)))
      .map((link) => `${page}: ${link}`),
  );
}

function demand(result, what) {
  if (result.code !== 0) throw new ScriptError(`prebuild: ${what} failed:\n${logExcerpt(result.log, 12)}`);
}

/** @param stage folder of the staged package */
export async function checkPackage(stage) {
  const folder = mkdtempSync(join(tmpdir(), 'pogo package '));
  try {
    await install(stage, folder);
    const installed = join(folder, 'node_modules', 'proof-of-gradient');
    const dead = deadLinks(installed);
    if (dead.length > 0) throw new ScriptError(`prebuild: links of the package lead nowhere:\n${dead.join('\n')}`);
    await checkEntries(folder);
    await checkExamples(folder, installed);
    await checkDoctor(folder, installed);
    progress(
      'prebuild: the packed package installs without a compiler, its examples run, its addons pass their vectors',
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function install(stage, folder) {
  const [npm, prefix] = npmCommand();
  const options = { log: 'package' };
  demand(
    await runProgram(npm, [...prefix, 'pack', stage, '--ignore-scripts', '--pack-destination', folder], options),
    'npm pack',
  );
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  writeFileSync(join(folder, 'package.json'), '{ "name": "stranger", "private": true, "type": "module" }\n');
  const inFolder = { ...options, cwd: folder };
  const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `./${tarball}`];
  demand(await runProgram(npm, [...prefix, ...install], inFolder), 'npm install of the package');
  // With a lockfile npm ignores "gypfile": a binding.gyp in the package would now start a build.
  const noCompiler = { ...process.env, CXX: '/nonexistent', CC: '/nonexistent' };
  const again = ['ci', '--no-audit', '--no-fund'];
  demand(await runProgram(npm, [...prefix, ...again], { ...inFolder, env: noCompiler }), 'npm ci there');
}

async function checkEntries(folder) {
  const options = { log: 'package', cwd: folder };
  for (const [name, text] of [
    ['check.mjs', CHECK_PROGRAM],
    ['check.cjs', COMMON_JS_PROGRAM],
  ]) {
    writeFileSync(join(folder, name), text);
    demand(await runProgram(process.execPath, [name], options), `import of the package (${name})`);
  }
}

/** Compiles all of them at once, and runs those that do something by themselves. */
async function checkExamples(folder, installed) {
  const options = { log: 'package', cwd: folder };
  const examples = examplesOf(readFileSync(join(installed, EXAMPLES_PAGE), 'utf8'));
  if (examples.length === 0) throw new ScriptError(`prebuild: expected examples in ${EXAMPLES_PAGE}, found none`);
  const files = new Map(examples.map((text, index) => [`example${index + 1}.ts`, text]));
  files.set('types.ts', TYPES_PROGRAM);
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
  cpSync(join(installed, CHAIN_EXAMPLE), join(folder, 'chain.ts'));
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules', '@types')];
  const sources = [...files.keys(), 'chain.ts'];
  demand(
    await runProgram(
      process.execPath,
      [tsc, ...STRICT, '--module', 'node16', '--outDir', 'out', ...types, ...sources],
      options,
    ),
    'types of the package and its examples',
  );
  for (const [name, text] of files) {
    if (/^export /m.test(text)) continue;
    const program = join('out', name.replace(/ts$/, 'js'));
    demand(await runProgram(process.execPath, [program], options), `the example ${name}:\n${text}`);
  }
  demand(await runProgram(process.execPath, [join('out', 'chain.js')], options), CHAIN_EXAMPLE);
}

async function checkDoctor(folder, installed) {
  const { bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  const program = [join(installed, bin.pogo), 'doctor', '--json', '--quick'];
  const text = await capture(process.execPath, program, { cwd: folder });
  const report = JSON.parse(text ?? '{"backends":[],"toolchains":[]}');
  if (report.toolchains?.length !== 0) {
    throw new ScriptError('prebuild: the installed package asks for tool chains, and has nothing to build with them');
  }
  for (const backend of ['cpu', 'merkle']) {
    if (report.backends.some((entry) => entry.backend === backend && entry.state === 'ok')) continue;
    throw new ScriptError(
      `prebuild: the installed package has no working ${backend} addon: ${text ?? 'doctor failed'}`,
    );
  }
}
