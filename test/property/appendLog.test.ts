import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PogoError } from '../../src/errors.js';
import { AppendLog } from '../../src/files/appendLog.js';
import { equalBytes } from '../../src/hex.js';
import { crashSweep } from '../support/crashSweep.js';
import { FaultFiles } from '../support/faultFiles.js';
import { seededBytes } from '../support/random.js';

const FILE = '/run/steps.log';

function emptyDisk(): FaultFiles {
  const files = new FaultFiles();
  files.makeDirectory('/run');
  return files;
}

function logWith(records: readonly Uint8Array[]): FaultFiles {
  const files = emptyDisk();
  const log = AppendLog.open(files, FILE);
  for (const record of records) log.append(record);
  log.close();
  return files;
}

/** As `toEqual` of byte strings, a hundred times faster: the sweep compares tens of thousands of them. */
function sameRecords(found: readonly Uint8Array[], expected: readonly Uint8Array[]): boolean {
  return found.length === expected.length && found.every((bytes, index) => equalBytes(bytes, expected[index]!));
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof PogoError ? error.code : `not a PogoError: ${String(error)}`;
  }
  return 'nothing thrown';
}

describe('AppendLog', () => {
  it('gives back what was appended, in order, over any number of reopenings', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 4 }), { maxLength: 4 }),
        (sessions) => {
          const files = emptyDisk();
          const expected: Uint8Array[] = [];
          for (const session of sessions) {
            const log = AppendLog.open(files, FILE);
            expect(log.records).toEqual(expected);
            for (const record of session) {
              log.append(record);
              expected.push(record);
            }
            log.close();
          }
          if (sessions.length > 0) expect(AppendLog.read(files, FILE)).toEqual(expected);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('loses nothing that append returned for, at every byte of every crash, and goes on afterwards', async () => {
    // Lengths around the sector size, so that records share sectors, fill them and cross them.
    const records = [0, 5, 463, 1, 511, 700].map((length, index) => seededBytes(length, index));
    let returned = 0;
    const crashes = await crashSweep(
      (files) => files.makeDirectory('/run'),
      (files) => {
        returned = 0;
        const log = AppendLog.open(files, FILE);
        for (const record of records) {
          log.append(record);
          returned += 1;
        }
        log.close();
      },
      (files) => {
        const log = AppendLog.open(files, FILE);
        expect(log.records.length).toBeGreaterThanOrEqual(returned);
        expect(log.records.length).toBeLessThanOrEqual(returned + 1);
        const expected = records.slice(0, log.records.length);
        expect(sameRecords(log.records, expected)).toBe(true);
        log.append(Uint8Array.of(7));
        log.close();
        expect(sameRecords(AppendLog.read(files, FILE), [...expected, Uint8Array.of(7)])).toBe(true);
      },
      5,
    );
    expect(crashes).toBeGreaterThan(4 * 300);
  });

  it('reports a changed byte of a committed record as CORRUPT with the offset of its record', () => {
    const records = [seededBytes(40, 1), seededBytes(3, 2), seededBytes(90, 3)];
    const size = records.reduce((sum, record) => sum + record.length + 49, 0);
    for (let at = 0; at < size; at += 1) {
      const files = logWith(records);
      files.damage(FILE, (bytes) => {
        bytes[at]! ^= 0x10;
        return bytes;
      });
      const offset = at < 89 ? 0 : at < 141 ? 89 : 141;
      try {
        AppendLog.open(files, FILE);
        expect.unreachable(`byte ${at} was accepted`);
      } catch (error) {
        expect(error).toMatchObject({ code: 'CORRUPT', details: { offset } });
      }
    }
  });

  it('does not take a zeroed sector in the middle for a torn tail', () => {
    const records = [seededBytes(600, 1), seededBytes(600, 2), seededBytes(600, 3)];
    for (const sector of [0, 512, 1024]) {
      const files = logWith(records);
      files.damage(FILE, (bytes) => bytes.fill(0, sector, sector + 512));
      expect(codeOf(() => AppendLog.open(files, FILE))).toBe('CORRUPT');
    }
  });

  it('refuses a record moved to another place', () => {
    const files = logWith([seededBytes(20, 1), seededBytes(20, 2)]);
    files.damage(FILE, (bytes) => {
      const swapped = bytes.slice();
      swapped.set(bytes.subarray(69), 0);
      swapped.set(bytes.subarray(0, 69), 69);
      return swapped;
    });
    expect(codeOf(() => AppendLog.open(files, FILE))).toBe('CORRUPT');
  });

  it('is unchanged by a full disk and usable once there is room', () => {
    const files = emptyDisk();
    const log = AppendLog.open(files, FILE);
    log.append(Uint8Array.of(1));
    for (let room = 0; room < 149; room += 7) {
      files.capacity = log.bytes + room;
      expect(codeOf(() => log.append(seededBytes(100, 4)))).toBe('IO');
      expect(AppendLog.read(files, FILE)).toEqual([Uint8Array.of(1)]);
    }
    files.capacity = Number.POSITIVE_INFINITY;
    log.append(Uint8Array.of(2));
    expect(AppendLog.read(files, FILE)).toEqual([Uint8Array.of(1), Uint8Array.of(2)]);
  });

  it('stops after a failed sync until it is opened again', () => {
    const files = emptyDisk();
    const log = AppendLog.open(files, FILE);
    files.failSync = true;
    expect(codeOf(() => log.append(Uint8Array.of(1)))).toBe('IO');
    files.failSync = false;
    expect(codeOf(() => log.append(Uint8Array.of(2)))).toBe('IO');
    const again = AppendLog.open(files, FILE);
    expect(again.records.length).toBeLessThanOrEqual(1);
    again.append(Uint8Array.of(3));
    expect(AppendLog.read(files, FILE).at(-1)).toEqual(Uint8Array.of(3));
  });

  it('answers any bytes with records or an error, never with bytes that were not appended', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => {
        const files = emptyDisk();
        const handle = files.open(FILE, 'exclusive');
        handle.write(garbage, 0);
        handle.close();
        try {
          expect(AppendLog.open(files, FILE).records).toEqual([]);
        } catch (error) {
          expect(error).toMatchObject({ code: 'CORRUPT' });
        }
      }),
    );
  });
});
