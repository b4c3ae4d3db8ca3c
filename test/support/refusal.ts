/** `accepted`, or the code and message of the PogoError that a piece of work ended with. */
import { PogoError } from '../../src/errors.js';

export async function refusal(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (error instanceof PogoError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'accepted';
}
