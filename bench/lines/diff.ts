/**
 * `diff`, `patch`: the canonical difference of two packed 4-bit models, roots included, against copy bandwidth. The two
 * models are one training apart in the share of codes that moved (a tenth).
 */

import { hashBytes } from '../../src/backend/merkleAddon.js';
import { applyDiff, encodeDiff } from '../../src/protocol/diff.js';
import { copyBandwidth } from '../ceilings.js';
import type { BenchGroup } from '../group.js';
import { measure, requireSameBytes, shared } from '../harness.js';

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
  async *lines({ quick }, wanted) {
    const length = quick ? QUICK_BYTES : BYTES;
    const [older, newer] = twoModels(length);
    let patch = encodeDiff(older, newer, hashBytes);
    const common = { backend: 'typescript', isa: 'typescript', ceiling: copyBandwidth(), budgetMs: quick ? 50 : 700 };
    const details = { modelBytes: length, patchBytes: patch.length, movedShare: MOVED_SHARE };
    if (wanted('diff')) {
      const bytes = 2 * length + patch.length;
      yield await measure({
        ...common,
        name: 'diff',
        unit: { name: 'GB/s', perCall: bytes },
        bytes,
        details,
        run: () => {
          patch = encodeDiff(older, newer, hashBytes);
        },
        check: () => requireSameBytes('diff', applyDiff(older, patch, hashBytes), newer),
        result: () => patch,
      });
    }
    if (wanted('patch')) {
      const bytes = 2 * length + patch.length;
      let result: Uint8Array = newer;
      yield await measure({
        ...common,
        name: 'patch',
        unit: { name: 'GB/s', perCall: bytes },
        bytes,
        details,
        run: () => {
          result = applyDiff(older, patch, hashBytes);
        },
        check: () => requireSameBytes('patch', result, newer),
        result: () => result,
      });
    }
  },
};
