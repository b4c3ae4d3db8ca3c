/**
 * Arrays on shared memory that begin at a cache line: a vector of 64 bytes that lies across two lines costs two reads. Measured on
 * Zen 5 (least processor time, arrays at 0 against 16 bytes behind a line): diff 1.5 times as fast under `avx512`, quantize4 1.16,
 * commit pass and patch 1.07; under `avx2` quantize4 1.10, commit 1.08.
 */

/** Bytes of a cache line. */
const LINE_BYTES = 64;
/** From this size on glibc's malloc makes a mapping of its own for an allocation, which then begins 16 bytes behind a page. */
const MAPPED_FROM_BYTES = 128 * 1024;
const HEADER_BYTES = 16;

/** A class of typed arrays. */
export interface ArrayType<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (memory: SharedArrayBuffer, byteOffset: number, length: number): A;
}

/**
 * An array of zeros on shared memory of its own. A large one begins at a cache line under glibc; where another allocator places
 * it otherwise, it is as good as any. It does not begin where its buffer does: use its `byteOffset`.
 *
 * @param type such as `Float32Array`
 * @param length elements
 */
export function sharedArray<A>(type: ArrayType<A>, length: number): A {
  const bytes = length * type.BYTES_PER_ELEMENT;
  const offset = bytes < MAPPED_FROM_BYTES ? 0 : LINE_BYTES - HEADER_BYTES;
  return new type(new SharedArrayBuffer(offset + bytes), offset, length);
}
