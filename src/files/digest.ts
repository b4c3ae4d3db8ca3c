/** The hashes of things on disk: whole byte strings, and blobs that arrive in parts. */
import { blake3 } from '@noble/hashes/blake3.js';
import { hashBytes, loadMerkleAddon, merkleKernels } from '../backend/merkleAddon.js';
import { invariant } from '../errors.js';
import { GROUP_BYTES, GROUP_LOG, LEAF_BYTES } from '../merkle/shape.js';
import { allocateTree, MerkleTree } from '../merkle/tree.js';

export { hashBytes } from '../backend/merkleAddon.js';

/** BLAKE3 of parts, one after the other. */
export interface BlobHasher {
  update(bytes: Uint8Array): void;
  /** @returns 32 bytes; the hasher is used up */
  digest(): Uint8Array;
}

/**
 * A hasher for a blob of `totalBytes` bytes. With the addon it keeps the chaining values of 16 KiB groups (1/256 of
 * the bytes), since the addon hashes ranges of a tree; without it, it is the portable incremental hasher.
 */
export function blobHasher(totalBytes: number): BlobHasher {
  if (loadMerkleAddon().addon === undefined) {
    const hasher = blake3.create();
    return { update: (bytes) => void hasher.update(bytes), digest: () => hasher.digest() };
  }
  return new GroupHasher(totalBytes);
}

class GroupHasher implements BlobHasher {
  readonly #totalBytes: number;
  readonly #tree: MerkleTree | undefined;
  /** Bytes of a group that is not complete yet. */
  readonly #carry = new Uint8Array(GROUP_BYTES);
  #carried = 0;
  #hashed = 0;

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
    // Up to one group there is no tree to keep: the bytes are hashed at the end.
    this.#tree =
      totalBytes <= GROUP_BYTES ? undefined : new MerkleTree(merkleKernels(), allocateTree(totalBytes, GROUP_LOG));
  }

  update(bytes: Uint8Array): void {
    invariant(this.#hashed + this.#carried + bytes.length <= this.#totalBytes, 'blobHasher: more bytes than announced');
    let rest = bytes;
    if (this.#carried > 0) rest = this.#fillCarry(rest);
    // Whole groups go through without a copy; the last byte of the blob ends the last group, whole or not.
    const isEnd = this.#hashed + this.#carried + rest.length === this.#totalBytes;
    const direct = this.#tree !== undefined && isEnd ? rest.length : rest.length - (rest.length % GROUP_BYTES);
    if (this.#tree !== undefined && this.#carried === 0 && direct > 0) {
      this.#hash(rest.subarray(0, direct));
      rest = rest.subarray(direct);
    }
    if (rest.length > 0) this.#fillCarry(rest);
  }

  digest(): Uint8Array {
    if (this.#tree === undefined) {
      invariant(this.#carried === this.#totalBytes, 'blobHasher: fewer bytes than announced');
      return hashBytes(this.#carry.subarray(0, this.#carried));
    }
    invariant(this.#hashed === this.#totalBytes, 'blobHasher: fewer bytes than announced');
    this.#tree.finish();
    return this.#tree.root();
  }

  #fillCarry(bytes: Uint8Array): Uint8Array {
    const taken = bytes.subarray(0, GROUP_BYTES - this.#carried);
    this.#carry.set(taken, this.#carried);
    this.#carried += taken.length;
    const complete = this.#carried === GROUP_BYTES || this.#hashed + this.#carried === this.#totalBytes;
    if (this.#tree !== undefined && complete) {
      const group = this.#carry.subarray(0, this.#carried);
      this.#carried = 0;
      this.#hash(group);
    }
    return bytes.subarray(taken.length);
  }

  #hash(bytes: Uint8Array): void {
    this.#tree!.hashLeafBytes(bytes, this.#hashed / LEAF_BYTES);
    this.#hashed += bytes.length;
  }
}
