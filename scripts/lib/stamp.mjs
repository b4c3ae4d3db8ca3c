// What is up to date: a hash over sources is kept as a stamp, and a lock keeps two set-ups from building at once.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { bootId, LOCK, progress, ROOT, ScriptError, TOOLS } from './project.mjs';

const OUTPUTS = new Set(['node_modules', 'build', 'target', 'dist', '.git']);

/** All files under the given paths (relative to the root), sorted; build outputs are left out, missing paths are empty. */
export function filesUnder(paths) {
  const found = [];
  const visit = (path) => {
    let info;
    try {
      info = statSync(path);
    } catch {
      return;
    }
    if (info.isFile()) found.push(path);
    else if (info.isDirectory()) {
      for (const name of readdirSync(path)) if (!OUTPUTS.has(name) && !name.endsWith('.node')) visit(join(path, name));
    }
  };
  for (const path of paths) visit(join(ROOT, path));
  return found.sort();
}

/** Hash over names and bytes of files, and over extra strings (tool versions, flags). */
export function hashSources(paths, extra = []) {
  const hash = createHash('sha256');
  for (const text of extra) hash.update(`${text}\0`);
  for (const file of filesUnder(paths)) {
    const bytes = readFileSync(file);
    hash.update(`${relative(ROOT, file)}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

const stampFile = (name) => join(TOOLS, 'stamps', name.replaceAll('/', '-'));

export function readStamp(name) {
  try {
    return readFileSync(stampFile(name), 'utf8');
  } catch {
    return undefined;
  }
}

export function writeStamp(name, value) {
  const file = stampFile(name);
  mkdirSync(join(TOOLS, 'stamps'), { recursive: true });
  writeFileSync(`${file}.${process.pid}`, value);
  renameSync(`${file}.${process.pid}`, file);
}

/** False only if no process with this id exists: one of another user is alive too. */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** What a dead owner of the lock has started and still runs, such as npm: two of them would destroy each other's files. */
function leftRunning() {
  try {
    const notes = readdirSync(LOCK).flatMap((name) => /^started-(\d+)$/.exec(name)?.[1] ?? []);
    return notes.map(Number).find((pid) => {
      const sameBoot = pid > 0 && readFileSync(join(LOCK, `started-${pid}`), 'utf8') === bootId();
      return sameBoot && isAlive(-pid);
    });
  } catch {
    return undefined; // The lock is gone by now.
  }
}

/**
 * Runs `work` while holding `.tools/lock`. A second process waits, and says so; the lock of a dead process is taken over once
 * what it had started has ended. The lock is a folder because mkdir is atomic everywhere; the owner's pid lies in it.
 */
export async function withLock(work, { waitMs = 15 * 60_000 } = {}) {
  const lock = LOCK;
  const owner = join(lock, 'pid');
  mkdirSync(TOOLS, { recursive: true });
  const deadline = Date.now() + waitMs;
  let said = false;
  let unowned = 0;
  for (;;) {
    try {
      mkdirSync(lock);
      writeFileSync(owner, String(process.pid));
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') {
        throw new ScriptError(`error IO: expected to write ${TOOLS}, found ${error.code}; make the folder writable`, 5);
      }
    }
    let pid = 0;
    try {
      pid = Number(readFileSync(owner, 'utf8'));
    } catch {
      // Between mkdir and the write of the pid, or left by a crash in between.
    }
    unowned = pid > 0 ? 0 : unowned + 1;
    const left = pid > 0 && !isAlive(pid) ? leftRunning() : undefined;
    if (left !== undefined) pid = left;
    else if ((pid > 0 && !isAlive(pid)) || unowned > 20) {
      // Only one waiter can rename the folder away; the others find it gone and try again.
      try {
        renameSync(lock, `${lock}.${process.pid}`);
        rmSync(`${lock}.${process.pid}`, { recursive: true });
      } catch {
        // Another waiter was faster.
      }
      continue;
    }
    if (Date.now() > deadline) {
      throw new ScriptError(
        `error LOCKED: expected ${lock} to be released, found it held by process ${pid}; end it or remove the folder`,
        5,
      );
    }
    if (!said) progress(`set-up: waiting for another set-up (process ${pid || 'starting'})`);
    said = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}
