/** Where the built-in texts lie: packages that hold data alone are found here, and never loaded. Node only. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The folder of data of an installed package. @throws Error where it is not installed */
export function packagedText(name: string): string {
  return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'data');
}
