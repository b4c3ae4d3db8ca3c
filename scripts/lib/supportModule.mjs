// A module of test/support as plain JavaScript, for scripts: what it imports of src/ at run time is taken from dist/, and modules
// beside it are translated with it.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, TOOLS } from './project.mjs';

const SOURCES = join(ROOT, 'test', 'support');
const OUT = join(TOOLS, 'support');

/** Translates a module and those beside it that it needs. @param done names that are translated already */
function translate(typescript, name, done) {
  if (done.has(name)) return;
  done.add(name);
  const source = readFileSync(join(SOURCES, `${name}.ts`), 'utf8');
  const compilerOptions = { module: typescript.ModuleKind.ESNext, target: typescript.ScriptTarget.ES2022 };
  const { outputText } = typescript.transpileModule(source, { compilerOptions });
  // dist/ stands beside .tools/, here and in a bundle; POGO_TOOLS may be anywhere.
  const built = TOOLS === join(ROOT, '.tools') ? '../../dist' : pathToFileURL(join(ROOT, 'dist')).href;
  const text = outputText
    .replaceAll(/'\.\.\/\.\.\/src\//g, `'${built}/`)
    .replaceAll(/(from '\.\/[\w/]+)\.js'/g, "$1.mjs'");
  writeFileSync(join(OUT, `${name}.mjs`), text);
  for (const [, beside] of text.matchAll(/from '\.\/([\w/]+)\.mjs'/g)) translate(typescript, beside, done);
}

/** @param name the file's name without its ending. @returns path of what it was translated into */
export async function buildSupportModule(name) {
  const file = join(OUT, `${name}.mjs`);
  // A bundle (scripts/cpu-bundle.mjs) has no sources, only what was made of them.
  if (!existsSync(SOURCES) && existsSync(file)) return file;
  const { default: typescript } = await import('typescript');
  mkdirSync(dirname(file), { recursive: true });
  translate(typescript, name, new Set());
  return file;
}

/** @param name the file's name without its ending; it may import types from anywhere, values from src/ and test/support */
export async function supportModule(name) {
  return import(pathToFileURL(await buildSupportModule(name)).href);
}
