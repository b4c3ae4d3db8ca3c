// Paths, progress lines and child processes shared by the scripts. Plain Node: it runs before anything is installed.
import { spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '');
/** Everything that the scripts keep between calls: stamps, logs, downloaded compilers. Ignored by git; POGO_TOOLS moves it (tests). */
export const TOOLS = process.env.POGO_TOOLS ?? join(ROOT, '.tools');
export const EXIT_ENVIRONMENT = 5;
export const EXIT_INTERRUPTED = 130;
const MINIMUM_NODE = [20, 19];

/** A failure with an exit code of docs/errors.md; `cli` prints its message as one line. */
export class ScriptError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** All progress goes to stderr: stdout belongs to the command that runs afterwards (`--json`). */
export function progress(line) {
  process.stderr.write(`${line}\n`);
}

/** Throws with exit code 5 if this Node is older than the code base needs. */
export function requireNode(version = process.versions.node) {
  const [major, minor] = version.split('.').map(Number);
  if (major > MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor >= MINIMUM_NODE[1])) return;
  throw new ScriptError(
    `error ENVIRONMENT: expected Node ${MINIMUM_NODE.join('.')} or newer, found ${version}; ` +
      'install the current LTS release (https://nodejs.org) and run the command again',
    EXIT_ENVIRONMENT,
  );
}

/** Absolute path of an executable on PATH, or undefined. */
export function which(name, path = process.env.PATH ?? '') {
  const suffixes = process.platform === 'win32' ? ['.exe', '.cmd', ''] : [''];
  for (const folder of name.includes('/') ? [''] : path.split(delimiter)) {
    for (const suffix of suffixes) {
      const file = folder === '' ? name + suffix : join(folder, name + suffix);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        // Not here: the next folder.
      }
    }
  }
  return undefined;
}

/** The folder that holds the lock of set-up; what its owner has started is noted in it. */
export const LOCK = join(TOOLS, 'lock');

/** Which start of the machine this is, where it says so: process ids are given anew with each. */
export function bootId() {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8');
  } catch {
    return '';
  }
}

/**
 * Notes in the lock a program with a group of its own, which outlives us if we are killed: the next set-up waits for it.
 * @returns takes the note back
 */
function noteStarted(pid) {
  const note = join(LOCK, `started-${pid}`);
  try {
    if (readFileSync(join(LOCK, 'pid'), 'utf8') !== String(process.pid)) return () => {};
    writeFileSync(note, bootId());
  } catch {
    return () => {}; // Nobody holds the lock: no set-up.
  }
  return () => rmSync(note, { force: true });
}

/** What ends a set-up from outside: Ctrl-C, a request, a terminal that is closed. */
const ENDINGS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Runs a program to its end. With `log` (a name), output goes to `.tools/logs/<log>.log`, else to our stderr. SIGINT, SIGTERM and
 * SIGHUP end it, too: a logged one with all that it started, and this process with it (130); another one ends by itself.
 * @returns exit code (a signal counts as 1), seconds, and the path of the log
 */
export function runProgram(command, args, { cwd = ROOT, env = process.env, log, stdio } = {}) {
  const started = performance.now();
  let file;
  let descriptor;
  if (log !== undefined) {
    file = join(TOOLS, 'logs', `${log.replaceAll('/', '-')}.log`);
    mkdirSync(dirname(file), { recursive: true });
    descriptor = openSync(file, 'w');
  }
  const outputs = stdio ?? ['ignore', descriptor ?? 2, descriptor ?? 2];
  // A build starts compilers: a group of their own can be ended as one.
  const detached = log !== undefined && process.platform !== 'win32';
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: outputs, detached });
    let stopped = false;
    const stop = () => {
      stopped = true;
      if (child.pid === undefined) return;
      try {
        process.kill(detached ? -child.pid : child.pid, 'SIGTERM');
      } catch {
        // It has just ended by itself.
      }
    };
    for (const signal of ENDINGS) process.on(signal, stop);
    const forget = detached && child.pid !== undefined ? noteStarted(child.pid) : () => {};
    const finish = (code, reason) => {
      for (const signal of ENDINGS) process.off(signal, stop);
      forget();
      if (descriptor !== undefined) closeSync(descriptor);
      if (stopped && log !== undefined) {
        progress('error INTERRUPTED: set-up was stopped; run the same command again');
        process.exit(EXIT_INTERRUPTED);
      }
      resolve({ code, reason, seconds: (performance.now() - started) / 1000, log: file });
    };
    child.once('error', (error) => finish(127, error.message));
    child.once('close', (code, signal) => finish(code ?? 1, signal === null ? undefined : `ended by ${signal}`));
  });
}

/** Runs a program and returns what it wrote to stdout, or undefined if it failed. */
export function capture(command, args, { cwd = ROOT } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    child.once('error', () => resolve(undefined));
    child.once('close', (code) => resolve(code === 0 ? text : undefined));
  });
}

/** The lines of a log that say what went wrong: the first errors, else its end. */
export function logExcerpt(file, lines = 6) {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return '';
  }
  // Without colours, and without the frames of stack traces: of Node (`at …`) and of Rust (`3: …`).
  const all = stripVTControlCharacters(text)
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^\s*(at |\d+: )/.test(line));
  const errors = all.filter((line) => /\b(error|fatal)\b/i.test(line) && !/gyp (ERR!|info)/.test(line));
  return (errors.length > 0 ? errors.slice(0, lines) : all.slice(-lines)).join('\n');
}

/** What `parseArgs` says of arguments that a script does not know, as bad usage. */
function usageError(error) {
  if (!/^ERR_PARSE_ARGS_/.test(error?.code ?? '')) return undefined;
  const [first] = error.message.split(/[.\n]/);
  return new ScriptError(`error USAGE: ${first}; see the first lines of ${process.argv[1]}`, 2);
}

/** Entry of a script: runs `main` and turns failures into one line and an exit code. */
export async function cli(main) {
  try {
    process.exitCode = (await main(process.argv.slice(2))) ?? 0;
  } catch (thrown) {
    const error = usageError(thrown) ?? thrown;
    process.stderr.write(`${error instanceof ScriptError ? error.message : (error?.stack ?? error)}\n`);
    process.exitCode = error instanceof ScriptError ? error.exitCode : 1;
  }
}

/** True if the module with this `import.meta.url` is the program that was started, also by a path with symbolic links in it. */
export function isMain(url) {
  const [, started] = process.argv;
  if (started === undefined) return false;
  try {
    return fileURLToPath(url) === realpathSync(started);
  } catch {
    return false;
  }
}
