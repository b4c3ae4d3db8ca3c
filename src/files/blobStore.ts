/**
 * Content-addressed blobs: `blobs/<64 hex digits>`, the name being the BLAKE3 of the bytes.
 *
 * A blob appears in full or not at all, and is believed only after its bytes were hashed again: whoever reads (often
 * another process than the writer) trusts the root that it holds, never the file. Bytes that are missing or do not
 * match their root are *missing data* (code MISSING), never evidence against anybody.
 */
import * as path from 'node:path';
import { invariant, PogoError } from '../errors.js';
import { equalBytes, toHex } from '../hex.js';
import { blobHasher, hashBytes } from './digest.js';
import { prepareDirectory, writeFileUnlisted } from './durable.js';
import { type FileLayer, type OpenFile, realFiles } from './fileLayer.js';

/** Largest blob a store takes unless told otherwise, bytes. */
export const DEFAULT_MAX_BLOB_BYTES = 64 * 2 ** 30;
/** Bytes hashed and copied at a time: large enough that the call costs nothing, small enough to stay in a cache. */
const STREAM_BYTES = 1 << 20;
const NAME = /^[0-9a-f]{64}$/;

export interface BlobStoreOptions {
  readonly layer?: FileLayer;
  /** Blobs over this size are neither written nor read, bytes. */
  readonly maxBytes?: number;
}

export interface GetOptions {
  /** The length that the commitment states; another length is MISSING before anything is allocated. */
  readonly length?: number;
  /** A limit below the store's, bytes. */
  readonly maxBytes?: number;
}

export class BlobStore {
  readonly directory: string;
  readonly #layer: FileLayer;
  readonly #maxBytes: number;

  private constructor(directory: string, options: BlobStoreOptions) {
    this.directory = directory;
    this.#layer = options.layer ?? realFiles;
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BLOB_BYTES;
  }

  /** Opens a store for writing; creates its directory. @throws PogoError IO if it cannot be written */
  static open(directory: string, options: BlobStoreOptions = {}): BlobStore {
    const store = new BlobStore(directory, options);
    prepareDirectory(store.#layer, directory);
    return store;
  }

  /** A store that is only read, such as another process's: nothing is created or changed. */
  static reader(directory: string, options: BlobStoreOptions = {}): BlobStore {
    return new BlobStore(directory, options);
  }

  path(root: Uint8Array): string {
    if (root.length !== 32) throw new PogoError('RANGE', `blob root: expected 32 bytes, found ${root.length}`);
    return path.join(this.directory, toHex(root));
  }

  /**
   * Stores the concatenation of `parts` (views of SharedArrayBuffers welcome, none is copied) and returns its root.
   * Nobody may write to the parts meanwhile. A blob that is already there and intact is left alone; a damaged one is
   * replaced. After it returns the blob survives power loss.
   *
   * @throws PogoError RANGE over the size limit, IO
   */
  put(...parts: readonly Uint8Array[]): Uint8Array {
    const [root] = this.putAll([parts]);
    return root as Uint8Array;
  }

  /** As {@link put} for several blobs, with one sync of the directory. @returns their roots, in order */
  putAll(blobs: readonly (readonly Uint8Array[])[]): Uint8Array[] {
    let wrote = false;
    const roots = blobs.map((parts) => {
      const total = parts.reduce((sum, part) => sum + part.length, 0);
      if (total > this.#maxBytes) {
        throw new PogoError('RANGE', `blob: expected at most ${this.#maxBytes} bytes, found ${total}`, {
          bytes: total,
        });
      }
      const hasher = blobHasher(total);
      for (const part of parts) hasher.update(part);
      const root = hasher.digest();
      if (!this.#isIntact(root, total)) {
        writeFileUnlisted(this.#layer, this.path(root), parts);
        wrote = true;
      }
      return root;
    });
    if (wrote) this.#layer.syncDirectory(this.directory);
    return roots;
  }

  /**
   * Stores a blob whose root and length are known, out of pieces that are made one after the other: for blobs larger than
   * memory. One that is already there and intact is left alone.
   *
   * @throws PogoError INTERNAL for pieces of another root, RANGE over the size limit, IO
   */
  putPieces(root: Uint8Array, totalBytes: number, pieces: Iterable<Uint8Array>): Uint8Array {
    if (totalBytes > this.#maxBytes) {
      throw new PogoError('RANGE', `blob: expected at most ${this.#maxBytes} bytes, found ${totalBytes}`, {
        bytes: totalBytes,
      });
    }
    if (this.#isIntact(root, totalBytes)) return root;
    const hasher = blobHasher(totalBytes);
    function* hashed(): Generator<Uint8Array> {
      for (const piece of pieces) {
        hasher.update(piece);
        yield piece;
      }
      invariant(equalBytes(hasher.digest(), root), `blob ${toHex(root)}: pieces of another root`);
    }
    writeFileUnlisted(this.#layer, this.path(root), hashed());
    this.#layer.syncDirectory(this.directory);
    return root;
  }

  /** Whether a blob of that name (and length, if given) is there. Its bytes are not checked. */
  has(root: Uint8Array, length?: number): boolean {
    const status = this.#layer.status(this.path(root));
    return status?.kind === 'file' && (length === undefined || status.size === length);
  }

  /** Length of a blob's file, bytes. @throws PogoError MISSING */
  length(root: Uint8Array): number {
    const status = this.#layer.status(this.path(root));
    if (status?.kind !== 'file') throw this.#missing(root, 'no such file');
    return status.size;
  }

  /**
   * The bytes behind a root, verified.
   *
   * @throws PogoError MISSING naming the root if the blob is absent, of another length, or does not match its root;
   *   RANGE if it is over the size limit
   */
  get(root: Uint8Array, options: GetOptions = {}): Uint8Array<ArrayBuffer> {
    return this.#withFile(root, options, (file, size) => {
      const bytes = new Uint8Array(size);
      this.#fill(root, file, bytes);
      return bytes;
    });
  }

  /**
   * The bytes of a blob's file as they lie there, in memory that `allocate` gives: whoever asks hashes them before he
   * believes a byte.
   *
   * @throws PogoError MISSING if the blob is absent or of another length, RANGE if it is over the size limit
   */
  readUnverified<T extends Uint8Array>(root: Uint8Array, options: GetOptions, allocate: (bytes: number) => T): T {
    return this.#withFile(root, options, (file, size) => {
      const into = allocate(size);
      this.#read(root, file, into);
      return into;
    });
  }

