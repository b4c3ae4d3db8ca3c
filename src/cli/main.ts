#!/usr/bin/env node
/**
 * The `pogo` command. This file does what must be done before anything else is loaded: from here on a signal, a closed pipe,
 * and modules that cannot be loaded end in the documented exit code, and no error passes silently.
 */
import { PogoError } from '../errors.js';
import { reportFailure } from './fail.js';
import { armSignals, outputClosed } from './interrupt.js';

const json = process.argv.includes('--json');
armSignals(json);

// A reader that closes the pipe (`pogo … | head`) wants no more: what can be interrupted is, in order, and nothing that was not
// decided is told as decided. Output that cannot be written at all (a full disk) is an error like any other.
let closed = false;
function onOutputError(error: NodeJS.ErrnoException): void {
  if (closed) return;
  closed = true;
  if (error.code !== 'EPIPE') process.exit(reportFailure(error, false));
  outputClosed();
}
process.stdout.on('error', onOutputError);
process.stderr.on('error', onOutputError);

/** An installed package is started by whatever Node there is; an older one fails somewhere, or worse, does not. */
function requireNode(version = process.versions.node): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new PogoError(
    'ENVIRONMENT',
    `expected Node 20.19 or newer, found ${version}; install the current LTS release (https://nodejs.org)`,
  );
}

// What no command waited for: an error like any other, too.
process.on('uncaughtException', (error) => process.exit(reportFailure(error, json)));

try {
  requireNode();
  const { runCommandLine } = await import('./commandLine.js');
  process.exitCode = await runCommandLine(process.argv, json);
} catch (error) {
  process.exitCode = reportFailure(error, json);
}
