/** Operations that take a packed weight: which field it is the packed form of, and that field's rows and columns. */
import type { OperationName } from '../../src/backend/ops.js';

type Shape = Record<string, number>;
export interface PackedWeight {
  readonly field: 'w' | 'wt';
  readonly shape: (a: Shape) => readonly [rows: number, cols: number];
}

const transposed = { field: 'wt', shape: ({ N = 0, K = 0 }) => [K, N] } satisfies PackedWeight;
const plain = { field: 'w', shape: ({ N = 0, K = 0 }) => [N, K] } satisfies PackedWeight;

export const PACKED_WEIGHTS: Partial<Record<OperationName, PackedWeight>> = {
  linearQkv: { field: 'w', shape: ({ C = 0 }) => [3 * C, C] },
  linearResidual: plain,
  linearGelu: plain,
  linearInputGradient: transposed,
  linearHeadsInputGradient: transposed,
  linearGeluInputGradient: transposed,
  headForward: { field: 'w', shape: ({ V = 0, C = 0 }) => [V, C] },
  headInputGradient: { field: 'wt', shape: ({ V = 0, C = 0 }) => [C, V] },
};
