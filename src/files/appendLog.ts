/**
 * A log of records that survives death at any byte: what `append` returned for is there after a restart, what it did
 * not return for is either there in full or gone, and damage to committed records is an error, never a shorter log.
 *
 * Format of a record at file offset o (little-endian):
 *
 * | bytes | field |
 * |---|---|
 * | 4 | magic 0x474C4F50 |
 * | 4 | length n of the payload |
 * | 8 | BLAKE3(magic ‖ length ‖ u64 o), first 8 bytes: a header cannot be moved, and a broken length is told from a cut |
 * | n | payload |
 * | 32 | BLAKE3(header ‖ payload) |
 * | 1 | end mark 0xA5: the last byte of a complete record is never zero, as the bytes of an unwritten sector are |
 *
 * A record is synced before the next one starts, so only the last can be incomplete. It counts as *torn* if the file
 * ends inside it or one of its disk sectors reads as zeros (written length, unwritten data: what power loss leaves);
 * anything else that does not check is corruption and names its offset.
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { equalBytes } from '../hex.js';
import { hashBytes } from './digest.js';
import type { FileLayer, OpenFile } from './fileLayer.js';

const MAGIC = 0x474c4f50;
const HEADER_BYTES = 16;
const TRAILER_BYTES = 33;
const END_MARK = 0xa5;
const SECTOR_BYTES = 512;

/** Largest payload of a record, bytes. */
export const MAX_RECORD_BYTES = 64 * 2 ** 20;

function header(length: number, offset: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, length, true);
  const bound = new Uint8Array(16);
  bound.set(bytes.subarray(0, 8));
  new DataView(bound.buffer).setBigUint64(8, BigInt(offset), true);
  bytes.set(hashBytes(bound).subarray(0, 8), 8);
  return bytes;
}

/** The payload length if `bytes` is the header of a record at `offset`. */
function readHeader(bytes: Uint8Array, offset: number): number | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (view.getUint32(0, true) !== MAGIC) return undefined;
  const length = view.getUint32(4, true);
  if (length > MAX_RECORD_BYTES || !equalBytes(bytes.subarray(0, HEADER_BYTES), header(length, offset)))
    return undefined;
  return length;
}

export class AppendLog {
  readonly #file: OpenFile;
  readonly #path: string;
  #end: number;
  /** Set after a failure whose effect on the disk is unknown; only a new `open` may go on. */
  #broken = false;
  /** The payloads found on opening, in order. */
  readonly records: readonly Uint8Array[];
  /** Bytes of a torn last record that were cut off on opening. */
  readonly tornBytes: number;

  private constructor(file: OpenFile, name: string, end: number, records: Uint8Array[], tornBytes: number) {
    this.#file = file;
    this.#path = name;
    this.#end = end;
    this.records = records;
    this.tornBytes = tornBytes;
  }

  /**
   * Opens or creates a log and cuts a torn tail. The caller holds the directory's lock.
   *
   * @throws PogoError CORRUPT naming the offset of the first record that is damaged, IO
   */
  static open(layer: FileLayer, file: string): AppendLog {
    const isNew = layer.status(file) === undefined;
    const handle = layer.open(file, 'update');
    try {
      if (isNew) layer.syncDirectory(path.dirname(file));
      const scan = scanLog(handle, file);
      if (scan.torn > 0) {
        handle.truncate(scan.end);
        handle.sync();
      }
      return new AppendLog(handle, file, scan.end, scan.records, scan.torn);
    } catch (error) {
      handle.close();
      throw error;
    }
  }

  /**
   * Reads a log without changing it: for other processes, while its owner may be appending. A torn tail is left out.
   *
   * @throws PogoError CORRUPT, IO
   */
  static read(layer: FileLayer, file: string): Uint8Array[] {
    const handle = layer.open(file, 'read');
    try {
      return scanLog(handle, file).records;
    } finally {
      handle.close();
    }
  }

  /** Bytes of all complete records. */
  get bytes(): number {
    return this.#end;
  }

