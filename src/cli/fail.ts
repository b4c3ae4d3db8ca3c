/** How a command ends in failure: one line on stderr, an event with `--json`, and the code's exit status. */
import { EXIT, PogoError } from '../errors.js';
import { printEvent } from './events.js';

/** A message may quote what a stranger's file holds: no line breaks, and nothing that a terminal obeys. */
function oneLine(message: string): string {
  return message.replace(/\p{Cc}+/gu, ' ').trim();
}

/**
 * @param json whether stdout carries events
 * @returns the process exit code
 */
export function reportFailure(thrown: unknown, json: boolean): number {
  const error = PogoError.from(thrown);
  process.stderr.write(`error ${error.code}: ${oneLine(error.message)}\n`);
  if (error.exitCode === EXIT.internal && error.stack !== undefined && process.env['POGO_DEBUG'] !== undefined) {
    process.stderr.write(`${error.stack}\n`);
  }
  if (json) printEvent({ type: 'error', code: error.code, message: error.message, details: error.details });
  return error.exitCode;
}
