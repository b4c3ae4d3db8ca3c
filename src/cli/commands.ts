/** The commands by name, each in a file that is loaded only when it is needed: all of them together take a third of a second. */
import type { Command } from 'commander';

interface CommandFile {
  readonly register: (program: Command) => void;
}

/** Names that a file registers, and the file. `pogo --help` lists them in this order. */
export const COMMANDS: readonly { readonly names: readonly string[]; readonly load: () => Promise<CommandFile> }[] = [
  { names: ['run'], load: () => import('./run.js') },
  { names: ['mine'], load: () => import('./mine.js') },
  { names: ['verify'], load: () => import('./verify.js') },
  { names: ['evidence'], load: () => import('./evidence.js') },
  { names: ['eval'], load: () => import('./eval.js') },
  { names: ['sample'], load: () => import('./sample.js') },
  { names: ['export', 'import'], load: () => import('./exportImport.js') },
  { names: ['hash'], load: () => import('./hash.js') },
  { names: ['diff', 'patch'], load: () => import('./diffPatch.js') },
  { names: ['doctor'], load: () => import('./doctor.js') },
  { names: ['bench'], load: () => import('./bench.js') },
  { names: ['recipe'], load: () => import('./recipe.js') },
  { names: ['cost'], load: () => import('./cost.js') },
  { names: ['economics'], load: () => import('./economics.js') },
  { names: ['data'], load: () => import('./data.js') },
  { names: ['key'], load: () => import('./key.js') },
  { names: ['prove-origin'], load: () => import('./proveOrigin.js') },
];

/** Registers the command that `argv` names, or all of them where it names none: for help, and for the default command. */
export async function registerCommands(program: Command, argv: readonly string[]): Promise<void> {
  const named = COMMANDS.filter(({ names }) => names.includes(argv[2] ?? ''));
  for (const { load } of named.length > 0 ? named : COMMANDS) (await load()).register(program);
}
