/** Ctrl-C: the first one ends the work in order, the second one at once. */
import { EXIT, PogoError } from '../errors.js';

/**
 * Runs `work` with a signal that aborts on SIGINT or SIGTERM.
 *
 * @throws PogoError INTERRUPTED when it was interrupted, whatever the work made of that
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort();
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
