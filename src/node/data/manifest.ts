/**
 * The manifest of built data: what was read, how, and what came out, with a root over all of it. Whoever has the manifest
 * and the files finds every changed byte; whoever has the recipe finds them in the token file.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../../errors.js';
import { hashBytes } from '../../files/digest.js';
import { equalBytes, toHex } from '../../hex.js';
import { bytesPerToken, type Recipe, validateRecipe } from '../../model/recipe.js';
import { parseStrictJson } from '../../model/strictJson.js';
import type { Tokenizer } from '../../model/tokenizer.js';
import { hashFile } from '../hashFile.js';
import type { BuiltData } from './build.js';

/** A manifest of a million files takes 200 MB. */
const MAX_MANIFEST_BYTES = 2 ** 28;

/** The form of a manifest of data, as its first field says it: no hash is taken under it. */
const FORMAT = 'pogo/data/1';

export interface ManifestOptions {
  readonly name: string;
  readonly tool: string;
  readonly tokenizer: Tokenizer;
  readonly heldOutPpm: number;
  readonly vocab: number;
}

/** JSON whose last field is the BLAKE3 of the text before it. */
export function manifestText(built: BuiltData, options: ManifestOptions): string {
  const { tokenizer, vocab } = options;
  const fields = {
    format: FORMAT,
    name: options.name,
    tool: options.tool,
    tokenizer: tokenizer.name,
    tokenizerRoot: toHex(tokenizer.root),
    documentEnd: tokenizer.documentEnd ?? null,
    heldOutPpm: options.heldOutPpm,
    datasets: built.datasets,
    tokenFile: path.basename(built.path),
    bytesPerToken: bytesPerToken({ vocab }),
    tokens: built.tokens,
    heldOutTokens: built.heldOutTokens,
    tokensRoot: toHex(built.tokensRoot),
    documentsRoot: toHex(built.documentsRoot),
  };
  const body = JSON.stringify(fields, null, 2).slice(0, -2); // without the closing brace
  return `${body},\n  "root": "${rootOfBody(body)}"\n}\n`;
}

function rootOfBody(body: string): string {
  return toHex(hashBytes(new TextEncoder().encode(body)));
}

/** What a manifest says, as far as a check needs it. */
export interface Manifest {
  readonly root: string;
  readonly tokenFile: string;
  readonly tokensRoot: string;
  readonly documentsRoot: string;
  readonly tokenizerRoot: string;
  readonly tokens: number;
  readonly heldOutTokens: number;
  readonly bytesPerToken: number;
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly root: string }[];
}

function malformed(file: string, expected: string, found = 'other text'): never {
  throw new PogoError('MALFORMED', `${file}: expected ${expected}, found ${found}; build the data again`, {
    path: file,
  });
}

/** @throws PogoError MALFORMED for text that is no manifest, CORRUPT for one that was changed */
export function parseManifest(text: string, file: string): Manifest {
  const tail = /,\n {2}"root": "([0-9a-f]{64})"\n\}\n$/.exec(text);
  if (tail === null) malformed(file, 'a manifest of pogo data build');
  const body = text.slice(0, tail.index);
  if (rootOfBody(body) !== tail[1]) {
    throw new PogoError(
      'CORRUPT',
      `${file}: expected a manifest with root ${tail[1]}, found root ${rootOfBody(body)}; it was changed`,
      {
        path: file,
      },
    );
  }
  let value: Readonly<Record<string, unknown>>;
  try {
    value = parseStrictJson(text) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    return malformed(file, 'JSON', cause instanceof Error ? cause.message.slice(0, 200) : undefined);
  }
  if (value['format'] !== FORMAT) malformed(file, `format ${FORMAT}`);
  const word = (key: string, from = value): string => {
    const found = from[key];
    return typeof found === 'string' ? found : malformed(file, `text in ${key}`);
  };
  const count = (key: string, from = value): number => {
    const found = from[key];
    return typeof found === 'number' && Number.isSafeInteger(found) && found >= 0
      ? found
      : malformed(file, `a count in ${key}`);
  };
  const list = (key: string, from = value): Readonly<Record<string, unknown>>[] => {
    const found = from[key];
    if (!Array.isArray(found) || found.some((entry) => typeof entry !== 'object' || entry === null)) {
      malformed(file, `a list in ${key}`);
    }
    return found;
  };
  const files = list('datasets').flatMap((dataset) =>
    list('files', dataset).map((entry) => ({
      path: word('path', entry),
      bytes: count('bytes', entry),
      root: word('root', entry),
    })),
  );
  const tokenFile = word('tokenFile');
  if (path.basename(tokenFile) !== tokenFile) malformed(file, 'a plain name in tokenFile');
  return {
    root: tail[1],
    tokenFile,
    tokensRoot: word('tokensRoot'),
    documentsRoot: word('documentsRoot'),
    tokenizerRoot: word('tokenizerRoot'),
    tokens: count('tokens'),
    heldOutTokens: count('heldOutTokens'),
    bytesPerToken: count('bytesPerToken'),
    files,
  };
}

