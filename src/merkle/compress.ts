/**
 * BLAKE3 compression in plain TypeScript, unrolled over local variables: some 0.25 µs a block, where the readable form
 * of `src/reference/blake3.ts` takes 16 (Node 20, one core of a shared AMD EPYC). Chunks, parents and roots for
 * browsers, light clients, and machines without the addon. Values are 32 bytes at a byte offset of a Uint8Array.
 */

const IV = Int32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);
const CHUNK_START = 1;
const CHUNK_END = 2;
const PARENT = 4;
const ROOT = 8;
const DERIVE_KEY_CONTEXT = 32;
const DERIVE_KEY_MATERIAL = 64;
const BLOCK = 64;
const CHUNK = 1024;

/** Message word of each of 7 × 16 steps: the identity, permuted once more each round. */
const S = ((): Uint8Array => {
  const permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
  let row = permutation.map((_, i) => i);
  const all: number[] = [];
  for (let round = 0; round < 7; round++) {
    all.push(...row);
    row = permutation.map((from) => row[from]);
  }
  return Uint8Array.from(all);
})();

// Scratch of this module: everything here is synchronous and every worker has its own copy.
const words = new Int32Array(16);
const state = new Int32Array(8);

/** One compression of `m` into `cv`, in place. */
function compress(cv: Int32Array, m: Int32Array, counter: number, blockLength: number, flags: number): void {
  let v0 = cv[0];
  let v1 = cv[1];
  let v2 = cv[2];
  let v3 = cv[3];
  let v4 = cv[4];
  let v5 = cv[5];
  let v6 = cv[6];
  let v7 = cv[7];
  let v8 = IV[0];
  let v9 = IV[1];
  let v10 = IV[2];
  let v11 = IV[3];
  let v12 = counter | 0;
  let v13 = (counter / 0x100000000) | 0;
  let v14 = blockLength;
  let v15 = flags;
  for (let r = 0; r < 112; r += 16) {
    v0 = (v0 + v4 + m[S[r]]) | 0;
    v12 ^= v0;
    v12 = (v12 >>> 16) | (v12 << 16);
    v8 = (v8 + v12) | 0;
    v4 ^= v8;
    v4 = (v4 >>> 12) | (v4 << 20);
    v0 = (v0 + v4 + m[S[r + 1]]) | 0;
    v12 ^= v0;
    v12 = (v12 >>> 8) | (v12 << 24);
    v8 = (v8 + v12) | 0;
    v4 ^= v8;
    v4 = (v4 >>> 7) | (v4 << 25);
    v1 = (v1 + v5 + m[S[r + 2]]) | 0;
    v13 ^= v1;
    v13 = (v13 >>> 16) | (v13 << 16);
    v9 = (v9 + v13) | 0;
    v5 ^= v9;
    v5 = (v5 >>> 12) | (v5 << 20);
    v1 = (v1 + v5 + m[S[r + 3]]) | 0;
    v13 ^= v1;
    v13 = (v13 >>> 8) | (v13 << 24);
    v9 = (v9 + v13) | 0;
    v5 ^= v9;
    v5 = (v5 >>> 7) | (v5 << 25);
    v2 = (v2 + v6 + m[S[r + 4]]) | 0;
    v14 ^= v2;
    v14 = (v14 >>> 16) | (v14 << 16);
    v10 = (v10 + v14) | 0;
    v6 ^= v10;
    v6 = (v6 >>> 12) | (v6 << 20);
    v2 = (v2 + v6 + m[S[r + 5]]) | 0;
    v14 ^= v2;
    v14 = (v14 >>> 8) | (v14 << 24);
    v10 = (v10 + v14) | 0;
    v6 ^= v10;
    v6 = (v6 >>> 7) | (v6 << 25);
    v3 = (v3 + v7 + m[S[r + 6]]) | 0;
    v15 ^= v3;
    v15 = (v15 >>> 16) | (v15 << 16);
    v11 = (v11 + v15) | 0;
    v7 ^= v11;
    v7 = (v7 >>> 12) | (v7 << 20);
    v3 = (v3 + v7 + m[S[r + 7]]) | 0;
    v15 ^= v3;
    v15 = (v15 >>> 8) | (v15 << 24);
    v11 = (v11 + v15) | 0;
    v7 ^= v11;
    v7 = (v7 >>> 7) | (v7 << 25);
    v0 = (v0 + v5 + m[S[r + 8]]) | 0;
    v15 ^= v0;
    v15 = (v15 >>> 16) | (v15 << 16);
    v10 = (v10 + v15) | 0;
    v5 ^= v10;
    v5 = (v5 >>> 12) | (v5 << 20);
    v0 = (v0 + v5 + m[S[r + 9]]) | 0;
    v15 ^= v0;
    v15 = (v15 >>> 8) | (v15 << 24);
    v10 = (v10 + v15) | 0;
    v5 ^= v10;
    v5 = (v5 >>> 7) | (v5 << 25);
    v1 = (v1 + v6 + m[S[r + 10]]) | 0;
    v12 ^= v1;
    v12 = (v12 >>> 16) | (v12 << 16);
    v11 = (v11 + v12) | 0;
    v6 ^= v11;
    v6 = (v6 >>> 12) | (v6 << 20);
    v1 = (v1 + v6 + m[S[r + 11]]) | 0;
    v12 ^= v1;
    v12 = (v12 >>> 8) | (v12 << 24);
    v11 = (v11 + v12) | 0;
    v6 ^= v11;
    v6 = (v6 >>> 7) | (v6 << 25);
    v2 = (v2 + v7 + m[S[r + 12]]) | 0;
    v13 ^= v2;
    v13 = (v13 >>> 16) | (v13 << 16);
    v8 = (v8 + v13) | 0;
    v7 ^= v8;
    v7 = (v7 >>> 12) | (v7 << 20);
    v2 = (v2 + v7 + m[S[r + 13]]) | 0;
    v13 ^= v2;
    v13 = (v13 >>> 8) | (v13 << 24);
    v8 = (v8 + v13) | 0;
    v7 ^= v8;
    v7 = (v7 >>> 7) | (v7 << 25);
    v3 = (v3 + v4 + m[S[r + 14]]) | 0;
    v14 ^= v3;
    v14 = (v14 >>> 16) | (v14 << 16);
    v9 = (v9 + v14) | 0;
    v4 ^= v9;
    v4 = (v4 >>> 12) | (v4 << 20);
    v3 = (v3 + v4 + m[S[r + 15]]) | 0;
    v14 ^= v3;
    v14 = (v14 >>> 8) | (v14 << 24);
    v9 = (v9 + v14) | 0;
    v4 ^= v9;
    v4 = (v4 >>> 7) | (v4 << 25);
  }
  cv[0] = v0 ^ v8;
  cv[1] = v1 ^ v9;
  cv[2] = v2 ^ v10;
  cv[3] = v3 ^ v11;
  cv[4] = v4 ^ v12;
  cv[5] = v5 ^ v13;
  cv[6] = v6 ^ v14;
  cv[7] = v7 ^ v15;
}

