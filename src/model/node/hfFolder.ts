/** What Hugging Face keeps beside a model's tensors: `config.json` and `tokenizer.json`. Node only. */

import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PogoError } from '../../errors.js';
import { describeHfConfig, type HfDescription } from '../hf.js';
import { parseStrictJson } from '../strictJson.js';
import { openTokenizer } from '../tokenizer.js';
import { openTokenizerFile, requireVocabulary, type TokenizerFile } from './tokenizerFile.js';

/** A `config.json` takes some kilobytes. */
const MAX_CONFIG_BYTES = 1 << 20;

/**
 * The model that the `config.json` of a folder describes.
 *
 * @returns undefined if there is none
 * @throws PogoError MALFORMED for a file that is no JSON, MISMATCH for a model that is not supported, IO
 */
export async function readHfConfig(folder: string): Promise<HfDescription | undefined> {
  const path = join(folder, 'config.json');
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > MAX_CONFIG_BYTES) {
      throw new PogoError('MALFORMED', `${path}: expected at most ${MAX_CONFIG_BYTES} bytes, found ${size}`, { path });
    }
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw PogoError.from(cause);
  }
  let config: unknown;
  try {
    config = parseStrictJson(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : 'other text';
    throw new PogoError('MALFORMED', `${path}: expected JSON, found: ${reason}; download it again`, { path }, cause);
  }
  return describeHfConfig(config);
}

/**
 * The tokenizer of a folder; bytes where there is no `tokenizer.json` and the vocabulary is 256.
 *
 * @param vocab rows of the model's token table
 * @throws PogoError MISSING without a file, MISMATCH for one with more tokens than the model has rows, MALFORMED, IO
 */
export async function readHfTokenizer(folder: string, vocab: number): Promise<TokenizerFile> {
  const path = join(folder, 'tokenizer.json');
  const found = await openTokenizerFile(path);
  if (found !== undefined) {
    requireVocabulary({ name: 'of config.json', vocab }, found.tokenizer, path);
    return found;
  }
  if (vocab === 256) return { tokenizer: await openTokenizer('bytes'), file: undefined };
  throw new PogoError(
    'MISSING',
    `expected ${path} for a vocabulary of ${vocab}, found none; copy it from the model's page, or name a recipe with --recipe`,
    { path },
  );
}
