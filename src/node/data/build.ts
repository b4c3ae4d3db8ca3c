/**
 * Token files from files of text, JSON Lines and Parquet: documents without duplicates, split into training and held-out
 * part by their hash, in memory that does not grow with the data but for 16 bytes a document.
 *
 * A build writes into a folder of its own and renames at the end, so one that was killed leaves nothing that counts, and
 * the next one starts afresh.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../../errors.js';
import { hashBytes } from '../../files/digest.js';
import { makeDirectoryFor, removeAbandoned, unfinishedPath } from '../../files/durable.js';
import { realFiles, removeTree } from '../../files/fileLayer.js';
import { toHex } from '../../hex.js';
import { copiesOf, type DocumentRule, isHeldOut, PPM } from '../../model/documents.js';
import { bytesPerToken, type Recipe } from '../../model/recipe.js';
import { RootSet } from '../../model/rootSet.js';
import type { Tokenizer } from '../../model/tokenizer.js';
import { hashFile } from '../hashFile.js';
import { type Document, readDocuments } from './readDocuments.js';
import { type SourceFile, type SourceFormat, sourceFiles } from './sources.js';
import { appendFile, PartWriter } from './tokenWriter.js';

/** What a dataset is made of. */
export interface DatasetSpec {
  /** A file or a folder. */
  readonly source: string;
  /** How often its documents stand in the training part, in parts per million: 1,000,000 is once. */
  readonly weightPpm: number;
  /** What its files hold; by their endings when left out. */
  readonly format?: SourceFormat;
  /** Field of JSON Lines, column of Parquet. */
  readonly field: string;
  /** How its text files are cut. */
  readonly documents: DocumentRule;
}

/** A file that was read. */
export interface BuiltFile {
  readonly path: string;
  readonly format: SourceFormat;
  readonly bytes: number;
  /** BLAKE3 of the file. */
  readonly root: string;
  /** Documents with text, duplicates included. */
  readonly documents: number;
}

export interface BuiltDataset extends DatasetSpec {
  readonly files: readonly BuiltFile[];
  /** Documents that an earlier one equals. */
  readonly duplicates: number;
  readonly trainDocuments: number;
  readonly heldOutDocuments: number;
  readonly trainTokens: number;
  readonly heldOutTokens: number;
}

export interface BuildOptions {
  readonly datasets: readonly DatasetSpec[];
  readonly tokenizer: Tokenizer;
  /** Gives the vocabulary, so the width of a token in the file, and the context, so the least length of a part. */
  readonly recipe: Pick<Recipe, 'name' | 'vocab' | 'context'>;
  readonly heldOutPpm: number;
  /** Where the token file goes. */
  readonly directory: string;
  readonly name: string;
  readonly signal?: AbortSignal;
  /** Is told what was built before the token file takes its place; what it throws leaves no token file. */
  readonly beforePlaced?: (built: BuiltData) => void;
  /** @param share of the bytes of all files that were read, 0 to 1 */
  readonly onProgress?: (share: number, documents: number, tokens: number) => void;
}

export interface BuiltData {
  /** The token file: the training part, then the held-out part. */
  readonly path: string;
  readonly datasets: readonly BuiltDataset[];
  readonly tokens: number;
  readonly heldOutTokens: number;
  /** BLAKE3 of the token file. */
  readonly tokensRoot: Uint8Array;
  /** BLAKE3 of the roots of the documents, 32 bytes each, in the order of the token file. */
  readonly documentsRoot: Uint8Array;
}

/** Documents between two turns of the event loop, so that an interruption is seen. */
const DOCUMENTS_A_TURN = 64;

/**
 * @throws PogoError DATA for what cannot be read as text, naming file and place, and for a part without any document;
 *   or shorter than a sequence; MISMATCH for a tokenizer with more tokens than the recipe; INTERRUPTED, IO
 */
export async function buildData(options: BuildOptions): Promise<BuiltData> {
  const { directory, name, recipe } = options;
  const layer = realFiles;
  const undo = makeDirectoryFor(layer, directory);
  removeAbandoned(layer, directory);
  const folder = unfinishedPath(path.join(directory, name));
  layer.makeDirectory(folder);
  const width = bytesPerToken(recipe);
  const train = new PartWriter(layer, folder, 'train', recipe.vocab, width);
  const heldOut = new PartWriter(layer, folder, 'held-out', recipe.vocab, width);
  let placed = false;
  try {
    const datasets = await readAll(options, train, heldOut);
    train.finish();
    heldOut.finish();
    requireParts(train, heldOut, options);
    appendFile(layer, train.tokensPath, heldOut.tokensPath);
    appendFile(layer, train.rootsPath, heldOut.rootsPath);
    const { root: tokensRoot } = await hashFile(train.tokensPath);
    const { root: documentsRoot } = await hashFile(train.rootsPath);
    const file = path.join(directory, `${name}-${toHex(tokensRoot).slice(0, 16)}.tokens`);
    const tokens = train.tokens + heldOut.tokens;
    const built = { path: file, datasets, tokens, heldOutTokens: heldOut.tokens, tokensRoot, documentsRoot };
    options.beforePlaced?.(built);
    layer.rename(train.tokensPath, file);
    placed = true;
    layer.syncDirectory(directory);
    return built;
  } finally {
    train.close();
    heldOut.close();
    removeTree(layer, folder);
    if (!placed) undo();
  }
}

