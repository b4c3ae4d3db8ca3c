/**
 * From one seed to the key material of every role, by BLAKE3 key derivation; and EIP-2333's derive_master_SK in
 * TypeScript, for builds without a native library.
 */
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { PogoError } from '../errors.js';
import { CONTEXT, deriveHash } from './domains.js';

/** Contexts are `pogo/<role>/<index>`. */
export const CONTEXT_KEY_PREFIX = 'pogo/';

/**
 * @param seed at least 16 bytes
 * @param role lowercase letters, such as `miner` or `verifier`
 * @param index non-negative integer
 * @returns 32 bytes for EIP-2333
 * @throws PogoError RANGE
 */
export function deriveKeyMaterial(seed: Uint8Array, role: string, index: number): Uint8Array {
  if (seed.length < 16) throw new PogoError('RANGE', `expected a seed of at least 16 bytes, found ${seed.length}`);
  if (!/^[a-z]{1,32}$/.test(role) || !Number.isSafeInteger(index) || index < 0) {
    throw new PogoError('RANGE', `expected a role of lowercase letters and an index from 0, found "${role}", ${index}`);
  }
  const context = `${CONTEXT_KEY_PREFIX}${role}/${index}`;
  // (beacon, 1) would be hashed as beacons are.
  if (Object.values<string>(CONTEXT).includes(context)) {
    throw new PogoError('RANGE', `expected a role and index without a meaning of their own, found ${context}`);
  }
  return deriveHash(context, seed);
}

/** Order of the subgroup of BLS12-381. */
export const BLS_ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n;

/**
 * EIP-2333 derive_master_SK: hkdf_mod_r with the salt BLS-SIG-KEYGEN-SALT-, re-hashed until the result is not zero.
 *
 * @param keyMaterial at least 32 bytes
 * @returns 32 bytes, big-endian
 */
export function hkdfModR(keyMaterial: Uint8Array): Uint8Array {
  if (keyMaterial.length < 32) {
    throw new PogoError('RANGE', `expected at least 32 bytes of key material, found ${keyMaterial.length}`);
  }
  const input = new Uint8Array(keyMaterial.length + 1);
  input.set(keyMaterial);
  let salt: Uint8Array = new TextEncoder().encode('BLS-SIG-KEYGEN-SALT-');
  for (;;) {
    salt = sha256(salt);
    const pseudoRandomKey = extract(sha256, input, salt);
    const okm = expand(sha256, pseudoRandomKey, Uint8Array.of(0, 48), 48);
    let value = 0n;
    for (const byte of okm) value = (value << 8n) | BigInt(byte);
    value %= BLS_ORDER;
    if (value !== 0n) return bigEndian32(value);
  }
}

function bigEndian32(value: bigint): Uint8Array {
  const bytes = new Uint8Array(32);
  for (let i = 31; i >= 0; i -= 1) {
    bytes[i] = Number(value & 255n);
    value >>= 8n;
  }
  return bytes;
}
