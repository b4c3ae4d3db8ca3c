/** Files that are either there in full or not there at all, whatever byte the process dies at. */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import type { FileLayer } from './fileLayer.js';
import { isProcess } from './lock.js';

/** Names with this prefix are unfinished; {@link removeUnfinished} clears those of dead processes. */
export const UNFINISHED_PREFIX = '.unfinished-';

let counter = 0;

/** A fresh unfinished name beside `target`: same directory, so that the rename cannot cross file systems. */
export function unfinishedPath(target: string): string {
  counter += 1;
  return path.join(path.dirname(target), `${UNFINISHED_PREFIX}${path.basename(target)}-${process.pid}-${counter}`);
}

/**
 * Writes `parts`, one after the other, as the whole content of `file`: new file, sync, rename, sync of the directory.
 * After it returns the content survives power loss; if it throws, the old content (or absence) is unchanged.
 *
 * @throws PogoError IO (full disk, no permission, …)
 */
export function writeFileAtomic(layer: FileLayer, file: string, ...parts: readonly Uint8Array[]): void {
  writeFileUnlisted(layer, file, parts);
  layer.syncDirectory(path.dirname(file));
}

/** As {@link writeFileAtomic}, but durable only once the caller has synced the directory: one sync for several files. */
export function writeFileUnlisted(layer: FileLayer, file: string, parts: Iterable<Uint8Array>): void {
  const unfinished = unfinishedPath(file);
  try {
    const handle = layer.open(unfinished, 'exclusive');
    try {
      let position = 0;
      for (const part of parts) {
        handle.write(part, position);
        position += part.length;
      }
      handle.sync();
    } finally {
      handle.close();
    }
    layer.rename(unfinished, file);
  } catch (error) {
    removeQuietly(layer, unfinished);
    throw aboutTarget(error, unfinished, file);
  }
}

/** An error about an unfinished name as one about the name that the caller gave. */
export function aboutTarget(error: unknown, unfinished: string, target: string): unknown {
  if (!(error instanceof PogoError) || error.details['path'] !== unfinished) return error;
  const details = { ...error.details, path: target };
  return new PogoError(error.code, error.message.replaceAll(unfinished, target), details, error);
}

/** Best effort on the way out of an error that is already being thrown: the first error is the one to report. */
function removeQuietly(layer: FileLayer, file: string): void {
  try {
    layer.remove(file);
  } catch {
    // The next start's removeUnfinished tries again.
  }
}

/** Removes what dead processes left half-written in `directory`. Call it only while holding the directory's lock. */
export function removeUnfinished(layer: FileLayer, directory: string): void {
  for (const name of layer.list(directory)) {
    if (name.startsWith(UNFINISHED_PREFIX)) removeFileOrFolder(layer, path.join(directory, name));
  }
}

/** The end of a name of {@link unfinishedPath}: who writes. */
const WRITER = /-(\d+)-\d+$/;

/**
 * As {@link removeUnfinished} for a directory with several writers, all on this machine: what a living process may still
 * be writing stays, this one included, and so does what does not say who wrote it. An id that another process has by now
 * keeps a leftover until that process is gone.
 *
 * @param of what was to be written; everything when left out
 */
export function removeAbandoned(layer: FileLayer, directory: string, of = ''): void {
  const start = of === '' ? UNFINISHED_PREFIX : `${UNFINISHED_PREFIX}${of}-`;
  for (const name of layer.list(directory)) {
    if (!name.startsWith(start)) continue;
    const writer = WRITER.exec(name)?.[1];
    if (writer !== undefined && !isProcess(Number(writer))) removeFileOrFolder(layer, path.join(directory, name));
  }
}

function removeFileOrFolder(layer: FileLayer, target: string): void {
  if (layer.status(target)?.kind === 'directory') {
    for (const child of layer.list(target)) layer.remove(path.join(target, child));
    layer.removeDirectory(target);
  } else {
    layer.remove(target);
  }
}

/**
 * Creates a directory with its missing parents, for work that may fail.
 *
 * @returns takes back what was created and is still empty
 */
export function makeDirectoryFor(layer: FileLayer, directory: string): () => void {
  const made: string[] = [];
  // The root of the disk ends the walk, whether a layer knows it or not.
  for (let at = path.resolve(directory); at !== path.dirname(at); at = path.dirname(at)) {
    if (layer.status(at) !== undefined) break;
    made.push(at);
  }
  layer.makeDirectory(directory);
  return () => {
    try {
      for (const folder of made) layer.removeDirectory(folder);
    } catch {
      // It holds something by now, or nobody may remove it: the error that made the work fail is the one to report.
    }
  };
}

/** Creates `directory` if it is missing and checks that it can be written, so that a run fails before it trains. */
export function prepareDirectory(layer: FileLayer, directory: string): void {
  layer.makeDirectory(directory);
  const status = layer.status(directory);
  if (status?.kind !== 'directory') {
    throw new PogoError('IO', `expected a directory, found something else at ${directory}: choose another path`, {
      path: directory,
    });
  }
  const probe = unfinishedPath(path.join(directory, 'probe'));
  layer.open(probe, 'exclusive').close();
  layer.remove(probe);
}
