/**
 * The door to the Rust addon `native/merkle`: the only file that loads it. Node-only; code that runs in browsers gets
 * its {@link MerkleKernels} injected.
 *
 * Loading never throws at import. A found addon must have the interface version of this file and hash a known input
 * right (the self-test of a backend); else it is refused, with the reason kept.
 */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, relative } from 'node:path';
import type { MerkleKernels } from '../merkle/kernels.js';
import { portableKernels } from '../merkle/portable.js';
import { CV_BYTES, treeBytes } from '../merkle/shape.js';
import { packageRoot, prebuildTarget, setupFix } from './packageRoot.js';

/** What `native/merkle/src/lib.rs` exports. */
interface MerkleAddon extends Omit<MerkleKernels, 'name'> {
  interfaceVersion(): number;
  /** Only on systems that can map files. */
  hashFilePieces?: HashFilePieces;
}

/**
 * Hashes pieces of an open file, each a complete subtree, by threads of its own that read it in the page cache; blocks the
 * caller until all are done.
 *
 * @param descriptor of a regular file, readable
 * @param totalBytes length of the whole file
 * @param pieceLog leaves of a piece, as a power of two: 8 to 20
 * @param first number of the first piece
 * @param threads 1 to 1024, the caller included
 * @param tops 32 bytes a piece: the chaining values at their tops
 * @param trees empty, or the pieces' trees one after the other, `nodeTreeBytes` each
 * @returns null where the file cannot be mapped; false if bytes were missing, so that nothing written is of use
 */
export type HashFilePieces = (
  descriptor: number,
  totalBytes: number,
  pieceLog: number,
  first: number,
  threads: number,
  tops: Uint8Array,
  trees: Uint8Array,
) => boolean | null;

const INTERFACE_VERSION = 2;

/** The addon, or why there is none: one line per attempt and the command that fixes it. */
export type LoadedMerkleAddon =
  | { readonly addon: MerkleKernels; readonly path: string; readonly hashFilePieces?: HashFilePieces }
  | { readonly addon?: undefined; readonly hashFilePieces?: undefined; readonly reason: string };

/** What makes the addon. */
export const MERKLE_FIX = `${setupFix()} (needs Rust 1.88 or newer, https://rustup.rs, and a C compiler)`;

/** Length and BLAKE3 of the bytes 0…250, 0…250, …: from the official test vectors, more than 16 chunks and one short. */
const KNOWN_LENGTH = 31744;
const KNOWN_ROOT = '62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47';

/** Bytes that repeat with period 251, so that swapped blocks or chunks cannot cancel. */
function patternBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  // Not Uint8Array.from: it would be a millisecond of every command's start.
  for (let i = 0; i < length; i++) bytes[i] = i % 251;
  return bytes;
}

/** Addon files that could fit this machine, shipped ones first. One for another C library fails to load and is passed over. */
function candidates(): string[] {
  const built = `merkle.${prebuildTarget}`;
  const folders = [
    { folder: join(packageRoot, 'prebuilds', prebuildTarget), wanted: (file: string) => file.startsWith('merkle') },
    { folder: join(packageRoot, 'native', 'merkle'), wanted: (file: string) => file.startsWith(built) },
  ];
  return folders.flatMap(({ folder, wanted }) => {
    let files: string[] = [];
    try {
      files = readdirSync(folder).sort();
    } catch {
      // No such folder: the usual case for `prebuilds` in a clone and for `native` in a package.
    }
    return files.filter((file) => file.endsWith('.node') && wanted(file)).map((f) => join(folder, f));
  });
}

/** `undefined` if the addon computes what it should, else what is wrong. */
function selfTest(addon: MerkleAddon): string | undefined {
  const version = addon.interfaceVersion();
  if (version !== INTERFACE_VERSION) return `interface version ${version}, expected ${INTERFACE_VERSION}: rebuild it`;
  const bytes = patternBytes(KNOWN_LENGTH);
  const out = new Uint8Array(CV_BYTES);
  addon.hash(bytes, out);
  const nodes = Math.ceil(KNOWN_LENGTH / 1024);
  const tree = new Uint8Array(treeBytes(KNOWN_LENGTH));
  addon.hashRange(bytes, tree, nodes, 0, 0, 0);
  addon.finish(tree, nodes, 0);
  const hex = (found: Uint8Array): string => Buffer.from(found).toString('hex');
  const wrong = [out, tree.subarray(-CV_BYTES)].map(hex).find((found) => found !== KNOWN_ROOT);
  return wrong === undefined ? undefined : `self-test failed: expected ${KNOWN_ROOT}, found ${wrong}`;
}

function load(): LoadedMerkleAddon {
  const require = createRequire(import.meta.url);
  const attempts: string[] = [];
  for (const path of candidates()) {
    const shown = relative(packageRoot, path);
    try {
      const addon = require(path) as MerkleAddon;
      const problem = selfTest(addon);
      if (problem === undefined) {
        const { hash, hashRange, finish, update, hashFilePieces } = addon;
        const files = hashFilePieces === undefined ? {} : { hashFilePieces };
        return { addon: { name: 'native', hash, hashRange, finish, update }, path, ...files };
      }
      attempts.push(`${shown}: ${problem}`);
    } catch (error) {
      attempts.push(`${shown}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
  }
  if (attempts.length === 0) attempts.push(`no merkle*.node in prebuilds/${prebuildTarget} or native/merkle`);
  return { reason: `the BLAKE3 addon cannot be used: ${attempts.join('; ')}. To fix it: ${MERKLE_FIX}` };
}

let loaded: LoadedMerkleAddon | undefined;

/** Loads the addon once per thread. Never throws. */
export function loadMerkleAddon(): LoadedMerkleAddon {
  loaded ??= load();
  return loaded;
}

/** The fastest kernels of this machine: the addon's, else the portable ones. */
export function merkleKernels(): MerkleKernels {
  return loadMerkleAddon().addon ?? portableKernels;
}

/** BLAKE3 of `bytes`, 32 bytes, by the fastest kernels of this machine. */
export function hashBytes(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(CV_BYTES);
  merkleKernels().hash(bytes, out);
  return out;
}
