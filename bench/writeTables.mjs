// Fills the sections `<!-- bench:table -->` of README.md and docs/performance.md from the newest file of bench/results/.
//   node bench/build.mjs && node bench/writeTables.mjs            (--check: only says whether they are up to date)
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const RESULTS = join(ROOT, 'bench', 'results');
const PAGES = ['README.md', 'docs/performance.md'];
const SECTION = /<!-- bench:table -->[\s\S]*?<!-- \/bench:table -->/;

const { markdownTable } = await import(pathToFileURL(join(ROOT, '.tools', 'bench', 'bench', 'table.js')).href);
const newest = readdirSync(RESULTS)
  .filter((name) => name.endsWith('.jsonl'))
  .sort()
  .at(-1);
if (newest === undefined) throw new Error('expected a file of lines in bench/results, found none');
const lines = readFileSync(join(RESULTS, newest), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
  .filter(({ type }) => type === 'bench')
  .map((line) =>
    line.details?.recipe === undefined ? line : { ...line, name: `${line.name} (${line.details.recipe})` },
  );
// The first line names the machine this script runs on; the results name their own.
const [, ...table] = markdownTable(lines).trim().split('\n');
const { cpu, features, time } = lines[0];
const head = `${time.slice(0, 10)}, ${cpu}, 2 cores (${features.join(' ')}); raw lines: bench/results/${newest}`;
const section = `<!-- bench:table -->\n${head}\n${table.join('\n')}\n<!-- /bench:table -->`;

let stale = false;
for (const page of PAGES) {
  const path = join(ROOT, page);
  const text = readFileSync(path, 'utf8');
  if (!SECTION.test(text)) throw new Error(`${page}: expected a section bench:table, found none`);
  const filled = text.replace(SECTION, () => section);
  if (filled === text) continue;
  stale = true;
  if (!process.argv.includes('--check')) writeFileSync(path, filled);
}
if (stale && process.argv.includes('--check')) {
  process.stderr.write('the bench tables are not those of bench/results: run node bench/writeTables.mjs\n');
  process.exitCode = 1;
}
