/**
 * Translates `bench/` into `.tools/bench` and runs it: `node bench/build.mjs [flags of bench/main.ts]`.
 *
 * The bench uses the compiled library in `dist` (`npm run build`), not a copy of it: addons and workers are found from
 * there. So `.tools/bench/src` is a link to `dist`, and only the files of `bench/` are translated, each on its own;
 * their types are checked by `npm run check`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EXIT_INTERRUPTED, isMain, runProgram } from '../scripts/lib/project.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = join(ROOT, '.tools', 'bench');

/** Writes only what changed, and in one move: another bench may be starting from the same files. */
function writeChanged(path, text) {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  mkdirSync(dirname(path), { recursive: true });
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, text);
  renameSync(draft, path);
}

/** @returns path of the translated main program */
export async function buildBench() {
  mkdirSync(OUT, { recursive: true });
  const link = join(OUT, 'src');
  if (!existsSync(link)) symlinkSync(join(ROOT, 'dist'), link, 'junction');
  // A bundle (scripts/cpu-bundle.mjs) has no sources, only what was made of them.
  if (!existsSync(join(ROOT, 'bench', 'main.ts'))) return join(OUT, 'bench', 'main.js');
  const { default: typescript } = await import('typescript');
  const { config } = typescript.readConfigFile(join(ROOT, 'tsconfig.json'), typescript.sys.readFile);
  const { options } = typescript.convertCompilerOptionsFromJson(config.compilerOptions, ROOT);
  // Of a single file the compiler cannot see that package.json says `module`.
  const format = { module: typescript.ModuleKind.ES2022, moduleResolution: typescript.ModuleResolutionKind.Bundler };
  const compilerOptions = { ...options, ...format, sourceMap: false, declaration: false };
  const files = readdirSync(join(ROOT, 'bench'), { recursive: true }).filter((name) => /(?<!\.d)\.ts$/.test(name));
  for (const name of files) {
    const fileName = join(ROOT, 'bench', name);
    const { outputText } = typescript.transpileModule(readFileSync(fileName, 'utf8'), { compilerOptions, fileName });
    writeChanged(join(OUT, 'bench', name.replace(/\.ts$/, '.js')), outputText);
  }
  return join(OUT, 'bench', 'main.js');
}

if (isMain(import.meta.url)) {
  if (!existsSync(join(ROOT, 'dist', 'index.js'))) {
    process.stderr.write('error ENVIRONMENT: expected the compiled library in dist, found none; run: npm run setup\n');
    process.exit(5);
  }
  const program = await buildBench();
  const run = await runProgram(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exit(run.reason === undefined ? run.code : EXIT_INTERRUPTED);
}
