/**
 * BLAKE3, the executable specification: short, slow, readable. Source: "BLAKE3: one function, fast everywhere"
 * (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020), section numbers below. Shares no code with `src/merkle` or
 * `native/merkle`, which are checked against it.
 *
 * Chaining values and keys are 8 little-endian 32-bit words; a chunk is 1024 bytes and is one leaf of a tree.
 */

/** Bytes of a chunk. */
export const CHUNK_BYTES = 1024;
const BLOCK_BYTES = 64;

/** Domain flags, table 3. They keep a leaf, a parent and a root apart, so no inner node can pass as a leaf. */
const FLAG = {
  chunkStart: 1,
  chunkEnd: 2,
  parent: 4,
  root: 8,
  keyedHash: 16,
  deriveKeyContext: 32,
  deriveKeyMaterial: 64,
} as const;

/** Table 1: the first eight words of SHA-256's initial state. */
const IV = Uint32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);

/** Table 2: the permutation of the message words between rounds. */
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];

/** A key (or {@link IV}) and the mode flags that every compression of a hash carries. */
interface Mode {
  readonly key: Uint32Array;
  readonly flags: number;
}

const PLAIN: Mode = { key: IV, flags: 0 };

/** A compression that is not done yet: whether it is the root is known only when nothing follows. */
interface Node {
  readonly chaining: Uint32Array;
  readonly block: Uint32Array;
  readonly counter: number;
  readonly blockLength: number;
  readonly flags: number;
}

const rotateRight = (word: number, bits: number): number => (word >>> bits) | (word << (32 - bits));

/** Section 2.2, the quarter round. */
function mix(v: Uint32Array, a: number, b: number, c: number, d: number, x: number, y: number): void {
  v[a] = v[a] + v[b] + x;
  v[d] = rotateRight(v[d] ^ v[a], 16);
  v[c] = v[c] + v[d];
  v[b] = rotateRight(v[b] ^ v[c], 12);
  v[a] = v[a] + v[b] + y;
  v[d] = rotateRight(v[d] ^ v[a], 8);
  v[c] = v[c] + v[d];
  v[b] = rotateRight(v[b] ^ v[c], 7);
}

/** Section 2.2: seven rounds over 16 words of state. Returns all 16 output words; the first 8 are a chaining value. */
function compress(node: Node, counter = node.counter, extraFlags = 0): Uint32Array {
  const v = new Uint32Array(16);
  v.set(node.chaining, 0);
  v.set(IV.subarray(0, 4), 8);
  v[12] = counter % 2 ** 32;
  v[13] = Math.floor(counter / 2 ** 32);
  v[14] = node.blockLength;
  v[15] = node.flags | extraFlags;
  let m = node.block;
  for (let round = 0; round < 7; round++) {
    mix(v, 0, 4, 8, 12, m[0], m[1]);
    mix(v, 1, 5, 9, 13, m[2], m[3]);
    mix(v, 2, 6, 10, 14, m[4], m[5]);
    mix(v, 3, 7, 11, 15, m[6], m[7]);
    mix(v, 0, 5, 10, 15, m[8], m[9]);
    mix(v, 1, 6, 11, 12, m[10], m[11]);
    mix(v, 2, 7, 8, 13, m[12], m[13]);
    mix(v, 3, 4, 9, 14, m[14], m[15]);
    m = Uint32Array.from(PERMUTATION, (from) => m[from]);
  }
  for (let i = 0; i < 8; i++) {
    v[i] ^= v[i + 8];
    v[i + 8] ^= node.chaining[i];
  }
  return v;
}

const chainingValue = (node: Node): Uint32Array => compress(node).slice(0, 8);

/** Up to 64 bytes as 16 words, zero-padded. */
function blockWords(bytes: Uint8Array): Uint32Array {
  const words = new Uint32Array(16);
  for (let i = 0; i < bytes.length; i++) words[i >> 2] |= bytes[i] << (8 * (i & 3));
  return words;
}

function wordBytes(words: Uint32Array): Uint8Array {
  return Uint8Array.from({ length: 4 * words.length }, (_, i) => words[i >> 2] >>> (8 * (i & 3)));
}

/** Section 2.4: the last compression of a chunk of 0…1024 bytes. */
function chunkNode(bytes: Uint8Array, counter: number, mode: Mode): Node {
  let chaining = mode.key;
  for (let at = 0; ; at += BLOCK_BYTES) {
    const part = bytes.subarray(at, at + BLOCK_BYTES);
    const last = at + BLOCK_BYTES >= bytes.length;
    const flags = mode.flags | (at === 0 ? FLAG.chunkStart : 0) | (last ? FLAG.chunkEnd : 0);
    const node: Node = { chaining, block: blockWords(part), counter, blockLength: part.length, flags };
    if (last) return node;
    chaining = chainingValue(node);
  }
}

/** Section 2.5: a parent's block is its two children's chaining values, its counter is 0. */
function parentNode(left: Uint32Array, right: Uint32Array, mode: Mode): Node {
  const block = new Uint32Array(16);
  block.set(left, 0);
  block.set(right, 8);
  return { chaining: mode.key, block, counter: 0, blockLength: BLOCK_BYTES, flags: mode.flags | FLAG.parent };
}

