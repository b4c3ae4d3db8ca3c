import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { AppendLog } from '../../src/files/appendLog.js';
import { BlobStore } from '../../src/files/blobStore.js';
import { prepareDirectory, removeUnfinished, writeFileAtomic } from '../../src/files/durable.js';
import { readWholeFile, realFiles, removeTree } from '../../src/files/fileLayer.js';
import { toHex } from '../../src/hex.js';
import { openStepLog } from '../../src/node/files/stepLog.js';
import { Published } from '../../src/node/published.js';
import { seededBytes } from '../support/random.js';

let directory: string;
const at = (...names: string[]) => path.join(directory, ...names);

beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'pogo-files-'));
});
afterEach(() => {
  fs.rmSync(directory, { recursive: true, force: true });
});

function errorOf(work: () => unknown): PogoError {
  try {
    work();
  } catch (error) {
    if (error instanceof PogoError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('the real file layer', () => {
  it('reads and writes at positions, appends, truncates, also on shared memory', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(8), 2, 4);
    shared.set([1, 2, 3, 4]);
    const file = realFiles.open(at('a'), 'update');
    file.write(shared, 2);
    file.append(Uint8Array.of(9));
    expect(file.size()).toBe(7);
    const into = new Uint8Array(new SharedArrayBuffer(10));
    expect(file.read(into, 1)).toBe(6);
    expect([...into]).toEqual([0, 1, 2, 3, 4, 9, 0, 0, 0, 0]);
    file.truncate(3);
    file.sync();
    file.close();
    expect([...fs.readFileSync(at('a'))]).toEqual([0, 0, 1]);
  });

  it('creates folders level by level, beside others that do the same, and not in the place of a file', () => {
    realFiles.makeDirectory(at('a', 'b', 'c'));
    realFiles.makeDirectory(at('a', 'b', 'c'));
    expect(fs.statSync(at('a', 'b', 'c')).isDirectory()).toBe(true);
    fs.writeFileSync(at('file'), 'x');
    expect(errorOf(() => realFiles.makeDirectory(at('file'))).details['system']).toBe('EEXIST');
    expect(errorOf(() => realFiles.makeDirectory(at('file', 'below'))).details['system']).toBe('ENOTDIR');
    fs.symlinkSync(at('nowhere'), at('dangling'));
    expect(errorOf(() => realFiles.makeDirectory(at('dangling'))).details['system']).toBe('EEXIST');
  });

  // Node's recursive mkdir never comes back from there, so a process of its own that can be ended.
  it.runIf(process.platform === 'linux')('gives up where a file system takes no folders', () => {
    const layer = path.join(__dirname, '..', '..', 'dist', 'files', 'fileLayer.js');
    const script = `import(${JSON.stringify(pathToFileURL(layer).href)}).then(({ realFiles }) => realFiles.makeDirectory('/proc/none/run')).catch((error) => console.log(error.code, error.details.system))`;
    const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 20_000 });
    expect(stdout.trim()).toBe('IO ENOENT');
  });

  it('says what it could not do, to what, and why', () => {
    expect(errorOf(() => realFiles.open(at('none'), 'read'))).toMatchObject({
      code: 'IO',
      details: { system: 'ENOENT' },
    });
    fs.writeFileSync(at('a'), 'x');
    expect(errorOf(() => realFiles.open(at('a'), 'exclusive')).details['system']).toBe('EEXIST');
    expect(errorOf(() => realFiles.list(at('none'))).message).toContain(at('none'));
    expect(errorOf(() => realFiles.makeDirectory(at('a', 'b'))).code).toBe('IO');
    expect(errorOf(() => prepareDirectory(realFiles, at('a'))).code).toBe('IO');
    expect(errorOf(() => readWholeFile(realFiles, at('a'), 0)).code).toBe('MALFORMED');
    expect(errorOf(() => BlobStore.open(at('a'))).code).toBe('IO');
  });

  // Permissions do not bind the superuser, as whom CI may run.
  it.skipIf(process.getuid?.() === 0)('refuses an unwritable directory before any work is done', () => {
    fs.mkdirSync(at('closed'), { mode: 0o500 });
    expect(errorOf(() => prepareDirectory(realFiles, at('closed'))).details['system']).toBe('EACCES');
  });

  it.runIf(fs.existsSync('/dev/full'))('reports a full disk as such', () => {
    const file = realFiles.open('/dev/full', 'update');
    const error = errorOf(() => file.write(Uint8Array.of(1), 0));
    file.close();
    expect(error).toMatchObject({ code: 'IO', details: { system: 'ENOSPC' } });
    expect(error.message).toContain('disk is full');
  });

  it('makes nested directories, lists in order, never follows links', () => {
    realFiles.makeDirectory(at('x', 'y', 'z'));
    for (const name of ['b', 'a', 'c']) writeFileAtomic(realFiles, at('x', name), Uint8Array.of(1));
    expect(realFiles.list(at('x'))).toEqual(['a', 'b', 'c', 'y']);
    fs.writeFileSync(at('kept'), 'x');
    fs.symlinkSync(at('kept'), at('x', 'link'));
    fs.symlinkSync(directory, at('x', 'loop'));
    expect(realFiles.status(at('x', 'link'))?.kind).toBe('other');
    removeTree(realFiles, at('x'));
    expect(realFiles.list(directory)).toEqual(['kept']);
    expect(realFiles.status(at('x'))).toBeUndefined();
  });

  it('carries blobs, logs and step logs over a reopening; leftovers of a dead process are cleared', () => {
    const log = openStepLog(at('run'));
    log.append(0, [seededBytes(200_000, 1)], seededBytes(100, 2));
    log.close();
    fs.writeFileSync(at('run', 'blobs', '.unfinished-x-1-1'), 'half');
    fs.mkdirSync(at('run', '.unfinished-state-1-1'));
    fs.writeFileSync(at('run', '.unfinished-state-1-1', 'theta.bin'), 'half');
    fs.appendFileSync(at('run', 'steps.log'), 'POG');
    const again = openStepLog(at('run'));
    expect(again.steps).toHaveLength(1);
    expect(Buffer.compare(again.units(0)[0]!, seededBytes(200_000, 1))).toBe(0);
    again.close();
    expect(realFiles.list(at('run', 'blobs'))).toHaveLength(1);
    expect(realFiles.list(at('run'))).toEqual(['blobs', 'steps.log']);
    expect(AppendLog.read(realFiles, at('run', 'steps.log'))).toHaveLength(1);
    removeUnfinished(realFiles, at('run'));
  });

  it('opens published blobs and lists without the leftovers of dead writers, and leaves those of living ones', async () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    const living = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)']);
    try {
      const kept = [
        `.unfinished-b-${living.pid}-1`,
        `.unfinished-c-${process.pid}-7`,
        '.unfinished-from-elsewhere',
      ].sort();
      for (const folder of ['blobs', 'lists']) {
        realFiles.makeDirectory(at('published', folder));
        for (const name of [...kept, `.unfinished-a-${dead}-1`])
          fs.writeFileSync(at('published', folder, name), 'half');
        fs.mkdirSync(at('published', folder, `.unfinished-folder-${dead}-2`));
        fs.writeFileSync(at('published', folder, `.unfinished-folder-${dead}-2`, 'part'), 'half');
      }
      const root = Published.open(at('published')).blobs.put(seededBytes(1000, 1));
      expect(realFiles.list(at('published', 'lists'))).toEqual(kept);
      expect(realFiles.list(at('published', 'blobs'))).toEqual([...kept, toHex(root)]);
    } finally {
      living.kill('SIGKILL');
    }
  });

  it('opens a step log whose records are anything at all with CORRUPT or MISSING', () => {
    for (let seed = 0; seed < 40; seed += 1) {
      const folder = at(`run${seed}`);
      realFiles.makeDirectory(folder);
      const log = AppendLog.open(realFiles, path.join(folder, 'steps.log'));
      const record = seededBytes(seed * 3, seed);
      if (seed % 2 === 0 && record.length >= 12) record.fill(0, 8, 12).fill(1, 8, 9);
      log.append(record);
      log.close();
      expect(['CORRUPT', 'MISSING']).toContain(errorOf(() => openStepLog(folder)).code);
    }
  });
});
