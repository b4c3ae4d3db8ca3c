/** How a command ends in failure: one line on stderr, an event with `--json`, and the code's exit status. */
import { EXIT, PogoError } from '../errors.js';
import { printEvent } from './events.js';

/**
 * @param json whether stdout carries events
 * @returns the process exit code
 */
export function reportFailure(thrown: unknown, json: boolean): number {
  const error = PogoError.from(thrown);
  process.stderr.write(`error ${error.code}: ${error.message}\n`);
  if (error.exitCode === EXIT.internal && error.stack !== undefined && process.env['POGO_DEBUG'] !== undefined) {
    process.stderr.write(`${error.stack}\n`);
  }
  if (json) printEvent({ type: 'error', code: error.code, message: error.message, details: error.details });
  return error.exitCode;
}