export interface DataCheck {
  readonly manifest: Manifest;
  /** Files that were hashed, the token file included. */
  readonly checked: number;
  /** Source files that are not where they were read. */
  readonly absent: readonly string[];
}

/**
 * Compares everything that a manifest names with what is on disk.
 *
 * @param file the manifest; the token file lies beside it, source files where they were read
 * @param recipe if given, must name the same data
 * @throws PogoError MALFORMED, CORRUPT for a manifest or file that was changed, MISSING without the token file, MISMATCH for
 *   a recipe of other data, IO
 */
export async function checkData(file: string, recipe?: Recipe, onFile?: (file: string) => void): Promise<DataCheck> {
  const manifest = parseManifest(readManifest(file), file);
  if (recipe !== undefined) requireRecipe(manifest, recipe, file);
  const tokens = path.join(path.dirname(file), manifest.tokenFile);
  if (!existsSync(tokens)) {
    throw new PogoError('MISSING', `expected the token file ${tokens}, found none; build the data again`, {
      path: tokens,
    });
  }
  const bytes = manifest.tokens * manifest.bytesPerToken;
  await requireFile({ path: tokens, bytes, root: manifest.tokensRoot }, onFile);
  const absent: string[] = [];
  for (const source of manifest.files) {
    if (existsSync(source.path)) await requireFile(source, onFile);
    else absent.push(source.path);
  }
  return { manifest, checked: 1 + manifest.files.length - absent.length, absent };
}

function readManifest(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > MAX_MANIFEST_BYTES) malformed(file, `at most ${MAX_MANIFEST_BYTES} bytes`);
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw PogoError.from(cause, file);
  }
}

async function requireFile(expected: Manifest['files'][number], onFile?: (file: string) => void): Promise<void> {
  onFile?.(expected.path);
  const { root, bytes } = await hashFile(expected.path);
  if (bytes === expected.bytes && toHex(root) === expected.root) return;
  throw new PogoError(
    'CORRUPT',
    `expected ${expected.path} of ${expected.bytes} bytes with root ${expected.root}, found ${bytes} bytes with root ${toHex(root)}; ` +
      'it was changed after the build: restore it, or build again',
    { path: expected.path },
  );
}

function requireRecipe(manifest: Manifest, { name, data }: Recipe, file: string): void {
  const found: readonly (readonly [string, string | number, string | number])[] = [
    ['tokensRoot', toHex(data.tokensRoot), manifest.tokensRoot],
    ['textRoot', toHex(data.textRoot), manifest.documentsRoot],
    ['tokenizerRoot', toHex(data.tokenizerRoot), manifest.tokenizerRoot],
    ['tokens', data.tokens, manifest.tokens],
    ['heldOutTokens', data.heldOutTokens, manifest.heldOutTokens],
  ];
  for (const [field, inRecipe, inManifest] of found) {
    if (inRecipe === inManifest) continue;
    throw new PogoError(
      'MISMATCH',
      `expected ${field} ${inManifest} (${file}), found ${inRecipe} in recipe ${name}; it has other data`,
      {
        field,
      },
    );
  }
}

/**
 * A recipe on built data.
 *
 * @param base gives everything but the data, and the vocabulary where the tokenizer is another one
 * @throws PogoError RECIPE where the data do not fit the recipe's context
 */
export function recipeOnData(base: Recipe, tokenizer: Tokenizer, built: BuiltData, name: string): Recipe {
  return validateRecipe({
    ...base,
    name,
    tokenizer: tokenizer.name,
    data: {
      name,
      textRoot: built.documentsRoot,
      tokensRoot: built.tokensRoot,
      tokenizerRoot: tokenizer.root,
      tokens: built.tokens,
      heldOutTokens: built.heldOutTokens,
    },
  });
}

/**
 * The base of a recipe under a tokenizer: with the base's own nothing changes; another one brings its vocabulary, unless
 * the base starts from weights, whose rows mean the tokens of their own tokenizer.
 *
 * @throws PogoError MISMATCH
 */
export function baseFor(base: Recipe, tokenizer: Tokenizer): Recipe {
  if (equalBytes(base.data.tokenizerRoot, tokenizer.root)) return base;
  if (base.start.kind === 'root') {
    throw new PogoError(
      'MISMATCH',
      `expected the tokenizer of recipe ${base.name} (${base.tokenizer}, root ${toHex(base.data.tokenizerRoot)}), whose start was trained ` +
        `with it, found ${tokenizer.name} with root ${toHex(tokenizer.root)}; leave --tokenizer out`,
    );
  }
  return { ...base, vocab: tokenizer.entries };
}
