/** The hash of small things on disk: log records, headers. Large bytes go through the native tree. */
import { blake3 } from '@noble/hashes/blake3.js';

/** BLAKE3 of `bytes`, 32 bytes. */
export function digest(bytes: Uint8Array): Uint8Array {
  return blake3(bytes);
}
