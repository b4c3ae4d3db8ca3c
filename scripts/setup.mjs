// Sets up a checkout: dependencies, native addons, TypeScript. What is up to date is skipped, progress goes to stderr.
//   node scripts/setup.mjs [--cuda] [--force] [--quiet] [--require cpu,merkle,cuda]
// A missing tool chain is not an error: the report in `.tools/setup.json` says which, why, and the command that fixes it.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  cli,
  isMain,
  logExcerpt,
  progress,
  ROOT,
  requireNode,
  runProgram,
  ScriptError,
  TOOLS,
  which,
} from './lib/project.mjs';
import { hashSources, readStamp, withLock, writeStamp } from './lib/stamp.mjs';

/** True if node_modules holds what package-lock.json names (packages for other platforms may be absent). */
export function dependenciesCurrent() {
  let wanted;
  let installed;
  try {
    wanted = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages;
    installed = JSON.parse(readFileSync(join(ROOT, 'node_modules', '.package-lock.json'), 'utf8')).packages;
  } catch {
    return false;
  }
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const found = installed[path];
    return found === undefined ? entry.optional === true : found.version === entry.version;
  });
}

/** npm's JavaScript entry: the one that started us, else the one beside this Node, else the command. */
export function npmCommand() {
  const candidates = [
    process.env.npm_execpath,
    join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js'),
    join(dirname(process.execPath), 'node_modules', 'npm', 'bin', 'npm-cli.js'),
  ];
  const script = candidates.find((file) => file?.endsWith('npm-cli.js') && existsSync(file));
  return script ? [process.execPath, [script]] : [which('npm') ?? 'npm', []];
}

async function installDependencies() {
  if (dependenciesCurrent()) return { component: 'dependencies', status: 'current', reason: '', fix: '', seconds: 0 };
  progress('set-up: installing dependencies (npm ci --ignore-scripts)');
  const [command, prefix] = npmCommand();
  const args = [...prefix, 'ci', '--ignore-scripts', '--include=dev', '--include=optional'];
  const result = await runProgram(command, args, { log: 'dependencies' });
  if (result.code !== 0) {
    throw new ScriptError(
      `error ENVIRONMENT: expected npm ci to install the dependencies, it failed (${result.log}):\n` +
        `${result.reason ?? logExcerpt(result.log)}\ncheck the network and npm's settings, then run npm run setup`,
      5,
    );
  }
  return { component: 'dependencies', status: 'built', reason: '', fix: '', seconds: result.seconds };
}

async function compileTypeScript(force) {
  const hash = hashSources(['src', 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json'], [process.version]);
  if (!force && readStamp('typescript') === hash && existsSync(join(ROOT, 'dist', 'cli', 'main.js'))) {
    return { component: 'typescript', status: 'current', reason: '', fix: '', seconds: 0 };
  }
  progress('set-up: compiling TypeScript');
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const result = await runProgram(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { log: 'typescript' });
  if (result.code !== 0) {
    throw new ScriptError(
      `error INTERNAL: TypeScript does not compile (${result.log}):\n${logExcerpt(result.log, 20)}`,
      1,
    );
  }
  writeStamp('typescript', hash);
  return { component: 'typescript', status: 'built', reason: '', fix: '', seconds: result.seconds };
}

/** `.tools/setup.json`, which `pogo doctor` reads. */
function writeReport(components) {
  const about = { node: process.version, platform: process.platform, arch: process.arch };
  mkdirSync(TOOLS, { recursive: true });
  const file = join(TOOLS, 'setup.json');
  writeFileSync(`${file}.${process.pid}`, `${JSON.stringify({ ...about, components }, null, 2)}\n`);
  renameSync(`${file}.${process.pid}`, file);
}

function describe(entry) {
  const time = entry.seconds > 0 ? ` in ${entry.seconds.toFixed(1)} s` : '';
  const reason = entry.reason ? `: ${entry.reason}` : '';
  const fix = entry.fix ? `\n  to fix it: ${entry.fix}` : '';
  return `set-up: ${entry.component} ${entry.status}${time}${reason}${fix}`;
}

/**
 * Sets up everything. Concurrent calls wait for each other.
 * @param quiet print only what was built or is missing
 * @param cuda build the CUDA addon even without a driver
 * @param force build again what is up to date
 * @param required component names (`cpu`, `merkle`, `cuda`) whose absence is an error, exit code 5
 * @param typescript false: leave `dist/` alone
 */
export async function setup({ quiet = false, cuda = false, force = false, required = [], typescript = true } = {}) {
  requireNode();
  const started = performance.now();
  const entries = await withLock(async () => {
    const list = [await installDependencies()];
    // Imported here because they need nothing installed, but their builds do.
    const { buildCpu, buildCuda, buildMerkle } = await import('./lib/components.mjs');
    // Side by side: none needs another, and the last files of each leave a processor idle.
    const parts = [
      buildCpu({ force }),
      buildMerkle({ force }),
      buildCuda({ force, wanted: cuda || required.includes('cuda') }),
    ];
    const compiled = typescript
      ? compileTypeScript(force).then(
          (entry) => ({ entry }),
          (error) => ({ error }),
        )
      : undefined;
    list.push(...(await Promise.all(parts)));
    // Written before TypeScript, too: the reasons of missing parts must be there even if a source does not compile.
    writeReport(list);
    const { entry, error } = (await compiled) ?? {};
    if (error !== undefined) throw error;
    if (entry !== undefined) {
      list.push(entry);
      writeReport(list);
    }
    return list;
  });
  for (const entry of entries) {
    const quietly = entry.status === 'current' || entry.status === 'skipped';
    if (!quiet || !quietly) progress(describe(entry));
  }
  const seconds = (performance.now() - started) / 1000;
  if (!quiet || entries.some((entry) => entry.status === 'built')) progress(`set-up: done in ${seconds.toFixed(1)} s`);
  const absent = entries.filter(
    (entry) =>
      required.includes(entry.component.replace('native/', '')) && !['built', 'current'].includes(entry.status),
  );
  if (absent.length > 0) {
    throw new ScriptError(
      `error ENVIRONMENT: expected ${absent.map((entry) => entry.component).join(', ')} to be built, see the lines above`,
      5,
    );
  }
  return entries;
}

if (isMain(import.meta.url)) {
  await cli(async (args) => {
    const { values } = parseArgs({
      args,
      options: {
        cuda: { type: 'boolean', default: false },
        force: { type: 'boolean', default: false },
        quiet: { type: 'boolean', default: false },
        require: { type: 'string', default: '' },
      },
    });
    const required = values.require.split(',').filter((name) => name !== '');
    await setup({ quiet: values.quiet, cuda: values.cuda, force: values.force, required });
  });
}
