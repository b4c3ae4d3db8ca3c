/**
 * Public randomness as a stream: the extendable output of BLAKE3 in key derivation mode, read as little-endian uint64.
 *
 * Every draw of the protocol reads from one of these, so a draw is a pure function of the bytes it is derived from.
 */
import { blake3 } from '@noble/hashes/blake3.js';
import { invariant } from '../errors.js';

const BUFFER_BYTES = 512;
const TWO_64 = 1n << 64n;

export class RandomStream {
  readonly #hash: ReturnType<typeof blake3.create>;
  #view = new DataView(new ArrayBuffer(0));
  #position = 0;

  /**
   * @param context one of `CONTEXT`
   * @param parts what the draw depends on, concatenated; their lengths are fixed by the caller
   */
  constructor(context: string, ...parts: readonly Uint8Array[]) {
    this.#hash = blake3.create({ context: new TextEncoder().encode(context) });
    for (const part of parts) this.#hash.update(part);
  }

  /** The next 64 bits. */
  next(): bigint {
    if (this.#position === this.#view.byteLength) {
      const bytes = this.#hash.xof(BUFFER_BYTES);
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#position = 0;
    }
    const value = this.#view.getBigUint64(this.#position, true);
    this.#position += 8;
    return value;
  }

  /**
   * Uniform in [0, bound): words at or above the largest multiple of `bound` are thrown away, so no residue is more
   * likely than another.
   */
  belowBig(bound: bigint): bigint {
    invariant(bound > 0n && bound <= TWO_64, `a draw needs a bound in 1…2^64, found ${bound}`);
    const limit = TWO_64 - (TWO_64 % bound);
    for (;;) {
      const word = this.next();
      if (word < limit) return word % bound;
    }
  }

  /** {@link belowBig} for safe integers. */
  below(bound: number): number {
    invariant(Number.isSafeInteger(bound) && bound > 0, `a draw needs a positive safe integer, found ${bound}`);
    return Number(this.belowBig(BigInt(bound)));
  }

  /**
   * `count` different integers of [0, bound), in the order in which they were drawn: duplicates are thrown away, so
   * every set is equally likely.
   */
  distinct(count: number, bound: number): number[] {
    invariant(count <= bound, `cannot draw ${count} different values below ${bound}`);
    const seen = new Set<number>();
    while (seen.size < count) seen.add(this.below(bound));
    return [...seen];
  }
}
