/** What Hugging Face keeps beside a model's tensors: `config.json` and `tokenizer.json`. Node only. */

import { join } from 'node:path';
import { PogoError } from '../../errors.js';
import { describeHfConfig, type HfDescription } from '../hf.js';
import { openTokenizer } from '../tokenizer.js';
import { readConfigFile } from './configFile.js';
import { openTokenizerFile, requireVocabulary, type TokenizerFile } from './tokenizerFile.js';

/**
 * The model that the `config.json` of a folder describes.
 *
 * @returns undefined if there is none
 * @throws PogoError MALFORMED for a file that is no JSON, MISMATCH for a model that is not supported, IO
 */
export async function readHfConfig(folder: string): Promise<HfDescription | undefined> {
  const file = join(folder, 'config.json');
  let config: unknown;
  try {
    config = await readConfigFile(file, 'download it again');
  } catch (error) {
    if ((error as PogoError).details['system'] === 'ENOENT') return undefined;
    throw error;
  }
  return describeHfConfig(config, file);
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
    requireVocabulary(vocab, 'config.json', found.tokenizer, path);
    return found;
  }
  if (vocab === 256) return { tokenizer: await openTokenizer('bytes'), file: undefined };
  throw new PogoError(
    'MISSING',
    `expected ${path} for a vocabulary of ${vocab}, found none; copy it from the model's page, or name a recipe with --recipe`,
    { path },
  );
}