  /** As {@link get}, into a view of exactly the blob's length. On an error the view holds bytes nobody should use. */
  getInto(root: Uint8Array, into: Uint8Array): void {
    this.#withFile(root, { length: into.length }, (file) => this.#fill(root, file, into));
  }

  /**
   * The bytes behind a root in chunks of at most 1 MiB, for hashing or copying blobs larger than memory. The root is
   * only known to match once the iterator has ended without an error: act on nothing before.
   *
   * @throws PogoError MISSING, RANGE
   */
  *stream(root: Uint8Array, options: GetOptions = {}): Generator<Uint8Array> {
    const size = this.#checkedSize(root, options);
    const file = this.#layer.open(this.path(root), 'read');
    try {
      const hasher = blobHasher(size);
      for (let at = 0; at < size; at += STREAM_BYTES) {
        const chunk = new Uint8Array(Math.min(STREAM_BYTES, size - at));
        if (file.read(chunk, at) !== chunk.length) throw this.#missing(root, 'the file shrank while it was read');
        hasher.update(chunk);
        yield chunk;
      }
      this.#compare(root, hasher.digest());
    } finally {
      file.close();
    }
  }

  /** Reads and checks a blob without keeping it. @throws PogoError MISSING, RANGE */
  verify(root: Uint8Array, options: GetOptions = {}): void {
    for (const _ of this.stream(root, options)) {
      // Hashing is the purpose.
    }
  }

  /** Removes a blob; nothing happens if it is not there. */
  remove(root: Uint8Array): void {
    this.#layer.remove(this.path(root));
  }

  /** Roots of the blobs in the store, as file names, sorted. Unverified. */
  list(): string[] {
    return this.#layer.list(this.directory).filter((name) => NAME.test(name));
  }

  #isIntact(root: Uint8Array, length: number): boolean {
    if (!this.has(root, length)) return false;
    try {
      this.verify(root);
      return true;
    } catch (error) {
      if (error instanceof PogoError && error.code === 'MISSING') return false;
      throw error;
    }
  }

  #checkedSize(root: Uint8Array, options: GetOptions): number {
    const size = this.length(root);
    const limit = Math.min(options.maxBytes ?? this.#maxBytes, this.#maxBytes);
    if (options.length !== undefined && size !== options.length) {
      throw this.#missing(root, `${size} bytes where ${options.length} are committed`);
    }
    if (size > limit) {
      throw new PogoError('RANGE', `blob ${toHex(root)}: expected at most ${limit} bytes, found ${size}`, {
        root: toHex(root),
        bytes: size,
      });
    }
    return size;
  }

  #withFile<T>(root: Uint8Array, options: GetOptions, work: (file: OpenFile, size: number) => T): T {
    const size = this.#checkedSize(root, options);
    const file = this.#layer.open(this.path(root), 'read');
    try {
      return work(file, size);
    } finally {
      file.close();
    }
  }

  #read(root: Uint8Array, file: OpenFile, into: Uint8Array): void {
    if (file.read(into, 0) !== into.length) throw this.#missing(root, 'the file shrank while it was read');
  }

  #fill(root: Uint8Array, file: OpenFile, into: Uint8Array): void {
    this.#read(root, file, into);
    this.#compare(root, hashBytes(into));
  }

  #compare(root: Uint8Array, found: Uint8Array): void {
    if (!equalBytes(found, root)) throw this.#missing(root, `bytes whose root is ${toHex(found)}`);
  }

  #missing(root: Uint8Array, found: string): PogoError {
    const name = toHex(root);
    return new PogoError(
      'MISSING',
      `expected blob ${name} in ${this.directory}, found ${found}: get this blob again from its miner or a copy`,
      { root: name, path: this.directory },
    );
  }
}
