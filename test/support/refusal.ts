/** How a piece of work ended. */
import { PogoError } from '../../src/errors.js';

/** `accepted`, or the code and message of the PogoError that it ended with. @throws any other error */
export async function refusal(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (error instanceof PogoError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'accepted';
}

/** The code of the error that it ended with (INTERNAL for one that is no PogoError), or `no error`. */
export async function codeOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    return PogoError.from(error).code;
  }
  return 'no error';
}
