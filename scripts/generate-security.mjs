// Writes the table of attacks in docs/security.md out of the tests in test/attacks/.
//   node scripts/generate-security.mjs [--check]     exit code 1 with --check if the page is out of date or a row is wrong
// Reads the source, so every field of a row must be a plain string; the tests themselves hold each row to what it says.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import ts from 'typescript';
import { cli, isMain, ROOT, ScriptError } from './lib/project.mjs';

const PAGE = join(ROOT, 'docs', 'security.md');
const TESTS = join(ROOT, 'test', 'attacks');
const [BEGIN, END] = ['<!-- attacks -->', '<!-- /attacks -->'];

/** How many attacks each group of the list has. */
const GROUPS = { T: 12, R: 5, U: 5, C: 5, B: 7, N: 11, H: 8, P: 14, X: 4 };
export const IDS = Object.entries(GROUPS).flatMap(([group, count]) =>
  Array.from({ length: count }, (_, i) => `${group}${i + 1}`),
);

const COVERED = ['id', 'attack', 'gain', 'defence', 'file', 'stoppedBy', 'harm'];
const OPEN = ['id', 'attack', 'defence', 'reason'];
const FUNCTIONS = { attack: COVERED, stageAttack: COVERED, notCovered: OPEN };

/** The string properties of an object literal; anything else is an error. */
function fieldsOf(literal, where) {
  const fields = {};
  for (const property of literal.properties) {
    const { initializer, name } = property;
    if (initializer === undefined || !ts.isStringLiteralLike(initializer)) {
      throw new ScriptError(
        `error: ${where}: expected plain strings in a row, found ${property.getText().slice(0, 60)}`,
      );
    }
    fields[name.getText()] = initializer.text;
  }
  return fields;
}

/** Rows of one file of tests. */
export function rowsOf(text, file) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
  const rows = [];
  const visit = (node) => {
    const name = ts.isCallExpression(node) && ts.isIdentifier(node.expression) ? node.expression.text : undefined;
    const required = name === undefined ? undefined : FUNCTIONS[name];
    const literal = required && node.arguments.find((argument) => ts.isObjectLiteralExpression(argument));
    if (literal) {
      const fields = fieldsOf(literal, file);
      const missing = required.filter((field) => !fields[field]);
      if (missing.length > 0) throw new ScriptError(`error: ${file}, row ${fields.id}: expected ${missing.join(', ')}`);
      rows.push({ ...fields, test: basename(file) });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return rows;
}

function allRows() {
  const rows = readdirSync(TESTS)
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
    .flatMap((name) => rowsOf(readFileSync(join(TESTS, name), 'utf8'), name));
  const found = rows.map(({ id }) => id);
  const twice = found.filter((id, i) => found.indexOf(id) !== i);
  const absent = IDS.filter((id) => !found.includes(id));
  const unknown = found.filter((id) => !IDS.includes(id));
  if (twice.length + absent.length + unknown.length > 0) {
    const parts = [`twice: ${twice}`, `without a row: ${absent}`, `unknown: ${unknown}`];
    throw new ScriptError(`error: expected one row for each attack, found ${parts.join('; ')}`);
  }
  for (const { id, file } of rows) {
    if (file !== undefined && !existsSync(join(ROOT, file))) {
      throw new ScriptError(`error: row ${id}: expected the file ${file}, found none`);
    }
  }
  return IDS.map((id) => rows.find((row) => row.id === id));
}

const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function line(row) {
  const { id, attack, gain, defence, file, test, stoppedBy, harm, showing, open, reason } = row;
  const columns =
    reason === undefined
      ? [
          `${attack}; gain: ${gain}`,
          defence,
          `\`${file}\``,
          `\`${test}\``,
          `${showing === undefined ? '' : `${showing}; `}stopped: ${stoppedBy}; without the defence: ${harm}${
            open === undefined ? '' : `. Not shown: ${open}`
          }`,
        ]
      : [attack, `planned: ${defence}`, 'none yet', `\`${test}\``, `**not covered yet**: ${reason}`];
  return `| ${id} | ${columns.map(cell).join(' | ')} |`;
}

/** The table, from marker to marker. */
export function table(rows) {
  const open = rows.filter(({ reason }) => reason !== undefined).length;
  return [
    BEGIN,
    `${rows.length} attacks, ${rows.length - open} with tests, ${open} not covered yet.`,
    '',
    '| ID | attack | defence | its file | test | result |',
    '|---|---|---|---|---|---|',
    ...rows.map(line),
    END,
  ].join('\n');
}

if (isMain(import.meta.url)) {
  await cli(async (args) => {
    const page = readFileSync(PAGE, 'utf8');
    const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
    if (from < 0 || to < from) throw new ScriptError(`error: expected ${BEGIN} and ${END} in docs/security.md`);
    const next = page.slice(0, from) + table(allRows()) + page.slice(to + END.length);
    if (next === page) return 0;
    if (args.includes('--check')) {
      throw new ScriptError(
        'error: docs/security.md is not what the tests say; run: node scripts/generate-security.mjs',
      );
    }
    writeFileSync(PAGE, next);
    return 0;
  });
}
