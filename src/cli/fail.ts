/** How a command ends in failure: one line on stderr, an event with `--json`, and the code's exit status. */
import * as path from 'node:path';
import { EXIT, PogoError } from '../errors.js';
import { pogoHome } from '../node/home.js';
import { printEvent } from './events.js';

/** A message may quote what a stranger's file holds: no line breaks, and nothing that a terminal obeys. */
function oneLine(message: string): string {
  return message.replace(/\p{Cc}+/gu, ' ').trim();
}

/** Node opens the files of a program side by side; where it may not open as many, some seem to be missing. */
function loadingFailure(thrown: unknown): unknown {
  const code = thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined;
  const isModule = code === 'ERR_MODULE_NOT_FOUND';
  if (!isModule && code !== 'EMFILE' && code !== 'ENFILE') return thrown;
  const message =
    `expected to open the files of the program, found ${code}: raise the limit of open files (ulimit -n 256 or more)` +
    (isModule ? '; if it is high enough, files are missing: run npm run setup, or install the package again' : '');
  return new PogoError('ENVIRONMENT', message, { system: code }, thrown);
}

/** What keeps a folder from being written. */
const REFUSALS: readonly unknown[] = ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR'];

/** The data directory is nothing that a command line names: where it cannot be written, the variable that moves it is said. */
function withHomeAdvice(error: PogoError): PogoError {
  const { system, path: place } = error.details;
  if (error.code !== 'IO' || !REFUSALS.includes(system) || typeof place !== 'string') return error;
  const home = path.resolve(pogoHome());
  if (path.resolve(place) !== home && !path.resolve(place).startsWith(home + path.sep)) return error;
  const message = `${error.message}; POGO_HOME chooses another data directory than ${home}`;
  return new PogoError('IO', message, error.details, error);
}

/**
 * @param json whether stdout carries events
 * @returns the process exit code
 */
export function reportFailure(thrown: unknown, json: boolean): number {
  const error = withHomeAdvice(PogoError.from(loadingFailure(thrown)));
  process.stderr.write(`error ${error.code}: ${oneLine(error.message)}\n`);
  if (error.exitCode === EXIT.internal && error.stack !== undefined && process.env['POGO_DEBUG'] !== undefined) {
    process.stderr.write(`${error.stack}\n`);
  }
  if (json) printEvent({ type: 'error', code: error.code, message: error.message, details: error.details });
  return error.exitCode;
}
