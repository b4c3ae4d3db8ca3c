/**
 * Texts of a Parquet file, by `hyparquet` (pure JavaScript; Snappy, Zstandard, gzip, Brotli, LZ4): one column, one row
 * group after the other.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { PogoError } from '../../errors.js';
import { documentText } from '../../model/documents.js';
import type { Document } from './readDocuments.js';

/** @throws PogoError DATA for a file that is no Parquet, a column that is missing or holds no text; IO */
export async function* readParquetTexts(path: string, column: string): AsyncGenerator<Document> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    yield* readTexts(handle, path, column);
  } catch (cause) {
    throw PogoError.from(cause);
  } finally {
    await handle?.close();
  }
}

async function* readTexts(handle: FileHandle, path: string, column: string): AsyncGenerator<Document> {
  const [{ parquetMetadataAsync, parquetRead, parquetSchema }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ]);
  const { size } = await handle.stat();
  const file = {
    byteLength: size,
    async slice(start: number, end = size): Promise<ArrayBuffer> {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start));
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, start);
      if (bytesRead !== bytes.length) throw new PogoError('IO', `${path} was cut while it was read; try again`);
      return bytes.buffer;
    },
  };
  const damaged = (cause: unknown): PogoError => {
    if (cause instanceof PogoError) return cause;
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : 'other bytes';
    return new PogoError(
      'DATA',
      `expected a Parquet file at ${path}, found: ${reason}; fetch it again`,
      { source: path },
      cause,
    );
  };
  const metadata = await parquetMetadataAsync(file).catch((cause: unknown) => {
    throw damaged(cause);
  });
  const columns = parquetSchema(metadata).children;
  const found = columns.find(({ element }) => element.name === column);
  if (found === undefined || found.children.length > 0 || found.element.type !== 'BYTE_ARRAY') {
    const names = columns.map(
      ({ element }) => `${element.name} (${element.converted_type ?? element.type ?? 'a group'})`,
    );
    throw new PogoError(
      'DATA',
      `expected a column ${JSON.stringify(column)} of text in ${path}, found the columns ${names.join(', ').slice(0, 400)}; ` +
        'name the column with --field',
      { source: path, field: column },
    );
  }
  let row = 0;
  for (const group of metadata.row_groups) {
    const rows = Number(group.num_rows);
    let values: unknown[] = [];
    try {
      await parquetRead({
        file,
        metadata,
        columns: [column],
        rowStart: row,
        rowEnd: row + rows,
        compressors,
        rowFormat: 'array',
        // The bytes as they are: the library would put U+FFFD for what is not UTF-8.
        parsers: { stringFromBytes: (bytes: Uint8Array) => bytes },
        utf8: false,
        onComplete: (found: unknown[][]) => {
          values = found.map(([value]) => value);
        },
      } as Parameters<typeof parquetRead>[0]);
    } catch (cause) {
      throw damaged(cause);
    }
    for (const [i, value] of values.entries()) {
      if (value === null || value === undefined) continue;
      const source = `${path}, row ${row + i}`;
      if (!(value instanceof Uint8Array)) {
        throw new PogoError(
          'DATA',
          `expected text in column ${JSON.stringify(column)} of ${source}, found a ${typeof value}`,
          { source },
        );
      }
      const position = Math.floor((size * (row + i + 1)) / Number(metadata.num_rows));
      yield { text: documentText(value, source, 0), bytes: value, position };
    }
    row += rows;
  }
}
