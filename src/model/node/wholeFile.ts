/**
 * Whole files: written under another name and renamed, read and written in pieces. Node only.
 */

import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { PogoError } from '../../errors.js';
import { aboutTarget, makeDirectoryFor, removeAbandoned, unfinishedPath } from '../../files/durable.js';
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
  const temporary = unfinishedPath(path);
  const undo = makeDirectoryFor(realFiles, dirname(path));
  try {
    removeAbandoned(realFiles, dirname(path), basename(path));
    const file = await open(temporary, 'wx');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } catch (cause) {
    await rm(temporary, { force: true });
    undo();
    throw aboutTarget(PogoError.from(cause), temporary, path);
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
