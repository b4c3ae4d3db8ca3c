/**
 * Arguments at the limits of the integer products: every pair of bytes, codes that saturate 16-bit accumulators, sums
 * that need all 24 bits of a binary32, contractions longer than an int32 of unscaled products would hold.
 */
import type { Kernels, OperationName } from '../../src/backend/ops.js';

/** One call; `make` gives a fresh argument object. */
export interface ExtremeCase<K extends OperationName = OperationName> {
  readonly operation: K;
  readonly name: string;
  readonly make: () => Parameters<Kernels[K]>[0];
}

const panels = (k: number): number => Math.ceil(k / 1024);

/** Rows of codes by a rule of row and column. */
function rows(count: number, width: number, code: (row: number, k: number) => number): Int8Array {
  const x = new Int8Array(count * width);
  for (let r = 0; r < count; r += 1) for (let k = 0; k < width; k += 1) x[r * width + k] = code(r, k);
  return x;
}

const ones = (length: number): Float32Array => new Float32Array(length).fill(1);
const seed = (first: number): Uint32Array => Uint32Array.of(first, 0x243f6a88, 0xb7e15162, 0xdeadbeef);

/**
 * Patterns of a row of K codes. The first nine hold legal codes. -128 is never a code (a quantizer cannot make it), but
 * a kernel that is exact for it has no hidden sign trick.
 */
const PATTERNS: readonly ((k: number, K: number) => number)[] = [
  () => 127,
  () => -127,
  (k) => (k % 2 === 0 ? 127 : -127),
  (k) => (k % 4 < 2 ? 127 : -127),
  (k) => (k % 8 < 4 ? 127 : -127),
  (k, K) => (2 * k < K ? 127 : -127),
  (k, K) => (k === K - 1 ? 126 : 127), // an odd sum just below 2^24
  (k) => (k === 0 ? -127 : 0),
  (k, K) => (k === K - 1 ? -127 : 0),
  () => -128,
  (k) => (k % 2 === 0 ? -128 : 127),
];

function product(M: number, N: number, K: number, a: Int8Array, b: Int8Array) {
  const [aScales, bScales] = [ones(panels(K) * M), ones(panels(K) * N)];
  return { a, aScales, b, bScales, y: new Float32Array(M * N).fill(-99), M, N, K };
}

/** a[i] x b[j] for all i, j in -128 … 127, with the pair at column `at` of K and zeros elsewhere. */
function everyPair(K: number, at: number): ExtremeCase<'gemm'> {
  const make = () => {
    const codes = () => rows(256, K, (row, k) => (k === at ? row - 128 : 0));
    return product(256, 256, K, codes(), codes());
  };
  return { operation: 'gemm', name: `every pair of bytes, column ${at} of ${K}`, make };
}

/** Every pattern against every pattern, in tiles with ragged edges. */
function patterns(K: number): ExtremeCase<'gemm'> {
  const codes = (count: number) => rows(count, K, (row, k) => PATTERNS[row % PATTERNS.length]!(k, K));
  return {
    operation: 'gemm',
    name: `extreme codes, K = ${K}`,
    make: () => product(13, 35, K, codes(13), codes(35)),
  };
}

/** 131 panels: the plain sum of products would pass 2^31. */
const LONG_K = 131 * 1024 + 1;

function long(): ExtremeCase<'gemm'> {
  const codes = (count: number) => rows(count, LONG_K, (row, k) => PATTERNS[row % 3]!(k, LONG_K));
  return { operation: 'gemm', name: `K = ${LONG_K}`, make: () => product(3, 5, LONG_K, codes(3), codes(5)) };
}

/** qkv of equal queries and keys: every probability is 1, every code of a probability the largest, 255. */
function flatAttention(h: number, context: number) {
  const [H, T] = [h === 32 ? 2 : 1, context];
  const C = h * H;
  const code = (t: number, c: number): number => (c < 2 * C ? 127 : PATTERNS[(c + t) % 3]!(t, context));
  return { qkv: rows(T, 3 * C, code), qkvScales: ones(3 * H * T).fill(2 ** -9), T, C, H, context };
}

function attentionForward(h: number, context: number): ExtremeCase<'attentionForward'> {
  const make = () => {
    const a = flatAttention(h, context);
    return { ...a, o: new Uint16Array(a.T * a.C), lambda: new Float32Array(a.H * a.T) };
  };
  return { operation: 'attentionForward', name: `codes of 255 against 127, heads of ${h}, ${context} tokens`, make };
}

function attentionBackward(h: number, context: number): ExtremeCase<'attentionBackward'> {
  const make = () => {
    const a = flatAttention(h, context);
    const { T, C, H } = a;
    return {
      ...a,
      dO: rows(T, C, (t, c) => PATTERNS[c % 6]!(t, T)),
      dOScales: ones(H * T).fill(2 ** -12),
      // Far below every logit: all probabilities are clamped to 1.
      lambda: new Float32Array(H * T).fill(-1000),
      dqkv: new Uint16Array(3 * T * C),
      seedV: seed(1),
      seedK: seed(2),
      seedQ: seed(3),
      t0: 0,
      U: T,
    };
  };
  return { operation: 'attentionBackward', name: `extreme codes, heads of ${h}, ${context} tokens`, make };
}

function headForward(V: number, C: number): ExtremeCase<'headForward'> {
  const make = () => {
    const T = 7;
    return {
      a: rows(T, C, (t, k) => PATTERNS[t % 6]!(k, C)),
      aScales: ones(panels(C) * T).fill(2 ** -10),
      w: rows(V, C, (v, k) => PATTERNS[v % 9]!(k, C)),
      wScales: ones(panels(C) * V).fill(2 ** -10),
      targets: Uint32Array.from({ length: T }, (_, t) => (t * 67) % V),
      codes: new Int8Array(T * V),
      eScales: new Float32Array(panels(V) * T),
      loss: new Float32Array(T),
      seed: seed(4),
      T,
      C,
      V,
      vocab: V,
      t0: 0,
      U: 64,
    };
  };
  return { operation: 'headForward', name: `extreme codes, V = ${V}, C = ${C}`, make };
}

export const EXTREME_CASES: readonly ExtremeCase[] = [
  everyPair(1, 0),
  everyPair(4, 1),
  everyPair(4, 2),
  everyPair(4, 3),
  everyPair(1025, 1023),
  everyPair(1025, 1024),
  ...[1, 2, 3, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049].map(patterns),
  long(),
  attentionForward(32, 128),
  attentionForward(64, 64),
  attentionForward(256, 128),
  attentionBackward(32, 128),
  attentionBackward(64, 64),
  attentionBackward(256, 64),
  headForward(1088, 64),
  headForward(64, 1088),
];
