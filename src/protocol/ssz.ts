/**
 * The SSZ vocabulary: basic types under short names, and the one strict decoder.
 *
 * Structured objects of the protocol are SSZ containers (https://github.com/ethereum/consensus-specs, `ssz/`); their
 * identity is `hash_tree_root`. fp32 values travel as their uint32 bits, so no float is ever parsed or printed on the
 * way. The hasher under `@chainsafe/ssz` may be replaced by the application (`setHasher`); all hashers agree.
 */
import { ByteListType, ByteVectorType, type Type, UintBigintType, UintNumberType } from '@chainsafe/ssz';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';

export const Uint8 = new UintNumberType(1);
export const Uint32 = new UintNumberType(4);
/** Counters (steps, heights, offsets): a JavaScript number, so at most 2^53 − 1; larger encodings are malformed. */
export const Uint64 = new UintNumberType(8);
/** Money and stake, in integer base units. */
export const Money = new UintBigintType(8);
/** fp32 bits. */
export const Float32Bits = Uint32;
/** A BLAKE3 root or a hash_tree_root. */
export const Root = new ByteVectorType(32);
/** A four-byte domain of `domains.ts`. */
export const DomainTag = new ByteVectorType(4);
/** Compressed BLS12-381 G1 point. */
export const PublicKey = new ByteVectorType(48);
/** Compressed BLS12-381 G2 point. */
export const Signature = new ByteVectorType(96);

/** A byte string of at most `limitBytes`. */
export function byteList(limitBytes: number): ByteListType {
  return new ByteListType(limitBytes);
}

/** What {@link decodeStrict} needs of an SSZ type. */
export type Codec<V> = Pick<Type<V>, 'deserialize' | 'serialize' | 'minSize' | 'maxSize' | 'typeName'>;

/**
 * Decodes one SSZ object and refuses every encoding but the canonical one.
 *
 * @param type the SSZ type
 * @param bytes the whole object, nothing before or after it
 * @param maxBytes refused above this length, before anything is decoded
 * @throws PogoError MALFORMED when the length is out of bounds, decoding fails, or re-encoding gives other bytes
 */
export function decodeStrict<V>(type: Codec<V>, bytes: Uint8Array, maxBytes: number = type.maxSize): V {
  const limit = Math.min(maxBytes, type.maxSize);
  if (bytes.length < type.minSize || bytes.length > limit) {
    throw new PogoError(
      'MALFORMED',
      `expected ${type.minSize} to ${limit} bytes of ${type.typeName}, found ${bytes.length}; get the object again`,
      { type: type.typeName, bytes: bytes.length },
    );
  }
  let value: V;
  let again: Uint8Array;
  try {
    // A copy: SSZ byte fields may be views, and the caller's buffer may be shared memory that changes.
    value = type.deserialize(Uint8Array.from(bytes));
    again = type.serialize(value);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new PogoError('MALFORMED', `expected the SSZ encoding of ${type.typeName}, found: ${reason}`, {
      type: type.typeName,
    });
  }
  if (!equalBytes(again, bytes)) {
    throw new PogoError(
      'MALFORMED',
      `expected the canonical SSZ encoding of ${type.typeName}, found bytes that encode differently once decoded`,
      { type: type.typeName },
    );
  }
  return value;
}
