/** The hashes of things on disk. */
import { blake3 } from '@noble/hashes/blake3.js';

/** BLAKE3 of `bytes`, 32 bytes: for small things such as log records and headers. */
export function digest(bytes: Uint8Array): Uint8Array {
  return blake3(bytes);
}

/** BLAKE3 over parts, one after the other. */
export interface BlobHasher {
  update(bytes: Uint8Array): void;
  /** @returns 32 bytes; the hasher is used up */
  digest(): Uint8Array;
}

/** A hasher for blobs of any length. */
export function blobHasher(): BlobHasher {
  const hasher = blake3.create();
  return {
    update: (bytes) => void hasher.update(bytes),
    digest: () => hasher.digest(),
  };
}
