/**
 * Bundle folders: `bundle.ssz` and `blobs/<root>`, and nothing else. What `mine` writes and `verify` reads, on another
 * machine, from its files alone.
 */
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { BlobStore } from '../files/blobStore.js';
import { removeUnfinished, writeFileAtomic } from '../files/durable.js';
import { type FileLayer, readWholeFile, realFiles } from '../files/fileLayer.js';
import { fromHex, toHex } from '../hex.js';
import {
  type BlobEntry,
  BUNDLE_VERSION,
  type Bundle,
  decodeBundle,
  encodeBundle,
  MAX_BUNDLE_BYTES,
  sortBlobs,
} from '../protocol/bundleType.js';

const CONTAINER = 'bundle.ssz';
const BLOBS = 'blobs';

/** A bundle whose files are complete; nothing is said about whether its claims are true. */
export interface OpenBundle {
  readonly folder: string;
  readonly bundle: Bundle;
  /** Reads verify every blob again: the folder may change while it is open. */
  readonly blobs: BlobStore;
  /** Committed length of a blob, bytes. @throws PogoError MISSING if the bundle does not name it */
  length(root: Uint8Array): number;
  /** Verified bytes of a blob that the bundle names. @throws PogoError MISSING */
  get(root: Uint8Array): Uint8Array<ArrayBuffer>;
}

/** Where `mine` puts blobs while it works, so that finishing the bundle copies nothing. */
export function bundleBlobs(folder: string, layer: FileLayer = realFiles): BlobStore {
  return BlobStore.open(path.join(folder, BLOBS), { layer });
}

/**
 * Completes a bundle: the named blobs are copied from `source` (unless they are already in the folder), blobs that are
 * not named are removed, and `bundle.ssz` appears last. Until then the folder is no bundle, and writing starts again
 * where it stopped; a bundle that was complete is replaced in one step.
 *
 * @param bundle without version and blobs, which are filled in
 * @param roots the blobs to name, in any order
 * @throws PogoError MISSING if `source` lacks a blob, IO if the folder holds anything else
 */
export function writeBundle(
  folder: string,
  bundle: Omit<Bundle, 'version' | 'blobs'>,
  roots: readonly Uint8Array[],
  source: BlobStore,
  layer: FileLayer = realFiles,
): Bundle {
  layer.makeDirectory(folder);
  removeUnfinished(layer, folder);
  for (const name of layer.list(folder)) {
    if (name === CONTAINER || name === BLOBS) continue;
    throw new PogoError('IO', `expected ${folder} to hold only a bundle, found ${name}: choose another directory`, {
      path: folder,
    });
  }
  const blobs = bundleBlobs(folder, layer);
  removeUnfinished(layer, blobs.directory);
  const entries: BlobEntry[] = sortBlobs(
    roots.map((root) => {
      if (!blobs.has(root)) blobs.put(source.get(root));
      return { root: Uint8Array.from(root), length: blobs.length(root) };
    }),
  );
  // The old container goes first if it names blobs that the new one does not: a folder never claims what it lacks.
  const named = new Set(entries.map(({ root }) => toHex(root)));
  const superfluous = layer.list(blobs.directory).filter((name) => !named.has(name));
  if (superfluous.length > 0 && layer.status(path.join(folder, CONTAINER)) !== undefined) {
    layer.remove(path.join(folder, CONTAINER));
    layer.syncDirectory(folder);
  }
  for (const name of superfluous) layer.remove(path.join(blobs.directory, name));
  layer.syncDirectory(blobs.directory);
  const complete: Bundle = { version: BUNDLE_VERSION, ...bundle, blobs: entries };
  writeFileAtomic(layer, path.join(folder, CONTAINER), encodeBundle(complete));
  return complete;
}

function malformed(folder: string, what: string): PogoError {
  return new PogoError('MALFORMED', `bundle ${folder}: ${what}: copy the bundle again, whole and alone`, {
    path: folder,
  });
}

/**
 * Opens a bundle and checks that it is complete and alone: every file is named by the container, every named blob is
 * there with its length and root.
 *
 * @throws PogoError USAGE if there is no such folder; MALFORMED for the container (absent, cut, changed, or any file
 *   that it does not name); MISSING naming a blob that is absent or does not match its root
 */
export function openBundle(folder: string, layer: FileLayer = realFiles): OpenBundle {
  if (layer.status(folder)?.kind !== 'directory') {
    throw new PogoError('USAGE', `expected a bundle folder, found none at ${folder}`, { path: folder });
  }
  for (const name of layer.list(folder)) {
    const wanted = name === CONTAINER ? 'file' : name === BLOBS ? 'directory' : undefined;
    const kind = layer.status(path.join(folder, name))?.kind;
    if (kind !== wanted) throw malformed(folder, `expected ${CONTAINER} and ${BLOBS}/ only, found ${name} (${kind})`);
  }
  const container = path.join(folder, CONTAINER);
  if (layer.status(container) === undefined) throw malformed(folder, `expected ${CONTAINER}, found none`);
  const bundle = decodeBundle(readWholeFile(layer, container, MAX_BUNDLE_BYTES));
  const lengths = new Map(bundle.blobs.map(({ root, length }) => [toHex(root), length]));
  const directory = path.join(folder, BLOBS);
  const present = layer.status(directory) === undefined ? [] : layer.list(directory);
  for (const name of present) {
    const kind = layer.status(path.join(directory, name))?.kind;
    if (!lengths.has(name) || kind !== 'file') {
      throw malformed(folder, `expected blobs that ${CONTAINER} names, found ${BLOBS}/${name} (${kind})`);
    }
  }
  const blobs = BlobStore.reader(directory, { layer });
  for (const [name, length] of lengths) blobs.verify(fromHex(name, 32), { length });
  const lengthOf = (root: Uint8Array): number => {
    const length = lengths.get(toHex(root));
    if (length === undefined) {
      throw new PogoError(
        'MISSING',
        `expected blob ${toHex(root)} in bundle ${folder}, found it neither named nor there`,
        {
          root: toHex(root),
          path: folder,
        },
      );
    }
    return length;
  };
  return { folder, bundle, blobs, length: lengthOf, get: (root) => blobs.get(root, { length: lengthOf(root) }) };
}