  /**
   * Appends one record; when it returns, the record survives power loss. After a failed write (a full disk) the log is
   * as before and may be used again; after a failed sync it must be reopened, since nobody knows what the disk holds.
   *
   * @throws PogoError IO, RANGE if the payload is over {@link MAX_RECORD_BYTES}
   */
  append(payload: Uint8Array): void {
    if (this.#broken) {
      throw new PogoError('IO', `${this.#path}: an earlier write failed: open the log again`, { path: this.#path });
    }
    if (payload.length > MAX_RECORD_BYTES) {
      throw new PogoError('RANGE', `log record: expected at most ${MAX_RECORD_BYTES} bytes, found ${payload.length}`);
    }
    const record = new Uint8Array(HEADER_BYTES + payload.length + TRAILER_BYTES);
    record.set(header(payload.length, this.#end));
    record.set(payload, HEADER_BYTES);
    record.set(hashBytes(record.subarray(0, HEADER_BYTES + payload.length)), HEADER_BYTES + payload.length);
    record[record.length - 1] = END_MARK;
    this.#broken = true;
    try {
      this.#file.write(record, this.#end);
    } catch (error) {
      this.#file.truncate(this.#end);
      this.#file.sync();
      this.#broken = false;
      throw error;
    }
    this.#file.sync();
    this.#broken = false;
    this.#end += record.length;
  }

  close(): void {
    this.#broken = true;
    this.#file.close();
  }
}

interface Scan {
  readonly records: Uint8Array[];
  readonly end: number;
  readonly torn: number;
}

function scanLog(handle: OpenFile, name: string): Scan {
  const size = handle.size();
  const records: Uint8Array[] = [];
  let offset = 0;
  const head = new Uint8Array(HEADER_BYTES);
  while (offset < size) {
    const found = handle.read(head, offset);
    const length = readHeader(head.subarray(0, found), offset);
    if (length === undefined) {
      const cut = found < HEADER_BYTES || hasUnwrittenSector(handle, offset, Math.min(size, offset + HEADER_BYTES));
      if (!cut || recordFollows(handle, offset + 1, size)) throw corrupt(name, offset, records.length);
      break;
    }
    const total = HEADER_BYTES + length + TRAILER_BYTES;
    if (offset + total > size) break;
    const record = new Uint8Array(total);
    handle.read(record, offset);
    const body = HEADER_BYTES + length;
    const good =
      equalBytes(hashBytes(record.subarray(0, body)), record.subarray(body, body + 32)) &&
      record[total - 1] === END_MARK;
    if (!good) {
      const last = offset + total === size;
      if (!last || !hasUnwrittenSector(handle, offset, size)) throw corrupt(name, offset, records.length);
      break;
    }
    records.push(record.slice(HEADER_BYTES, body));
    offset += total;
  }
  return { records, end: offset, torn: size - offset };
}

/** Whether some sector's part of [start, end) is all zeros: what a lost write of a grown file reads as. */
function hasUnwrittenSector(handle: OpenFile, start: number, end: number): boolean {
  const bytes = new Uint8Array(end - start);
  handle.read(bytes, start);
  for (let from = start; from < end; ) {
    const to = Math.min(end, (Math.floor(from / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    if (bytes.subarray(from - start, to - start).every((value) => value === 0)) return true;
    from = to;
  }
  return false;
}

/** Whether a record starts anywhere in [start, size): then what stands before it was once synced. */
function recordFollows(handle: OpenFile, start: number, size: number): boolean {
  const bytes = new Uint8Array(Math.max(0, size - start));
  handle.read(bytes, start);
  for (let at = 0; at + HEADER_BYTES <= bytes.length; at += 1) {
    if (bytes[at] === (MAGIC & 0xff) && readHeader(bytes.subarray(at), start + at) !== undefined) return true;
  }
  return false;
}

function corrupt(name: string, offset: number, records: number): PogoError {
  return new PogoError(
    'CORRUPT',
    `${name}: expected a complete record at byte ${offset} (after ${records} good ones), found damaged bytes: ` +
      'restore the file from a copy, or remove the run folder and start again',
    { path: name, offset, records },
  );
}