/** Loads `length` ≤ 64 bytes at `at` as 16 little-endian words, zero-padded. */
function load(bytes: Uint8Array, at: number, length: number): void {
  const whole = length >> 2;
  for (let i = 0; i < whole; i++, at += 4) {
    words[i] = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
  }
  words.fill(0, whole);
  for (let i = 0; i < (length & 3); i++) words[whole] |= bytes[at + i] << (8 * i);
}

function store(out: Uint8Array, at: number): void {
  for (let i = 0; i < 8; i++, at += 4) {
    const word = state[i];
    out[at] = word;
    out[at + 1] = word >>> 8;
    out[at + 2] = word >>> 16;
    out[at + 3] = word >>> 24;
  }
}

function chunk(
  bytes: Uint8Array,
  start: number,
  end: number,
  counter: number,
  rootFlag: number,
  key = IV,
  mode = 0,
): void {
  state.set(key);
  let flags = CHUNK_START | mode;
  for (let at = start; ; at += BLOCK) {
    const length = Math.min(BLOCK, end - at);
    const last = at + BLOCK >= end;
    if (last) flags |= CHUNK_END | rootFlag;
    load(bytes, at, length);
    compress(state, words, counter, length, flags);
    if (last) return;
    flags = mode;
  }
}

/** Chaining value of chunk number `counter`, bytes [start, end) with 0 ≤ end − start ≤ 1024, into `out` at `outAt`. */
export function chunkInto(
  bytes: Uint8Array,
  start: number,
  end: number,
  counter: number,
  out: Uint8Array,
  outAt: number,
): void {
  chunk(bytes, start, end, counter, 0);
  store(out, outAt);
}

