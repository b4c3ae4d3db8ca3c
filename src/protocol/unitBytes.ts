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
  // The reference reads one code at a time, 40 ms for 10 MB on Zen 5; it is asked where the answer is to be worded.
  if (file.byteOffset % 4 === 0) {
    if (isCanonical(new Uint32Array(file.buffer, file.byteOffset, codes / 4), scaleBits)) return undefined;
  }
  try {
    assertCanonicalUnit(file.subarray(0, codes), scaleBits);
    return undefined;
  } catch (error) {
    if (error instanceof PogoError) return error.message;
    throw error;
  }
}

/** Words of the 64 codes under a scale. */
const BLOCK_WORDS = BLOCK_ELEMENTS / 8;

/** As {@link assertCanonicalUnit}, eight codes at a time. */
function isCanonical(words: Uint32Array, scaleBits: Uint16Array): boolean {
  for (let block = 0, at = 0; block < scaleBits.length; block += 1) {
    const scale = scaleBits[block] as number;
    if (scale >= 0x7f80) return false;
    let any = 0;
    let hasMinusEight = 0;
    for (const end = at + BLOCK_WORDS; at < end; at += 1) {
      const word = words[at] as number;
      any |= word;
      // A nibble of `turned` is zero where the code is −8; the usual test of a word for a zero digit.
      const turned = word ^ 0x88888888;
      hasMinusEight |= (turned - 0x11111111) & ~turned & 0x88888888;
    }
    if (hasMinusEight !== 0 || (scale === 0 && any !== 0)) return false;
  }
  return true;
}
