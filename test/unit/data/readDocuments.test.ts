/** Documents from files of every format, and what is said about files that hold something else. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, describe, expect, it } from 'vitest';
import { PogoError } from '../../../src/errors.js';
import { readDocuments, textOfLine } from '../../../src/node/data/readDocuments.js';
import { type SourceFormat, sourceFiles } from '../../../src/node/data/sources.js';
import { temporaryFolder } from '../../support/bundles.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder.path, name);
  writeFileSync(path, content);
  return path;
}

async function texts(path: string, field = 'text', format?: SourceFormat): Promise<string[]> {
  const found: string[] = [];
  for (const source of sourceFiles(path, format)) {
    for await (const document of readDocuments(source, { documents: 'section', field })) {
      expect(Buffer.from(document.bytes).toString('utf8')).toBe(document.text);
      found.push(document.text);
    }
  }
  return found;
}

function parquet(column: string, data: unknown[], rowGroupSize = 2): Uint8Array {
  const columnData = [
    { name: 'id', data: data.map((_, i) => i), type: 'INT32' as const },
    { name: column, data, type: 'STRING' as const, nullable: true },
  ];
  return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize }));
}

const strings = ['Call me Ishmael.', 'naïve 🐋', '', 'a\n\nb', 'x'.repeat(20_000)];

describe('documents', () => {
  it('come from text, JSON Lines and Parquet, compressed or not, in order', async () => {
    const lines = strings.map((text) => JSON.stringify({ id: 1, text })).join('\n');
    expect(await texts(file('a.jsonl', lines))).toEqual(strings);
    expect(await texts(file('b.ndjson', `${lines}\n\n`))).toEqual(strings);
    expect(await texts(file('c.jsonl.gz', gzipSync(lines)))).toEqual(strings);
    expect(await texts(file('d.parquet', parquet('text', strings)))).toEqual(strings);
    expect(await texts(file('e.parquet', parquet('body', [...strings, null])), 'body')).toEqual(strings);
    expect(await texts(file('f.txt', strings[3]!))).toEqual([strings[3]]);
    expect(await texts(file('g.txt.gz', gzipSync(strings[1]!)))).toEqual([strings[1]]);
    expect(await texts(file('h', 'no ending is text'))).toEqual(['no ending is text']);
    expect(await texts(file('bom.txt', '\ufeffwhale'))).toEqual(['whale']);
    expect(await texts(file('lines.json', lines), 'text', 'jsonl')).toEqual(strings);
  });

  it('of a folder come by name, whatever the order on disk, hidden files and links left out', async () => {
    const place = join(folder.path, 'tree');
    mkdirSync(join(place, 'b'), { recursive: true });
    for (const name of ['c.txt', 'a.md', 'b/z.txt', 'b/y.txt', '.hidden.txt', 'image.png']) {
      writeFileSync(join(place, name), name);
    }
    symlinkSync(join(place, 'c.txt'), join(place, 'd.txt'));
    expect(await texts(place)).toEqual(['a.md', 'b/y.txt', 'b/z.txt', 'c.txt']);
  });
});

describe('an error names file, place and what to do', () => {
  const bad: readonly (readonly [string, () => string, string | undefined, RegExp])[] = [
    [
      'a broken line',
      () => file('1.jsonl', '{"text":"a"}\n{"text":"b"\n{"text":"c"}'),
      undefined,
      /1\.jsonl, line 2, found.*mend the line/,
    ],
    [
      'a line without the field',
      () => file('2.jsonl', '{"body":"a"}'),
      undefined,
      /"text" of .*2\.jsonl, line 1, found the fields body; .*--field/,
    ],
    ['a field that is no text', () => file('3.jsonl', '{"text":3}'), undefined, /found a number/],
    [
      'a line that is no object',
      () => file('4.jsonl', '{"text":"a"}\n[1]'),
      undefined,
      /expected an object in .*line 2/,
    ],
    ['half a character', () => file('5.jsonl', '{"text":"a\\ud83d"}'), undefined, /half of one \(\\ud83d\)/],
    [
      'Latin-1 in a line',
      () => file('6.jsonl', Buffer.from('{"text":"a"}\n{"text":"\xe9t\xe9"}', 'latin1')),
      undefined,
      /6\.jsonl, line 2.*Latin-1.*iconv/,
    ],
    [
      'Latin-1 in a text',
      () => file('7.txt', Buffer.from(`${'whale '.repeat(90_000)}\xe9 `, 'latin1')),
      undefined,
      /7\.txt, found byte E9 at 540000.*Latin-1/,
    ],
    ['UTF-16', () => file('8.txt', Buffer.from('\ufeffwhale', 'utf16le')), undefined, /8\.txt.*UTF-16/],
    ['no Parquet', () => file('9.parquet', 'PAR1 is not enough'), undefined, /Parquet file at .*9\.parquet/],
    [
      'a damaged Parquet',
      () => file('10.parquet', parquet('text', strings).fill(7, 20, 200)),
      undefined,
      /10\.parquet/,
    ],
    [
      'a missing column',
      () => file('11.parquet', parquet('body', strings)),
      undefined,
      /column "text" of text in .*11\.parquet, found the columns id \(INT32\), body \(UTF8\); name .*--field/,
    ],
    ['a column of numbers', () => file('12.parquet', parquet('text', strings)), 'id', /column "id" of text/],
    ['no gzip', () => file('13.txt.gz', 'plain'), undefined, /gzip in .*13\.txt\.gz/],
    [
      'a cut gzip',
      () => file('14.txt.gz', gzipSync('whale '.repeat(9999)).subarray(0, 60)),
      undefined,
      /gzip in .*14\.txt\.gz/,
    ],
    ['an unknown ending', () => file('15.csv', 'a,b'), undefined, /15\.csv.*--format/],
  ];
  it.each(bad)('%s', async (_, make, field, message) => {
    const path = make();
    const error: unknown = await texts(path, field).catch((cause: unknown) => cause);
    expect(PogoError.from(error)).toMatchObject({ code: 'DATA', message: expect.stringMatching(message) });
  });

  it('a folder without texts, and a path without a file', async () => {
    const place = join(folder.path, 'none');
    mkdirSync(place);
    writeFileSync(join(place, 'a.png'), '');
    expect(() => sourceFiles(place)).toThrow(expect.objectContaining({ code: 'DATA' }));
    expect(() => sourceFiles(join(place, 'nothing'))).toThrow(expect.objectContaining({ code: 'IO' }));
  });
});

describe('hostile input', () => {
  const runs = Number(process.env['POGO_FUZZ_RUNS'] ?? 200);

  it('any line of JSON gives text or DATA', () => {
    const line = fc.oneof(
      fc.json(),
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc
        .record({ text: fc.oneof(fc.string({ unit: 'binary' }), fc.jsonValue()) })
        .map((value) => JSON.stringify(value)),
      fc.constantFrom('{"__proto__":{"text":"a"}}', '{"text":"a","text":1}', '{"text":"\\udc00"}'),
    );
    fc.assert(
      fc.property(line, (json) => {
        try {
          const text = textOfLine(json, 'text', 'line 1');
          expect(
            new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(new TextEncoder().encode(text)),
          ).toBe(text);
        } catch (error) {
          expect(PogoError.from(error).code).toBe('DATA');
        }
      }),
      { numRuns: runs },
    );
  });

  it('a Parquet file that is cut anywhere gives DATA', async () => {
    const good = parquet('text', strings.slice(0, 4));
    for (let length = 0; length < good.length; length += 23) {
      const error: unknown = await texts(file('cut.parquet', good.slice(0, length))).catch((cause: unknown) => cause);
      expect(PogoError.from(error).code, `${length} of ${good.length} bytes: ${error}`).toBe('DATA');
    }
  });
});
