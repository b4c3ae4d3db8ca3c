/**
 * A training state on disk: `header.ssz`, `theta.bin`, `m.bin`, `v.bin` and, where the recipe has one, `ema.bin`.
 *
 * The vectors are flat little-endian fp32 of the recipe's layout; the header holds their BLAKE3 roots, so a folder
 * vouches for itself: reading verifies every byte. A folder is written under another name and renamed, so it exists
 * in full or not at all.
 */
import * as path from 'node:path';
import { sharedArray } from '../../backend/sharedArrays.js';
import { PogoError } from '../../errors.js';
import { hashBytes } from '../../files/digest.js';
import { makeDirectoryFor, unfinishedPath } from '../../files/durable.js';
import { type FileLayer, readWholeFile, realFiles, removeTree } from '../../files/fileLayer.js';
import { type FolderKind, placeFolder, requireFreeFolder } from '../../files/target.js';
import { equalBytes, toHex } from '../../hex.js';
import { vectorBytes } from '../../model/state.js';
import { decodeStrict } from '../../protocol/ssz.js';
import { type StateHeader, StateHeaderType, ZERO_ROOT } from '../../protocol/types.js';

/** What of a layout matters here: the number of fp32 elements of each vector. */
export interface VectorLayout {
  readonly length: number;
}

/** θ, m, v and, where the recipe has one, the EMA: fp32, `layout.length` elements each. */
export interface StateVectors {
  readonly theta: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  readonly ema?: Float32Array;
}

export interface StoredState {
  readonly header: StateHeader;
  /** On SharedArrayBuffers. */
  readonly vectors: StateVectors;
}

export const HEADER_FILE = 'header.ssz';

/** File name, header field and vector of each part. */
const PARTS = [
  ['theta.bin', 'thetaRoot', 'theta'],
  ['m.bin', 'mRoot', 'm'],
  ['v.bin', 'vRoot', 'v'],
  ['ema.bin', 'emaRoot', 'ema'],
] as const;

/** A state folder, which another may replace. */
export const STATE_FOLDER: FolderKind = {
  name: 'a state',
  files: [HEADER_FILE, ...PARTS.map(([name]) => name)],
};

function corrupt(folder: string, what: string): PogoError {
  return new PogoError(
    'CORRUPT',
    `state folder ${folder}: ${what}: restore it from a copy, or remove it and rebuild the state from an earlier one`,
    { path: folder },
  );
}

/**
 * Reads the header of a state folder and checks nothing else.
 *
 * @throws PogoError MISSING if there is none, CORRUPT if it is no canonical StateHeader
 */
export function readStateHeader(folder: string, layer: FileLayer = realFiles): StateHeader {
  const file = path.join(folder, HEADER_FILE);
  if (layer.status(file)?.kind !== 'file') {
    throw new PogoError('MISSING', `expected a state folder with ${HEADER_FILE} at ${folder}, found none`, {
      path: folder,
    });
  }
  try {
    return decodeStrict(StateHeaderType, readWholeFile(layer, file, StateHeaderType.maxSize));
  } catch (error) {
    if (error instanceof PogoError && error.code === 'MALFORMED') throw corrupt(folder, error.message);
    throw error;
  }
}

/**
 * Reads a state into SharedArrayBuffers. Lengths are compared with the layout before anything is allocated, roots with
 * the header after reading.
 *
 * @throws PogoError MISSING if there is no state folder, CORRUPT if a file is absent, cut, changed or one too many
 */
