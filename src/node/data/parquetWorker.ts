/**
 * The thread in which a Parquet file is decoded: what its library does with a file that was made to harm ends with this
 * thread. Posts {@link ParquetMessage}s; goes on with the next row group when it is asked to.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import type { SchemaTree } from 'hyparquet';
import { invariant, PogoError } from '../../errors.js';

/** What the thread is started with. */
export interface ParquetTask {
  readonly path: string;
  readonly column: string;
}

export type ParquetMessage =
  /** Texts of rows from `row` on, of so many; what is not a string of bytes is described. */
  | {
      readonly kind: 'rows';
      readonly row: number;
      readonly rows: number;
      readonly values: readonly (Uint8Array | null | { readonly found: string })[];
    }
  | { readonly kind: 'end' }
  | {
      readonly kind: 'error';
      readonly code: 'DATA' | 'IO';
      readonly message: string;
      readonly details: PogoError['details'];
    };

/** Largest page that is taken, bytes: writers make pages of about 1 MiB. */
const MAX_PAGE_BYTES = 2 ** 28;

async function decode({ path, column }: ParquetTask, post: (message: ParquetMessage) => Promise<void>): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await decodeFile(handle, path, column, post);
  } finally {
    await handle.close();
  }
}

async function decodeFile(
  handle: FileHandle,
  path: string,
  column: string,
  post: (message: ParquetMessage) => Promise<void>,
): Promise<void> {
  const [{ parquetMetadataAsync, parquetRead, parquetSchema }, { compressors: codecs }] = await Promise.all([
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
  const compressors = Object.fromEntries(
    Object.entries(codecs).map(([name, codec]) => [
      name,
      (bytes: Uint8Array, length: number) => {
        if (length > MAX_PAGE_BYTES) throw new RangeError(`a page of ${length} bytes, over ${MAX_PAGE_BYTES}`);
        return codec(bytes, length);
      },
    ]),
  );
  const metadata = await parquetMetadataAsync(file).catch((cause: unknown) => {
    throw damaged(path, cause);
  });
  let columns: readonly SchemaTree[];
  try {
    columns = parquetSchema(metadata).children;
  } catch (cause) {
    throw damaged(path, cause);
  }
  requireTextColumn(columns, path, column);
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
      throw damaged(path, cause);
    }
    const texts = values.map((value) => {
      if (value === null || value === undefined) return null;
      return value instanceof Uint8Array ? value : { found: `a ${typeof value}` };
    });
    await post({ kind: 'rows', row, rows: Number(metadata.num_rows), values: texts });
    row += rows;
  }
}

function damaged(path: string, cause: unknown): PogoError {
  if (cause instanceof PogoError) return cause;
  const reason = cause instanceof Error ? cause.message.slice(0, 200) : 'other bytes';
  return new PogoError('DATA', `expected a Parquet file at ${path}, found: ${reason}; fetch it again`, {
    source: path,
  });
}

/** @throws PogoError DATA naming the columns that there are */
function requireTextColumn(columns: readonly SchemaTree[], path: string, column: string): void {
  const found = columns.find(({ element }) => element.name === column);
  if (found !== undefined && found.children.length === 0 && found.element.type === 'BYTE_ARRAY') return;
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

const port = parentPort;
invariant(port !== null, 'parquetWorker is the program of a thread');
const post = (message: ParquetMessage): Promise<void> =>
  new Promise((resolve) => {
    port.once('message', () => resolve());
    port.postMessage(message);
  });
decode(workerData as ParquetTask, post).then(
  () => port.postMessage({ kind: 'end' } satisfies ParquetMessage),
  (cause: unknown) => {
    const { code, message, details } = PogoError.from(cause);
    const known = code === 'DATA' ? 'DATA' : 'IO';
    port.postMessage({ kind: 'error', code: known, message, details: { ...details } } satisfies ParquetMessage);
  },
);
