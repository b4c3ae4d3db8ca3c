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
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadMerkleAddon, merkleKernels } from '../../src/backend/merkleAddon.js';
import { leafCount, levelCounts, levelOffsets, treeBytes } from '../../src/merkle/shape.js';
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

  it('has the one-shot root read by this thread, too', async () => {
    const hashed = await hashFile(path, { kernels: merkleKernels() });
    expect(Buffer.from(hashed.root).toString('hex')).toBe(root);
  });

  it.each(['mapped', 'read'])('has the same tree %s as in memory', async (how) => {
    const treeFile = join(folder, 'tree');
    const seen: number[] = [];
    const onProgress = (bytes: number): number => seen.push(bytes);
    const kernels = how === 'read' ? { kernels: merkleKernels() } : {};
    await hashFile(path, { treeFile, threads: 1, onProgress, ...kernels });
    expect(seen.length).toBeGreaterThan(1);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(LENGTH);
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
      const hashing = hashFile(moving, { treeFile, threads: 1, onProgress });
      await expect(hashing).rejects.toMatchObject({
        code: 'IO',
        message: expect.stringMatching(/it changed; hash it/),
      });
      expect([treeFile, `${treeFile}.partial`].filter((file) => existsSync(file))).toEqual([]);
    }
  });

  it('can be given up in the middle', async () => {
    const stop = new AbortController();
    const options = { threads: 1, signal: stop.signal, onProgress: () => stop.abort() };
    await expect(hashFile(path, options)).rejects.toMatchObject({ code: 'INTERRUPTED' });
  });
});

describe.skipIf(loadMerkleAddon().hashFilePieces === undefined)('pieces of a mapped file', () => {
  const PIECE_LOG = 8;
  const PIECE_OF = 1024 * 2 ** PIECE_LOG;
  const PIECES = 7;
  const bytes = seededBytes(PIECES * PIECE_OF - 1, 5);
  const path = join(folder, 'mapped');
  const hashPieces = loadMerkleAddon().hashFilePieces ?? (() => null);
  let file: number;
  beforeAll(() => {
    writeFileSync(path, bytes);
    file = openSync(path, 'r');
  });
  afterAll(() => closeSync(file));

  it('have the chaining values of the tree in memory, from any piece on and with any last piece', () => {
    for (const length of [bytes.length, 6 * PIECE_OF, 6 * PIECE_OF + 1, 6 * PIECE_OF + 5 * 1024, 5 * PIECE_OF + 300]) {
      const tree = buildTree(merkleKernels(), bytes.subarray(0, length));
      const count = Math.ceil(length / PIECE_OF);
      const from = 32 * levelOffsets(levelCounts(leafCount(length)))[PIECE_LOG];
      const expected = new Uint8Array(tree.memory.segments[0] as SharedArrayBuffer, from, 32 * count);
      for (const [first, threads] of [
        [0, 1],
        [2, 3],
        [count - 1, 2],
      ]) {
        const tops = new Uint8Array(32 * (count - first));
        expect(hashPieces(file, length, PIECE_LOG, first, threads, tops, new Uint8Array(0))).toBe(true);
        expect(Buffer.compare(tops, expected.subarray(32 * first))).toBe(0);
      }
    }
  });

  it('that end before they should are no crash: the file is said to lack bytes', () => {
    const short = join(folder, 'short');
    // Its last page is there; those after it are missing, in the same piece and in later ones.
    writeFileSync(short, bytes.subarray(0, PIECE_OF + 100));
    const descriptor = openSync(short, 'r');
    for (const threads of [1, 3]) {
      const tops = new Uint8Array(32 * PIECES);
      expect(hashPieces(descriptor, bytes.length, PIECE_LOG, 0, threads, tops, new Uint8Array(0))).toBe(false);
    }
    closeSync(descriptor);
  });

  it('of what cannot be mapped are refused, as are wrong arguments', () => {
    const tops = new Uint8Array(32);
    const none = new Uint8Array(0);
    expect(hashPieces(-1, bytes.length, PIECE_LOG, 0, 1, tops, none)).toBe(null);
    expect(() => hashPieces(file, bytes.length, 7, 0, 1, tops, none)).toThrow(/pieceLog/);
    expect(() => hashPieces(file, bytes.length, PIECE_LOG, PIECES, 1, tops, none)).toThrow(/do not fit/);
    expect(() => hashPieces(file, bytes.length, PIECE_LOG, 0, 1, tops.subarray(1), none)).toThrow(/do not fit/);
    expect(() => hashPieces(file, bytes.length, PIECE_LOG, 0, 1, none, none)).toThrow(/do not fit/);
    expect(() => hashPieces(file, Number.NaN, PIECE_LOG, 0, 1, tops, none)).toThrow(/totalBytes/);
    const tree = new Uint8Array(treeBytes(PIECE_OF));
    expect(hashPieces(file, bytes.length, PIECE_LOG, 0, 1, tops, tree)).toBe(true);
    expect(() => hashPieces(file, bytes.length, PIECE_LOG, 0, 1, tops, tree.subarray(1))).toThrow(/trees/);
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
