/** Folders of runs below a data directory: each run has its own, and the newest is the one that began last. */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { newestRunDirectory, takeRunDirectory } from '../../src/node/runFiles.js';
import { temporaryFolder } from '../support/bundles.js';
import { finishedOf } from '../support/pogo.js';
import { refusal } from '../support/refusal.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const RUN_FILES = pathToFileURL(join(import.meta.dirname, '../../dist/node/runFiles.js')).href;
const EACH = 25;

/** A process that takes folders as soon as a time has come. */
function taker(home: string, atMs: number): Promise<string[]> {
  const program = `
    const { takeRunDirectory } = await import(${JSON.stringify(RUN_FILES)});
    while (Date.now() < ${atMs});
    for (let i = 0; i < ${EACH}; i += 1) console.log(takeRunDirectory(${JSON.stringify(home)}));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'pipe'] });
  return finishedOf(child).then(({ stdout, stderr, code }) => {
    expect(code, stderr).toBe(0);
    return stdout.trim().split('\n');
  });
}

describe('the folder of a run', () => {
  it('is nobody else’s, though several processes ask at once', async () => {
    const home = join(folder.path, 'busy');
    const taken = (await Promise.all([1, 2, 3].map(() => taker(home, Date.now() + 1500)))).flat();
    expect(new Set(taken).size).toBe(3 * EACH);
  });

  it('has the number after the largest, whatever else is there', async () => {
    const home = join(folder.path, 'home');
    expect(takeRunDirectory(home)).toBe(join(home, 'runs', '1'));
    mkdirSync(join(home, 'runs', '7'));
    writeFileSync(join(home, 'runs', '8'), 'a file');
    mkdirSync(join(home, 'runs', 'notes'));
    expect(takeRunDirectory(home)).toBe(join(home, 'runs', '9'));
    expect(await refusal(() => newestRunDirectory(home))).toMatch(/^USAGE: --resume: expected a run below/);
    // The one in 9 was killed before it began.
    for (const name of ['1', '7']) writeFileSync(join(home, 'runs', name, 'run.json'), '{}');
    expect(newestRunDirectory(home)).toBe(join(home, 'runs', '7'));
  });
});
