/** The JSON configs that lie beside tensors of other programs. Node only. */

import { readFile, stat } from 'node:fs/promises';
import { PogoError } from '../../errors.js';
import { parseStrictJson } from '../strictJson.js';

/** A config takes some kilobytes. */
const MAX_CONFIG_BYTES = 1 << 20;

/**
 * Reads a config and parses it strictly.
 *
 * @param fix what to do about a file that is too large or no JSON
 * @throws PogoError MALFORMED for a file that is too large or no JSON; IO, with `system` `ENOENT` if there is none
 */
export async function readConfigFile(path: string, fix: string): Promise<unknown> {
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_CONFIG_BYTES) {
      throw new PogoError('MALFORMED', `${path}: expected at most ${MAX_CONFIG_BYTES} bytes, found ${size}; ${fix}`, {
        path,
      });
    }
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw PogoError.from(cause);
  }
  try {
    return parseStrictJson(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : 'other text';
    throw new PogoError('MALFORMED', `${path}: expected JSON, found: ${reason}; ${fix}`, { path }, cause);
  }
}