function requireParts(train: PartWriter, heldOut: PartWriter, { heldOutPpm, recipe }: BuildOptions): void {
  const sequence = recipe.context + 1;
  for (const [part, name] of [
    [train, 'training'],
    [heldOut, 'held-out'],
  ] as const) {
    if (part.tokens >= sequence) continue;
    const other = part === train ? heldOut : train;
    const share = (100 * heldOutPpm) / PPM;
    throw new PogoError(
      'DATA',
      `expected at least ${sequence} tokens in the ${name} part for recipe ${recipe.name} (context ${recipe.context}), found ` +
        `${part.tokens} in ${part.documents} documents (${other.documents} in the other part, ${share} % are to be held out); give more ` +
        'text, another --held-out, smaller documents with --documents, or a recipe with a shorter context',
      { part: name, tokens: part.tokens },
    );
  }
}

interface Counts {
  documents: number;
  duplicates: number;
}

async function readAll(options: BuildOptions, train: PartWriter, heldOut: PartWriter): Promise<BuiltDataset[]> {
  const seen = new RootSet();
  const sets = options.datasets.map((spec) => ({ spec, files: sourceFiles(spec.source, spec.format) }));
  const sizes = sets.flatMap(({ files }) => files.map((file) => sizeOf(file)));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let before = 0;
  const built: BuiltDataset[] = [];
  for (const { spec, files } of sets) {
    const start = [train, heldOut].map(({ documents, tokens }) => ({ documents, tokens }));
    const counts: Counts = { documents: 0, duplicates: 0 };
    const read: BuiltFile[] = [];
    for (const file of files) {
      const size = sizeOf(file);
      const report = (position: number): void =>
        options.onProgress?.(
          total === 0 ? 1 : (before + Math.min(position, size)) / total,
          train.documents + heldOut.documents,
          train.tokens + heldOut.tokens,
        );
      read.push(await readFile(file, spec, options, { seen, train, heldOut, counts }, report));
      before += size;
    }
    built.push({
      ...spec,
      files: read,
      duplicates: counts.duplicates,
      trainDocuments: train.documents - start[0].documents,
      heldOutDocuments: heldOut.documents - start[1].documents,
      trainTokens: train.tokens - start[0].tokens,
      heldOutTokens: heldOut.tokens - start[1].tokens,
    });
  }
  return built;
}

function sizeOf({ path: file }: SourceFile): number {
  try {
    return fs.statSync(file).size;
  } catch (cause) {
    throw PogoError.from(cause);
  }
}

interface Sink {
  readonly seen: RootSet;
  readonly train: PartWriter;
  readonly heldOut: PartWriter;
  readonly counts: Counts;
}

/** The file is hashed before it is read, and must not have changed when it was. */
async function readFile(
  file: SourceFile,
  spec: DatasetSpec,
  options: BuildOptions,
  sink: Sink,
  report: (position: number) => void,
): Promise<BuiltFile> {
  const { signal } = options;
  const before = stamp(file);
  const { root, bytes } = await hashFile(file.path, signal === undefined ? {} : { signal });
  let documents = 0;
  for await (const document of readDocuments(file, spec)) {
    if (document.bytes.length === 0) continue;
    documents += 1;
    addDocument(document, spec, options, sink);
    if (documents % DOCUMENTS_A_TURN !== 0) continue;
    await new Promise((resolve) => setImmediate(resolve));
    report(document.position);
    if (signal?.aborted) {
      throw new PogoError('INTERRUPTED', `${file.path}: the build was interrupted; the same command starts it again`);
    }
  }
  report(bytes);
  if (stamp(file) !== before) {
    throw new PogoError('IO', `${file.path} was changed while it was read; build again`, { path: file.path });
  }
  return { path: file.path, format: file.format, bytes, root: toHex(root), documents };
}

function stamp({ path: file }: SourceFile): string {
  try {
    const { size, mtimeMs } = fs.statSync(file);
    return `${size} ${mtimeMs}`;
  } catch (cause) {
    throw PogoError.from(cause);
  }
}

function addDocument(
  { text, bytes }: Document,
  { weightPpm }: DatasetSpec,
  { tokenizer, heldOutPpm }: BuildOptions,
  { seen, train, heldOut, counts }: Sink,
): void {
  counts.documents += 1;
  const root = hashBytes(bytes);
  if (!seen.add(root)) {
    counts.duplicates += 1;
    return;
  }
  const copies = copiesOf(root, weightPpm);
  if (copies === 0) return;
  const tokens = documentTokens(tokenizer, text);
  if (isHeldOut(root, heldOutPpm)) heldOut.add(root, tokens, 1);
  else train.add(root, tokens, copies);
}

/** Tokens of a document and the one that ends it; a line feed in bytes only where there is none. */
export function documentTokens(tokenizer: Tokenizer, text: string): Uint32Array {
  const tokens = tokenizer.encode(text);
  const end = tokenizer.documentEnd;
  if (end === undefined || (tokenizer.name === 'bytes' && tokens[tokens.length - 1] === end)) return tokens;
  const ended = new Uint32Array(tokens.length + 1);
  ended.set(tokens);
  ended[tokens.length] = end;
  return ended;
}
