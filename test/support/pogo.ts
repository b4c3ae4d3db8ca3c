/** Runs the built `pogo` command as a process of its own, as a user would. */
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a process writes, and how it ends, once its output is closed. @param onOutput told all of stdout so far */
export function finishedOf(
  child: ChildProcessByStdio<null, Readable, Readable>,
  onOutput?: (stdout: string) => void,
): Promise<Finished> {
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
    onOutput?.(stdout);
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

export interface PogoProcess {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  /** Resolves when the output so far satisfies `when`, or the process has ended. */
  until(when: (stdout: string) => boolean): Promise<void>;
}

/** @param environment added to this process's; the forced backend of a surrounding test run is kept out */
export function startPogo(args: readonly string[], environment: Readonly<Record<string, string>> = {}): PogoProcess {
  const env = { ...process.env, ...environment };
  // A group of its own, so that a test can end the whole tree at once.
  const child = spawn(process.execPath, [MAIN, ...args], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const waiting: (() => void)[] = [];
  const finished = finishedOf(child, (stdout) => {
    output = stdout;
    for (const check of waiting) check();
  });
  const until = (when: (text: string) => boolean): Promise<void> =>
    Promise.race([
      finished.then(() => undefined),
      new Promise<void>((resolve) => {
        const check = (): void => {
          if (when(output)) resolve();
        };
        waiting.push(check);
        check();
      }),
    ]);
  return { child, finished, until };
}

export function pogo(args: readonly string[], environment?: Readonly<Record<string, string>>): Promise<Finished> {
  return startPogo(args, environment).finished;
}

/** Ends a process and everything that it started. */
export function killTree(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // Gone between the check and the call.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The events of `--json`: one object a line. */
export function eventsOf(stdout: string): Record<string, unknown>[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
