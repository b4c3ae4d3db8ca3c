/**
 * The one door to the file system for everything that must survive a crash.
 *
 * Blobs, logs, checkpoints and bundles write only through a {@link FileLayer}, so that a test can replace the disk by
 * one that dies after the n-th byte, loses what was not synced, or is full. Every operation is synchronous: the order
 * of durable operations *is* the program's order, and nothing is half-scheduled when the process is killed. Callers
 * that must stay responsive run in a process or worker of their own.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { systemErrorText } from '../systemErrors.js';

/** `read`: an existing file · `update`: read and write, created empty if missing · `exclusive`: new, else EEXIST. */
export type OpenMode = 'read' | 'update' | 'exclusive';

/** What stands at a path; sizes in bytes. Anything that is neither file nor directory is `other` and never followed. */
export interface PathStatus {
  readonly kind: 'file' | 'directory' | 'other';
  readonly size: number;
}

/** An open file. Positions and sizes are in bytes. Views of SharedArrayBuffers are read and written without a copy. */
export interface OpenFile {
  /** Fills `into` from `position`; returns the bytes read, fewer than asked for only at the end of the file. */
  read(into: Uint8Array, position: number): number;
  /** Writes all of `bytes` at `position`, or throws. */
  write(bytes: Uint8Array, position: number): void;
  /** Writes all of `bytes` behind the current end, or throws. */
  append(bytes: Uint8Array): void;
  truncate(size: number): void;
  size(): number;
  /** Returns when the file's bytes and length are on stable storage. */
  sync(): void;
  close(): void;
}

/** The file operations that durable code may use. Failures are thrown as `PogoError` code IO (or LOCKED by callers). */
export interface FileLayer {
  open(file: string, mode: OpenMode): OpenFile;
  /** Replaces `to` if it is a file; fails if `to` is a non-empty directory. Durable only after {@link syncDirectory}. */
  rename(from: string, to: string): void;
  /** Makes names created, renamed or removed in `directory` durable. */
  syncDirectory(directory: string): void;
  /** Names in a directory, sorted by code unit. */
  list(directory: string): string[];
  /** `undefined` if nothing is there. Does not follow symbolic links. */
  status(target: string): PathStatus | undefined;
  /** Removes one file; nothing happens if it is already gone. */
  remove(file: string): void;
  /** Removes an empty directory. */
  removeDirectory(directory: string): void;
  /** Creates a directory and its missing parents. */
  makeDirectory(directory: string): void;
}

function wrap<T>(action: string, target: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw ioError(action, target, error);
  }
}

