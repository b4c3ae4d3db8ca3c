/**
 * The documents of a source file, one after the other, in memory that does not grow with the file: text in pieces, JSON
 * Lines line by line, Parquet by row groups.
 */
import * as fs from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { PogoError } from '../../errors.js';
import { type DocumentRule, documentEnd, documentText } from '../../model/documents.js';
import { parseStrictJson } from '../../model/strictJson.js';
import { readParquetTexts } from './parquet.js';
import type { SourceFile } from './sources.js';

export interface Document {
  readonly text: string;
  /** UTF-8 of the text. */
  readonly bytes: Uint8Array;
  /** Bytes of the file up to the document's end, as far as they can be told: for progress. */
  readonly position: number;
}

export interface ReadOptions {
  /** How text files are cut. */
  readonly documents: DocumentRule;
  /** Field of JSON Lines, column of Parquet. */
  readonly field: string;
}

/** Bytes that are read at once. */
const PIECE_BYTES = 1 << 18;

/** A document, or a line of JSON, must fit into memory several times. */
export const MAX_DOCUMENT_BYTES = 1 << 26;

/** @throws PogoError DATA for what is no text, JSON or Parquet, naming file and place; IO */
export async function* readDocuments(file: SourceFile, options: ReadOptions): AsyncGenerator<Document> {
  if (file.format === 'parquet') {
    yield* readParquetTexts(file.path, options.field);
    return;
  }
  if (file.format === 'text') {
    for await (const { bytes, position } of cut(file, options.documents)) {
      yield { text: documentText(bytes, file.path, position), bytes, position: position + bytes.length };
    }
    return;
  }
  let line = 0;
  for await (const { bytes, position } of cut(file, 'line')) {
    line += 1;
    const json = documentText(bytes, `${file.path}, line ${line}`, 0);
    if (json.trim() === '') continue;
    const text = textOfLine(json, options.field, `${file.path}, line ${line}`);
    yield { text, bytes: new TextEncoder().encode(text), position: position + bytes.length };
  }
}

/** The field of a line of JSON. */
export function textOfLine(json: string, field: string, source: string): string {
  let value: unknown;
  try {
    value = parseStrictJson(json);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 120) : 'other text';
    throw new PogoError('DATA', `expected JSON in ${source}, found: ${reason}; mend the line`, { source }, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new PogoError('DATA', `expected an object in ${source}, found another value; mend the line`, { source });
  }
  const text = Object.hasOwn(value, field) ? (value as Readonly<Record<string, unknown>>)[field] : undefined;
  if (typeof text !== 'string') {
    const found = text === undefined ? `the fields ${Object.keys(value).join(', ').slice(0, 200)}` : typeOf(text);
    throw new PogoError(
      'DATA',
      `expected text in field ${JSON.stringify(field)} of ${source}, found ${found}; name the field with --field`,
      { source, field },
    );
  }
  return requireWellFormed(text, source);
}

function typeOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

/** Half a surrogate pair (`"\ud83d"`) has no UTF-8. */
function requireWellFormed(text: string, source: string): string {
  const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.exec(text);
  if (lone === null) return text;
  const code = lone[0].charCodeAt(0).toString(16);
  throw new PogoError('DATA', `expected whole characters in ${source}, found half of one (\\u${code}); mend the line`, {
    source,
  });
}

interface Piece {
  readonly bytes: Uint8Array;
  /** Of its first byte in the (uncompressed) file. */
  readonly position: number;
}

/** The pieces of a text by a rule. A byte order mark of UTF-8 at the start is left out. */
async function* cut(file: SourceFile, rule: DocumentRule): AsyncGenerator<Piece> {
  let rest = new Uint8Array(0);
  let position = 0;
  let isFirst = true;
  const take = function* (ended: boolean): Generator<Piece> {
    for (;;) {
      if (rest.length === 0) return;
      const length = documentEnd(rest, rule, ended);
      if (length === undefined) return;
      yield { bytes: rest.subarray(0, length), position };
      position += length;
      rest = rest.subarray(length);
    }
  };
  for await (const piece of open(file)) {
    let bytes: Uint8Array = piece;
    if (isFirst) {
      isFirst = false;
      if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
        bytes = bytes.subarray(3);
        position = 3;
      }
    }
    rest = joined(rest, bytes);
    yield* take(false);
    if (rest.length > MAX_DOCUMENT_BYTES) {
      const what = rule === 'file' ? 'a file that is one document' : 'a line';
      throw new PogoError(
        'DATA',
        `expected at most ${MAX_DOCUMENT_BYTES} bytes in ${what}, found more in ${file.path} from byte ${position} on; ` +
          'cut it into smaller documents, as --documents section does',
        { source: file.path },
      );
    }
  }
  yield* take(true);
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

async function* open({ path, gzip }: SourceFile): AsyncGenerator<Buffer> {
  const stream = fs.createReadStream(path, { highWaterMark: PIECE_BYTES });
  const source: Readable = gzip ? stream.pipe(createGunzip({ chunkSize: PIECE_BYTES })) : stream;
  // A pipe does not hand on the errors of what flows into it.
  if (gzip) stream.on('error', (error) => source.destroy(error));
  try {
    for await (const piece of source) yield piece as Buffer;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code?.startsWith('Z_') === true) {
      throw new PogoError(
        'DATA',
        `expected gzip in ${path}, found: ${(cause as Error).message}; fetch it again`,
        { source: path },
        cause,
      );
    }
    throw PogoError.from(cause);
  } finally {
    stream.destroy();
  }
}
