// `npm start`: sets up, then runs the command line in this process, so that signals and exit codes pass unchanged.
// Without a command, or with options only, it is `pogo run`.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cli, isMain, ROOT } from './lib/project.mjs';
import { setup } from './setup.mjs';

/** Options that are of `pogo` itself, not of `pogo run`. */
const OWN_OPTIONS = new Set(['--help', '-h', '--version', '-V']);

/** Arguments of `pogo` for the arguments of `npm start`: a word in front is a command, known here or not. */
export function commandArguments(args) {
  const [first] = args;
  return first !== undefined && (!first.startsWith('-') || OWN_OPTIONS.has(first)) ? args : ['run', ...args];
}

async function start() {
  let ready = false;
  await cli(async () => {
    await setup({ quiet: true });
    ready = true;
  });
  if (!ready) return;
  const main = join(ROOT, 'dist', 'cli', 'main.js');
  process.argv = [process.execPath, main, ...commandArguments(process.argv.slice(2))];
  await import(pathToFileURL(main).href);
}

if (isMain(import.meta.url)) await start();
