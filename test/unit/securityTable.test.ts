/** The generator of the table of attacks, and that the page is what the tests say. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');
const page = readFileSync(path.join(ROOT, 'docs/security.md'), 'utf8');
const rows = page.split('\n').filter((line) => /^\| [TRUCBNHPX]\d+ \|/.test(line));

describe('docs/security.md', () => {
  it('is what the tests of attacks say', () => {
    execFileSync(process.execPath, [path.join(ROOT, 'scripts/generate-security.mjs'), '--check'], { stdio: 'pipe' });
  });

  it('has 71 rows and no empty cell', () => {
    expect(rows.length).toBe(71);
    for (const row of rows) {
      const cells = row.split(/(?<!\\)\|/).slice(1, -1);
      expect([row, cells.length]).toEqual([row, 6]);
      for (const cell of cells) expect(cell.trim()).not.toBe('');
    }
  });

  it('a row that claims a result names a file, and one that is open claims none', () => {
    for (const row of rows)
      expect(row).toMatch(/\| `[^`]+` \| `[a-z]+\.test\.ts` \| |\| none yet \|.*\*\*not covered yet\*\*/);
  });
});