/** Turns a system error into the IO error that says what could not be done, to which path, and what would help. */
export function ioError(action: string, target: string, error: unknown): PogoError {
  if (error instanceof PogoError) return error;
  const system = (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
  return new PogoError('IO', systemErrorText(action, target, system, error), { system, path: target }, error);
}

/** Bytes of one system call: Node refuses 2^31 and more. */
const MAX_CALL_BYTES = 2 ** 30;

class RealFile implements OpenFile {
  readonly #descriptor: number;
  readonly #path: string;

  constructor(descriptor: number, file: string) {
    this.#descriptor = descriptor;
    this.#path = file;
  }

  read(into: Uint8Array, position: number): number {
    return wrap('read', this.#path, () => {
      let done = 0;
      while (done < into.length) {
        const count = fs.readSync(
          this.#descriptor,
          into,
          done,
          Math.min(into.length - done, MAX_CALL_BYTES),
          position + done,
        );
        if (count === 0) break;
        done += count;
      }
      return done;
    });
  }

  write(bytes: Uint8Array, position: number): void {
    wrap('write', this.#path, () => {
      // A signal or a nearly full disk may cut a write short; the rest is tried again until the system names a reason.
      let done = 0;
      while (done < bytes.length) {
        done += fs.writeSync(
          this.#descriptor,
          bytes,
          done,
          Math.min(bytes.length - done, MAX_CALL_BYTES),
          position + done,
        );
      }
    });
  }

  append(bytes: Uint8Array): void {
    this.write(bytes, this.size());
  }

  truncate(size: number): void {
    wrap('truncate', this.#path, () => fs.ftruncateSync(this.#descriptor, size));
  }

  size(): number {
    return wrap('stat', this.#path, () => fs.fstatSync(this.#descriptor).size);
  }

  sync(): void {
    wrap('sync', this.#path, () => fs.fsyncSync(this.#descriptor));
  }

  close(): void {
    wrap('close', this.#path, () => fs.closeSync(this.#descriptor));
  }
}

const OPEN_FLAGS: Record<OpenMode, number> = {
  read: fs.constants.O_RDONLY,
  update: fs.constants.O_RDWR | fs.constants.O_CREAT,
  exclusive: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
};

/**
 * One level at a time: Node's own `recursive` never ends where a file system says of a folder's new child that the folder is
 * missing (`/proc`), and on a read-only one it names the parent instead of the reason.
 *
 * @returns the first folder that was missing, undefined if none was
 */
function makeWithParents(directory: string): string | undefined {
  const missing: string[] = [];
  for (let at = path.resolve(directory); !fs.existsSync(at); at = path.dirname(at)) {
    missing.push(at);
    if (path.dirname(at) === at) break;
  }
  if (missing.length === 0 && !fs.statSync(directory).isDirectory()) fs.mkdirSync(directory);
  for (const folder of [...missing].reverse()) {
    try {
      fs.mkdirSync(folder);
    } catch (error) {
      // Another process may have made it meanwhile.
      if (!fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw error;
    }
  }
  return missing.at(-1);
}

/** The disk. */
export const realFiles: FileLayer = {
  open(file, mode) {
    return wrap('open', file, () => new RealFile(fs.openSync(file, OPEN_FLAGS[mode], 0o644), file));
  },
  rename(from, to) {
    wrap('rename', to, () => fs.renameSync(from, to));
  },
  syncDirectory(directory) {
    wrap('sync', directory, () => {
      // Windows cannot open directories; NTFS journals its names, so there is nothing to ask for.
      if (process.platform === 'win32') return;
      const descriptor = fs.openSync(directory, fs.constants.O_RDONLY);
      try {
        fs.fsyncSync(descriptor);
      } finally {
        fs.closeSync(descriptor);
      }
    });
  },
  list(directory) {
    return wrap('list', directory, () => fs.readdirSync(directory).sort());
  },
  status(target) {
    return wrap('stat', target, () => {
      const status = fs.lstatSync(target, { throwIfNoEntry: false });
      if (status === undefined) return undefined;
      const kind = status.isFile() ? 'file' : status.isDirectory() ? 'directory' : 'other';
      return { kind, size: status.size };
    });
  },
  remove(file) {
    wrap('remove', file, () => fs.rmSync(file, { force: true }));
  },
  removeDirectory(directory) {
    wrap('remove', directory, () => fs.rmdirSync(directory));
  },
  makeDirectory(directory) {
    wrap('create', directory, () => {
      const first = makeWithParents(directory);
      if (first === undefined || process.platform === 'win32') return;
      // A new directory is only durable once its parent is: sync every parent from the first one that was missing.
      for (let made = path.resolve(directory); ; made = path.dirname(made)) {
        realFiles.syncDirectory(path.dirname(made));
        if (made === path.resolve(first)) break;
      }
    });
  },
};

/**
 * Reads a whole file into one new buffer; its size is compared with `maxBytes` before anything is allocated.
 *
 * @param maxBytes largest size accepted, bytes
 * @throws PogoError IO if the file cannot be read, MALFORMED if it is larger than `maxBytes`
 */
export function readWholeFile(layer: FileLayer, file: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  const handle = layer.open(file, 'read');
  try {
    const size = handle.size();
    if (size > maxBytes) {
      throw new PogoError('MALFORMED', `${file}: expected at most ${maxBytes} bytes, found ${size}`, {
        path: file,
        size,
      });
    }
    const bytes = new Uint8Array(size);
    const count = handle.read(bytes, 0);
    if (count !== size) {
      throw new PogoError('IO', `${file}: expected ${size} bytes, found ${count}: the file shrank while it was read`, {
        path: file,
      });
    }
    return bytes;
  } finally {
    handle.close();
  }
}

/** Removes a file or a directory with everything below it. Symbolic links are removed, never followed. */
export function removeTree(layer: FileLayer, target: string): void {
  const status = layer.status(target);
  if (status === undefined) return;
  if (status.kind !== 'directory') {
    layer.remove(target);
    return;
  }
  for (const name of layer.list(target)) removeTree(layer, path.join(target, name));
  layer.removeDirectory(target);
}
