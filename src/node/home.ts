/** Where the data directory is. Loads nothing else, so that failures can say it. */

/** POGO_HOME, or `.pogo` in the working directory. */
export function pogoHome(env: NodeJS.ProcessEnv = process.env): string {
  const home = env['POGO_HOME'];
  return home === undefined || home === '' ? '.pogo' : home;
}