export function readStateFolder(folder: string, layout: VectorLayout, layer: FileLayer = realFiles): StoredState {
  const header = readStateHeader(folder, layer);
  const hasEma = !equalBytes(header.emaRoot, ZERO_ROOT);
  const parts = PARTS.filter(([, , key]) => key !== 'ema' || hasEma);
  const expected = new Set<string>([HEADER_FILE, ...parts.map(([name]) => name)]);
  for (const name of layer.list(folder)) {
    if (!expected.has(name)) throw corrupt(folder, `expected ${[...expected].join(', ')}, found ${name} as well`);
  }
  const bytes = 4 * layout.length;
  for (const [name] of parts) {
    const status = layer.status(path.join(folder, name));
    const found = status === undefined ? 'nothing' : `a ${status.kind} of ${status.size} bytes`;
    if (status?.kind !== 'file' || status.size !== bytes) {
      throw corrupt(folder, `expected ${name} of ${bytes} bytes (${layout.length} fp32), found ${found}`);
    }
  }
  const read = (name: string, root: Uint8Array): Float32Array => {
    const vector = sharedArray(Float32Array, layout.length);
    const view = vectorBytes(vector);
    const file = layer.open(path.join(folder, name), 'read');
    try {
      if (file.read(view, 0) !== bytes) throw corrupt(folder, `${name} shrank while it was read`);
    } finally {
      file.close();
    }
    const found = hashBytes(view);
    if (!equalBytes(found, root)) {
      throw corrupt(folder, `expected ${name} with root ${toHex(root)}, found root ${toHex(found)}`);
    }
    return vector;
  };
  const vectors: StateVectors = {
    theta: read('theta.bin', header.thetaRoot),
    m: read('m.bin', header.mRoot),
    v: read('v.bin', header.vRoot),
    ...(hasEma ? { ema: read('ema.bin', header.emaRoot) } : {}),
  };
  return { header, vectors };
}

/**
 * Writes a state as a new folder, crash-safe: all files are synced under another name, then the folder is renamed and
 * its parent synced. If `folder` already holds a state with the same header, nothing is written; another one is replaced
 * only with `force`, and nothing but a state ever is.
 *
 * The roots of the header are compared with the vectors first: a folder that could not be read back is never written.
 *
 * @throws PogoError INTERNAL if a vector does not match its root, IO (also if `folder` holds something else)
 */
export function writeStateFolder(
  folder: string,
  header: StateHeader,
  vectors: StateVectors,
  layer: FileLayer = realFiles,
  force = false,
): void {
  const encoded = StateHeaderType.serialize(header);
  if (!force && layer.status(path.join(folder, HEADER_FILE))?.kind === 'file') {
    if (equalBytes(readWholeFile(layer, path.join(folder, HEADER_FILE), StateHeaderType.maxSize), encoded)) return;
  }
  requireFreeFolder(folder, STATE_FOLDER, force, layer);
  for (const [name, rootName, key] of PARTS) {
    const vector = vectors[key];
    const root = header[rootName];
    const found = vector === undefined ? ZERO_ROOT : hashBytes(vectorBytes(vector));
    if (!equalBytes(found, root)) {
      throw new PogoError('INTERNAL', `state: expected ${name} with root ${toHex(root)}, found ${toHex(found)}`, {});
    }
  }
  const undo = makeDirectoryFor(layer, path.dirname(folder));
  const unfinished = unfinishedPath(folder);
  try {
    layer.makeDirectory(unfinished);
    for (const [name, , key] of PARTS) {
      const vector = vectors[key];
      if (vector !== undefined) writeSynced(layer, path.join(unfinished, name), vectorBytes(vector));
    }
    writeSynced(layer, path.join(unfinished, HEADER_FILE), encoded);
    layer.syncDirectory(unfinished);
    placeFolder(unfinished, folder, layer);
  } catch (error) {
    try {
      removeTree(layer, unfinished);
    } catch {
      // The first error is the one to report; removeUnfinished clears the rest at the next start.
    }
    undo();
    throw error;
  }
}

/** Writes a new file and waits until it is on stable storage. */
export function writeSynced(layer: FileLayer, file: string, bytes: Uint8Array): void {
  const handle = layer.open(file, 'exclusive');
  try {
    handle.write(bytes, 0);
    handle.sync();
  } finally {
    handle.close();
  }
}
