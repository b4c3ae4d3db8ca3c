/** Which files a dataset consists of, and what they hold. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../../errors.js';

export type SourceFormat = 'text' | 'jsonl' | 'parquet';

export interface SourceFile {
  readonly path: string;
  readonly format: SourceFormat;
  /** The file is compressed by gzip. */
  readonly gzip: boolean;
}

const FORMATS: Readonly<Record<string, SourceFormat>> = {
  '.txt': 'text',
  '.text': 'text',
  '.md': 'text',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.parquet': 'parquet',
};

/** Endings that say what a file holds, for messages. */
const KNOWN = Object.keys(FORMATS).join(', ');

function formatOf(file: string): { readonly format: SourceFormat | undefined; readonly gzip: boolean } {
  const gzip = file.endsWith('.gz');
  const format = FORMATS[path.extname(gzip ? file.slice(0, -3) : file).toLowerCase()];
  return { format: gzip && format === 'parquet' ? undefined : format, gzip };
}

/**
 * The files of one path: the file itself, or those of a folder and the folders in it whose endings are known, by name.
 * Names that start with a dot and symbolic links in folders are passed over.
 *
 * @param format what all files hold; by their endings when left out
 * @returns at least one file
 * @throws PogoError DATA where there is none, an empty one that was named, or one whose ending says nothing; IO
 */
export function sourceFiles(source: string, format?: SourceFormat): SourceFile[] {
  let status: fs.Stats;
  try {
    status = fs.statSync(source);
  } catch (cause) {
    throw PogoError.from(cause);
  }
  if (!status.isDirectory()) {
    if (status.isFile() && status.size === 0) {
      throw new PogoError('DATA', `expected text in ${source}, found an empty file; give a file with text`, { source });
    }
    return [single(source, format)];
  }
  const files: SourceFile[] = [];
  walk(source, (file) => {
    const known = formatOf(file);
    const found = format ?? known.format;
    if (found !== undefined) files.push({ path: file, format: found, gzip: known.gzip });
  });
  if (files.length > 0) return files;
  throw new PogoError(
    'DATA',
    `expected files ending in ${KNOWN} (or these with .gz) in ${source}, found none; name the format with --format`,
    { source },
  );
}

function single(file: string, format: SourceFormat | undefined): SourceFile {
  const known = formatOf(file);
  const found = format ?? known.format;
  if (found !== undefined) return { path: file, format: found, gzip: known.gzip };
  const ending = path.extname(file).toLowerCase();
  // A file without an ending that other data have is text.
  if (
    !['.json', '.csv', '.tsv', '.arrow', '.zst', '.zip', '.gz', '.bz2', '.xz', '.html', '.xml', '.pdf'].includes(ending)
  ) {
    return { path: file, format: 'text', gzip: false };
  }
  throw new PogoError(
    'DATA',
    `expected a file ending in ${KNOWN} (or one of these with .gz), found ${file}; convert it, or name the format with --format`,
    { source: file },
  );
}

function walk(folder: string, visit: (file: string) => void): void {
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(folder, { withFileTypes: true });
  } catch (cause) {
    throw PogoError.from(cause);
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue;
    const place = path.join(folder, entry.name);
    if (entry.isDirectory()) walk(place, visit);
    else if (entry.isFile()) visit(place);
  }
}
