// A module of test/support as plain JavaScript, for scripts: what it imports of src/ at run time is taken from dist/.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, TOOLS } from './project.mjs';

/** @param name the file's name without its ending; it may import types from anywhere, values from src/ alone */
export async function supportModule(name) {
  const { default: ts } = await import('typescript');
  const source = readFileSync(join(ROOT, 'test', 'support', `${name}.ts`), 'utf8');
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  const file = join(TOOLS, 'support', `${name}.mjs`);
  mkdirSync(dirname(file), { recursive: true });
  const built = pathToFileURL(join(ROOT, 'dist')).href;
  const { outputText } = ts.transpileModule(source, { compilerOptions: options });
  writeFileSync(file, outputText.replaceAll(/'\.\.\/\.\.\/src\//g, `'${built}/`));
  return import(pathToFileURL(file).href);
}
