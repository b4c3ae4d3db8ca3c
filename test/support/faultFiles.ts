/**
 * A disk that dies on purpose: an in-memory {@link FileLayer} with a page cache, stable storage and a clock of ticks.
 *
 * Every byte written and every operation on names counts one tick. At tick `dieAt` the "process" is killed: the current
 * write stops after that byte, {@link Killed} is thrown, and every later operation is refused. `reboot` then gives the
 * disk that the next process would find, under one of four models of what was lost.
 */
import * as path from 'node:path';
import { PogoError } from '../../src/errors.js';
import type { FileLayer, OpenFile, OpenMode, PathStatus } from '../../src/files/fileLayer.js';
import { ioError } from '../../src/files/fileLayer.js';

/** Thrown at the moment of death; no code under test may catch it and go on. */
export class Killed extends Error {
  override readonly name = 'Killed';
}

/**
 * - `process`: SIGKILL; the page cache survives, so every byte written before the kill is there.
 * - `lost`: power loss; only synced bytes and synced names survive.
 * - `zeros`: power loss; names and lengths survive, bytes that were not synced read as zero.
 * - `sectors`: power loss; names and lengths survive, of the unsynced 512-byte sectors a random half was written.
 */
export type CrashModel = 'process' | 'lost' | 'zeros' | 'sectors';
export const CRASH_MODELS: readonly CrashModel[] = ['process', 'lost', 'zeros', 'sectors'];

const SECTOR = 512;

class Inode {
  cached: Uint8Array = new Uint8Array(0);
  stable: Uint8Array = new Uint8Array(0);
}

type Entry = { kind: 'file'; inode: Inode } | { kind: 'directory' };

export interface FaultOptions {
  /** Tick at which the process is killed; never if absent. */
  readonly dieAt?: number;
  /** Bytes of file content the disk holds; a write beyond it stores what fits and fails with ENOSPC. */
  readonly capacity?: number;
}

function systemError(code: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(code);
  error.code = code;
  return error;
}

export class FaultFiles implements FileLayer {
  ticks = 0;
  /** Ticks at which something other than the next byte of a write happened: where sweeps must not skip. */
  readonly operations: number[] = [];
  dieAt: number;
  capacity: number;
  /** When set, every `sync` fails with EIO. */
  failSync = false;
  dead = false;
  /** Names as the page cache has them, and as stable storage has them. */
  #names = new Map<string, Entry>();
  #stableNames = new Map<string, Entry>();

  constructor(options: FaultOptions = {}) {
    this.dieAt = options.dieAt ?? Number.POSITIVE_INFINITY;
    this.capacity = options.capacity ?? Number.POSITIVE_INFINITY;
  }

