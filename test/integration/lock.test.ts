import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockDirectory } from '../../src/files/lock.js';

const CHILDREN = path.resolve(import.meta.dirname, '../support/children');
const CHILD = path.join(CHILDREN, 'holdLock.mjs');
/** A file system without hard links, in the processes that are asked. */
const NO_LINKS = ['--import', pathToFileURL(path.join(CHILDREN, 'noHardLinks.mjs')).href];

let directory: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'pogo-lock-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  fs.rmSync(directory, { recursive: true, force: true });
});

/** Starts a process that asks for the lock; resolves with it and its one line of answer. */
async function ask(flags: readonly string[] = []): Promise<{ child: ChildProcess; answer: string }> {
  const child = spawn(process.execPath, [...flags, CHILD, directory], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  return { child, answer: line.toString().trim() };
}

describe('the lock of a directory', () => {
  it('refuses a second process and names the first', async () => {
    const lock = lockDirectory(directory);
    const { answer } = await ask();
    expect(JSON.parse(answer)).toMatchObject({ code: 'LOCKED', details: { pid: process.pid } });
    lock.release();
    expect((await ask()).answer).toBe('held');
  });

  it('is given back when its process ends in good order', async () => {
    const { child } = await ask();
    expect(() => lockDirectory(directory)).toThrow(expect.objectContaining({ code: 'LOCKED' }));
    child.stdin!.end();
    await once(child, 'exit');
    expect(fs.readdirSync(directory)).toEqual([]);
    lockDirectory(directory).release();
  });

  it.each([
    ['with', []],
    ['without', NO_LINKS],
  ])('of a killed process is taken over, by one of many, %s hard links', async (_name, flags) => {
    const { child, answer: first } = await ask(flags);
    expect(first).toBe('held');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const asked = [ask(flags), ask(flags), ask(flags), ask(flags)];
    const answers = (await Promise.all(asked)).map(({ answer }) => answer);
    expect(answers.filter((answer) => answer === 'held')).toHaveLength(1);
    expect(answers.filter((answer) => answer.includes('"LOCKED"'))).toHaveLength(3);
  });

  it('is given back where there are no hard links, too', async () => {
    const { child } = await ask(NO_LINKS);
    expect(() => lockDirectory(directory)).toThrow(expect.objectContaining({ code: 'LOCKED' }));
    child.stdin!.end();
    await once(child, 'exit');
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  it('of another process that had the same id is stale', () => {
    const stale = { pid: process.pid, start: 'some other start', token: 'ab' };
    fs.writeFileSync(path.join(directory, 'lock'), JSON.stringify(stale));
    lockDirectory(directory).release();
  });

  it('that was cut by power loss is stale', () => {
    for (const content of ['', '{"pid":1,"sta']) {
      fs.writeFileSync(path.join(directory, 'lock'), content);
      const lock = lockDirectory(directory);
      lock.release();
      lock.release();
      expect(fs.readdirSync(directory)).toEqual([]);
    }
  });

  it('is not given twice to one process', () => {
    const lock = lockDirectory(directory);
    expect(() => lockDirectory(directory)).toThrow(expect.objectContaining({ code: 'LOCKED' }));
    lock.release();
  });
});
