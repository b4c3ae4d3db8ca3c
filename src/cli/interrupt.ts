/** Ctrl-C: the first one ends the work in order, the second one at once. */
import { EXIT, PogoError } from '../errors.js';

/** Under npm one Ctrl-C arrives twice, from the terminal and from npm: within this time it is the same one. */
const SAME_KEY_MS = 500;

/**
 * Runs `work` with a signal that aborts on SIGINT or SIGTERM.
 *
 * @throws PogoError INTERRUPTED when it was interrupted, whatever the work made of that
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let first = 0;
  const onSignal = (): void => {
    if (!controller.signal.aborted) {
      first = performance.now();
      controller.abort();
      return;
    }
    if (performance.now() - first > SAME_KEY_MS) process.exit(EXIT.interrupted);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    const known = PogoError.from(error);
    if (known.code === 'INTERRUPTED') throw known;
    throw new PogoError('INTERRUPTED', `interrupted; run the same command again to go on (${known.message})`);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