  #alive(): void {
    if (this.dead) throw new Killed('the process is dead');
  }

  #kill(): never {
    this.dead = true;
    throw new Killed(`killed at tick ${this.ticks}`);
  }

  /** One operation on names or one sync: dies before it happens. */
  #tick(): void {
    this.#alive();
    if (this.ticks >= this.dieAt) this.#kill();
    this.operations.push(this.ticks);
    this.ticks += 1;
  }

  #entry(target: string): Entry | undefined {
    return this.#names.get(path.resolve(target));
  }

  #used(): number {
    let sum = 0;
    for (const entry of this.#names.values()) if (entry.kind === 'file') sum += entry.inode.cached.length;
    return sum;
  }

  #store(inode: Inode, bytes: Uint8Array, position: number): void {
    this.#alive();
    const room = Math.max(0, this.capacity - this.#used());
    const growth = Math.max(0, position + bytes.length - inode.cached.length);
    const fits = growth <= room ? bytes.length : Math.max(0, bytes.length - (growth - room));
    const lives = Math.min(fits, this.dieAt - this.ticks);
    this.operations.push(this.ticks);
    if (lives > 0) {
      const grown = new Uint8Array(Math.max(inode.cached.length, position + lives));
      grown.set(inode.cached);
      grown.set(bytes.subarray(0, lives), position);
      inode.cached = grown;
      this.ticks += lives;
    }
    if (lives < fits) this.#kill();
    if (fits < bytes.length) throw systemError('ENOSPC');
  }

  open(file: string, mode: OpenMode): OpenFile {
    const resolved = path.resolve(file);
    const guard = <T>(action: string, work: () => T): T => {
      try {
        return work();
      } catch (error) {
        if (error instanceof Killed || error instanceof PogoError) throw error;
        throw ioError(action, file, error);
      }
    };
    const inode = guard('open', () => {
      this.#alive();
      const entry = this.#names.get(resolved);
      if (entry?.kind === 'directory') throw systemError('EISDIR');
      if (entry !== undefined) {
        if (mode === 'exclusive') throw systemError('EEXIST');
        return entry.inode;
      }
      if (mode === 'read' || this.#names.get(path.dirname(resolved))?.kind !== 'directory') throw systemError('ENOENT');
      this.#tick();
      const created = new Inode();
      this.#names.set(resolved, { kind: 'file', inode: created });
      return created;
    });
    let open = true;
    const use = (): Inode => {
      this.#alive();
      if (!open) throw systemError('EBADF');
      return inode;
    };
    const write = (bytes: Uint8Array, position: number): void =>
      guard('write', () => {
        if (mode === 'read') throw systemError('EBADF');
        this.#store(use(), bytes, position);
      });
    return {
      read: (into, position) =>
        guard('read', () => {
          const part = use().cached.subarray(position, position + into.length);
          into.set(part);
          return part.length;
        }),
      write,
      append: (bytes) => write(bytes, use().cached.length),
      truncate: (size) =>
        guard('truncate', () => {
          this.#tick();
          const target = use();
          const next = new Uint8Array(size);
          next.set(target.cached.subarray(0, size));
          target.cached = next;
        }),
      size: () => use().cached.length,
      sync: () =>
        guard('sync', () => {
          this.#tick();
          if (this.failSync) throw systemError('EIO');
          const target = use();
          target.stable = target.cached.slice();
        }),
      close: () => {
        this.#alive();
        open = false;
      },
    };
  }

  rename(from: string, to: string): void {
    this.#tick();
    const source = path.resolve(from);
    const target = path.resolve(to);
    const entry = this.#names.get(source);
    if (entry === undefined) throw ioError('rename', to, systemError('ENOENT'));
    const existing = this.#names.get(target);
    if (existing?.kind === 'directory' && this.list(target).length > 0) {
      throw ioError('rename', to, systemError('ENOTEMPTY'));
    }
    this.#names.delete(source);
    this.#names.set(target, entry);
    if (entry.kind !== 'directory') return;
    // Children move with their directory, on stable storage too once the names are synced there.
    for (const [name, child] of [...this.#names]) {
      if (!name.startsWith(`${source}/`)) continue;
      this.#names.delete(name);
      this.#names.set(target + name.slice(source.length), child);
    }
    for (const [name, child] of [...this.#stableNames]) {
      if (!name.startsWith(`${source}/`)) continue;
      this.#stableNames.set(target + name.slice(source.length), child);
    }
  }

  syncDirectory(directory: string): void {
    this.#tick();
    const resolved = path.resolve(directory);
    if (this.#names.get(resolved)?.kind !== 'directory') throw ioError('sync', directory, systemError('ENOENT'));
    for (const name of [...this.#stableNames.keys()]) {
      if (path.dirname(name) === resolved && !this.#names.has(name)) this.#stableNames.delete(name);
    }
    for (const [name, entry] of this.#names) if (path.dirname(name) === resolved) this.#stableNames.set(name, entry);
  }

  list(directory: string): string[] {
    this.#alive();
    const resolved = path.resolve(directory);
    if (this.#names.get(resolved)?.kind !== 'directory') throw ioError('list', directory, systemError('ENOENT'));
    return [...this.#names.keys()]
      .filter((name) => name !== '/' && path.dirname(name) === resolved)
      .map((name) => path.basename(name))
      .sort();
  }

  status(target: string): PathStatus | undefined {
    this.#alive();
    const entry = this.#entry(target);
    if (entry === undefined) return undefined;
    return { kind: entry.kind, size: entry.kind === 'file' ? entry.inode.cached.length : 0 };
  }

  remove(file: string): void {
    this.#tick();
    if (this.#entry(file)?.kind === 'directory') throw ioError('remove', file, systemError('EISDIR'));
    this.#names.delete(path.resolve(file));
  }

  removeDirectory(directory: string): void {
    this.#tick();
    if (this.list(directory).length > 0) throw ioError('remove', directory, systemError('ENOTEMPTY'));
    this.#names.delete(path.resolve(directory));
  }

  makeDirectory(directory: string): void {
    this.#alive();
    const missing: string[] = [];
    for (let at = path.resolve(directory); !this.#names.has(at); at = path.dirname(at)) {
      missing.unshift(at);
      if (at === path.dirname(at)) break;
    }
    for (const name of missing) {
      this.#tick();
      this.#names.set(name, { kind: 'directory' });
      this.#stableNames.set(name, { kind: 'directory' });
    }
  }

  /** Changes bytes behind the program's back, as a failing disk would: in the cache and on stable storage. */
  damage(file: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const entry = this.#entry(file);
    if (entry?.kind !== 'file') throw new Error(`no file ${file}`);
    const next = change(entry.inode.cached.slice());
    entry.inode.cached = next;
    entry.inode.stable = next.slice();
  }

  /** The disk that the next process finds; `random` gives numbers in [0, 1) for the `sectors` model. */
  reboot(model: CrashModel, options: FaultOptions = {}, random: () => number = Math.random): FaultFiles {
    const next = new FaultFiles(options);
    const names = model === 'lost' ? this.#stableNames : this.#names;
    // A name below a directory that did not survive is unreachable: it went with the directory.
    const reachable = (name: string): boolean => {
      const parent = path.dirname(name);
      return parent === name || (names.get(parent)?.kind === 'directory' && reachable(parent));
    };
    for (const [name, entry] of names) {
      if (!reachable(name)) continue;
      if (entry.kind === 'directory') {
        next.#names.set(name, entry);
        next.#stableNames.set(name, entry);
        continue;
      }
      const inode = new Inode();
      inode.cached = survivor(entry.inode, model, random);
      inode.stable = inode.cached.slice();
      next.#names.set(name, { kind: 'file', inode });
      next.#stableNames.set(name, { kind: 'file', inode });
    }
    return next;
  }
}

function survivor(inode: Inode, model: CrashModel, random: () => number): Uint8Array {
  if (model === 'process') return inode.cached.slice();
  if (model === 'lost') return inode.stable.slice();
  const result = new Uint8Array(inode.cached.length);
  result.set(inode.stable.subarray(0, result.length));
  if (model === 'zeros') return result;
  for (let at = 0; at < result.length; at += SECTOR) {
    if (random() < 0.5) result.set(inode.cached.subarray(at, at + SECTOR), at);
  }
  return result;
}
