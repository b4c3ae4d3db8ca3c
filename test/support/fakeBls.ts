/**
 * Signatures by hash, for tests of the ledger's rules over many blocks: unique and unforgeable inside one process, and a
 * thousand times faster than curves. Never shipped.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { toHex } from '../../src/hex.js';
import { type Bls, createBls } from '../../src/protocol/bls.js';

export function createFakeBls(): Bls {
  const secrets = new Map<string, Uint8Array>();
  const sign = (secret: Uint8Array, message: Uint8Array): Uint8Array =>
    blake3(Uint8Array.of(...secret, ...message), { dkLen: 96 });
  const never = (): never => {
    throw new Error('not used by these tests');
  };
  return createBls({
    deriveMasterSecret: (material) => blake3(material),
    publicKeyFromSecret(secret) {
      const key = blake3(secret, { dkLen: 48 });
      secrets.set(toHex(key), secret);
      return key;
    },
    sign,
    verify(publicKey, message, signature) {
      const secret = secrets.get(toHex(publicKey));
      return secret !== undefined && toHex(sign(secret, message)) === toHex(signature);
    },
    aggregate: never,
    verifyAggregate: never,
  });
}
