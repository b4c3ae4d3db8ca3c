/** Hashing of files by several threads: same root and tree as one thread, whatever happens to the file meanwhile. */
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { merkleKernels } from '../../src/backend/merkleAddon.js';
import { buildTree } from '../../src/merkle/tree.js';
import { hashFile } from '../../src/node/hashFile.js';
import { seededBytes } from '../support/random.js';

const PIECE = 4 * 2 ** 20;
/** Enough pieces for three threads, the last one short. */
const LENGTH = 48 * PIECE + 1_234_567;
const folder = mkdtempSync(join(tmpdir(), 'pogo-hash-file-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A sparse file with random bytes in every piece, so that no two pieces are the same. */
function writeLarge(name: string): string {
  const path = join(folder, name);
  const file = openSync(path, 'w');
  ftruncateSync(file, LENGTH);
  for (let piece = 0; piece * PIECE < LENGTH; piece++)
    writeSync(file, seededBytes(5000, piece), 0, 5000, piece * PIECE + 999);
  closeSync(file);
  return path;
}

describe.skipIf(merkleKernels().name === 'portable')('a large file', () => {
  let path: string;
  let root: string;

  beforeAll(() => {
    path = writeLarge('large');
    const out = new Uint8Array(32);
    merkleKernels().hash(readFileSync(path), out);
    root = Buffer.from(out).toString('hex');
  });

  it.each([1, 2, 3, 16])('has the one-shot root with %i threads', async (threads) => {
    const hashed = await hashFile(path, { threads });
    expect(Buffer.from(hashed.root).toString('hex')).toBe(root);
    expect(hashed.bytes).toBe(LENGTH);
  });

  it('has the same tree by three threads as in memory by one', async () => {
    const treeFile = join(folder, 'tree');
    let last = 0;
    await hashFile(path, { treeFile, threads: 3, onProgress: (bytes) => (last = Math.max(last, bytes)) });
    expect(last).toBeGreaterThan(0);
    const tree = buildTree(merkleKernels(), readFileSync(path));
    expect(Buffer.compare(readFileSync(treeFile), new Uint8Array(tree.memory.segments[0] as SharedArrayBuffer))).toBe(
      0,
    );
  });

  it('that shrinks or grows meanwhile is an error that says so, and leaves no tree behind', async () => {
    for (const [name, change] of [
      ['shrinks', 2 * PIECE],
      ['grows', LENGTH + 1],
    ] as const) {
      const moving = writeLarge(name);
      const treeFile = join(folder, `${name}.tree`);
      let first = true;
      const onProgress = (): void => {
        if (first) truncateSync(moving, change);
        first = false;
      };
      const hashing = hashFile(moving, { treeFile, threads: 2, onProgress });
      await expect(hashing).rejects.toMatchObject({
        code: 'IO',
        message: expect.stringMatching(/it changed; hash it/),
      });
      expect([treeFile, `${treeFile}.partial`].filter((file) => existsSync(file))).toEqual([]);
    }
  });

  it('can be given up in the middle', async () => {
    const stop = new AbortController();
    const options = { threads: 2, signal: stop.signal, onProgress: () => stop.abort() };
    await expect(hashFile(path, options)).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});

it.runIf(existsSync('/proc/version'))(
  'a file of the system, which claims to be empty, is read to its end',
  async () => {
    const out = new Uint8Array(32);
    merkleKernels().hash(readFileSync('/proc/version'), out);
    const hashed = await hashFile('/proc/version');
    expect(Buffer.compare(hashed.root, out)).toBe(0);
    expect(hashed.bytes).toBe(readFileSync('/proc/version').length);
  },
);
