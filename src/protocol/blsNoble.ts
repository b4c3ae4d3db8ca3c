/**
 * BLS in pure TypeScript (`@noble/curves`): for browsers, and the oracle that the native library is tested against.
 * A verification takes about 25 ms, against 1 ms natively.
 */
import { bls12_381 } from '@noble/curves/bls12-381.js';
import { PogoError } from '../errors.js';
import { BLS_CIPHERSUITE, type Bls, createBls } from './bls.js';
import { hkdfModR } from './keyMaterial.js';

const scheme = bls12_381.longSignatures;
const DST = new TextEncoder().encode(BLS_CIPHERSUITE);
const G1 = bls12_381.G1.Point;
const G2 = bls12_381.G2.Point;

type G1Point = InstanceType<typeof G1>;
type G2Point = InstanceType<typeof G2>;

/** Decodes a compressed point; undefined for anything that is not one in the subgroup, and for infinity. */
function publicKeyPoint(bytes: Uint8Array): G1Point | undefined {
  if (bytes.length !== 48) return undefined;
  try {
    const point = G1.fromBytes(bytes);
    point.assertValidity();
    return point.is0() ? undefined : point;
  } catch {
    return undefined;
  }
}

function signaturePoint(bytes: Uint8Array): G2Point | undefined {
  if (bytes.length !== 96) return undefined;
  try {
    const point = G2.fromBytes(bytes);
    point.assertValidity();
    return point.is0() ? undefined : point;
  } catch {
    return undefined;
  }
}

/** @returns the {@link Bls} of `@noble/curves` */
export function createNobleBls(): Bls {
  return createBls({
    deriveMasterSecret: hkdfModR,
    publicKeyFromSecret: (secret) => scheme.getPublicKey(secret).toBytes(true),
    sign: (secret, message) => scheme.sign(scheme.hash(message, DST), secret).toBytes(true),
    verify(publicKey, message, signature) {
      const key = publicKeyPoint(publicKey);
      const point = signaturePoint(signature);
      if (key === undefined || point === undefined) return false;
      return scheme.verify(point, scheme.hash(message, DST), key);
    },
    aggregate(signatures) {
      const points = signatures.map(signaturePoint);
      const valid = points.filter((point) => point !== undefined);
      if (valid.length !== points.length || valid.length === 0) {
        throw new PogoError('MALFORMED', `expected ${points.length || 'some'} valid signatures, found ${valid.length}`);
      }
      return scheme.aggregateSignatures(valid).toBytes(true);
    },
    verifyAggregate(publicKeys, message, signature) {
      const keys = publicKeys.map(publicKeyPoint);
      const valid = keys.filter((key) => key !== undefined);
      const point = signaturePoint(signature);
      if (point === undefined || valid.length === 0 || valid.length !== keys.length) return false;
      const sum = scheme.aggregatePublicKeys(valid);
      // Keys that cancel to infinity would verify anything; possession proofs exclude it, this line does too.
      return !sum.is0() && scheme.verify(point, scheme.hash(message, DST), sum);
    },
  });
}
