/** Signals and closed pipes at any time, and limits of the system: the exit codes of the contract, and one line of error. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { loadRecipe } from '../../src/model/recipe.js';
import { Environment } from '../../src/node/environment.js';
import { writeKeystore } from '../../src/node/keyFile.js';
import { runMainJob } from '../../src/node/run.js';
import { createNativeBls } from '../../src/protocol/blsNative.js';
import { eventsOf, type Finished, finishedOf, pogo } from '../support/pogo.js';

const ROOT = join(import.meta.dirname, '..', '..');
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const folder = mkdtempSync(join(tmpdir(), 'pogo-interrupts-'));
const at = (...names: string[]): string => join(folder, ...names);
const HOME = { POGO_HOME: at('home'), POGO_LANES: '1' };
const EARLY = `--import=${pathToFileURL(join(ROOT, 'test', 'support', 'children', 'signalEarly.mjs')).href}`;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a line of bash with the command line as `"$@"`. */
function shell(line: string, args: readonly string[]): Promise<Finished> {
  const words = ['-c', line, 'bash', process.execPath, MAIN, ...args];
  const child = spawn('bash', words, { env: { ...process.env, ...HOME }, stdio: ['ignore', 'pipe', 'pipe'] });
  return finishedOf(child);
}

describe.skipIf(process.platform === 'win32')('a signal before a command has begun its work', () => {
  it.each([
    ['run', '--recipe', 'tiny', '--dir', at('run'), '--json'],
    ['mine', '--recipe', 'tiny', '--dir', at('mine'), '--json'],
    ['verify', at('none'), '--json'],
    ['doctor', '--json'],
    ['export', '--state', at('none'), '--checkpoint', at('none'), '--json'],
  ])('ends %s with 130, one line and one event', async (...args) => {
    const { code, stdout, stderr } = await pogo(args, { ...HOME, NODE_OPTIONS: EARLY });
    expect(code, stderr).toBe(130);
    expect(stderr).toMatch(/^error INTERRUPTED: [^\n]+\n$/);
    expect(eventsOf(stdout)).toMatchObject([{ type: 'error', code: 'INTERRUPTED' }]);
    for (const name of ['run', 'mine']) expect(existsSync(at(name))).toBe(false);
  });
});

describe('a run that is interrupted while it opens its ledger', () => {
  it('starts nobody and can be resumed', async () => {
    const settings = { recipe: loadRecipe('tiny'), seed: new Uint8Array(32), claims: 1, verifiers: 1 };
    const environment = new Environment({ home: at('home'), lanes: 1 });
    const reports: unknown[] = [];
    const running = runMainJob({
      settings,
      directory: at('early'),
      environment,
      signal: AbortSignal.abort(),
      resumeWith: 'pogo run --resume',
      onReport: (_role, report) => reports.push(report),
      onBlock: () => undefined,
    });
    await expect(running).rejects.toThrow(expect.objectContaining({ code: 'INTERRUPTED' }));
    expect(reports).toEqual([]);
    expect(existsSync(at('early', 'run.json'))).toBe(true);
  });
});

// Windows has no such limits.
describe.skipIf(process.platform === 'win32')('a system that gives too little', () => {
  // How many files are open at once while it loads, and how much is reserved for WebAssembly, is each Node's own: what is
  // enough for one ends in the error of the missing bundle.
  it.each([
    ['open files', 'ulimit -n'],
    ['address space', 'ulimit -v'],
  ])('of %s ends in one line, with the limit to raise', async (what, fix) => {
    if (what === 'address space' && process.platform !== 'linux') return;
    const line = what === 'open files' ? 'ulimit -n 64; exec "$@"' : 'ulimit -v 8000000; exec "$@"';
    const { code, stdout, stderr } = await shell(line, ['verify', at('none'), '--json']);
    expect(stderr).toMatch(/^error (ENVIRONMENT|USAGE): [^\n]+\n$/);
    const enough = stderr.startsWith('error USAGE: expected a bundle folder');
    if (!enough) expect(stderr).toContain(fix);
    expect(code).toBe(enough ? 2 : 5);
    expect(eventsOf(stdout)).toMatchObject([{ type: 'error', code: enough ? 'USAGE' : 'ENVIRONMENT' }]);
  });

  it('has no room for a key: none is left half written, and the same command makes it later', async () => {
    const bls = createNativeBls();
    const keys = bls.deriveKey(new Uint8Array(32), 'miner', 0);
    writeFileSync(at('pass'), 'word\n');
    const args = ['key', 'new', at('key.json'), '--passphrase-file', at('pass')];
    const full = await shell('ulimit -f 0; exec "$@"', args);
    expect(full.code).toBe(5);
    expect(full.stderr).toMatch(/^error IO: cannot write the key file [^\n]+\n$/);
    expect(existsSync(at('key.json'))).toBe(false);
    await writeKeystore(at('key.json'), keys, 'word');
    expect(existsSync(at('key.json'))).toBe(true);
  });
});

describe.skipIf(process.platform !== 'linux')('a name that is no UTF-8', () => {
  it.each([
    ['as an argument', `exec "$@" $'caf\\xe9'`],
    ['as the working directory', `cd "$POGO_HOME/.."; mkdir $'d\\xe9'; cd $'d\\xe9'; exec "$@" out`],
  ])('is refused %s, since another one would be written', async (_name, line) => {
    const { code, stderr } = await shell(line, ['mine', '--recipe', 'tiny', '--dir']);
    expect(stderr).toMatch(/^error USAGE: [^\n]*UTF-8[^\n]+\n$/);
    expect(code).toBe(2);
  });
});

it('a group of commands alone says what may follow, and ends with the line of an error', async () => {
  const { code, stderr } = await pogo(['data'], HOME);
  expect(code).toBe(2);
  expect(stderr.trimEnd().split('\n').at(-1)).toBe(
    'error USAGE: expected a command (build, check) after data, found none',
  );
});

it('and says it, too, where an option of its commands stands in their place', async () => {
  const { code, stderr, stdout } = await pogo(['key', '--json'], HOME);
  const message = 'expected a command (new, show) after key, found "--json"; see: pogo key --help';
  expect([code, stderr]).toEqual([2, `error USAGE: ${message}\n`]);
  expect(JSON.parse(stdout)).toMatchObject({ type: 'error', code: 'USAGE', message });
});

it('a folder where a file is wanted is named', async () => {
  const { code, stderr } = await pogo(['hash', folder], HOME);
  expect(code).toBe(5);
  expect(stderr).toContain(folder);
});

it('a Node that is too old is refused by the command itself, as the package is installed by any', async () => {
  const old = "data:text/javascript,Object.defineProperty(process,'versions',{value:{node:'18.20.8'}})";
  const { code, stderr } = await pogo(['--version'], { ...HOME, NODE_OPTIONS: `--import=${old}` });
  expect(stderr).toMatch(/^error ENVIRONMENT: expected Node 20\.19 or newer, found 18\.20\.8; [^\n]+\n$/);
  expect(code).toBe(5);
});
