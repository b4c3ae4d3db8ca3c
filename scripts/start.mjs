// `npm start`: sets up, then runs the command line in this process, so that signals and exit codes pass unchanged.
// Without a command, or with options only, it is `pogo run`.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cli, isMain, ROOT } from './lib/project.mjs';
import { setup } from './setup.mjs';

const COMMANDS = new Set(
  (
    'run mine verify evidence eval sample export import hash diff patch doctor bench prove-origin cost data ' +
    'node testnet status simulate recipe help --help -h --version -V'
  ).split(' '),
);

/** Arguments of `pogo` for the arguments of `npm start`. */
export function commandArguments(args) {
  return args.length > 0 && COMMANDS.has(args[0]) ? args : ['run', ...args];
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