/** Bytes of the left subtree: the largest power of two of chunks that leaves at least one byte to the right. */
function leftBytes(length: number): number {
  let left = CHUNK_BYTES;
  while (2 * left < length) left *= 2;
  return left;
}

/** Section 2.1, by recursion: the last compression of the subtree over `bytes`, whose first chunk has `counter`. */
function subtreeNode(bytes: Uint8Array, counter: number, mode: Mode): Node {
  if (bytes.length <= CHUNK_BYTES) return chunkNode(bytes, counter, mode);
  const left = leftBytes(bytes.length);
  return parentNode(
    chainingValue(subtreeNode(bytes.subarray(0, left), counter, mode)),
    chainingValue(subtreeNode(bytes.subarray(left), counter + left / CHUNK_BYTES, mode)),
    mode,
  );
}

/** Section 2.6: output bytes are root compressions with a counter of their own. */
function output(node: Node, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += BLOCK_BYTES) {
    const block = wordBytes(compress(node, at / BLOCK_BYTES, FLAG.root));
    bytes.set(block.subarray(0, length - at), at);
  }
  return bytes;
}

/** BLAKE3 of `bytes`; `length` output bytes. */
export function hash(bytes: Uint8Array, length = 32): Uint8Array {
  return output(subtreeNode(bytes, 0, PLAIN), length);
}

/** Keyed BLAKE3 (section 2.3); `key` is 32 bytes. */
export function keyedHash(key: Uint8Array, bytes: Uint8Array, length = 32): Uint8Array {
  const mode = { key: blockWords(key).slice(0, 8), flags: FLAG.keyedHash };
  return output(subtreeNode(bytes, 0, mode), length);
}

/** BLAKE3 key derivation (section 2.3); `context` is a hard-coded UTF-8 string, `material` the secret or seed. */
export function deriveKey(context: string, material: Uint8Array, length = 32): Uint8Array {
  const contextMode = { key: IV, flags: FLAG.deriveKeyContext };
  const contextKey = output(subtreeNode(new TextEncoder().encode(context), 0, contextMode), 32);
  const mode = { key: blockWords(contextKey).slice(0, 8), flags: FLAG.deriveKeyMaterial };
  return output(subtreeNode(material, 0, mode), length);
}

/** Chaining value (32 bytes) of the subtree over `bytes`, which begin at chunk `counter` of a longer input. */
export function subtree(bytes: Uint8Array, counter: number): Uint8Array {
  return wordBytes(chainingValue(subtreeNode(bytes, counter, PLAIN)));
}

/** Chaining value (32 bytes) of a parent. */
export function parent(left: Uint8Array, right: Uint8Array): Uint8Array {
  return wordBytes(chainingValue(parentNode(blockWords(left).slice(0, 8), blockWords(right).slice(0, 8), PLAIN)));
}

/** Root (32 bytes) of an input of more than one chunk, from its two top chaining values. */
export function parentRoot(left: Uint8Array, right: Uint8Array): Uint8Array {
  return output(parentNode(blockWords(left).slice(0, 8), blockWords(right).slice(0, 8), PLAIN), 32);
}

/**
 * Siblings of chunk `index`, from the bottom up, by recursion from the top.
 * @returns 32-byte chaining values; none for an input of one chunk
 */
export function prove(bytes: Uint8Array, index: number, counter = 0): Uint8Array[] {
  if (bytes.length <= CHUNK_BYTES) return [];
  const left = leftBytes(bytes.length);
  const leftChunks = left / CHUNK_BYTES;
  if (index < leftChunks) {
    return [...prove(bytes.subarray(0, left), index, counter), subtree(bytes.subarray(left), counter + leftChunks)];
  }
  return [
    ...prove(bytes.subarray(left), index - leftChunks, counter + leftChunks),
    subtree(bytes.subarray(0, left), counter),
  ];
}

/** The root that chunk `index` and its siblings lead to in an input of `totalBytes` bytes. */
export function rootFromProof(
  totalBytes: number,
  index: number,
  chunk: Uint8Array,
  siblings: Uint8Array[],
): Uint8Array {
  if (totalBytes <= CHUNK_BYTES) return hash(chunk);
  const climb = (length: number, at: number, counter: number, rest: Uint8Array[]): [Uint8Array, Uint8Array] => {
    const left = leftBytes(length);
    const leftChunks = left / CHUNK_BYTES;
    const sibling = rest[rest.length - 1];
    const below = rest.slice(0, -1);
    if (at < leftChunks) return [inner(left, at, counter, below), sibling];
    return [sibling, inner(length - left, at - leftChunks, counter + leftChunks, below)];
  };
  const inner = (length: number, at: number, counter: number, rest: Uint8Array[]): Uint8Array =>
    length <= CHUNK_BYTES ? subtree(chunk, counter) : parent(...climb(length, at, counter, rest));
  return parentRoot(...climb(totalBytes, index, 0, siblings));
}