/** Chaining value of the parent of two values at `left` and `right` of `from`, into `out` at `outAt`. */
export function parentInto(from: Uint8Array, left: number, right: number, out: Uint8Array, outAt: number): void {
  parent(from, left, right, PARENT);
  store(out, outAt);
}

/** Root of an input of more than one chunk, from its two top chaining values. */
export function parentRootInto(from: Uint8Array, left: number, right: number, out: Uint8Array, outAt: number): void {
  parent(from, left, right, PARENT | ROOT);
  store(out, outAt);
}

function parent(from: Uint8Array, left: number, right: number, flags: number, key = IV): void {
  state.set(key);
  for (let i = 0; i < 8; i++, left += 4, right += 4) {
    words[i] = from[left] | (from[left + 1] << 8) | (from[left + 2] << 16) | (from[left + 3] << 24);
    words[i + 8] = from[right] | (from[right + 1] << 8) | (from[right + 2] << 16) | (from[right + 3] << 24);
  }
  compress(state, words, 0, BLOCK, flags);
}

/** Eight words. */
export type ContextKey = Int32Array<ArrayBuffer>;

/** What BLAKE3's derive-key mode starts from, for a context of at most 1024 bytes. */
export function contextKey(context: Uint8Array): ContextKey {
  chunk(context, 0, context.length, 0, ROOT, IV, DERIVE_KEY_CONTEXT);
  return state.slice();
}

/** {@link chunkInto} in derive-key mode. @param isRoot the chunk is the whole input */
export function derivedChunkInto(
  key: ContextKey,
  bytes: Uint8Array,
  counter: number,
  isRoot: boolean,
  out: Uint8Array,
): void {
  chunk(bytes, 0, bytes.length, counter, isRoot ? ROOT : 0, key, DERIVE_KEY_MATERIAL);
  store(out, 0);
}

/** {@link parentInto} in derive-key mode; the two values stand side by side at `left`. @param isRoot above all chunks */
export function derivedParentInto(
  key: ContextKey,
  from: Uint8Array,
  left: number,
  isRoot: boolean,
  out: Uint8Array,
  outAt: number,
): void {
  parent(from, left, left + 32, PARENT | DERIVE_KEY_MATERIAL | (isRoot ? ROOT : 0), key);
  store(out, outAt);
}

/**
 * Chaining value, or root, of the subtree over bytes [start, end) whose first chunk is number `counter`.
 * @param isRoot the bytes are the whole input
 */
export function subtreeInto(
  bytes: Uint8Array,
  start: number,
  end: number,
  counter: number,
  isRoot: boolean,
  out: Uint8Array,
  outAt: number,
): void {
  const length = end - start;
  if (length <= CHUNK) {
    chunk(bytes, start, end, counter, isRoot ? ROOT : 0);
    store(out, outAt);
    return;
  }
  let left = CHUNK;
  while (2 * left < length) left *= 2;
  const pair = new Uint8Array(64);
  subtreeInto(bytes, start, start + left, counter, false, pair, 0);
  subtreeInto(bytes, start + left, end, counter + left / CHUNK, false, pair, 32);
  parent(pair, 0, 32, isRoot ? PARENT | ROOT : PARENT);
  store(out, outAt);
}
