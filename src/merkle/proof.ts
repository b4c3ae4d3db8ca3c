/**
 * Checks that bytes stand at a place of an input with a known BLAKE3 root (BLAKE3 paper, section 2.1; Bao).
 *
 * A proof is the chaining values of the siblings from the bottom up, 32 bytes each, nothing else. The checker derives
 * depth and position from `totalBytes`, which it knows from the recipe's layout; the number of bytes of the leaf and of
 * the proof must be exactly what follows from it. BLAKE3's domain flags keep leaf and inner node apart, the chunk
 * counter keeps equal leaves apart.
 */
import { parentInto, parentRootInto, subtreeInto } from './compress.js';
import { CV_BYTES, GROUP_LOG, LEAF_BYTES, nodeCount, nodeSpan, siblings } from './shape.js';

/**
 * The root to which a leaf or group and its proof lead.
 *
 * @param totalBytes length of the whole input in bytes
 * @param index number of the leaf (`groupLog` 0) or of the group of `2^groupLog` leaves
 * @param bytes the bytes of the leaf or group
 * @param proof sibling chaining values, bottom up
 * @returns 32 bytes, or `undefined` if `bytes` or `proof` has not the length that follows from `totalBytes`
 * @throws {PogoError} RANGE if `totalBytes` or `index`, which are the caller's own, are out of range
 */
export function rootFromProof(
  totalBytes: number,
  index: number,
  bytes: Uint8Array,
  proof: Uint8Array,
  groupLog = 0,
): Uint8Array | undefined {
  const { start, end } = nodeSpan(totalBytes, index, groupLog);
  const path = siblings(nodeCount(totalBytes, groupLog), index);
  if (bytes.length !== end - start || proof.length !== path.length * CV_BYTES) return undefined;
  const root = new Uint8Array(CV_BYTES);
  subtreeInto(bytes, 0, bytes.length, start / LEAF_BYTES, path.length === 0, root, 0);
  const pair = new Uint8Array(2 * CV_BYTES);
  path.forEach(({ right }, step) => {
    pair.set(root, right ? 0 : CV_BYTES);
    pair.set(proof.subarray(step * CV_BYTES, (step + 1) * CV_BYTES), right ? CV_BYTES : 0);
    if (step === path.length - 1) parentRootInto(pair, 0, CV_BYTES, root, 0);
    else parentInto(pair, 0, CV_BYTES, root, 0);
  });
  return root;
}

/** Whether two byte strings are equal. Not constant in time: roots are public. */
function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function verifyProof(
  root: Uint8Array,
  totalBytes: number,
  index: number,
  bytes: Uint8Array,
  proof: Uint8Array,
  groupLog: number,
): boolean {
  const found = rootFromProof(totalBytes, index, bytes, proof, groupLog);
  return found !== undefined && root.length === CV_BYTES && equalBytes(found, root);
}

/**
 * Whether `leafBytes` are bytes [1024·leafIndex, …) of the input of `totalBytes` bytes whose BLAKE3 hash is `root`.
 *
 * @param root 32 bytes, held by the caller
 * @param leafBytes 1024 bytes, fewer only for the last leaf
 * @param proof what `MerkleTree.proveLeaf` returns
 * @throws {PogoError} RANGE if `totalBytes` or `leafIndex` is out of range; a wrong proof gives `false`
 */
export function verifyLeafProof(
  root: Uint8Array,
  totalBytes: number,
  leafIndex: number,
  leafBytes: Uint8Array,
  proof: Uint8Array,
): boolean {
  return verifyProof(root, totalBytes, leafIndex, leafBytes, proof, 0);
}

/** As {@link verifyLeafProof} for a group of 16 KiB: bytes [16384·groupIndex, …). */
export function verifyGroupProof(
  root: Uint8Array,
  totalBytes: number,
  groupIndex: number,
  groupBytes: Uint8Array,
  proof: Uint8Array,
): boolean {
  return verifyProof(root, totalBytes, groupIndex, groupBytes, proof, GROUP_LOG);
}
