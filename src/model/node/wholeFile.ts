/**
 * Whole files: written under another name and renamed, read and written in pieces. Node only.
 */

import { type FileHandle, open, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { PogoError } from '../../errors.js';
import { aboutTarget, makeDirectoryFor, removeAbandoned, unfinishedPath } from '../../files/durable.js';
import { type FileGroup, placeGroup, type WholeFile } from '../../files/fileGroup.js';
import { realFiles } from '../../files/fileLayer.js';

/** One system call moves at most this: Node and Linux refuse more than 2 GiB. */
const PIECE_BYTES = 1 << 26;

/**
 * Writes a file that exists in full or not at all: a temporary name in the same folder, synced, renamed, and the
 * folder synced.
 *
 * @param write writes the content through the handle, at positions
 * @throws PogoError IO where the file system refuses; the old file is then unchanged
 */
export async function writeAtomically(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const undo = makeDirectoryFor(realFiles, dirname(path));
  let whole: string | undefined;
  try {
    removeAbandoned(realFiles, dirname(path), basename(path));
    whole = await writeUnfinished(path, write);
    realFiles.rename(whole, path);
    realFiles.syncDirectory(dirname(path));
  } catch (cause) {
    if (whole !== undefined) await rm(whole, { force: true });
    undo();
    throw PogoError.from(cause);
  }
}

/**
 * Writes a file under an unfinished name beside the one that it is to get, and syncs it.
 *
 * @returns the name
 * @throws PogoError IO, about `path`, where the file system refuses; nothing is left then
 */
export async function writeUnfinished(path: string, write: (file: FileHandle) => Promise<void>): Promise<string> {
  const unfinished = unfinishedPath(path);
  try {
    const file = await open(unfinished, 'wx');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    return unfinished;
  } catch (cause) {
    await rm(unfinished, { force: true });
    throw aboutTarget(PogoError.from(cause, path), unfinished, path);
  }
}

/** A file to be written. */
export interface NewFile {
  readonly file: string;
  /** Writes the content through the handle, at positions. */
  readonly write: (handle: FileHandle) => Promise<void>;
}

/** A small file's content in memory. */
export function fileOf(file: string, content: Uint8Array | string): NewFile {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return { file, write: (handle) => writeAll(handle, bytes, 0) };
}

/**
 * Writes files that say one thing together: all are written and synced under unfinished names before the first gets its
 * own, in the order of {@link placeGroup}.
 *
 * @param door the file through which readers find the others
 * @param old what is left of an earlier group, as `placeGroup` takes it
 * @throws PogoError IO; where a file could not be written, what was there is unchanged
 */
export async function writeGroup(
  parts: readonly NewFile[],
  door: NewFile,
  old: Pick<FileGroup, 'oldDoors' | 'oldParts'> = { oldDoors: [], oldParts: [] },
): Promise<void> {
  const folder = dirname(door.file);
  const undo = makeDirectoryFor(realFiles, folder);
  const written: WholeFile[] = [];
  try {
    for (const { file } of [...parts, door]) removeAbandoned(realFiles, folder, basename(file));
    for (const { file, write } of [...parts, door]) written.push({ file, whole: await writeUnfinished(file, write) });
    placeGroup({ parts: written.slice(0, -1), door: written[written.length - 1], ...old }, realFiles);
  } catch (cause) {
    for (const { whole } of written) await rm(whole, { force: true });
    undo();
    throw PogoError.from(cause);
  }
}

/** Writes all bytes at a position of the file. @param bytes may lie on shared memory */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(bytes.length - at, PIECE_BYTES);
    const { bytesWritten } = await file.write(bytes, at, length, position + at);
    at += bytesWritten;
  }
}

/** Fills `bytes` from a position of the file. @returns false if the file ends before */
export async function readAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<boolean> {
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(bytes.length - at, PIECE_BYTES);
    const { bytesRead } = await file.read(bytes, at, length, position + at);
    if (bytesRead === 0) return false;
    at += bytesRead;
  }
  return true;
}
