/** The kernels that this machine can run: tests of laws run on each. */
import { loadMerkleAddon } from '../../src/backend/merkleAddon.js';
import type { MerkleKernels } from '../../src/merkle/kernels.js';
import { portableKernels } from '../../src/merkle/portable.js';

const { addon } = loadMerkleAddon();

/** Portable always; native where the addon is built (`merkle.test.ts` shows the reason where it is not). */
export const allKernels: readonly MerkleKernels[] = addon === undefined ? [portableKernels] : [portableKernels, addon];

/** Bytes of period 251, as in BLAKE3's own vectors: swapped blocks or chunks cannot cancel. Shared memory. */
export function patternBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer(length));
  for (let i = 0; i < length; i++) bytes[i] = i % 251;
  return bytes;
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
