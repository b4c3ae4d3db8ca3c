/**
 * Prints the data roots of the built-in recipes as they stand in `src/model/recipeData.ts`. Node only.
 *
 *     node dist/model/node/pinData.js
 */

import { realpathSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { blake3 } from '@noble/hashes/blake3.js';
import { toHex } from '../../hex.js';
import { type BuiltInTokenizer, openTokenizer } from '../tokenizer.js';
import { readMobyDick, tokenizeText } from './dataset.js';
import { readSpeeches } from './speeches.js';

export interface DataRoots {
  readonly textRoot: string;
  readonly tokensRoot: string;
  readonly tokenizerRoot: string;
  readonly tokens: number;
}

/** The roots of the novel under a tokenizer, computed from the installed package. */
export async function mobyDickRoots(name: BuiltInTokenizer, vocab?: number): Promise<DataRoots> {
  return rootsOf(await readMobyDick(), name, vocab);
}

/** The same of the speeches. */
export async function speechesRoots(name: BuiltInTokenizer): Promise<DataRoots> {
  return rootsOf(await readSpeeches(), name);
}

/** @param vocab decides the bytes of a token; by default the tokenizer's entries */
async function rootsOf(text: Uint8Array, name: BuiltInTokenizer, vocab?: number): Promise<DataRoots> {
  const tokenizer = await openTokenizer(name);
  const tokens = tokenizeText(text, tokenizer, vocab ?? tokenizer.entries, 'the text');
  return {
    textRoot: toHex(blake3(text)),
    tokensRoot: toHex(blake3(new Uint8Array(tokens.buffer))),
    tokenizerRoot: toHex(tokenizer.root),
    tokens: tokens.length,
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  const wide = await mobyDickRoots('gpt2', 1 << 18);
  process.stdout.write(`moby-dick gpt2, tokens of 4 bytes ${JSON.stringify(wide, null, 2)}\n`);
  for (const name of ['bytes', 'gpt2'] as const) {
    process.stdout.write(`moby-dick ${name} ${JSON.stringify(await mobyDickRoots(name), null, 2)}\n`);
    process.stdout.write(`sotu ${name} ${JSON.stringify(await speechesRoots(name), null, 2)}\n`);
  }
}
