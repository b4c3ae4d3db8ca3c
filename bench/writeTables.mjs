// Fills the sections `<!-- bench:table -->` of README.md (short) and docs/performance.md (complete) from results.
//   node bench/writeTables.mjs [--check] [FILE…]     default: the newest file of bench/results; --check changes nothing
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildBench } from './build.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const RESULTS = join(ROOT, 'bench', 'results');
const SECTION = /<!-- bench:table -->[\s\S]*?<!-- \/bench:table -->/;

const check = process.argv.includes('--check');
const given = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));

function newest() {
  const files = readdirSync(RESULTS).filter((name) => name.endsWith('.jsonl'));
  const last = files.sort().at(-1);
  if (last === undefined) throw new Error('expected a file of lines in bench/results, found none');
  return [join(RESULTS, last)];
}

const compiled = dirname(await buildBench());
const { readResults } = await import(pathToFileURL(join(compiled, 'results.js')).href);
const { completeTables, shortTables } = await import(pathToFileURL(join(compiled, 'tables.js')).href);

const files = given.length > 0 ? given : newest();
const lines = files.flatMap((file) => readResults(file)).filter(({ type }) => type === 'bench');
const source = `Raw lines: ${files.map((file) => relative(ROOT, join(process.cwd(), relative(process.cwd(), file)))).join(', ')}.`;

let stale = false;
for (const [page, text] of [
  ['README.md', shortTables(lines)],
  ['docs/performance.md', completeTables(lines)],
]) {
  const path = join(ROOT, page);
  const before = readFileSync(path, 'utf8');
  if (!SECTION.test(before)) throw new Error(`${page}: expected a section bench:table, found none`);
  const section = `<!-- bench:table -->\n${text}\n${source}\n<!-- /bench:table -->`;
  const after = before.replace(SECTION, () => section);
  if (after === before) continue;
  stale = true;
  if (!check) writeFileSync(path, after);
}
if (stale && check) {
  process.stderr.write('the bench tables are not those of bench/results: run node bench/writeTables.mjs\n');
  process.exitCode = 1;
}
