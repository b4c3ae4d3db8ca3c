/**
 * Ctrl-C and SIGTERM. The first one ends the work in order where a command can be interrupted, the second one at once; a
 * command that cannot be interrupted ends at the first.
 */
import { EXIT, PogoError } from '../errors.js';
import { reportFailure } from './fail.js';

/** Under npm one Ctrl-C arrives twice, from the terminal and from npm: within this time it is the same one. */
const SAME_KEY_MS = 500;

/** The works that can be interrupted now. */
const works = new Set<AbortController>();
let first: number | undefined;

/**
 * From here on a signal ends the process with the code of the contract, also before and after the work of a command. It
 * costs nothing to come early: what is not yet begun needs no orderly end.
 *
 * @param json whether stdout carries events
 */
export function armSignals(json: boolean): void {
  const onSignal = (): void => {
    if (interruptWorks()) return;
    const text = 'stopped before the end; run the same command again';
    process.exit(reportFailure(new PogoError('INTERRUPTED', text), json));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}

/** The reader of our output is gone: ends the work in order, or the process, without a word that nobody would read. */
export function outputClosed(): void {
  if (!interruptWorks()) process.exit(EXIT.interrupted);
}

/** @returns false where nothing can be interrupted */
function interruptWorks(): boolean {
  if (first !== undefined && performance.now() - first > SAME_KEY_MS) process.exit(EXIT.interrupted);
  if (works.size === 0) return first !== undefined;
  first ??= performance.now();
  for (const controller of works) controller.abort();
  return true;
}

/**
 * Runs `work` with a signal that aborts on SIGINT or SIGTERM.
 *
 * @throws PogoError INTERRUPTED when it was interrupted, whatever the work made of that
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  works.add(controller);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    const known = PogoError.from(error);
    if (known.code === 'INTERRUPTED') throw known;
    throw new PogoError('INTERRUPTED', `interrupted; run the same command again to go on (${known.message})`);
  } finally {
    works.delete(controller);
  }
}

/** Lets signals in between two parts of a long work on this thread, which else would end it only when it is done. */
export function yieldToSignals(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
