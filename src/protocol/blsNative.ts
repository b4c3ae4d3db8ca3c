/**
 * BLS by blst (`@chainsafe/blst`): Node only. About 1 ms a verification.
 */
import {
  aggregateSerializedSignatures,
  fastAggregateVerify,
  PublicKey,
  SecretKey,
  Signature,
  verify as verifySignature,
} from '@chainsafe/blst';
import { PogoError } from '../errors.js';
import { type Bls, createBls } from './bls.js';

function publicKeyPoint(bytes: Uint8Array): PublicKey | undefined {
  if (bytes.length !== 48) return undefined;
  try {
    return PublicKey.fromBytes(bytes, true);
  } catch {
    return undefined;
  }
}

function signaturePoint(bytes: Uint8Array): Signature | undefined {
  if (bytes.length !== 96) return undefined;
  try {
    // Group check and infinity check: the point at infinity is nobody's signature.
    return Signature.fromBytes(bytes, true, true);
  } catch {
    return undefined;
  }
}

/** Points that one instance remembers: more than the largest committee. */
const MAX_KNOWN_POINTS = 8192;

/**
 * Points of valid keys, so that a committee's keys are decoded and checked once and not with every aggregate (43 of the
 * 50 milliseconds of a thousand attestations on Zen 5). Only valid keys are remembered; the oldest makes room.
 */
function rememberPoints(): (bytes: Uint8Array) => PublicKey | undefined {
  const known = new Map<string, PublicKey>();
  return (bytes) => {
    const name = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
    const found = known.get(name);
    if (found !== undefined) return found;
    const point = publicKeyPoint(bytes);
    if (point === undefined) return undefined;
    if (known.size >= MAX_KNOWN_POINTS) known.delete(known.keys().next().value as string);
    known.set(name, point);
    return point;
  };
}

/** @returns the {@link Bls} of blst */
export function createNativeBls(): Bls {
  const pointOf = rememberPoints();
  return createBls({
    deriveMasterSecret: (keyMaterial) => SecretKey.deriveMasterEip2333(keyMaterial).toBytes(),
    publicKeyFromSecret: (secret) => SecretKey.fromBytes(secret).toPublicKey().toBytes(true),
    sign: (secret, message) => SecretKey.fromBytes(secret).sign(message).toBytes(true),
    verify(publicKey, message, signature) {
      const key = pointOf(publicKey);
      const point = signaturePoint(signature);
      return key !== undefined && point !== undefined && verifySignature(message, key, point);
    },
    aggregate(signatures) {
      const valid = signatures.filter((bytes) => signaturePoint(bytes) !== undefined);
      if (valid.length !== signatures.length || valid.length === 0) {
        throw new PogoError(
          'MALFORMED',
          `expected ${signatures.length || 'some'} valid signatures, found ${valid.length}`,
        );
      }
      return aggregateSerializedSignatures(valid, false).toBytes(true);
    },
    verifyAggregate(publicKeys, message, signature) {
      const keys = publicKeys.map(pointOf);
      const valid = keys.filter((key) => key !== undefined);
      const point = signaturePoint(signature);
      if (point === undefined || valid.length === 0 || valid.length !== keys.length) return false;
      return fastAggregateVerify(message, valid, point, false);
    },
  });
}
