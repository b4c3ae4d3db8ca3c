/**
 * `hash`: BLAKE3 of a file of 1 GiB in the page cache, as `pogo hash` does it, by all threads; `hash/1` by one. In turn with
 * `b3sum` on as many threads (the whole command, whose start takes a few milliseconds).
 */

import { createCipheriv } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { merkleKernels } from '../../src/backend/merkleAddon.js';
import { toHex } from '../../src/hex.js';
import { hashFile } from '../../src/node/hashFile.js';
import { type BenchGroup, skipped } from '../group.js';
import { requireSameBytes } from '../harness.js';
import { measureAgainst } from '../measureAgainst.js';
import { startB3sum } from '../peers.js';

const BYTES = 1 << 30;
/** Large enough for two threads. */
const QUICK_BYTES = 1 << 27;
const WRITE_BYTES = 1 << 24;

/** Bytes that no two pieces share, the same on every machine: a stream cipher of zeros. */
function writeFile(path: string, length: number): void {
  const cipher = createCipheriv('aes-128-ctr', new Uint8Array(16), new Uint8Array(16));
  const zeros = new Uint8Array(WRITE_BYTES);
  const file = openSync(path, 'w');
  try {
    for (let at = 0; at < length; at += WRITE_BYTES) writeSync(file, cipher.update(zeros));
  } finally {
    closeSync(file);
  }
}

export const hashing: BenchGroup = {
  names: ['hash', 'hash/1'],
  async *lines(context, wanted) {
    const { quick, peers, benchFolder, seconds, signal } = context;
    const kernels = merkleKernels();
    if (kernels.name === 'portable') {
      yield skipped('hash', 'the BLAKE3 addon is missing: JavaScript would take half a minute a file');
      return;
    }
    const length = quick ? QUICK_BYTES : BYTES;
    const { bavail, bsize } = statfsSync(tmpdir());
    if (bavail * bsize < 2 * length) {
      yield skipped('hash', `expected ${2 * length} bytes free in ${tmpdir()}, found ${bavail * bsize}`);
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), 'pogo-bench-hash-'));
    try {
      const path = join(folder, 'file');
      writeFile(path, length);
      const expected = new Uint8Array(32);
      kernels.hash(readFileSync(path), expected);
      for (const [name, threads] of [
        ['hash/1', 1],
        ['hash', availableParallelism()],
      ] as const) {
        if (!wanted(name)) continue;
        let root: Uint8Array = expected;
        const start = async (): ReturnType<typeof startB3sum> => {
          const peer = await startB3sum(path, { benchFolder, threads, seconds, signal });
          if (typeof peer === 'string' || peer.ready.result === toHex(expected)) return peer;
          await peer.close();
          return `b3sum found ${peer.ready.result}, expected ${toHex(expected)}`;
        };
        const job = {
          name,
          backend: kernels.name,
          isa: kernels.name,
          unit: { name: 'GB/s (input)', perCall: length } as const,
          bytes: length,
          budgetMs: quick ? 50 : 1500,
          minSamples: quick ? 1 : 5,
          details: { threads, fileBytes: length },
          run: async () => {
            ({ root } = await hashFile(path, { threads }));
          },
          check: () => requireSameBytes(name, root, expected),
          result: () => root,
        };
        yield yield* measureAgainst(job, peers ? start : undefined, 'b3sum', quick ? 1 : 4);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
