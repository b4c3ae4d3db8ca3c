/** Parquet files that were made to harm: the reader ends, with documents or with an error that names the file. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, expect, test } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { readParquetTexts } from '../../../src/node/data/parquet.js';
import { temporaryFolder } from '../../support/bundles.js';

/** Each run starts a thread. */
const RUNS = Number(process.env['POGO_FUZZ_RUNS'] ?? 40);

const folder = temporaryFolder();
afterAll(() => folder.remove());

const rows = Array.from({ length: 40 }, (_, n) => `Row ${n % 7}: ${'water '.repeat(n % 5)}`);
const columnData = [{ name: 'text', data: rows, type: 'STRING' as const }];
const whole = new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 16 }));

async function outcome(name: string, bytes: Uint8Array, patienceMs?: number): Promise<string[] | PogoError> {
  const path = join(folder.path, name);
  writeFileSync(path, bytes);
  const texts: string[] = [];
  try {
    for await (const { text } of readParquetTexts(path, 'text', patienceMs)) texts.push(text);
    return texts;
  } catch (error) {
    if (!(error instanceof PogoError)) throw error;
    expect(error.message).toContain(path);
    return error;
  }
}

test('a file that is as it was written gives its rows', async () => {
  expect(await outcome('whole.parquet', whole)).toEqual(rows);
});

test('mutated files give documents, or an error DATA or IO that names the file', async () => {
  const change = fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }));
  const law = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), fc.nat(3), async (changes, cut) => {
    const bytes = whole.slice(0, whole.length - cut);
    for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
    const found = await outcome('mutated.parquet', bytes);
    if (found instanceof PogoError) expect(['DATA', 'IO']).toContain(found.code);
    else expect(found.every((text) => typeof text === 'string')).toBe(true);
  });
  await fc.assert(law, { numRuns: RUNS, seed: 7 });
}, 240_000);

test('a reader that gives no row group in time is ended', async () => {
  // No file is read in a millisecond: a thread takes longer to start.
  const found = await outcome('slow.parquet', whole, 1);
  expect(found).toMatchObject({ code: 'DATA', message: expect.stringContaining('keeps its reader busy') });
});
