/**
 * One process per directory. The file `lock` names its owner: process id, start time and a random token. A lock whose owner is dead, or whose id now belongs to another process, is taken over.
 *
 * The lock guards against mistakes (two runs in one folder), not against other users of the machine.
 */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { PogoError } from '../errors.js';
import { ioError } from './fileLayer.js';

const LOCK_NAME = 'lock';
const DRAFT_PREFIX = '.lock-draft-';

/** Who holds a directory. `start` tells two processes apart that had the same id, one after the other. */
interface Owner {
  readonly pid: number;
  readonly start: string;
  readonly token: string;
}

/** A held lock. */
export interface DirectoryLock {
  readonly path: string;
  /** Gives the directory free; nothing happens the second time. */
  release(): void;
}

/**
 * When a process started, in the system's own words; `undefined` if there is no such process.
 * On Linux field 22 of /proc/PID/stat, clock ticks since boot, with the boot's id; elsewhere only that it lives.
 */
function startOf(pid: number): string | undefined {
  if (process.platform === 'linux') {
    try {
      const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
      // The command name stands in parentheses and may hold spaces and parentheses itself: count from the last one.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
      return `${fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}:${fields[19]}`;
    } catch {
      return undefined;
    }
  }
  try {
    process.kill(pid, 0);
    return 'alive';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'alive' : undefined;
  }
}

/**
 * Whether a process of this machine has that id now. A dead one whose parent has not looked yet counts as dead; one of
 * another user, which /proc may hide, as living.
 */
export function isProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return startOf(pid) !== undefined;
}

function readOwner(file: string): Owner | undefined {
  let text: string;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw ioError('read', file, error);
  }
  try {
    const { pid, start, token } = JSON.parse(text) as Partial<Owner>;
    if (Number.isSafeInteger(pid) && typeof start === 'string' && typeof token === 'string') {
      return { pid: pid as number, start, token };
    }
  } catch {
    // Not JSON: the lock of a process that lost power while writing it; it has no living owner.
  }
  return { pid: 0, start: '', token: '' };
}

/**
 * Takes the lock of `directory`, which must exist.
 *
 * @throws PogoError LOCKED naming the process that holds it; IO
 */
export function lockDirectory(directory: string): DirectoryLock {
  const file = path.join(directory, LOCK_NAME);
  const owner: Owner = {
    pid: process.pid,
    start: startOf(process.pid) ?? 'alive',
    token: randomBytes(16).toString('hex'),
  };
  // Where it can be, the complete lock is linked into place, so nobody ever reads a half-written one.
  const draft = path.join(directory, `${DRAFT_PREFIX}${owner.token}`);
  try {
    fs.writeFileSync(draft, JSON.stringify(owner), { flag: 'wx' });
  } catch (error) {
    throw ioError('create', draft, error);
  }
  try {
    let unreadable = 0;
    for (let attempt = 0; attempt < 100; attempt += 1) {
      try {
        place(draft, file);
        removeDeadDrafts(directory);
        return heldLock(file, owner);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw ioError('create', file, error);
      }
      const holder = readOwner(file);
      if (holder === undefined) continue;
      if (isAlive(holder)) throw locked(directory, holder.pid);
      if (holder.pid === 0 && unreadable < UNREADABLE_TRIES) {
        unreadable += 1;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, UNREADABLE_MS);
        continue;
      }
      removeStale(file, holder, draft);
    }
  } finally {
    fs.rmSync(draft, { force: true });
  }
  throw locked(directory, readOwner(file)?.pid ?? 0);
}

/** A lock that says nothing may be in writing where links are missing: read again so often, with such pauses, before it counts as cut. */
const UNREADABLE_TRIES = 10;
const UNREADABLE_MS = 20;

/** How `link` fails on file systems that have no hard links: FAT, exFAT, some network drives and containers. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** Makes `target` with the content of `draft`. @throws EEXIST if it is there already, so one of several succeeds */
function place(draft: string, target: string): void {
  try {
    fs.linkSync(draft, target);
  } catch (error) {
    if (!NO_LINKS.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    fs.writeFileSync(target, fs.readFileSync(draft), { flag: 'wx' });
  }
}

/** How often a lock that somebody else holds is asked for again, milliseconds. */
const RETRY_MS = 50;

/**
 * As {@link lockDirectory}, but waits for a holder that is about to end, such as a child of a killed parent.
 *
 * @param timeoutMs longest wait
 * @throws PogoError LOCKED after that time, or at once when the signal aborts; IO
 */
export async function lockWhenFree(directory: string, timeoutMs: number, signal: AbortSignal): Promise<DirectoryLock> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      return lockDirectory(directory);
    } catch (error) {
      const wait = PogoError.from(error).code === 'LOCKED' && performance.now() < deadline && !signal.aborted;
      if (!wait) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/**
 * Removes the lock file of a dead owner. The right to remove it is itself a lock, named after the stale owner's token,
 * so of all processes that see the same dead owner one removes its file, and none removes its successor's: whoever has
 * the right reads the file again, and a file with that token can only be removed under that right.
 */
function removeStale(file: string, stale: Owner, draft: string): void {
  const right = path.join(path.dirname(file), `.lock-takeover-${stale.token}`);
  try {
    place(draft, right);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw ioError('create', right, error);
    const other = readOwner(right);
    if (other !== undefined && !isAlive(other)) removeStale(right, other, draft);
    return;
  }
  try {
    if (readOwner(file)?.token === stale.token) fs.rmSync(file, { force: true });
  } finally {
    fs.rmSync(right, { force: true });
  }
}

/** Clears the drafts of processes that were killed while they asked for the lock. */
function removeDeadDrafts(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (!name.startsWith(DRAFT_PREFIX)) continue;
    const draft = path.join(directory, name);
    const owner = readOwner(draft);
    if (owner !== undefined && owner.pid > 0 && !isAlive(owner)) fs.rmSync(draft, { force: true });
  }
}

function isAlive(owner: Owner): boolean {
  return owner.pid > 0 && startOf(owner.pid) === owner.start;
}

function heldLock(file: string, owner: Owner): DirectoryLock {
  let held = true;
  const release = (): void => {
    if (!held) return;
    held = false;
    process.off('exit', release);
    // Only our own: after a takeover the file belongs to somebody else.
    if (readOwner(file)?.token === owner.token) fs.rmSync(file, { force: true });
  };
  process.on('exit', release);
  return { path: file, release };
}

function locked(directory: string, pid: number): PogoError {
  return new PogoError(
    'LOCKED',
    `expected ${directory} to be free, found process ${pid} using it: wait for it, stop it, or choose another directory`,
    { path: directory, pid },
  );
}
