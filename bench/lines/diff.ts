/**
 * `diff`, `patch`: the canonical difference of two packed 4-bit models, one core, against copy bandwidth; with the roots
 * of both models and new memory for the result in the details. A tenth of the codes moved by one.
 */

import { hashBytes } from '../../src/backend/merkleAddon.js';
import { applyDiff, DIFF_CHUNK_BYTES, encodeDiff } from '../../src/protocol/diff.js';
import { copyBandwidth, copyOfFootprint } from '../ceilings.js';
import type { BenchGroup } from '../group.js';
import { measure, median, requireSameBytes, shared } from '../harness.js';

const BYTES = 16 << 20;
const QUICK_BYTES = 1 << 20;
const MOVED_SHARE = 0.1;

/** Two models whose nibbles differ by one in a tenth of the places. */
function twoModels(length: number): readonly [Uint8Array, Uint8Array] {
  const older = shared.u8(length);
  const newer = shared.u8(length);
  let state = 99;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  const moved = 2 ** 24 * MOVED_SHARE;
  for (let i = 0; i < length; i++) {
    const byte = next() & 0x77; // nibbles 0…7, so that one more never carries
    older[i] = byte;
    newer[i] = byte + (next() < moved ? 1 : 0) + (next() < moved ? 16 : 0);
  }
  return [older, newer];
}

export const diff: BenchGroup = {
  names: ['diff', 'patch'],
  async *lines({ backend, reference, quick }, wanted) {
    const { kernels } = backend;
    const n = quick ? QUICK_BYTES : BYTES;
    const [older, newer] = twoModels(n);
    const out = shared.u8(n + Math.ceil(n / DIFF_CHUNK_BYTES));
    const end = new Uint32Array(2);
    const making = { older, newer, out, end, n };
    kernels.diffModel(making);
    const chunks = out.subarray(0, end[0]);
    const bytes = 2 * n + chunks.length;
    const common = {
      backend: backend.name,
      isa: backend.isa,
      ceiling: copyBandwidth(),
      footprint: copyOfFootprint(bytes),
      budgetMs: quick ? 50 : 700,
      unit: { name: 'GB/s', perCall: bytes } as const,
      bytes,
    };
    /** The same work as a caller of the protocol gets it: two BLAKE3 roots and new memory for the result. */
    const wholeGBs = (work: () => unknown): number => {
      const seconds: number[] = [];
      for (let i = 0; i < 7; i++) {
        const start = performance.now();
        work();
        seconds.push((performance.now() - start) / 1e3);
      }
      return Number((bytes / median(seconds) / 1e9).toFixed(2));
    };
    const file = encodeDiff(older, newer, hashBytes, kernels);
    const details = { modelBytes: n, patchBytes: chunks.length, movedShare: MOVED_SHARE };
    if (wanted('diff')) {
      yield await measure({
        ...common,
        name: 'diff',
        details: { ...details, withRootsGBs: wholeGBs(() => encodeDiff(older, newer, hashBytes, kernels)) },
        run: () => kernels.diffModel(making),
        check: () => {
          const expected = { ...making, out: new Uint8Array(out.length), end: new Uint32Array(2) };
          reference.diffModel(expected);
          requireSameBytes('diff', chunks, expected.out.subarray(0, expected.end[0]));
        },
        result: () => chunks,
      });
    }
    if (wanted('patch')) {
      const result = shared.u8(n);
      yield await measure({
        ...common,
        name: 'patch',
        details: { ...details, withRootsGBs: wholeGBs(() => applyDiff(older, file, hashBytes, kernels)) },
        run: () => kernels.patchModel({ older, patch: chunks, newer: result, start: 0, n }),
        check: () => requireSameBytes('patch', result, newer),
        result: () => result,
      });
    }
  },
};
