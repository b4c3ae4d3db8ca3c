/**
 * Texts of a Parquet file, by `hyparquet` (pure JavaScript; Snappy, Zstandard, gzip, Brotli, LZ4): one column, one row
 * group after the other.
 *
 * The library trusts its files, so it works in a thread with limited memory that must give a row group in time: a file
 * that was made to harm ends in an error, not in a process that hangs.
 */
import { open } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { compiledThread } from '../../backend/packageRoot.js';
import { PogoError } from '../../errors.js';
import { documentText } from '../../model/documents.js';
import type { ParquetMessage, ParquetTask } from './parquetWorker.js';
import type { Document } from './readDocuments.js';

/** JavaScript heap of the thread. Pages and texts lie outside of it, and are bounded by the file and by the page limit. */
const MAX_HEAP_MIB = 2048;
/** Patience for the next row group: a fixed part, and a second for so many bytes of the file. */
const PATIENCE_MS = 30_000;
const BYTES_A_SECOND = 2 ** 20;
/** A row group is at most about 1 GiB where writers are sane: more of the file gives no more patience. */
const MAX_GROUP_BYTES = 2 ** 30;

/** @throws PogoError DATA for a file that is no Parquet, a column that is missing or holds no text; IO */
export async function* readParquetTexts(path: string, column: string, patienceMs?: number): AsyncGenerator<Document> {
  const size = await sizeOf(path);
  const patience = patienceMs ?? PATIENCE_MS + (1e3 * Math.min(size, MAX_GROUP_BYTES)) / BYTES_A_SECOND;
  const worker = new Worker(
    compiledThread(new URL('./parquetWorker.js', import.meta.url), 'thread', 'node', 'data', 'parquetWorker.js'),
    {
      workerData: { path, column } satisfies ParquetTask,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
    },
  );
  // While nobody waits for a message the thread waits, too: an error then has no reader.
  worker.on('error', () => undefined);
  try {
    for (let next = message(worker, path, patience); ; ) {
      const received = await next;
      if (received.kind === 'end') return;
      if (received.kind === 'error') throw new PogoError(received.code, received.message, received.details);
      const { row, rows, values } = received;
      for (const [i, value] of values.entries()) {
        if (value === null) continue;
        const source = `${path}, row ${row + i}`;
        if (!(value instanceof Uint8Array)) {
          throw new PogoError(
            'DATA',
            `expected text in column ${JSON.stringify(column)} of ${source}, found ${value.found}`,
            { source },
          );
        }
        const position = Math.floor((size * (row + i + 1)) / rows);
        yield { text: documentText(value, source, 0), bytes: value, position };
      }
      // One row group is decoded at a time: the thread waits until this one is used up.
      next = message(worker, path, patience);
      worker.postMessage('next');
    }
  } finally {
    await worker.terminate();
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    const handle = await open(path, 'r');
    try {
      return (await handle.stat()).size;
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw PogoError.from(cause);
  }
}

/** The thread's next message, in time. */
function message(worker: Worker, path: string, patienceMs: number): Promise<ParquetMessage> {
  const harmful = (found: string): PogoError =>
    new PogoError(
      'DATA',
      `expected a Parquet file at ${path} that can be read, found one ${found}: write it again with a trusted tool`,
      { source: path },
    );
  return new Promise<ParquetMessage>((resolve, reject) => {
    const timer = setTimeout(() => {
      settle();
      reject(harmful(`that keeps its reader busy for ${Math.round(patienceMs / 1e3)} s without a row group`));
    }, patienceMs);
    const onMessage = (received: ParquetMessage): void => {
      settle();
      resolve(received);
    };
    const onError = (cause: Error): void => {
      settle();
      const { code } = cause as NodeJS.ErrnoException;
      const full = code === 'ERR_WORKER_OUT_OF_MEMORY';
      reject(
        harmful(full ? `that asks for more than ${MAX_HEAP_MIB} MiB` : `that breaks its reader (${cause.message})`),
      );
    };
    const onExit = (): void => {
      settle();
      reject(harmful('that ends its reader'));
    };
    const settle = (): void => {
      clearTimeout(timer);
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
    };
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  });
}
