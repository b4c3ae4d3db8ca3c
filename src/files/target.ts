/**
 * Files and folders that a user named to be written. What is there stays, unless the user said that it may go; work is
 * refused before it is done. Files are there in full or not at all ({@link writeFileAtomic}).
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { makeDirectoryFor, removeAbandoned, unfinishedPath, writeFileAtomic } from './durable.js';
import { type FileLayer, readWholeFile, realFiles, removeTree } from './fileLayer.js';

function taken(target: string, expected: string, found: string, advice: string): PogoError {
  return new PogoError('IO', `expected ${expected} at ${target}, found ${found}; ${advice}`, { path: target });
}

/** Links are not followed: neither the link nor what it leads to is what the user sees at that name. */
const OTHER = 'a symbolic link, pipe or device';

/**
 * An empty file is none: `mktemp` leaves one that is to be written.
 *
 * @param force a file may be replaced; nothing else ever is
 * @throws PogoError IO for a name that is taken
 */
export function requireFreeFile(file: string, force = false, layer: FileLayer = realFiles): void {
  const status = layer.status(file);
  if (status === undefined || (status.kind === 'file' && (force || status.size === 0))) return;
  if (status.kind === 'directory') throw taken(file, 'no folder', 'one', 'name a file in it');
  if (status.kind === 'other') throw taken(file, 'a plain file or nothing', OTHER, 'name another file');
  throw taken(file, 'nothing', `a file of ${status.size} bytes`, 'name another, or replace it with --force');
}

/**
 * Writes a file with its missing folders, crash-safe. A file with the same bytes is left as it is.
 *
 * @throws PogoError IO for a name that is taken, or where the file system refuses: what was there is unchanged then
 */
export function writeTarget(file: string, bytes: Uint8Array, force = false, layer: FileLayer = realFiles): void {
  if (holds(layer, file, bytes)) return;
  requireFreeFile(file, force, layer);
  const folder = path.dirname(file);
  const undo = makeDirectoryFor(layer, folder);
  try {
    removeAbandoned(layer, folder, path.basename(file));
    writeFileAtomic(layer, file, bytes);
  } catch (error) {
    undo();
    throw error;
  }
}

/** What {@link writeTarget} checks first, for several files of which all or none are to be written. @throws PogoError IO */
export function requireTarget(file: string, bytes: Uint8Array, force = false, layer: FileLayer = realFiles): void {
  if (!holds(layer, file, bytes)) requireFreeFile(file, force, layer);
}

function holds(layer: FileLayer, file: string, bytes: Uint8Array): boolean {
  const status = layer.status(file);
  if (status?.kind !== 'file' || status.size !== bytes.length) return false;
  return Buffer.compare(readWholeFile(layer, file, bytes.length), bytes) === 0;
}

/** What a folder may hold to be replaced. */
export interface FolderKind {
  /** For messages: `a state`. */
  readonly name: string;
  /** Its files; a folder with any other is never removed. */
  readonly files: readonly string[];
}

/**
 * @param force a folder of the kind may be replaced
 * @throws PogoError IO for a name that is taken
 */
export function requireFreeFolder(folder: string, kind: FolderKind, force = false, layer: FileLayer = realFiles): void {
  const status = layer.status(folder);
  if (status === undefined) return;
  if (status.kind !== 'directory') {
    throw taken(folder, 'a folder or nothing', status.kind === 'file' ? 'a file' : OTHER, 'name another folder');
  }
  const inside = layer.list(folder);
  const other = inside.find((name) => !kind.files.includes(name));
  if (inside.length === 0 || (force && other === undefined)) return;
  const advice = other === undefined ? 'name another, or replace it with --force' : 'name another folder';
  throw taken(folder, 'nothing', other === undefined ? kind.name : `a folder with ${other}`, advice);
}

/**
 * Gives a whole folder its name. What {@link requireFreeFolder} let be replaced is moved aside before and removed after: a
 * process that dies between the two renames leaves both under unfinished names, which the next one that gets there removes.
 */
export function placeFolder(whole: string, folder: string, layer: FileLayer = realFiles): void {
  const old = layer.status(folder) !== undefined && layer.list(folder).length > 0 ? unfinishedPath(folder) : undefined;
  if (old !== undefined) layer.rename(folder, old);
  try {
    layer.rename(whole, folder);
  } catch (error) {
    if (old !== undefined) layer.rename(old, folder);
    throw error;
  }
  const parent = path.dirname(path.resolve(folder));
  layer.syncDirectory(parent);
  if (old !== undefined) removeTree(layer, old);
  removeAbandoned(layer, parent, path.basename(folder));
}
