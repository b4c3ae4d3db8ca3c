/** Where the package lies, and how its native parts are made there. Node only. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PogoError } from '../errors.js';

/** The root of the package: this file lies two folders below it, in `src/` as in `dist/`. */
export const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** `linux-x64`: the folder below `prebuilds` with this machine's addons. */
export const prebuildTarget = `${process.platform}-${process.arch}`;

/** Whether there are sources to build native parts from: an installed package brings what is built, and has none. */
export function isCheckout(root = packageRoot): boolean {
  return existsSync(join(root, 'scripts', 'setup.mjs'));
}

/**
 * What makes a native part: set-up in a checkout. A package that was installed has no sources to build from.
 * @param options of set-up, such as `--cuda`
 */
export function setupFix(options = '', root = packageRoot): string {
  const command = options === '' ? 'npm run setup' : `npm run setup -- ${options}`;
  if (isCheckout(root)) return command;
  return `install a package with addons for ${prebuildTarget}, which a checkout makes: ${command}, node scripts/prebuild.mjs`;
}

/**
 * A compiled program of a thread: beside the file that starts it when that is compiled itself, else in `dist`.
 *
 * @param beside URL of it beside that file
 * @param what it is called in an error
 * @param path below `dist`
 * @throws PogoError ENVIRONMENT
 */
export function compiledThread(beside: URL, what: string, ...path: readonly string[]): string {
  const own = fileURLToPath(beside);
  if (existsSync(own)) return own;
  const built = join(packageRoot, 'dist', ...path);
  if (existsSync(built)) return built;
  throw new PogoError('ENVIRONMENT', `expected the compiled ${what} at ${built}, found none; run: npm run build`);
}
