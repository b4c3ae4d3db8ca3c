/**
 * Which unit files an encoder writes: the others are malformed, whatever the unit should have been.
 */
import { PogoError } from '../errors.js';
import { BLOCK_ELEMENTS, type Layout, paddedSize, unitFileBytes } from '../model/layout.js';
import { assertCanonicalUnit } from '../reference/adamw.js';

/**
 * @param file of a recipe's unit: codes plane ‖ scales plane, 2-byte aligned
 * @returns what is not canonical (length, nibble −8, scale NaN, Inf, negative or 0 with codes, non-zero padding), or
 *   undefined
 */
export function canonicalUnitFault(layout: Layout, file: Uint8Array): string | undefined {
  const { codes, scales, total } = unitFileBytes(layout);
  if (file.length !== total) return `expected ${total} bytes, found ${file.length}`;
  const scaleBits = new Uint16Array(file.buffer, file.byteOffset + codes, scales / 2);
  for (const tensor of layout.tensors) {
    const start = (tensor.offset + tensor.size) / BLOCK_ELEMENTS;
    const end = (tensor.offset + paddedSize(tensor)) / BLOCK_ELEMENTS;
    for (let block = Math.ceil(start); block < end; block += 1) {
      if (scaleBits[block] !== 0) return `padding of ${tensor.name}: expected scale 0, found ${scaleBits[block]}`;
    }
  }
  try {
    assertCanonicalUnit(file.subarray(0, codes), scaleBits);
    return undefined;
  } catch (error) {
    if (error instanceof PogoError) return error.message;
    throw error;
  }
}
