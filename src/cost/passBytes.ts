/** Bytes that the passes over a state move, by the elements of its vectors. */

/** Bytes of a unit file for each element: half a byte of code, and two of scale for 64. */
const UNIT_BYTES_AN_ELEMENT = 0.5 + 2 / 64;

/** Bytes of one commit pass over vectors of `length` elements: units read, θ, m, v read and written, an eighth of the EMA. */
export function commitBytes(length: number, units: number): number {
  return length * (units * UNIT_BYTES_AN_ELEMENT + 24 + 8 / 8);
}

/** Bytes that the hash of a state reads: θ, m, v, and the EMA at every eighth step. */
export function hashBytes(length: number): number {
  return length * (12 + 4 / 8);
}

/** Bytes of the integer weights' pass: θ read, both orientations written, read and packed. */
export function weightBytes(length: number): number {
  return length * (4 + 2 + 2 + 2);
}

/** Elements of a vector, of the bytes of a unit file. */
export function unitFileLength(unitBytes: number): number {
  return unitBytes / UNIT_BYTES_AN_ELEMENT;
}
