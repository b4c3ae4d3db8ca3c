/**
 * BLS12-381 signatures as the protocol uses them: keys in G1 (48 bytes), signatures in G2 (96 bytes), ciphersuite
 * `BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_` of draft-irtf-cfrg-bls-signature, always with proof of possession.
 *
 * The library under it is injected: `blsNative.ts` (blst, Node) or `blsNoble.ts` (pure TypeScript, browsers, and the
 * oracle of the tests). Both accept and refuse the same encodings: compressed points in the prime-order subgroup, never
 * the point at infinity.
 */
import { ContainerType } from '@chainsafe/ssz';
import { DOMAIN } from './domains.js';
import { CONTEXT_KEY_PREFIX, deriveKeyMaterial } from './keyMaterial.js';
import { DomainTag, PublicKey } from './ssz.js';

export { CONTEXT_KEY_PREFIX };

export const BLS_CIPHERSUITE = 'BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_';

/** The primitive operations; messages are hashed to the curve inside. */
export interface BlsPrimitives {
  /** EIP-2333 derive_master_SK. @param keyMaterial at least 32 bytes @returns 32 bytes big-endian */
  deriveMasterSecret(keyMaterial: Uint8Array): Uint8Array;
  /** @returns 48 bytes */
  publicKeyFromSecret(secret: Uint8Array): Uint8Array;
  /** @returns 96 bytes */
  sign(secret: Uint8Array, message: Uint8Array): Uint8Array;
  /** False, never an exception, for bytes that are no valid point. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** Sum of signatures. @throws PogoError MALFORMED when one is no valid point, or there is none */
  aggregate(signatures: readonly Uint8Array[]): Uint8Array;
  /** One message, many signers whose possession has been proven. False for an empty list. */
  verifyAggregate(publicKeys: readonly Uint8Array[], message: Uint8Array, signature: Uint8Array): boolean;
}

export interface KeyPair {
  /** 32 bytes, big-endian scalar. */
  readonly secret: Uint8Array;
  /** 48 bytes, compressed G1. */
  readonly publicKey: Uint8Array;
}

export interface Bls extends BlsPrimitives {
  /** The key of (role, index) under a seed: EIP-2333 master key of BLAKE3 derive_key("pogo/role/index", seed). */
  deriveKey(seed: Uint8Array, role: string, index: number): KeyPair;
  /** Signature over the key itself under the possession domain. */
  popProve(keys: KeyPair): Uint8Array;
  popVerify(publicKey: Uint8Array, proof: Uint8Array): boolean;
}

const PossessionMessageType = new ContainerType({ domain: DomainTag, publicKey: PublicKey });

/** What a proof of possession signs. Domain-separated from everything else that the key signs. */
function possessionMessage(publicKey: Uint8Array): Uint8Array {
  return PossessionMessageType.hashTreeRoot({ domain: DOMAIN.possession, publicKey });
}

/** Adds key derivation and proof of possession to the primitives of one library. */
export function createBls(primitives: BlsPrimitives): Bls {
  return {
    ...primitives,
    deriveKey(seed, role, index) {
      const secret = primitives.deriveMasterSecret(deriveKeyMaterial(seed, role, index));
      return { secret, publicKey: primitives.publicKeyFromSecret(secret) };
    },
    popProve(keys) {
      return primitives.sign(keys.secret, possessionMessage(keys.publicKey));
    },
    popVerify(publicKey, proof) {
      return publicKey.length === 48 && primitives.verify(publicKey, possessionMessage(publicKey), proof);
    },
  };
}
