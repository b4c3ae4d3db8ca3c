/**
 * Several files that say one thing together, such as the shards of a model and their index. One of them is the door:
 * readers find the others through it, so what has no door is nothing, and never a mixture of old and new.
 */
import * as path from 'node:path';
import type { FileLayer } from './fileLayer.js';

/** A file that is written and synced under another name of the same folder. */
export interface WholeFile {
  /** Where it is. */
  readonly whole: string;
  /** Where it goes; a plain file there is replaced. */
  readonly file: string;
}

export interface FileGroup {
  readonly door: WholeFile;
  /** Other files, in the door's folder. */
  readonly parts: readonly WholeFile[];
  /** Doors of an earlier group that are to go, of other names than {@link door}. */
  readonly oldDoors: readonly string[];
  /** Files of an earlier group that are to go, of other names than {@link parts}. */
  readonly oldParts: readonly string[];
}

/**
 * Gives the files of a group their names, the door last, and removes what is left of an earlier group.
 *
 * Where no part replaces another, the rename of the door decides: a process that dies before leaves the earlier group
 * whole, one that dies after leaves the new one. Where a part replaces another, the old doors are removed first, so that
 * one that dies leaves the earlier group, no door, or the new group. The same call with `--force` mends each of them.
 *
 * @throws PogoError IO where the file system refuses
 */
export function placeGroup({ door, parts, oldDoors, oldParts }: FileGroup, layer: FileLayer): void {
  const folder = path.dirname(path.resolve(door.file));
  const remove = (files: readonly string[]): void => {
    const there = files.filter((file) => layer.status(file) !== undefined);
    for (const file of there) layer.remove(file);
    // Names of later renames must not reach the disk before these are gone from it.
    if (there.length > 0) layer.syncDirectory(folder);
  };
  if (parts.some(({ file }) => layer.status(file) !== undefined)) remove([door.file, ...oldDoors]);
  for (const { whole, file } of parts) layer.rename(whole, file);
  if (parts.length > 0) layer.syncDirectory(folder);
  layer.rename(door.whole, door.file);
  layer.syncDirectory(folder);
  remove(oldDoors);
  remove(oldParts);
}
