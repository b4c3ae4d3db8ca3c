/**
 * Documents: what a text is cut into, and the part of the data that each belongs to. Both follow from a document's bytes
 * alone, so neither the order of files nor what else is in the data moves anything.
 */

import { PogoError } from '../errors.js';

/** How a text file becomes documents. */
export type DocumentRule = 'section' | 'line' | 'file';

/** A section ends with the first blank line behind so many bytes. */
export const SECTION_BYTES = 4096;

/** No section is longer; text without blank lines is cut at a line feed, text without any of these between characters. */
export const MAX_SECTION_BYTES = 65_536;

/** Parts of a million. */
export const PPM = 1_000_000;

function word(root: Uint8Array, at: number): number {
  return new DataView(root.buffer, root.byteOffset, root.byteLength).getUint32(at, true);
}

/** Whether a 32-bit number falls into a share of all, in parts per million. */
function falls(value: number, ppm: number): boolean {
  return value < Math.floor((ppm * 2 ** 32) / PPM);
}

/**
 * Whether a document is held out: the first four bytes of its root, as a number, lie in the lowest share of all.
 *
 * @param root BLAKE3 of the document
 * @param heldOutPpm parts per million that are held out
 */
export function isHeldOut(root: Uint8Array, heldOutPpm: number): boolean {
  return falls(word(root, 0), heldOutPpm);
}

/**
 * How often a document stands in the training part: the whole part of the weight, and once more where the next four
 * bytes of its root lie in the share that remains. So a weight of 0.1 takes a tenth of the documents.
 *
 * @param weightPpm weight of its dataset, in parts per million
 */
export function copiesOf(root: Uint8Array, weightPpm: number): number {
  return Math.floor(weightPpm / PPM) + (falls(word(root, 4), weightPpm % PPM) ? 1 : 0);
}

/**
 * Where the next document of a text ends.
 *
 * @param bytes of the text from the document's start on
 * @param ended whether the text ends with them
 * @returns bytes of the document, or undefined where more bytes are needed to know
 */
export function documentEnd(bytes: Uint8Array, rule: DocumentRule, ended: boolean): number | undefined {
  if (rule === 'line') {
    const feed = bytes.indexOf(0x0a);
    return feed >= 0 ? feed + 1 : ended ? bytes.length : undefined;
  }
  if (rule === 'file') return ended ? bytes.length : undefined;
  return sectionEnd(bytes, ended);
}

function sectionEnd(bytes: Uint8Array, ended: boolean): number | undefined {
  const most = Math.min(bytes.length, MAX_SECTION_BYTES);
  for (
    let feed = bytes.indexOf(0x0a, SECTION_BYTES - 2);
    feed >= 0 && feed < most;
    feed = bytes.indexOf(0x0a, feed + 1)
  ) {
    const next = bytes[feed + 1] === 0x0d ? feed + 2 : feed + 1;
    if (next >= most) break;
    if (bytes[next] === 0x0a && next + 1 >= SECTION_BYTES) return next + 1;
  }
  if (bytes.length <= MAX_SECTION_BYTES) return ended ? bytes.length : undefined;
  const feed = bytes.lastIndexOf(0x0a, MAX_SECTION_BYTES - 1);
  if (feed + 1 >= SECTION_BYTES) return feed + 1;
  return characterStart(bytes, MAX_SECTION_BYTES);
}

/** The last place at or before `at` where a character of UTF-8 starts. */
function characterStart(bytes: Uint8Array, at: number): number {
  let start = at;
  while (start > at - 3 && (bytes[start] & 0xc0) === 0x80) start -= 1;
  return start;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The text of a document.
 *
 * @param source where the document lies, for messages
 * @param position of its first byte there
 * @throws PogoError DATA for bytes that are not UTF-8, naming the first of them and what they look like
 */
export function documentText(bytes: Uint8Array, source: string, position: number): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    const at = firstInvalid(bytes);
    const byte = (bytes[at] ?? 0).toString(16).padStart(2, '0').toUpperCase();
    throw new PogoError(
      'DATA',
      `expected UTF-8 text in ${source}, found byte ${byte} at ${position + at}${looksLike(bytes, at)}`,
      { source, position: position + at },
      cause,
    );
  }
}

/** Place of the first byte that no UTF-8 text could have there. */
function firstInvalid(bytes: Uint8Array): number {
  let low = 0; // bytes[0, low) are whole characters
  let high = bytes.length;
  // A prefix that ends inside a character decodes when it is told that more follows.
  const valid = (length: number): boolean => {
    try {
      new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, length), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (valid(middle)) low = middle;
    else high = middle - 1;
  }
  // The character that the prefix may end inside is the one that is not finished.
  let start = low;
  while (start > Math.max(0, low - 3) && !isWhole(bytes.subarray(0, start))) start -= 1;
  return Math.min(start, bytes.length - 1);
}

function isWhole(bytes: Uint8Array): boolean {
  try {
    utf8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function looksLike(bytes: Uint8Array, at: number): string {
  const pair = `${bytes[0]},${bytes[1]}`;
  if (pair === '255,254' || pair === '254,255') return '; it looks like UTF-16: iconv -f UTF-16 -t UTF-8 converts it';
  if (bytes.subarray(0, 512).includes(0)) return '; it looks like no text at all: leave the file out';
  const found = bytes[at] ?? 0;
  if (found >= 0xa0 && (bytes[at + 1] ?? 0x20) < 0x80) {
    return '; it looks like Latin-1: iconv -f LATIN1 -t UTF-8 converts it';
  }
  return '; convert the file to UTF-8, or leave it out';
}
