/** How the user called us, so that commands in our output can be typed as they stand. */

/** `pogo`; `npm start --` where npm started us in a checkout, `npx pogo` where npx did, since then nobody else may find it. */
export function programName(environment: NodeJS.ProcessEnv = process.env): string {
  const { npm_lifecycle_event: script, npm_package_name: name } = environment;
  if (script === 'npx') return 'npx pogo';
  return script === 'start' && name === 'proof-of-gradient' ? 'npm start --' : 'pogo';
}

/** A command that the user can type as it stands, paths with spaces included. */
export function commandLine(...words: readonly string[]): string {
  return [programName(), ...words.map(shellWord)].join(' ');
}

/** A word of a shell's command line: quoted where it has to be. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
